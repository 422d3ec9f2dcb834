"""Files that no archive should hold and places that no result can be written to.

Whatever a file is like, it gets one row that says what is wrong, and all others are screened.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_archive import SIDE, plane, write_dicom, write_normals, write_png, write_series

from intact.screener import Screener

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
GOOD = 5


@pytest.fixture
def folder(tmp_path):
    """Five sound images; what sorts before and after them can be put beside them."""
    return write_normals(tmp_path / "in", png=3, dicom=2, first_seed=500)


@pytest.fixture
def screened(run, rows, model, folder, tmp_path):
    """Screens `folder`; gives the answer and the rows of its files."""

    def call():
        command = ("screen", folder, "--model", model, "-o", tmp_path / "out", "--workers", 0)
        answer = run(*command)
        every = rows(tmp_path / "out")
        assert not [why for row in every for why in row["abstained"].values() if "failed" in why]
        found = [row for row in every if row["detector"] == "head"]
        assert len({row["path"] for row in found}) == len(found) == len(every) / 3
        return answer, found

    return call


@pytest.fixture
def refused(screened):
    """Screens and checks that only `bad` has an error; gives its reason."""

    def call(bad, *, files=1):
        answer, found = screened()
        assert answer.code == UNREADABLE
        [error] = [row for row in found if row["error"]]
        assert error["path"].split(" (")[0] == str(bad) and error["files"] == files
        assert error["score"] is None and error["p_value"] is None and not error["flagged"]
        sound = [row for row in found if not row["error"]]
        assert len(sound) == GOOD and all(0 < row["p_value"] <= 1 for row in sound)
        assert not any(row["warnings"] for row in sound)
        return error["error"]

    return call


@pytest.fixture
def warned(screened):
    """Screens and checks that `odd` was scored like the others; gives its warnings."""

    def call(odd):
        answer, found = screened()
        assert answer.code in (DONE, FLAGGED)
        assert len(found) == GOOD + 1 and all(row["score"] is not None for row in found)
        [row] = [row for row in found if row["path"].split(" (")[0] == str(odd)]
        assert row["error"] is None
        return "; ".join(row["warnings"])

    return call


def test_without_bad_files_there_is_no_error(screened):
    answer, found = screened()
    assert answer.code in (DONE, FLAGGED) and len(found) == GOOD
    assert [row["path"] for row in found] == sorted(row["path"] for row in found)


def test_a_file_that_may_not_be_read(refused, folder):
    bad = write_png(folder / "secret.png", plane(1))
    bad.chmod(0)
    if os.access(bad, os.R_OK):
        pytest.skip("this account may read everything")
    assert "Permission denied" in refused(bad)


def test_a_link_to_nothing(refused, folder):
    bad = folder / "gone.png"
    bad.symlink_to(folder / "nowhere.png")
    assert "link to nothing" in refused(bad)


def test_a_pipe_is_not_waited_for(refused, folder):
    bad = folder / "pipe.png"
    os.mkfifo(bad)
    assert "no regular file" in refused(bad)


def test_a_truncated_dicom_file(refused, folder):
    bad = write_dicom(folder / "cut.dcm", plane(1))
    bad.write_bytes(bad.read_bytes()[:-1000])
    reason = refused(bad)
    assert "truncated" in reason and f"{SIDE * SIDE:,} bytes" in reason


def test_a_dicom_file_that_ends_before_its_pixels(refused, folder):
    bad = write_dicom(folder / "cut.dcm", plane(1))
    bad.write_bytes(bad.read_bytes()[: -SIDE * SIDE - 30])
    assert "truncated" in refused(bad)


def test_a_truncated_png_file(refused, folder):
    bad = write_png(folder / "cut.png", plane(1))
    bad.write_bytes(bad.read_bytes()[:700])
    assert "damaged PNG" in refused(bad) or "truncated" in refused(bad)


def test_an_empty_file(refused, folder):
    bad = folder / "empty.dcm"
    bad.touch()
    assert "empty (0 bytes)" in refused(bad)


def test_a_text_file(refused, folder):
    bad = folder / "readme.png"
    bad.write_text("The images are on the other drive.\n")
    assert "text" in refused(bad)


def test_a_png_bomb(refused, folder):
    bad = folder / "bomb.png"
    bad.write_bytes(png_claiming(60_000, 60_000))
    assert re.search("bomb|allowed", refused(bad))


def test_a_dicom_bomb(refused, folder):
    bad = write_dicom(folder / "bomb.dcm", plane(1), Rows=65_535, Columns=65_535, NumberOfFrames=9)
    reason = refused(bad)
    assert "65535" in reason and "allowed" in reason


def test_a_dicom_header_that_claims_more_than_is_there(refused, folder):
    bad = write_dicom(folder / "claim.dcm", plane(1), Rows=20_000, Columns=20_000)
    reason = refused(bad)
    assert "20000" in reason and "400,000,000" in reason


def test_a_dicom_file_without_rows(refused, folder):
    bad = write_dicom(folder / "norows.dcm", plane(1), Rows=None)
    assert "(0028,0010)" in refused(bad)


def test_a_dicom_file_without_pixel_spacing_is_measured_in_pixels(warned, screened, folder, rows):
    odd = write_dicom(folder / "nospacing.dcm", plane(1, lesion=True), PixelSpacing=None)
    warned(odd)
    every = rows(folder.parent / "out")
    [row] = [row for row in every if row["path"] == str(odd) and row["detector"] == "head"]
    assert row["spacing"] is None and row["flagged"]
    assert all(r["area_mm2"] is None and r["area_px"] > 0 for r in row["regions"])


def test_a_series_of_unequal_slices(refused, folder):
    write_series(folder / "series", [plane(1), plane(2), plane(3)])
    small = np.ascontiguousarray(plane(4)[:40, :40])
    write_dicom(
        folder / "series" / "003.dcm",
        small,
        SeriesInstanceUID="1.2.840.99.7",
        ImagePositionPatient=[0.0, 0.0, 9.0],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    reason = refused(folder / "series" / "000.dcm", files=4)
    assert "48 x 48" in reason and "40 x 40" in reason and "003.dcm" in reason


def test_an_image_without_one_finite_pixel(refused, folder):
    bad = folder / "nan.tif"
    tifffile.imwrite(bad, np.full((SIDE, SIDE), np.nan, np.float32))
    assert "NaN" in refused(bad)


def test_an_image_with_some_nan_pixels_is_scored_with_a_warning(warned, folder):
    pixels = plane(1).astype(np.float32)
    pixels[:5, :3] = np.nan
    pixels[7, 7] = np.inf
    odd = folder / "nan.tif"
    tifffile.imwrite(odd, pixels)
    assert "16 pixels are NaN or infinite" in warned(odd)


def test_a_volume_with_some_nan_slices_is_scored_with_a_warning(warned, folder):
    pixels = np.stack([plane(k).astype(np.float32) for k in range(3)])
    pixels[1] = np.nan
    odd = folder / "nan.tif"
    tifffile.imwrite(odd, pixels, photometric="minisblack")
    assert f"{SIDE * SIDE} pixels are NaN" in warned(odd)


def test_another_depth_than_the_model_was_fitted_on(warned, folder):
    odd = write_png(folder / "deep.png", plane(1).astype(np.uint16) * 257)
    assert warned(odd) == "the model was fitted on 8-bit images, this one has 16 bits"


def test_another_modality_than_the_model_was_fitted_on(warned, folder):
    odd = write_dicom(folder / "ct.dcm", plane(1), Modality="CT")
    assert warned(odd) == "the model was fitted on MR, this image is CT"


class DiesOnKiller(Screener):
    """As when a native decoder crashes: the process ends without a word."""

    def __call__(self, entries):
        if any(entry.name.endswith("killer.png") for entry in entries):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(entries)


def test_a_file_that_crashes_a_decoder(monkeypatch, run, rows, model, folder):
    bad = write_png(folder / "killer.png", plane(1))
    monkeypatch.setattr(importlib.import_module("intact.screen"), "Screener", DiesOnKiller)
    out = folder.parent / "out"
    answer = run("screen", folder, "--no-forensics", "--model", model, "-o", out, "--workers", 2)
    found = {row["path"]: row for row in rows(out)}
    assert answer.code == UNREADABLE and len(found) == GOOD + 1
    assert "SIGSEGV" in found.pop(str(bad))["error"]
    assert all(row["p_value"] is not None for row in found.values())


def test_everything_at_once_in_real_processes(start, rows, model, folder):
    sound = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    (folder / "a.dcm").touch()
    (folder / "b.txt").write_text("text")
    (folder / "dicom" / "c.png").write_bytes(png_claiming(60_000, 60_000))
    write_dicom(folder / "dicom" / "d.dcm", plane(1), Rows=None)
    (folder / "e.png").write_bytes(write_png(folder / "e.png", plane(1)).read_bytes()[:300])
    (folder / "z.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 500)
    out = folder.parent / "out"
    process = start("screen", folder, "--no-forensics", "--model", model, "-o", out)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == UNREADABLE, complained
    assert "5 images" in said and "6 could not be read" in said
    assert sorted(row["path"] for row in rows(out) if not row["error"]) == sound
    assert "Traceback" not in complained


@pytest.mark.parametrize("place", ["some_file/out", "some_file"])
def test_results_that_cannot_be_written_anywhere(run, model, folder, place):
    (folder.parent / "some_file").write_text("in the way")
    answer = run("screen", folder, "--model", model, "-o", folder.parent / place)
    assert answer.code == STOPPED
    assert f"error: {folder.parent / place}: cannot be written to" in answer.err
    assert (folder.parent / "some_file").read_text() == "in the way"


def test_a_model_that_cannot_be_written_anywhere(run, normals, tmp_path):
    (tmp_path / "some_file").write_text("in the way")
    answer = run("fit", normals, "--method", "ae", "--set", "steps=1", "--set", "size=32",
                 "-o", tmp_path / "some_file" / "model")  # fmt: skip
    assert answer.code == STOPPED and "some_file/model" in answer.err


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, which meets a program as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def goes_on_after_a_full_disk(run, start, model, archive, tmp_path):
    """Runs with no room, then with room; gives the first message."""

    def check(room, *, workers=0):
        out = tmp_path / "out"
        command = ("screen", archive, "--no-forensics", "--model", model, "-o", out, "--workers", workers)
        with disk_full_after(room):  # a process of its own, whose workers inherit it
            stopped = start(*command)
        _, said = stopped.communicate(timeout=120)
        assert stopped.returncode == STOPPED and "Traceback" not in said
        assert run(*command).code == UNREADABLE
        assert contents(out) == contents(tmp_path / "whole")
        return said

    run("screen", archive, "--no-forensics", "--model", model, "-o", tmp_path / "whole", "--workers", 0)
    return check


@pytest.mark.parametrize("workers", [0, 2])
def test_no_room_for_a_map(goes_on_after_a_full_disk, workers):
    assert "/maps/" in goes_on_after_a_full_disk(6_000, workers=workers)


def test_no_room_for_a_batch_of_findings(goes_on_after_a_full_disk):
    said = goes_on_after_a_full_disk(20_000)
    assert "findings.jsonl" in said and "the same command goes on" in said


def test_no_room_for_a_single_finding(goes_on_after_a_full_disk, tmp_path):
    rows = (tmp_path / "whole" / "findings.jsonl").read_bytes()
    series = rows.index(b'"path": ', rows.index(b"/series/") - 100)  # a batch of its own
    assert "findings.jsonl" in goes_on_after_a_full_disk(series + 100)


def test_no_room_for_the_report(goes_on_after_a_full_disk):
    assert "report.html" in goes_on_after_a_full_disk(70_000)


def test_a_model_on_a_full_disk_is_not_half_written(run, normals, tmp_path):
    with disk_full_after(20_000):
        answer = run("fit", normals, "--method", "ae", "--set", "steps=1", "--set", "size=32",
                     "-o", tmp_path / "model")  # fmt: skip
    assert answer.code == STOPPED and "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_files(run, model, tmp_path):
    (tmp_path / "in").mkdir()
    answer = run("screen", tmp_path / "in", "--model", model, "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "there are no files to screen" in answer.err
    answer = run("fit", tmp_path / "in", "-o", tmp_path / "model")
    assert answer.code == UNREADABLE and "holds no image that can be read" in answer.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "model").exists()


def test_a_folder_without_images(run, rows, model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("text")
    answer = run("screen", tmp_path / "in", "--model", model, "-o", tmp_path / "out")
    assert answer.code == UNREADABLE and len(rows(tmp_path / "out")) == 3
    answer = run("fit", tmp_path / "in", "-o", tmp_path / "model")
    assert answer.code == UNREADABLE and "readme.txt: is text" in answer.err


def test_a_path_that_does_not_exist(run, model, tmp_path):
    answer = run("screen", tmp_path / "nowhere", "--model", model, "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "no such file" in answer.err


def test_a_model_that_is_none(run, folder, tmp_path):
    answer = run("screen", folder, "--model", folder, "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "is not a model folder" in answer.err


def test_one_normal_image_is_too_few_to_fit(run, tmp_path):
    write_png(tmp_path / "in" / "only.png", plane(1))
    answer = run("fit", tmp_path / "in", "--method", "ae", "-o", tmp_path / "model")
    assert answer.code == WRONG_USE and "1 normal images cannot be split" in answer.err


def test_five_normal_images_are_too_few_for_five_percent(run, folder, tmp_path):
    fitted = run("fit", folder, "--method", "ae", "--set", "steps=1", "--set", "size=32",
                 "-o", tmp_path / "model")  # fmt: skip
    assert fitted.code == DONE
    answer = run("screen", folder, "--model", tmp_path / "model", "--alpha", 0.05,
                 "-o", tmp_path / "out")  # fmt: skip
    assert answer.code == WRONG_USE
    assert "1 held-out normal images" in answer.err and "at least 19" in answer.err
    assert not (tmp_path / "out").exists()


def test_fit_leaves_out_what_it_cannot_read_and_says_so(run, folder, tmp_path):
    (folder / "empty.dcm").touch()
    answer = run("fit", folder, "--method", "ae", "--set", "steps=1", "--set", "size=32",
                 "-o", tmp_path / "model")  # fmt: skip
    assert answer.code == UNREADABLE and (tmp_path / "model" / "manifest.json").exists()
    assert "left out" in answer.err and "empty.dcm: is empty" in answer.err


def contents(out: Path) -> dict[str, bytes]:
    """The findings and maps of a run."""
    paths = [out / "findings.jsonl", *(out / "maps").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def png_claiming(width: int, height: int) -> bytes:
    """A PNG file of a hundred bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
