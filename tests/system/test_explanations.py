"""Explanations of flagged regions, and marks of normal variants, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from intact.cli import app
from intact.data.phantom import brain_mr
from intact.io import write

FLAGGED, DONE = 1, 0


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(out):
    return [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Normal phantoms, one with a lesion, and a model that rebuilds images."""
    folder = tmp_path_factory.mktemp("explained")
    (folder / "normals").mkdir()
    for seed in range(24):
        image, _ = brain_mr(seed, shape=(1, 96, 96), lesion=False)
        write(image.plane(0), folder / "normals" / f"{seed:02d}.png")
    plane = brain_mr(30, shape=(1, 96, 96), lesion=False)[0].plane(0).pixels.copy()
    plane[34:62, 50:78] = plane.max()
    Pillow.fromarray(plane.astype(np.int32).astype(np.uint16)).save(folder / "sick.png")
    fields = ("size=32", "steps=120", "latent=8")
    sets = [part for field in fields for part in ("--set", field)]
    answer = run("fit", folder / "normals", "-o", folder / "ae", "--method", "ae", *sets)
    assert answer.exit_code == DONE, answer.output
    return folder


def screen(made, out, *more):
    options = ("--model", made / "ae", "--alpha", 0.2, "--no-forensics", "--workers", 0)
    return run("screen", made / "sick.png", "-o", out, *options, *more)


def test_a_region_is_shown_with_its_twin_and_with_what_is_normal_there(made, tmp_path):
    answer = screen(made, tmp_path / "out", "--reference", made / "normals")
    assert answer.exit_code == FLAGGED, answer.output
    (row,) = rows(tmp_path / "out")
    best = row["regions"][0]
    top, left, bottom, right = best["box"]
    assert top < 48 < bottom and left < 64 < right
    assert len({near["path"] for near in best["nearest"]}) == 3
    assert all("normals" in near["path"] for near in best["nearest"])
    assert best["side"] in ("left in picture", "right in picture", "middle")
    with Pillow.open(tmp_path / "out" / row["twin"]["file"]) as pair:
        assert pair.size == (2 * 96, 96)
        seen, twin = np.split(np.asarray(pair, np.float64), 2, axis=1)
    assert seen[40:56, 56:72].mean() > twin[40:56, 56:72].mean() + 20  # the twin has no lesion
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("its normal twin") >= 1 and page.count(" away</figcaption>") >= 3


def test_a_marked_variant_is_silenced_until_it_is_released(made, tmp_path):
    site, out = tmp_path / "site", tmp_path / "out"
    assert screen(made, out).exit_code == FLAGGED
    (row,) = rows(out)
    suspicious = [r for r in row["regions"] if r["p_value"] <= 0.2] or row["regions"][:1]
    for number in range(1, len(suspicious) + 1):
        marked = run("variant", "mark", site, out, "sick.png", "--region", number, "--note", "a coil")
        assert marked.exit_code == DONE, marked.output
    assert "a coil" in run("variant", "list", site).stdout
    answer = screen(made, tmp_path / "again", "--variants", site)
    assert answer.exit_code == DONE and "1 more look like normal variants" in answer.output
    (row,) = rows(tmp_path / "again")
    assert row["silenced"] and not row["flagged"] and row["p_value"] <= 0.2
    assert "Silenced as normal variants" in (tmp_path / "again" / "report.html").read_text()
    for entry in json.loads(run("variant", "list", site, "--json").stdout):
        assert run("variant", "release", site, entry["number"]).exit_code == DONE
    assert screen(made, tmp_path / "third", "--variants", site).exit_code == FLAGGED


def test_wrong_marks_are_refused(made, tmp_path):
    assert screen(made, tmp_path / "out").exit_code == FLAGGED
    mark = ("variant", "mark", tmp_path / "site", tmp_path / "out")
    assert "there is no 99" in str(run(*mark, "sick.png", "--region", 99).exception)
    assert "no flagged image is called so" in str(run(*mark, "other.png").exception)
    assert not (tmp_path / "site").exists()


def test_explaining_needs_a_model_and_marks_that_exist(made, tmp_path):
    answer = run("screen", made / "sick.png", "-o", tmp_path / "out", "--reference", made / "normals")
    assert "need a --model" in str(answer.exception)
    assert "there are no marks" in str(screen(made, tmp_path / "out", "--variants", tmp_path).exception)
    assert "marks" in str(run("variant", "list", tmp_path).exception)
