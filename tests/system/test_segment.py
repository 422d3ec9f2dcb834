"""`intact segment` and `intact fit --masks` as a user meets them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_archive import SIDE, plane, write_png, write_series
from pydicom import dcmread

from intact import read
from intact.data.phantom_lesion import lesion_in_organ
from intact.data.phantom_xray import chest_xray, lung_fields
from intact.io import write_dicom
from intact.metrics.segmentation import dice

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)


def as_bytes(image):
    values = image.pixels - image.pixels.min()
    return np.rint(255 * values / values.max()).astype(np.uint8)


@pytest.fixture
def lesion(tmp_path):
    """A picture of a lesion in an organ, its true mask and a seed."""
    image, mask, seed = lesion_in_organ(3)
    write_png(tmp_path / "images" / "one.png", as_bytes(image))
    return tmp_path, mask, seed


def test_one_object_by_a_classical_method(run, lesion):
    folder, mask, seed = lesion
    done = run("segment", folder / "images", "-o", folder / "out", "--method", "graph_cut",
               "--seed", ",".join(map(str, seed)), "--workers", 0)  # fmt: skip
    assert done.code == DONE and "1 images segmented" in done.out
    assert dice(read(folder / "out" / "masks" / "one.png").pixels > 0, mask) > 0.9
    assert (folder / "out" / "overlays" / "one.png").stat().st_size > 1000


def test_parameters_can_be_set_and_wrong_ones_are_told(run, lesion):
    folder, _, _ = lesion
    command = ("segment", folder / "images", "-o", folder / "out", "--method", "otsu", "--workers", 0)
    wrong = run(*command, "--set", "nothing=1")
    assert wrong.code == WRONG_USE and "has no field 'nothing'" in wrong.err
    assert run(*command, "--set", "radius_mm=5").code == DONE


def test_a_dicom_radiograph_gets_a_dicom_segmentation(run, tmp_path):
    image, _ = chest_xray(9005, shape=(192, 192), lesion=False)
    (tmp_path / "in").mkdir()
    write_dicom(image, tmp_path / "in" / "chest.dcm")
    done = run("segment", tmp_path / "in", "-o", tmp_path / "out", "--region", "lungs", "--region", "body",
               "--workers", 0)  # fmt: skip
    assert done.code == DONE, done.err
    found = dcmread(tmp_path / "out" / "masks" / "chest.dcm")
    assert found.Modality == "SEG" and [s.SegmentLabel for s in found.SegmentSequence] == ["lungs", "body"]
    frames = found.pixel_array.reshape(-1, 192, 192) > 0
    assert dice(frames[0], lung_fields(9005, shape=(192, 192))) > 0.85
    source = dcmread(tmp_path / "in" / "chest.dcm")
    assert found.StudyInstanceUID == source.StudyInstanceUID


def test_a_series_is_one_row_and_one_segmentation(run, tmp_path):
    write_series(tmp_path / "series", [plane(k) for k in range(4)], StudyInstanceUID="1.2.840.99.8")
    done = run("segment", tmp_path / "series", "-o", tmp_path / "out", "--region", "body", "--json",
               "--workers", 0)  # fmt: skip
    assert done.code == DONE and json.loads(done.out)["counts"] == {"images": 1, "errors": 0}
    assert len(list((tmp_path / "out" / "masks").glob("*.dcm"))) == 1


def test_files_of_several_studies_get_another_kind_of_file(run, tmp_path):
    write_series(tmp_path / "series", [plane(k) for k in range(4)])  # each is a study of its own
    done = run("segment", tmp_path / "series", "-o", tmp_path / "out", "--region", "body", "--workers", 0)
    row = json.loads((tmp_path / "out" / "findings.jsonl").read_text())
    assert done.code == DONE and "several studies" in row["warnings"][-1]
    assert read(tmp_path / "out" / row["masks"]["body"]["file"]).shape == (4, SIDE, SIDE)


def test_a_broken_file_stops_nothing_and_shows_in_the_exit_code(run, lesion):
    folder, _, _ = lesion
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run("segment", folder / "images", "-o", folder / "out", "--region", "body", "--workers", 0)
    assert done.code == UNREADABLE and "1 could not be read" in done.out
    assert (folder / "out" / "masks" / "one.png").is_file()


def test_a_network_is_taught_measured_and_used(run, tmp_path):
    for number in range(10):
        image, mask, _ = lesion_in_organ(number, shape=(64, 64))
        write_png(tmp_path / "images" / f"{number}.png", as_bytes(image))
        write_png(tmp_path / "masks" / f"{number}.png", mask.astype(np.uint8) * 255)
    taught = run("fit", tmp_path / "images", "--masks", f"lesion={tmp_path / 'masks'}", "-o",
                 tmp_path / "model", "--method", "unet", "--set", "steps=40", "--set", "size=64",
                 "--set", "width=4")  # fmt: skip
    assert taught.code == DONE and "unet learned lesion from" in taught.out and "Dice" in taught.out
    used = run("segment", tmp_path / "images", "-o", tmp_path / "out", "--model", tmp_path / "model",
               "--truth", f"lesion={tmp_path / 'masks'}", "--workers", 0)  # fmt: skip
    assert used.code == DONE and "HD95" in used.out
    metrics = json.loads((tmp_path / "out" / "run.json").read_text())["metrics"]["lesion"]
    assert metrics["dice"][0] > 0.5


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "only one of them"),
        (("--region", "liver"), "unknown region"),
        (("--method", "otsu", "--seed", "a,b"), "write it as ROW,COLUMN"),
        (("--region", "body", "--truth", "masks"), "write it as LABEL=FOLDER"),
        (("--region", "body", "--truth", "lungs=masks"), "there is no label 'lungs'"),
        (("--region", "body", "--format", "tiff"), "choose one of own, nifti and png"),
        (("--model", "nowhere"), "is not a model folder"),
    ],
)
def test_wrong_use_is_told(run, lesion, options, message):
    folder, _, _ = lesion
    done = run("segment", folder / "images", "-o", folder / "out", *options)
    assert done.code == WRONG_USE and message in done.err
