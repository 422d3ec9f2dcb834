"""`intact screen` asks whether images are genuine, with nothing learned before."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from made_archive import write_png, write_series
from scipy import ndimage

from intact import read, write
from intact.data.phantom import brain_mr, chest_xray
from intact.findings import Row

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)


def textured(seed, shape=(144, 144)):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 7)
    return np.clip(2000 + 300 * smooth / smooth.std() + rng.normal(0, 25, shape), 0, 4095).astype(np.uint16)


def copied(seed):
    plane = textured(seed)
    plane[90:130, 80:120] = plane[10:50, 20:60]
    return plane


def only(rows: list[Row], detector: str) -> dict[str, Row]:
    """The rows of one detector, by the file, or by the folder of a series."""
    mine = [row for row in rows if row["detector"] == detector]
    return {row["path"].split(" (")[0].split("/")[-2 if row["files"] > 1 else -1]: row for row in mine}


@pytest.fixture
def archive(tmp_path):
    """Pictures and series, of each a genuine one and a forged one."""
    folder = tmp_path / "in"
    write_png(folder / "genuine.png", textured(1))
    write_png(folder / "copied.png", copied(2))
    slices = [textured(10 + k, (72, 72)) for k in range(8)]
    anatomy = textured(99, (72, 72)).astype(int)
    slices = [np.clip(anatomy + (one.astype(int) - 2000) // 4, 0, 4095).astype(np.uint16) for one in slices]
    study = {"StudyInstanceUID": "1.2.840.99.6"}
    write_series(folder / "sound", slices, **study)
    write_series(folder / "doubled", [*slices[:4], slices[3], *slices[5:]], **study)
    return folder


def test_what_was_changed_is_flagged_and_nothing_else(run, rows, archive, tmp_path):
    answer = run("screen", archive, "-o", tmp_path / "out", "--workers", 0)
    assert answer.code == FLAGGED and "4 images, 2 flagged" in answer.out
    assert "(2 as manipulated)" in answer.out
    found = only(rows(tmp_path / "out"), "forensics")
    assert {name for name, row in found.items() if row["flagged"]} == {"copied.png", "doubled"}
    pixels = found["copied.png"]
    assert pixels["p_value"] < 1e-6 and pixels["score"] > 6
    assert any(told["kind"] == "copy-move" and "same noise" in told["explanation"]
               for told in pixels["evidence"])  # fmt: skip
    assert len(pixels["regions"]) == 2
    marked = read(tmp_path / "out" / pixels["map"]).pixels
    assert marked[95:125, 85:115].mean() > 0.4 and marked[60:80, :].mean() < 0.05
    series = next(told for told in found["doubled"]["evidence"] if told["rule"] == "B5")
    assert series["severity"] == "impossible" and series["planes"] == [3, 4]
    assert [name.rpartition("/")[2] for name in series["files"]] == ["003.dcm", "004.dcm"]


def test_every_examiner_spoke_abstained_or_found(run, rows, archive, tmp_path):
    run("screen", archive, "-o", tmp_path / "out", "--workers", 0)
    for row in rows(tmp_path / "out"):
        methods = [t["method"] for t in row["evidence"] if t["method"] not in ("header", "slices")]
        everyone = [*methods, *row["silent"], *row["abstained"]]
        assert len(set(everyone)) == len(everyone) > 0
        assert all(row["abstained"].values())


def test_the_report_has_the_sentences_under_their_headings(run, archive, tmp_path):
    run("screen", archive, "-o", tmp_path / "out", "--workers", 0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h4>Manipulated file</h4>" in page and "<h4>Abnormal anatomy</h4>" not in page
    assert "Slices 4 and 5 have the same noise" in page and "one is a copy of the other" in page
    assert "No legitimate chain of programs leaves this." in page


def test_a_disturbed_acquisition_is_no_manipulation(run, rows, tmp_path):
    y, x = np.indices((144, 144))
    stripes = 12 * np.cos(2 * np.pi * (0.2 * y + 0.3 * x))
    write_png(tmp_path / "in" / "stripes.png", (textured(3) + stripes).clip(0, 4095).astype(np.uint16))
    answer = run("screen", tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    assert answer.code == FLAGGED and "(0 as manipulated)" in answer.out
    found = {row["detector"]: row for row in rows(tmp_path / "out")}
    assert found["acquisition"]["flagged"] and not found["forensics"]["flagged"]
    assert "<h4>Acquisition artefact</h4>" in (tmp_path / "out" / "report.html").read_text()


def test_it_can_be_left_out(run, rows, archive, tmp_path):
    answer = run("screen", archive, "-o", tmp_path / "out", "--no-forensics", "--workers", 0)
    assert answer.code == DONE and {row["detector"] for row in rows(tmp_path / "out")} == {"read"}
    answer = run("screen", archive, "-o", tmp_path / "out", "--workers", 0)
    assert answer.code == WRONG_USE and "holds a run with other forensics" in answer.err


@pytest.fixture
def genuine(tmp_path):
    for seed in range(20):
        write_png(tmp_path / "genuine" / f"{seed:02d}.png", textured(100 + seed, (96, 96)))
    (tmp_path / "genuine" / "broken.png").write_bytes(b"\x89PNG")
    return tmp_path / "genuine"


def test_genuine_images_are_compared_with_and_kept_for_later(run, rows, archive, genuine, tmp_path):
    command = ("screen", archive / "genuine.png", "--workers", 0)
    answer = run(*command, "-o", tmp_path / "out", "--genuine", genuine)
    assert answer.code == DONE and "broken.png" in answer.err
    kept = tmp_path / "out" / "genuine.json"
    assert len(json.loads(kept.read_text())["groups"]["unknown modality, planes"]) == 20
    again = run(*command, "-o", tmp_path / "again", "--genuine", kept)
    assert again.code == DONE
    assert rows(tmp_path / "again") == rows(tmp_path / "out")


def test_too_few_genuine_images_are_refused(run, archive, genuine, tmp_path):
    answer = run("screen", archive, "-o", tmp_path / "out", "--genuine", genuine, "--alpha", 0.01,
                 "--workers", 0)  # fmt: skip
    assert answer.code == WRONG_USE and "too few to flag anything at 0.01" in answer.err
    answer = run("screen", archive, "-o", tmp_path / "o", "--genuine", genuine, "--no-forensics")
    assert answer.code == WRONG_USE and "which was left out" in answer.err


def test_a_slice_that_comes_again_is_told_also_by_a_run_that_was_stopped(run, rows, tmp_path):
    anatomy = brain_mr(5, shape=(1, 128, 128), lesion=False, sequence="T1")[0].pixels.squeeze()
    anatomy = np.pad(ndimage.gaussian_filter(anatomy.astype(float), 1.5), 16)
    head = np.abs(anatomy + np.random.default_rng(1).normal(0, 50, anatomy.shape)).astype(np.uint16)
    for name, pixels in (("a", head), ("b", textured(6, (160, 160))), ("c", head[:, ::-1])):
        write_png(tmp_path / "in" / f"{name}.png", np.ascontiguousarray(pixels))
    command = ("screen", tmp_path / "in", "--workers", 0, "-o")
    assert run(*command, tmp_path / "out").code == FLAGGED
    found = only(rows(tmp_path / "out"), "forensics")
    assert [name for name, row in found.items() if row["flagged"]] == ["c.png"]
    [told] = [told for told in found["c.png"]["evidence"] if told["rule"] == "B6"]
    assert "mirrored left to right" in told["explanation"] and str(tmp_path / "in" / "a.png") in told["files"]
    whole = (tmp_path / "out" / "findings.jsonl").read_bytes()
    record = json.loads((tmp_path / "out" / "run.json").read_text()) | {"complete": False}
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    (tmp_path / "out" / "findings.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    assert run(*command, tmp_path / "out").code == FLAGGED
    assert (tmp_path / "out" / "findings.jsonl").read_bytes() == whole


def test_pixels_that_changed_since_they_were_recorded(run, rows, archive, tmp_path):
    answer = run("record", archive, "-o", tmp_path / "pixels.jsonl")
    assert answer.code == UNREADABLE  # pictures have no UID, and two slices of one series share theirs
    assert "1 series recorded, 3 left out" in answer.out and "copied.png: has no SOP" in answer.err
    folder = archive / "sound"
    file = pydicom.dcmread(folder / "002.dcm")
    file.PixelData = bytes(file.PixelData[:-2]) + b"\0\0"
    file.save_as(folder / "002.dcm")
    answer = run("screen", folder, "--recorded", tmp_path / "pixels.jsonl", "-o", tmp_path / "out")
    [row] = only(rows(tmp_path / "out"), "forensics").values()
    told = next(told for told in row["evidence"] if told["rule"] == "B11")
    assert (
        answer.code == FLAGGED
        and told["planes"] == [2]
        and "not those that were recorded" in told["explanation"]
    )
    answer = run("screen", folder, "--recorded", tmp_path / "nowhere", "-o", tmp_path / "other")
    assert answer.code == WRONG_USE and "`intact record` writes one" in answer.err


def test_a_made_file_is_told_as_made(run, rows, tmp_path):
    (tmp_path / "in").mkdir()
    image = chest_xray(3, shape=(128, 112))[0]
    write(replace(image, made="forged by a test: splice"), tmp_path / "in" / "made.png")
    run("screen", tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    row = only(rows(tmp_path / "out"), "forensics")["made.png"]
    assert any("no record of a patient" in told["explanation"] for told in row["evidence"])
    assert not row["flagged"]
