"""Protecting images against classifiers from the command line, as a user does it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pydicom
import pytest
from made_archive import write_dicom, write_png
from PIL import Image as Raster

from intact.classify import learn
from intact.io import read
from intact.protect import new_key
from made_classes import SMALL, folders_of_patterns, pattern

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
ALONE = ("--workers", 0)
STRONG = ("--set", "epsilon=60", "--set", "steps=10")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images of two classes, two classifiers of them and a key."""
    root = tmp_path_factory.mktemp("against")
    folders = folders_of_patterns(root / "in", count=12, side=72)
    for seed in (0, 1):
        learn(folders, fields=SMALL | {"seed": seed}).save(root / f"classifier{seed}")
    new_key(root / "k")
    return root


def test_classifiers_misread_what_was_protected_and_the_key_brings_it_back(run, place, tmp_path):
    (tmp_path / "in").mkdir()
    mask = np.zeros((72, 72), np.uint8)
    mask[24:48, 24:48] = 255
    Raster.fromarray(mask).save(tmp_path / "mask.png")
    for number in range(3):
        write_png(tmp_path / "in" / f"{number}.png", pattern("disc", 70 + number, 72))
    write_dicom(tmp_path / "in" / "deep", 16 * pattern("stripes", 90, 72).astype(np.uint16), PatientID="P-1")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    command = ("protect", tmp_path / "in", "-o", tmp_path / "out", "--key", place / "k", *ALONE, *STRONG)
    command += ("--against", place / "classifier0", "--keep", tmp_path / "mask.png")
    done = run(*command)
    assert done.code == UNREADABLE and "notes.txt" in done.err
    assert "not a pixel changed" in done.out and "not covered: people" in done.out
    fooled = int(done.out.split("misread as they are saved: ")[1].split()[0])
    assert fooled >= 3 and "of 4 files by classifier0" in done.out
    for name in ("0.png", "deep"):
        before, after = read(tmp_path / "in" / name).pixels, read(tmp_path / "out" / name).pixels
        assert (before[24:48, 24:48] == after[24:48, 24:48]).all() and (before != after).mean() > 0.02
    assert pydicom.dcmread(tmp_path / "out" / "deep").ImageType[0] == "DERIVED"
    again = run(*command)
    assert "0 files sealed, 4 by an earlier run" in again.out and f"{fooled} of 4 files" in again.out
    restored = run(
        "restore", tmp_path / "out", "-o", tmp_path / "back", "--key", place / "k", *ALONE, "--json"
    )
    assert json.loads(restored.out)["counts"]["done"] == 4
    for name in ("0.png", "1.png", "2.png", "deep"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    assert run("verify", tmp_path / "out", "--key", place / "k", *ALONE).code == DONE


def test_each_folder_can_have_its_own_classifier(run, place, tmp_path):
    for folder in ("chest", "head"):
        write_png(tmp_path / "in" / folder / "a.png", pattern("disc", 60, 72))
    done = run(
        *(
            "protect",
            tmp_path / "in",
            "-o",
            tmp_path / "out",
            "--key",
            place / "k",
            *ALONE,
            *STRONG,
            "--json",
        ),
        *("--against", f"chest={place / 'classifier0'}"),
    )
    told = json.loads(done.out)
    assert done.code == UNREADABLE and told["counts"] == {"done": 1, "refused": 1}
    assert "no classifier is given" in told["refused"][0]["reason"]
    assert told["misread"] == {"classifier0": [1, 1]}


def test_what_a_weak_change_leaves_as_it_was_is_named(run, place, tmp_path):
    write_png(tmp_path / "in" / "a.png", pattern("disc", 61, 72))
    done = run(
        *("protect", tmp_path / "in", "-o", tmp_path / "out", "--key", place / "k", *ALONE),
        *("--against", place / "classifier0", "--set", "epsilon=1", "--set", "steps=1"),
    )
    assert done.code == DONE and "0 of 1 files by classifier0" in done.out
    assert "a.png: is still read as before by classifier0" in done.err


def test_an_attack_is_learned_and_used(run, place, tmp_path):
    done = run(
        *("fit", place / "in", "--against", place / "classifier0", "-o", tmp_path / "generator"),
        *("--set", "steps=60", "--set", "epsilon=40", "--set", "rate=0.003", "--json"),
    )
    card = json.loads(done.out)
    assert done.code == DONE and card["method"] == "nroi_advgan" and card["misread"] > 0.3
    write_png(tmp_path / "in" / "a.png", pattern("stripes", 60, 72))
    done = run(
        *("protect", tmp_path / "in", "-o", tmp_path / "out", "--key", place / "k", *ALONE),
        *("--against", place / "classifier0", "--method", tmp_path / "generator"),
    )
    assert "of 1 files by classifier0" in done.out or "refused" in done.out  # a dense change may not fit


def test_trials_tell_what_protection_is_worth(run, place, tmp_path):
    done = run(
        *("bench", "protect", place / "in", "-o", tmp_path / "trial", "--images", 6, *STRONG),
        *("--against", place / "classifier0", "--unseen", place / "classifier1"),
    )
    assert done.code == DONE and "restored byte for byte" in done.out
    with (tmp_path / "trial" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["classifier"] for row in rows} == {"classifier0", "classifier1"}
    saved = next(row for row in rows if row["treatment"] == "saved" and row["unseen"] == "False")
    assert float(saved["misread"]) >= 0.8 and float(saved["misread_unprotected"]) == 0
    assert {"JPEG 50", "crop to region", "non-local means"} <= {row["treatment"] for row in rows}
    quality = json.loads((tmp_path / "trial" / "quality.json").read_text())
    assert quality["exact"] == 1 and 10 < quality["psnr"] < 60 and quality["payload_bits"] > 0
    with Raster.open(tmp_path / "trial" / "gallery.png") as picture:
        assert picture.width > 900


def test_what_is_attacked_is_not_unseen(run, place, tmp_path):
    model = place / "classifier0"
    done = run(
        "bench", "protect", place / "in", "-o", tmp_path / "trial", "--against", model, "--unseen", model
    )
    assert done.code == WRONG_USE and "is not unseen" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give --against MODEL"),
        (("--against", "classifier0", "--seal-only"), "give --against MODEL"),
        (("--against", "nothing"), "not a model folder"),
        (("--against", "classifier0", "--method", "magic"), "magic"),
        (("--against", "classifier0", "--carrier", "envelope"), "carrier"),
        (("--against", "classifier0", "--set", "epsilon=0"), "epsilon=0"),
    ],
)
def test_wrong_use_is_told(run, place, tmp_path, words, told):
    given = [place / word if word == "classifier0" else word for word in words]
    done = run("protect", place / "in", "-o", tmp_path / "out", "--key", place / "k", *ALONE, *given)
    assert done.code == WRONG_USE and told in done.err
