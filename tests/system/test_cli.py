"""What the command line says, prints and returns."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys

import pytest
import typer.main
from made_archive import (
    SIDE,
    lesion_mask,
    plane,
    write_dicom,
    write_normals,
    write_png,
    write_series,
)

from intact.anomaly import METHODS as DETECTORS
from intact.cli import app
from intact.forensics import LEARNED
from intact.forensics import METHODS as EXAMINERS
from intact.forge import KINDS, SERIES_KINDS
from intact.protect.attack import METHODS as ATTACKS
from intact.segment import METHODS as SEGMENTERS

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
COMMANDS = sorted(typer.main.get_command(app).commands)
METHODS = [*DETECTORS, *EXAMINERS, *LEARNED, *SEGMENTERS, *KINDS, *SERIES_KINDS, *ATTACKS]
QUICK = ("--method", "ae", "--set", "steps=1", "--set", "size=32", "--set", "latent=8")


@pytest.fixture
def screened(run, model, tmp_path):
    """`screen FOLDER` with the model, into "out"."""

    def call(folder, *options):
        command = (
            "screen",
            folder,
            "--no-forensics",
            "--model",
            model,
            "-o",
            tmp_path / "out",
            "--workers",
            0,
        )
        return run(*command, *options)

    return call


@pytest.fixture
def labelled(tmp_path):
    """20 normal images, 8 with a bright lesion, 4 with a dark one; masks of the bright ones."""
    folder = tmp_path / "test"
    for k in range(20):
        write_png(folder / "good" / f"{k:03d}.png", plane(100 + k))
    for k in range(8):
        write_png(folder / "bright" / f"{k:03d}.png", plane(200 + k, lesion=True))
        write_png(tmp_path / "ground_truth" / "bright" / f"{k:03d}_mask.png", lesion_mask())
    for k in range(4):
        write_png(folder / "dark" / f"{k:03d}.png", 255 - plane(300 + k))
    return folder


def test_python_m_intact_prints_what_it_can_do():
    done = subprocess.run(
        [sys.executable, "-m", "intact", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == DONE and all(command in done.stdout for command in COMMANDS)


def test_help_waits_for_nothing_heavy():
    heavy = {"torch", "scipy", "pydicom", "nibabel", "skimage", "sklearn"}
    told = f"import sys, intact.cli; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert done.returncode == DONE, done.stderr


def test_all_commands_are_known_here():
    assert COMMANDS == [
        "bank",
        "bench",
        "choose",
        "demo",
        "fit",
        "forge",
        "key",
        "ledger",
        "methods",
        "protect",
        "record",
        "restore",
        "screen",
        "segment",
        "start",
        "teach",
        "variant",
        "verify",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_the_command_its_options_and_its_exit_codes(run, command):
    answer = run(command, "--help")
    assert answer.code == DONE and answer.err == ""
    assert "Exit codes: 0 done, nothing flagged; 1 done, something flagged" in answer.out
    parsed = typer.main.get_command(app).commands[command]
    assert parsed.help
    for parameter in parsed.params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name
            assert parameter.opts[0] in answer.out


def test_no_command_shows_the_help(run):
    answer = run()
    assert answer.code == WRONG_USE and "screen" in answer.out + answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scren", "in"], "No such command 'scren'"),
        (["screen", "in"], "--output"),
        (["screen", "-o", "out"], "Missing argument"),
        (["screen", "in", "-o", "out", "--modell", "m"], "--model"),
        (["screen", "in", "-o", "out", "--alpha", "much"], "Invalid value for '--alpha'"),
        (["screen", "in", "-o", "out", "--alpha", "0"], "between 0 and 1"),
        (["screen", "in", "-o", "out", "--alpha", "1"], "between 0 and 1"),
        (["screen", "in", "-o", "out", "--alpha", "nan"], "between 0 and 1"),
        (["screen", "in", "-o", "out", "--labels", "names"], "--labels folder"),
        (["screen", "in", "-o", "out", "--workers", "-1"], "--workers"),
        (["screen", "in", "-o", "out", "--model", "nowhere"], "nowhere is not a model folder"),
        (["fit", "in", "-o", "m", "--method", "padm"], ", ".join(DETECTORS)),
        (["fit", "in", "-o", "m", "--method", "ae", "--set", "depth=3"], "size, seed, residual"),
        (["fit", "in", "-o", "m", "--method", "ae", "--set", "steps"], "FIELD=VALUE"),
        (["fit", "in", "-o", "m", "--window", "40"], "CENTRE,WIDTH"),
        (["fit", "in", "-o", "m", "--calibrate", "1.5"], "--calibrate"),
        (["fit", "in", "-o", "m", "--seed", "lucky"], "--seed"),
    ],
)  # fmt: skip
def test_wrong_use_names_what_is_allowed(run, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "in" / "image.png", plane(0))
    answer = run(*arguments)
    assert answer.code == WRONG_USE and said in answer.err
    assert "Traceback" not in answer.err and answer.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("setting", ["steps=many", "steps=1.5", "lr=[1]", "size=33"])
def test_a_field_that_cannot_have_this_value_is_wrong_use(run, normals, tmp_path, setting):
    answer = run("fit", normals, *QUICK, "--set", setting, "-o", tmp_path / "m")
    assert answer.code == WRONG_USE and setting.split("=")[0] in answer.err
    assert "Traceback" not in answer.err


def test_a_fault_of_the_program_is_not_taken_for_a_flagged_image(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError("a fault")

    monkeypatch.setattr(importlib.import_module("intact.fit"), "fit", broken)
    answer = run("fit", tmp_path, "-o", tmp_path / "m")
    assert answer.code == STOPPED and "RuntimeError: a fault" in answer.err


def test_methods_lists_every_method(run):
    answer = run("methods")
    assert answer.code == DONE and all(name in answer.out for name in METHODS)


def test_methods_as_json(run):
    listed = json.loads(run("methods", "--json").out)
    assert list(listed) == METHODS
    assert listed["otsu"]["task"] == "segment" and listed["patchcore"]["task"] == "detect"
    assert listed["fgsm"]["task"] == "protect" and listed["fgsm"]["fields"]["epsilon"] == 8
    assert listed["ae"]["fields"]["latent"] == 16 and "MedIAnomaly" in listed["ae"]["source"]


def test_fit_says_what_it_did(run, normals, tmp_path):
    answer = run("fit", normals, *QUICK, "-o", tmp_path / "m")
    assert answer.code == DONE
    assert "ae learned from 45 normal images and is calibrated on 15 held out" in answer.out
    assert "reading" in answer.err and "training" in answer.err  # progress is not for pipes


def test_fit_as_json(run, normals, tmp_path):
    answer = run("fit", normals, *QUICK, "--calibrate", "0.5", "--json", "-o", tmp_path / "m")
    card = json.loads(answer.out)
    assert card["method"] == "ae" and card["modality"] == "MR" and card["bits"] == 8
    assert card["normals_fitted"] == card["normals_calibrated"] == 30 and card["rejected"] == 0


def test_the_same_seed_gives_the_same_model(run, normals, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("fit", normals, *QUICK, "--seed", seed, "-o", tmp_path / name)
    first, again, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b", "c"))
    assert first == again != other


def test_a_model_replaces_an_older_one_but_nothing_else(run, normals, tmp_path):
    assert run("fit", normals, *QUICK, "-o", tmp_path / "m").code == DONE
    assert run("fit", normals, *QUICK, "-o", tmp_path / "m").code == DONE
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    answer = run("fit", normals, *QUICK, "-o", tmp_path / "thesis")
    assert answer.code == WRONG_USE and "exists and is not a model" in answer.err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


@pytest.fixture
def sound(run, rows, model, normals, tmp_path):
    """Four of the normal images that are not among the 5 % of false alarms."""
    run("screen", normals, "--no-forensics", "--model", model, "-o", tmp_path / "all", "--workers", 0)
    quiet = [row["path"] for row in rows(tmp_path / "all") if not row["flagged"]]
    assert len(quiet) > 50
    folder = tmp_path / "in"
    folder.mkdir()
    for k, path in enumerate(quiet[:4]):
        shutil.copy(path, folder / f"sound {k}")
    return folder


def test_nothing_flagged(screened, rows, sound, tmp_path):
    answer = screened(sound)
    assert answer.code == DONE
    assert "4 images, 0 flagged at a false-alarm rate of 0.05" in answer.out
    assert not any(row["flagged"] or row["map"] for row in rows(tmp_path / "out"))


def test_images_unlike_the_models_are_announced_before_scoring(screened, tmp_path):
    for k in range(4):
        write_dicom(tmp_path / "ct" / f"{k}.dcm", plane(k), Modality="CT")
    answer = screened(tmp_path / "ct")
    assert "warning: model head: the model was fitted on MR, this image is CT (seen in" in answer.err
    assert answer.err.index("warning:") < answer.err.index("screening")
    assert answer.err.count("warning:") == 1


def test_something_flagged(screened, rows, sound, tmp_path):
    write_dicom(sound / "sick.dcm", plane(1, lesion=True), PixelSpacing=[0.5, 0.5])
    answer = screened(sound)
    assert answer.code == FLAGGED and "5 images, 1 flagged" in answer.out
    assert str(tmp_path / "out" / "report.html") in answer.out
    [sick] = [row for row in rows(tmp_path / "out") if row["flagged"]]
    assert sick["path"] == str(sound / "sick.dcm") and sick["p_value"] == pytest.approx(1 / 25)
    assert sick["study"] and sick["modality"] == "MR" and sick["shape"] == [SIDE, SIDE]
    assert (tmp_path / "out" / sick["map"]).exists()
    largest = max(sick["regions"], key=lambda region: region["area_px"])
    assert largest["area_mm2"] == pytest.approx(0.25 * largest["area_px"])
    top, left, bottom, right = largest["box"]
    assert top < 28 < bottom and left < 21 < right  # the lesion's centre


def test_errors_outweigh_flags_in_the_exit_code(screened, tmp_path):
    write_png(tmp_path / "in" / "sick.png", plane(1, lesion=True))
    (tmp_path / "in" / "empty.png").touch()
    answer = screened(tmp_path / "in")
    assert answer.code == UNREADABLE and "1 flagged" in answer.out
    assert "1 could not be read" in answer.out


def test_screen_as_json(screened, tmp_path):
    write_png(tmp_path / "in" / "sick.png", plane(1, lesion=True))
    write_series(tmp_path / "in" / "series", [plane(k) for k in range(3)])
    answer = screened(tmp_path / "in", "--json")
    printed = json.loads(answer.out)
    assert printed == json.loads((tmp_path / "out" / "run.json").read_text())
    assert printed["counts"]["images"] == 2 and printed["counts"]["files"] == 4
    assert printed["models"][0]["name"] == "head" and printed["complete"]


def test_without_a_model_files_are_read_and_listed(run, rows, archive, tmp_path):
    answer = run("screen", archive, "--no-forensics", "-o", tmp_path / "out", "--workers", 0)
    assert answer.code == UNREADABLE and "62 images, read only" in answer.out
    found = rows(tmp_path / "out")
    assert {row["detector"] for row in found} == {"read"} and len(found) == 64
    assert all(row["score"] is None for row in found)


def test_two_models_give_two_rows(run, rows, model, normals, tmp_path):
    run("fit", normals, *QUICK, "--calibrate", 0.4, "-o", tmp_path / "other")
    write_png(tmp_path / "in" / "one.png", plane(1))
    (tmp_path / "in" / "two.png").touch()
    run("screen", tmp_path / "in", "--no-forensics", "--model", model, "--model", tmp_path / "other",
        "-o", tmp_path / "out", "--workers", 0)  # fmt: skip
    found = rows(tmp_path / "out")
    assert [row["detector"] for row in found] == ["head", "other"] * 2
    assert [bool(row["error"]) for row in found] == [False, False, True, True]


def test_labels_from_folders_give_auroc_and_masks_give_pixel_metrics(screened, labelled, tmp_path):
    answer = screened(labelled, "--labels", "folder")
    assert "AUROC" in answer.out and "head pixels: AUPRO" in answer.out
    labels = json.loads((tmp_path / "out" / "run.json").read_text())["labels"]
    counts = {row["kind"]: row["n"] for row in labels["per_kind"]}
    assert counts == {"bright": 8, "dark": 4, "all": 12}
    for row in labels["per_kind"]:
        value, low, high = row["auroc"]
        assert value > 0.95 and low <= value <= high
        assert f"{value:.3f}" in answer.out and f"({low:.3f}–{high:.3f})" in answer.out
    [alarms] = labels["false_alarm_rate"]
    assert alarms["n"] == 20 and alarms["alpha"] == 0.05
    [pixel] = labels["pixel"]
    assert pixel["n"] == 28 and pixel["aupro"][0] > 0.5


def test_labels_without_masks_give_no_pixel_metrics(run, model, labelled, tmp_path):
    (tmp_path / "ground_truth").rename(tmp_path / "elsewhere")
    arguments = ("screen", labelled, "--no-forensics", "--model", model, "--labels", "folder", "--workers", 0)
    answer = run(*arguments, "-o", tmp_path / "out")
    assert "AUROC" in answer.out and "AUPRO" not in answer.out


@pytest.fixture
def grouped(run, tmp_path):
    """A model that compares images within their folder: "north" or "south"."""
    for number, ward in enumerate(("north", "south")):
        write_normals(tmp_path / "normals" / ward, png=30, dicom=0, first_seed=100 * number)
    answer = run("fit", tmp_path / "normals", *QUICK, "--group-by", "folder", "-o", tmp_path / "m")
    assert answer.code == DONE
    return tmp_path / "m"


def test_an_image_is_compared_with_its_group(run, rows, grouped, tmp_path):
    for ward in ("north", "south", "west"):
        write_png(tmp_path / "in" / ward / "image.png", plane(7))
    run("screen", tmp_path / "in", "--no-forensics", "--model", grouped, "-o", tmp_path / "out",
        "--alpha", 0.3, "--workers", 0)  # fmt: skip
    north, south, west = rows(tmp_path / "out")
    assert north["warnings"] == south["warnings"] == []
    assert west["warnings"] == ["no held-out normal image has folder = west: compared with all"]
    manifest = json.loads((grouped / "manifest.json").read_text())
    sizes = [manifest["groups"].count(ward) for ward in ("north", "south")]
    for row, size in ((north, sizes[0]), (south, sizes[1]), (west, sum(sizes))):
        ranks = row["p_value"] * (size + 1)
        assert ranks == pytest.approx(round(ranks))


def test_a_group_with_too_few_normals_is_named(run, grouped, tmp_path):
    write_png(tmp_path / "in" / "north" / "image.png", plane(7))
    answer = run("screen", tmp_path / "in", "--no-forensics", "--model", grouped, "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "held-out normal images" in answer.err


def test_patients_are_named_only_when_asked(run, rows, model, tmp_path):
    write_dicom(tmp_path / "in" / "sick.dcm", plane(1, lesion=True))
    write_series(tmp_path / "in" / "series", [plane(k, lesion=True) for k in range(3)])
    write_dicom(tmp_path / "in" / "broken.dcm", plane(2)).write_bytes(
        (tmp_path / "in" / "sick.dcm").read_bytes()[:-500]
    )
    arguments = ("screen", tmp_path / "in", "--model", model, "--workers", 0)
    silent = run(*arguments, "-o", tmp_path / "silent")
    written = b"".join(p.read_bytes() for p in (tmp_path / "silent").rglob("*") if p.is_file())
    for secret in ("HOSPITAL-4711", "Mustermann"):
        assert secret not in silent.out + silent.err and secret.encode() not in written
    named = run(*arguments, "-o", tmp_path / "named", "--identify")
    assert "HOSPITAL-4711" in (tmp_path / "named" / "report.html").read_text()
    sound = [row for row in rows(tmp_path / "named") if not row["error"]]
    assert {row["patient"] for row in sound} == {"HOSPITAL-4711"}
    assert "Mustermann" not in (tmp_path / "named" / "findings.jsonl").read_text()
    assert "HOSPITAL-4711" not in named.out + named.err


def test_a_model_does_not_name_the_patients_it_was_fitted_on(model):
    written = b"".join(path.read_bytes() for path in model.iterdir())
    assert b"HOSPITAL" not in written and b"Mustermann" not in written
