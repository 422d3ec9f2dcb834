"""`intact forge` as a user meets it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from made_archive import SIDE, plane, write_dicom, write_png, write_series
from pydicom import dcmread

from intact import read
from intact.forensics.header.examine import examine_headers
from intact.forensics.instance import read_series
from intact.forge import FORGED, KINDS, SERIES_KINDS, SOURCE, pixel_digest
from intact.io import Source, write_nifti

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
SMALL = ("--set", "diameter=12")


@pytest.fixture
def archive(tmp_path):
    """Pictures, a DICOM slice of 12 bits, a series, a NIfTI volume, and a file that is none."""
    folder = tmp_path / "in"
    for seed in range(2):
        write_png(folder / f"{seed}.png", np.tile(plane(seed), (2, 2)))
    deep = np.tile(plane(3).astype(np.uint16) * 16, (2, 2))
    write_dicom(folder / "slice.dcm", deep, BitsStored=12, HighBit=11)
    write_series(folder / "series", [np.tile(plane(k).astype(np.uint16), (2, 2)) for k in range(20)])
    series = read(folder / "series")
    write_nifti(series, folder / "volume.nii.gz")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_every_file_is_forged_in_its_own_format_and_says_so(run, rows, archive, tmp_path):
    out = tmp_path / "out"
    done = run("forge", archive, "-o", out, "--kind", "copy_move", *SMALL, "--workers", 0)
    assert done.code == UNREADABLE and "5 copy_move; 1 could not be forged" in done.out, done.err
    found = {row["path"].rpartition("/")[2].split(" ")[0]: row for row in rows(out)}
    assert "text" in found["notes.txt"]["error"]
    for name, file in {
        "0.png": "0.png",
        "slice.dcm": "slice.dcm",
        "000.dcm": "series",
        "volume.nii.gz": "volume.nii.gz",
    }.items():
        row = found[name]
        assert row["file"] == f"images/copy_move/{file}"
        before = read(archive / ("series" if name == "000.dcm" else name))
        after, labels = read(out / row["file"]), read(out / row["labels"]).pixels
        assert "copy_move" in after.made and not before.made
        assert (after.pixels.dtype, after.bits) == (before.pixels.dtype, before.bits)
        assert after.spacing == before.spacing
        different = after.pixels != before.pixels
        assert different.any() and not different[labels != FORGED].any()
        assert np.count_nonzero(labels == SOURCE) == np.count_nonzero(labels == FORGED) or name != "0.png"
        assert (out / row["picture"]).stat().st_size > 1000


def test_slices_keep_their_own_headers(run, archive, tmp_path):
    run("forge", archive / "series", "-o", tmp_path / "out", "--kind", "inject", *SMALL, "--workers", 0)
    files = sorted((tmp_path / "out" / "images" / "inject" / "series").iterdir())
    assert len(files) == 20
    changed = 0
    for file, source in zip(files, sorted((archive / "series").iterdir()), strict=True):
        forged, original = dcmread(file), dcmread(source)
        changed += forged.PixelData != original.PixelData
        assert forged.SyntheticData == "YES"
        for element in original:
            if element.keyword != "PixelData":
                assert forged[element.tag].value == element.value, element
    assert changed >= 1


def test_kinds_come_in_turn_and_untouched_changes_nothing(run, rows, tmp_path):
    for seed in range(6):
        write_png(tmp_path / "in" / f"{seed}.png", np.tile(plane(seed), (2, 2)))
    done = run("forge", tmp_path / "in", "-o", tmp_path / "out", "--kind", "untouched", "--kind", "remove",
               "--kind", "splice", "--workers", 0)  # fmt: skip
    assert done.code == DONE, done.err
    found = rows(tmp_path / "out")
    assert Counter(row["kind"] for row in found) == {"untouched": 2, "remove": 2, "splice": 2}
    for row in found:
        same = pixel_digest(read(row["path"])) == pixel_digest(read(tmp_path / "out" / row["file"]))
        assert same == (row["kind"] == "untouched") and row["file"].startswith("images/good/") == same
        assert (row["donor"] is not None) == (row["kind"] == "splice") and row["donor"] != row["path"]


def test_a_record_and_the_original_make_the_same_file_again(run, rows, tmp_path):
    write_png(tmp_path / "in" / "a.png", np.tile(plane(1), (2, 2)))
    run("forge", tmp_path / "in", "-o", tmp_path / "out", "--kind", "copy_move", "--set", "vary=true",
        "--seed", 5, "--workers", 0)  # fmt: skip
    (row,) = rows(tmp_path / "out")
    again = KINDS[row["kind"]](**row["fields"]).forge(read(row["path"]), seed=row["seed"])
    assert (
        pixel_digest(again.image) == row["digest_after"] == pixel_digest(read(tmp_path / "out" / row["file"]))
    )


def test_no_part_comes_from_the_same_patient(run, rows, tmp_path):
    for seed in range(3):
        write_dicom(tmp_path / "in" / f"{seed}.dcm", np.tile(plane(seed).astype(np.uint16), (2, 2)))
    done = run("forge", tmp_path / "in", "-o", tmp_path / "out", "--kind", "splice", "--workers", 0)
    assert done.code == UNREADABLE
    assert all("of the same patient" in row["error"] for row in rows(tmp_path / "out"))
    write_dicom(tmp_path / "other" / "x.dcm", np.tile(plane(9).astype(np.uint16), (2, 2)), PatientID="OTHER")
    done = run("forge", tmp_path / "in", "-o", tmp_path / "out2", "--kind", "splice", *SMALL,
               "--donors", tmp_path / "other", "--workers", 0)  # fmt: skip
    assert done.code == DONE
    assert "HOSPITAL" not in (tmp_path / "out2" / "findings.jsonl").read_text()


def test_a_stopped_run_goes_on(run, rows, tmp_path):
    for seed in range(5):
        write_png(tmp_path / "in" / f"{seed}.png", np.tile(plane(seed), (2, 2)))
    command = ("forge", tmp_path / "in", "-o", tmp_path / "out", "--kind", "blur", "--workers", 0)
    assert run(*command).code == DONE
    whole = (tmp_path / "out" / "findings.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "out" / "findings.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert run(*command).code == DONE
    assert (tmp_path / "out" / "findings.jsonl").read_bytes() == whole
    other = run(*command[:-2], "--seed", 1)
    assert other.code == WRONG_USE and "other seed" in other.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--kind", "magic"), "unknown method 'magic'"),
        (("--kind", "blur", "--set", "shape=3"), "has no field 'shape'"),
    ],
)
def test_wrong_use_is_told(run, tmp_path, wrong, told):
    write_png(tmp_path / "in" / "0.png", plane(0))
    done = run("forge", tmp_path / "in", "-o", tmp_path / "out", *wrong)
    assert done.code == WRONG_USE and told in done.err


def test_methods_lists_every_kind(run):
    listed = json.loads(run("methods", "--json").out)
    assert {name for name, about in listed.items() if about["task"] == "forge"} == {*KINDS, *SERIES_KINDS}
    assert SIDE == 48  # the pictures above are of 96 pixels


@pytest.mark.parametrize("kind", SERIES_KINDS)
def test_series_are_forged_file_by_file(run, rows, archive, tmp_path, kind):
    done = run("forge", archive, "-o", tmp_path / "out", "--kind", kind, "--workers", 0)
    assert done.code == UNREADABLE and f"1 {kind}; 5 could not be forged" in done.out
    (row,) = [row for row in rows(tmp_path / "out") if not row["error"]]
    files = sorted((tmp_path / "out" / row["file"]).iterdir())
    assert len(files) == 20 - (kind == "drop_slice")
    assert all(dcmread(file).SyntheticData == "YES" for file in files)
    found = examine_headers(read_series([Source(file) for file in files]))
    if kind in ("drop_slice", "header"):
        assert any(finding.severity >= 2 for finding in found)
    forged = read(tmp_path / "out" / row["file"]).pixels
    original = read(archive / "series").pixels
    if kind == "double_slice":
        at = row["drawn"]["to"]
        expected = original.copy()
        expected[at] = original[at - 1]
        assert (forged == expected).all()
    if kind == "reorder":
        assert (forged == original[row["drawn"]["order"]]).all()
