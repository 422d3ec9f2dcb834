"""Volumes from the command line: neighbours, smoothing in 3-D, and maps in the grid of the volume."""

from __future__ import annotations

import json

import numpy as np
import pytest

import intact
from intact.data.phantom import write_archive

SMALL = ("--method", "padim", "--set", "size=64", "--set", "features=20", "--set", "backbone=narrow_resnet18")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """CT phantoms of 4 planes as DICOM series: 8 to learn from, one normal one and one with a lesion."""
    folder = tmp_path_factory.mktemp("thorax") / "archive"
    options = {"shape": (4, 48, 48)}
    write_archive(folder, "thorax_ct", train=8, test_normal=1, test_lesion=1, seed=3, options=options)
    return folder


def test_neighbours_and_smoothing_go_from_fit_to_screen(archive, run, rows, tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    fitted = run("fit", archive / "train", "-o", model, *SMALL, "--neighbours", 1, "--smooth-mm", 4)
    assert fitted.code == 0 and "one window, -250,1500 HU" in " ".join(fitted.err.split())
    screened = run(
        "screen", archive / "test", "-o", out, "--model", model, "--labels", "folder", "--no-forensics",
        "--workers", 0, "--alpha", 0.12,
    )  # fmt: skip
    assert screened.code in (0, 1), screened.err
    found = rows(out)
    assert len(found) == 2
    for row in found:
        score_map = intact.read(out / row["map"])
        assert list(score_map.shape) == row["shape"] == [4, 48, 48]
        np.testing.assert_allclose(score_map.spacing, row["spacing"], rtol=1e-5)
    (told,) = json.loads((out / "run.json").read_text())["models"]
    assert (told["preparation"]["neighbours"], told["preparation"]["smooth_mm"]) == (1, 4.0)


def test_nifti_volumes_without_a_backbone_take_more_neighbours(run, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "normals").mkdir()
    for k in range(8):
        pixels = rng.integers(0, 255, (5, 32, 32)).astype(np.uint8)
        volume = intact.Image(pixels, spacing=(3.0, 1.0, 1.0), affine=np.diag([1.0, 1.0, 3.0, 1.0]))
        intact.write(volume, tmp_path / "normals" / f"{k}.nii.gz")
    fields = ("--method", "ae", "--set", "size=32", "--set", "steps=2", "--set", "latent=4")
    asked = ("--smooth-mm", 3, "--neighbours", 2)
    fitted = run("fit", tmp_path / "normals", "-o", tmp_path / "m", *fields, *asked)
    assert fitted.code == 0 and "taken for 1 mm" not in fitted.err
    assert json.loads((tmp_path / "m" / "manifest.json").read_text())["preparation"]["neighbours"] == 2


def test_what_cannot_be_is_refused_with_what_to_do(archive, normals, run, tmp_path):
    model = tmp_path / "model"
    too_many = run("fit", archive / "train", "-o", model, *SMALL, "--neighbours", 2)
    assert too_many.code == 2 and "give --neighbours 1" in " ".join(too_many.err.split())
    windows = ("--window", "40,400", "--window", "-600,1500")
    several = run("fit", archive / "train", "-o", model, *SMALL, "--neighbours", 1, *windows)
    assert several.code == 2 and "one window only" in " ".join(several.err.split())
    planes = run("fit", normals, "-o", model, *SMALL, "--smooth-mm", 4)
    assert planes.code == 2 and "single planes" in planes.err
    classes = run("fit", normals, "-o", model, "--classes", "--neighbours", 1)
    assert classes.code == 2 and "for detectors only" in classes.err


def test_a_method_of_whole_volumes_goes_from_fit_to_screen(run, rows, tmp_path):
    rng = np.random.default_rng(0)
    for folder, count in (("normals", 8), ("new", 2)):
        (tmp_path / folder).mkdir()
        for k in range(count):
            pixels = rng.integers(50, 200, (6, 20, 24)).astype(np.uint8)
            volume = intact.Image(pixels, spacing=(4.0, 1.0, 1.0), affine=np.diag([1.0, 1.0, 4.0, 1.0]))
            intact.write(volume, tmp_path / folder / f"{k}.nii.gz")
    model, out = tmp_path / "model", tmp_path / "out"
    fields = {"dims": 3, "size": 16, "width": 4, "depth": 2, "steps": 2}
    cubes = ("--method", "many_tasks", *(part for f, v in fields.items() for part in ("--set", f"{f}={v}")))
    fitted = run("fit", tmp_path / "normals", "-o", model, *cubes, "--calibrate", 0.5)
    assert fitted.code == 0, fitted.err
    card = json.loads((model / "manifest.json").read_text())["card"]
    assert card["volumes"] and card["planes_fitted"] == card["normals_fitted"] == 4
    asked = ("--model", model, "--alpha", 0.99, "--no-forensics", "--workers", 0)
    screened = run("screen", tmp_path / "new", "-o", out, *asked)
    assert screened.code in (0, 1), screened.err
    for row in rows(out):
        if row["flagged"]:
            score_map = intact.read(out / row["map"])
            assert score_map.shape == (6, 20, 24)
            np.testing.assert_allclose(np.abs(score_map.affine.diagonal()), (1, 1, 4, 1), atol=1e-5)
    assert any(row["map"] for row in rows(out))
    for wrong in ("--neighbours", "--smooth-mm"):
        refused = run("fit", tmp_path / "normals", "-o", model, *cubes, wrong, 1)
        assert refused.code == 2 and "sees whole volumes" in refused.err
