"""`intact choose` and ensembles from the command line, on phantoms."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from intact.cli import app
from intact.data.phantom import brain_mr
from intact.io import write

SMALL = {"padim": ("size=64", "features=20"), "ae": ("size=32", "steps=20", "latent=8")}
SETS = [
    part for method, fields in SMALL.items() for field in fields for part in ("--set", f"{method}.{field}")
]
METHODS = ["--method", "padim", "--method", "ae"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("normals")
    for seed in range(24):
        image, _ = brain_mr(seed, shape=(1, 96, 96), lesion=False)
        write(image.plane(0), folder / f"{seed:02d}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_choose_tells_methods_by_tasks_and_saves_the_best(folder, tmp_path):
    answer = run("choose", folder, "-o", tmp_path / "best", *METHODS, *SETS, "--json")
    assert answer.exit_code == 0, answer.output
    best, other = json.loads(answer.stdout)
    assert {best["method"], other["method"]} == {"padim", "ae"} and best["mean"] >= other["mean"]
    assert set(best["auroc"]) == {"nodule", "foreign", "displaced", "smooth", "grainy", "pale", "cloud"}
    manifest = json.loads((tmp_path / "best" / "manifest.json").read_text())
    assert manifest["card"]["method"] == best["method"]


def test_the_table_has_room_for_every_task(folder):
    answer = run("choose", folder, "--method", "padim", "--set", "padim.size=64", "--set", "padim.features=9")
    assert answer.exit_code == 0
    for name in ("nodule", "foreign", "displaced", "smooth", "grainy", "pale", "cloud", "minutes"):
        assert name in answer.stdout
    assert "padim does best" in answer.stdout


def test_several_methods_make_an_ensemble_that_screens(folder, tmp_path):
    fitted = run("fit", folder, "-o", tmp_path / "both", *METHODS, *SETS)
    assert fitted.exit_code == 0 and "padim+ae" in fitted.output
    screened = run(
        "screen", folder / "00.png", "-o", tmp_path / "out", "--model", tmp_path / "both", "--alpha", 0.2,
        "--no-forensics", "--workers", 0,
    )  # fmt: skip
    assert screened.exit_code in (0, 1), screened.output
    (row,) = map(json.loads, (tmp_path / "out" / "findings.jsonl").read_text().splitlines())
    assert row["family"] == "ensemble" and [part["method"] for part in row["parts"]] == ["padim", "ae"]
    assert "padim+ae" in (tmp_path / "out" / "run.json").read_text()


def test_fields_of_several_methods_name_theirs(folder, tmp_path):
    answer = run("fit", folder, "-o", tmp_path / "m", *METHODS, "--set", "size=64")
    assert isinstance(answer.exception, Exception) and "METHOD.size" in str(answer.exception)


def test_several_methods_are_for_detectors_only(folder, tmp_path):
    answer = run("fit", folder, "-o", tmp_path / "m", *METHODS, "--classes")
    assert "several methods" in str(answer.exception)
