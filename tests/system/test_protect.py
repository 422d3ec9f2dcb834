"""Sealing, restoring and verifying archives from the command line, as a user does it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_archive import lesion_mask, plane, write_dicom, write_png, write_series
from PIL import Image as Raster

from intact.io import read
from intact.protect import Key, load_key, restore_file, seal_archive, write_public
from intact.protect.ledger import check

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
ALONE = ("--workers", 0)  # starting processes takes seconds
PATIENCE = 120.0  # seconds after which a process is taken for stuck
COMMANDS = [["protect"], ["restore"], ["verify"], ["key", "new"], ["key", "public"], ["ledger", "check"]]
COMMANDS += [["bench", "protect"]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Files of two secret keys."""
    from intact.protect import new_key

    folder = tmp_path_factory.mktemp("keys")
    for name in ("hospital", "friend"):
        new_key(folder / f"{name}.key")
    return folder


@pytest.fixture(scope="module")
def key(keys):
    return keys / "hospital.key"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What archives are like: 12 images in subfolders, one too small for a seal, and files that are none."""
    folder = tmp_path_factory.mktemp("archive") / "in"
    for k in range(4):
        write_png(folder / "png" / f"{k:03d}.png", plane(k))
    for k in range(3):
        write_dicom(folder / "ward 3" / "deep" / f"{k:03d}", plane(100 + k), PatientID=f"P-{k}")
    write_series(folder / "series", [plane(200 + k) for k in range(2)])
    Raster.fromarray(plane(300)).save(folder / "photo.jpg")
    volume = np.stack([plane(400 + k, noise=2) for k in range(3)], axis=-1).astype(np.int16)
    (folder / "volume.nii.gz").write_bytes(gzip.compress(nib.Nifti1Image(volume, np.eye(4)).to_bytes()))
    write_png(folder / "Übersicht, größer.png", plane(500))
    write_png(folder / "png" / "tiny.png", plane(600)[:9, :9])
    (folder / "png" / "notes.txt").write_text("seen by nobody\n")
    (folder / "ward 3" / "empty").touch()
    strange = (folder / "ward 3" / "deep" / "000").read_bytes().replace(b"\x10\0\x10\0PN", b"\x10\0\x10\0ZN")
    (folder / "ward 3" / "strange").write_bytes(strange)
    (folder / "ward 3" / "cut").write_bytes((folder / "ward 3" / "deep" / "000").read_bytes()[:-500])
    (folder / ".hidden").write_text("not looked at\n")
    return folder


IMAGES, REFUSED = 12, ["png/notes.txt", "png/tiny.png", "ward 3/cut", "ward 3/empty", "ward 3/strange"]


@pytest.fixture(scope="module")
def once(archive, key, tmp_path_factory):
    """The archive sealed by a run that nothing stopped."""
    out = tmp_path_factory.mktemp("once") / "sealed"
    seal_archive([archive], out, load_key(key), workers=0)
    return out


@pytest.fixture
def sealed(once, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(once, tmp_path / "sealed"))


@pytest.fixture
def protect(run, archive, key, tmp_path):
    """Seals the archive, or another folder, into "sealed"."""

    def call(*options, folder=archive, out=tmp_path / "sealed"):
        return run("protect", folder, "-o", out, "--key", key, "--seal-only", *ALONE, *options)

    return call


@pytest.fixture
def few(tmp_path):
    """Three images, one of them in a subfolder."""
    for k, name in enumerate(("a.png", "b.png", "sub/c.png")):
        write_png(tmp_path / "few" / name, np.tile(plane(700 + k), (2, 2)))
    return tmp_path / "few"


def contents(folder):
    """All files below a folder but for ledgers, by name."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "ledger.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def count(folder):
    """How many files lie below a folder; by name, as a run may still be writing and renaming them."""
    return sum(path.is_file() and path.name != "ledger.jsonl" for path in folder.rglob("*"))


def originals(folder):
    """The images of the archive."""
    found = contents(folder)
    return {name: data for name, data in found.items() if name not in (*REFUSED, ".hidden")}


def said(answer):
    """What a command said on stderr, without progress bars: state, file and reason of each line."""
    found = (line.split(": ", 3) for line in answer.err.splitlines() if line.startswith("intact: "))
    return [tuple(parts[1:]) for parts in found]


def events(out):
    lines = (out / "ledger.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def edit(path, place=-100):
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit_pixel(path):
    """Brighten a pixel of a PNG file as an image editor does, which drops the envelope."""
    pixels = np.asarray(Raster.open(path)).copy()
    pixels[24, 24] += 9
    Raster.fromarray(pixels).save(path)


# Help and wrong use


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_gives_an_example_and_the_exit_codes(run, command):
    answer = run(*command, "--help")
    assert answer.code == DONE and answer.err == ""
    said = " ".join(answer.out.split())
    assert f"Example: intact {' '.join(command)} " in said.replace("`", "")
    assert "Exit codes: 0 done" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["protect", "in", "-o", "out"], "Missing option '--key'"),
        (["protect", "in", "--key", "k"], "'--output'"),
        (["protect", "-o", "out", "--key", "k"], "Missing argument"),
        (["protect", "in", "-o", "out", "--key", "k"], "or --seal-only"),
        (["protect", "in", "-o", "out", "--key", "none", "--seal-only"], "none: there is no such key file"),
        (["protect", "in", "-o", "out", "--key", "k.pub", "--seal-only"], "opens nothing"),
        (["protect", "in", "-o", "out", "--key", "in/a.png", "--seal-only"], "not JSON"),
        (["protect", "in", "-o", "out", "--key", "k", "--seal-only", "--to", "x"], "no such key file"),
        (["protect", "nowhere", "-o", "out", "--key", "k", "--seal-only"], "nowhere: there is no such file"),
        (["protect", "empty", "-o", "out", "--key", "k", "--seal-only"], "empty: there are no files"),
        (["protect", "in", "-o", "in", "--key", "k", "--seal-only"], "never overwritten: choose another -o"),
        (["protect", "in", "-o", "out", "--key", "k", "--carrier", "air"], "Invalid value for '--carrier'"),
        (["protect", "in", "-o", "out", "--key", "k", "--workers", "-1"], "--workers"),
        (["protect", "in", "in2", "-o", "out", "--key", "k", "--seal-only", "x"], "x: there is no such file"),
        (["restore", "in", "-o", "in/../in", "--key", "k"], "never overwritten: choose another -o"),
        (["restore", "in", "--key", "k"], "'--output'"),
        (["verify", "in"], "Missing option '--key'"),
        (["verify", "in", "-o", "in", "--key", "k"], "never overwritten: choose another -o"),
        (["key", "new", "k"], "exists and may be a key"),
        (["key", "public", "k", "-o", "k.pub"], "exists and may be a key"),
        (["key", "public", "k.pub", "-o", "new"], "give the secret key file"),
        (["ledger", "check", "none.jsonl"], "cannot be read: No such file"),
        (["key", "old"], "No such command 'old'"),
    ],
)  # fmt: skip
def test_wrong_use_says_what_to_do(run, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    for folder in ("in", "in2"):
        write_png(tmp_path / folder / "a.png", plane(0))
    (tmp_path / "empty").mkdir()
    run("key", "new", "k")
    run("key", "public", "k", "-o", "k.pub")
    before = contents(tmp_path)
    answer = run(*arguments)
    assert answer.code == WRONG_USE and said in " ".join(answer.err.split())
    assert "Traceback" not in answer.err and answer.out == ""
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", [["key"], ["ledger"], ["bench"]])
def test_groups_of_commands_show_their_help(run, command):
    answer = run(*command)
    assert answer.code == WRONG_USE and "Commands" in answer.out and not answer.err


# Keys


def test_a_new_key_is_for_its_owner_alone(run, tmp_path):
    answer = run("key", "new", tmp_path / "a.key", "--note", "ward 3")
    key = load_key(tmp_path / "a.key")
    assert answer.code == DONE and key.id in answer.out and key.note == "ward 3"
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    assert key.secret.hex() not in answer.out and "keep a copy in a safe" in answer.out


def test_the_public_half_says_nothing_of_the_secret(run, key, tmp_path):
    answer = run("key", "public", key, "-o", tmp_path / "a.pub")
    assert answer.code == DONE and load_key(key).id in answer.out
    record = json.loads((tmp_path / "a.pub").read_text())
    assert record["kind"] == "public" and json.loads(key.read_text())["secret"] not in str(record)


def test_a_key_that_others_can_read_is_warned_of(run, key, few, tmp_path):
    shutil.copy(key, tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    command = ("protect", few, "-o", tmp_path / "out", "--key", tmp_path / "open.key", "--seal-only")
    answer = run(*command, *ALONE)
    assert answer.code == DONE
    assert "warning: " in answer.err and "chmod 600" in answer.err and "Traceback" not in answer.err


# Sealing


def test_every_image_of_a_folder_is_sealed_and_the_rest_is_named(protect, archive, key, tmp_path):
    before = contents(archive)
    answer = protect()
    out = tmp_path / "sealed"
    assert answer.code == UNREADABLE and contents(archive) == before
    assert [name for _, name, _ in said(answer)] == REFUSED
    assert f"{IMAGES} files sealed, {len(REFUSED)} refused: {out}" in answer.out
    expected = {"photo.jpg.png" if name == "photo.jpg" else name for name in originals(archive)}
    assert set(contents(out)) == expected and len(expected) == IMAGES
    for name, data in contents(out).items():
        name = name.replace(".jpg.png", ".jpg")
        assert restore_file(data, "", load_key(key)) == (before[name], Path(name).name)
    reasons = {name: reason for _, name, reason in said(answer)}
    assert "text" in reasons["png/notes.txt"] and "bits have to be hidden" in reasons["png/tiny.png"]
    assert "truncated" in reasons["ward 3/cut"] and "is empty" in reasons["ward 3/empty"]
    head = re.search(r"head ([0-9a-f]{64})", answer.out)[1]
    assert check(out / "ledger.jsonl", load_key(key), head).events == IMAGES + len(REFUSED)


def test_the_ledger_tells_what_became_of_each_file(once, archive, key):
    told = {event["name"]: event for event in events(once)}
    assert sorted(told) == sorted([*originals(archive), *REFUSED])
    assert {name for name, event in told.items() if event["event"] == "refuse"} == set(REFUSED)
    details = told["photo.jpg"]["details"]
    assert details["written"] == "photo.jpg.png" and details["key"] == load_key(key).id
    assert told["png/tiny.png"]["details"] == {"state": "too small"}
    assert "P-0" not in (once / "ledger.jsonl").read_text()


def test_as_json(protect, tmp_path):
    answer = protect("--json")
    told = json.loads(answer.out)
    assert answer.code == UNREADABLE and told["counts"]["done"] == IMAGES
    assert [one["path"] for one in told["refused"]] == REFUSED
    assert told["head"] == events(tmp_path / "sealed")[-1]["hash"]


def test_processes_and_one_process_do_the_same(run, archive, key, once, tmp_path):
    command = ("protect", archive, "-o", tmp_path / "out", "--key", key, "--seal-only", "--workers", 2)
    answer = run(*command)
    assert answer.code == UNREADABLE and set(contents(tmp_path / "out")) == set(contents(once))
    assert [event["name"] for event in events(tmp_path / "out")] == [event["name"] for event in events(once)]


def test_a_series_stays_together(once):
    headers = [pydicom.dcmread(path) for path in sorted((once / "series").iterdir())]
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 2
    assert all(header.ImageType[0] == "DERIVED" for header in headers)


def test_files_and_folders_may_be_named_together(protect, run, archive, key, few, tmp_path):
    photo, out = archive / "photo.jpg", tmp_path / "out"
    answer = run("protect", few, photo, "-o", out, "--key", key, "--seal-only", *ALONE)
    assert answer.code == DONE
    assert sorted(contents(out)) == ["few/a.png", "few/b.png", "few/sub/c.png", "photo.jpg.png"]


def test_two_files_of_one_name_are_not_mixed_up(run, key, tmp_path):
    for ward in ("1", "2"):
        write_png(tmp_path / ward / "png" / "a.png", plane(int(ward)))
    folders = (tmp_path / "1" / "png", tmp_path / "2" / "png")
    answer = run("protect", *folders, "-o", tmp_path / "out", "--key", key, "--seal-only")
    assert answer.code == WRONG_USE and "two files would both become png/a.png" in answer.err
    assert not (tmp_path / "out").exists()


def test_two_results_of_one_name_are_not_mixed_up(protect, key, tmp_path):
    folder = tmp_path / "in"
    write_png(folder / "a.jpg.png", plane(1))
    Raster.fromarray(plane(2)).save(folder / "a.jpg")
    answer = protect(folder=folder)
    assert answer.code == UNREADABLE and "refused: a.jpg.png: " in answer.err
    restored = restore_file((tmp_path / "sealed" / "a.jpg.png").read_bytes(), "", load_key(key))
    assert restored == ((folder / "a.jpg").read_bytes(), "a.jpg")


def test_a_name_that_is_not_utf_8(run, protect, key, tmp_path):
    folder = tmp_path / "in"
    path = write_png(folder / "a.png", plane(1)).rename(folder / os.fsdecode(b"caf\xe9.png"))
    data = path.read_bytes()
    assert protect(folder=folder).code == DONE
    assert run("verify", tmp_path / "sealed", "--key", key).code == DONE
    assert run("restore", tmp_path / "sealed", "-o", tmp_path / "back", "--key", key, *ALONE).code == DONE
    assert (tmp_path / "back" / path.name).read_bytes() == data
    edit(tmp_path / "sealed" / path.name)
    answer = run("verify", tmp_path / "sealed", "--key", key, "-o", tmp_path / "verified")
    assert answer.code == FLAGGED and "caf" in answer.out and "Traceback" not in answer.err
    assert check(tmp_path / "sealed" / "ledger.jsonl", load_key(key)).events == 1


@pytest.mark.parametrize("below", ["sealed", "sub/sealed"])
def test_results_may_lie_inside_the_input(protect, few, key, below):
    out = few / below
    assert protect(folder=few, out=out).code == DONE
    assert sorted(contents(out)) == ["a.png", "b.png", "sub/c.png"]
    again = protect(folder=few, out=out)
    assert again.code == DONE and "0 files sealed, 3 by an earlier run, 0 refused" in again.out
    assert sorted(contents(out)) == ["a.png", "b.png", "sub/c.png"]


def test_no_input_is_ever_written_over(run, key, few, tmp_path):
    """Where results would fall on inputs, these stay."""
    write_png(tmp_path / "other" / "d.png", plane(9))
    before = contents(tmp_path)
    command = ("protect", few, tmp_path / "other", "-o", tmp_path, "--key", key, "--seal-only")
    answer = run(*command, *ALONE)
    assert answer.code == UNREADABLE
    assert answer.err.count("exists and is something else; nothing was written, choose another -o") == 4
    assert contents(tmp_path) == before


@pytest.mark.parametrize("what", ["a note", "an image", "another's seal", "a folder"])
def test_a_target_that_exists_is_never_written_over(protect, keys, few, tmp_path, what):
    target = tmp_path / "sealed" / "b.png"
    target.parent.mkdir()
    if what == "a note":
        target.write_text("mine\n")
    elif what == "an image":
        write_png(target, plane(3))
    elif what == "another's seal":
        seal_archive([few], target.parent, load_key(keys / "friend.key"), workers=0)
        (target.parent / "ledger.jsonl").unlink()
        (target.parent / "a.png").unlink()
        (target.parent / "sub" / "c.png").unlink()
    else:
        target.mkdir()
    before = contents(tmp_path / "sealed")
    answer = protect(folder=few)
    assert answer.code == UNREADABLE and "Traceback" not in answer.err
    assert "refused: b.png: " in answer.err and "exists and is something else" in answer.err
    after = contents(tmp_path / "sealed")
    assert sorted(after) == sorted({*before, "a.png", "sub/c.png"})
    assert all(after[name] == data for name, data in before.items())


def test_a_place_that_is_a_file_is_told(protect, few, tmp_path):
    (tmp_path / "sealed").write_text("mine\n")
    answer = protect(folder=few)
    assert answer.code == STOPPED and "cannot be made" in answer.err and "choose another -o" in answer.err
    assert (tmp_path / "sealed").read_text() == "mine\n"


def test_sealed_files_are_not_sealed_again(run, once, key, tmp_path):
    answer = run("protect", once, "-o", tmp_path / "out", "--key", key, "--seal-only", *ALONE)
    assert answer.code == UNREADABLE
    assert answer.err.count("carries a seal already; restore it first to seal it anew") == IMAGES
    assert contents(tmp_path / "out") == {}


def test_a_region_is_kept_bit_for_bit(run, protect, key, few, tmp_path):
    mask = write_png(tmp_path / "mask.png", np.tile(lesion_mask(), (2, 2)))
    assert protect("--keep", mask, folder=few).code == DONE
    kept = read(mask).pixels > 0
    for name in ("a.png", "b.png", "sub/c.png"):
        before, after = read(few / name).pixels, read(tmp_path / "sealed" / name).pixels
        np.testing.assert_array_equal(after[kept], before[kept])
        assert (after != before).any()
    assert run("restore", tmp_path / "sealed", "-o", tmp_path / "back", "--key", key, *ALONE).code == DONE
    assert contents(tmp_path / "back") == contents(few)


def test_each_image_may_have_its_own_region(protect, few, tmp_path):
    for name, data in (("a.tif", np.tile(lesion_mask(), (2, 2))), ("sub/c.png", lesion_mask()[:9])):
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Raster.fromarray(data).save(path)
    answer = protect("--keep", tmp_path / "masks", folder=few)
    assert answer.code == UNREADABLE
    assert (
        "b.png: has no mask in" in answer.err
        and "sub/c.png: the region to keep has shape (9, 48)" in answer.err
    )
    assert sorted(contents(tmp_path / "sealed")) == ["a.png"]


def test_pixels_may_be_left_alone(run, protect, archive, key, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(archive / "png", folder)
    (folder / "notes.txt").unlink()
    np.save(folder / "float.npy", plane(1).astype(np.float32))
    assert protect("--carrier", "envelope", folder=folder).code == DONE
    sealed = tmp_path / "sealed"
    assert set(contents(sealed)) == {*(f"{k:03d}.png" for k in range(4)), "float.npy.tif", "tiny.png"}
    np.testing.assert_array_equal(read(sealed / "tiny.png").pixels, read(folder / "tiny.png").pixels)
    assert run("restore", sealed, "-o", tmp_path / "back", "--key", key, *ALONE).code == DONE
    assert contents(tmp_path / "back") == contents(folder)


def test_recipients_verify_and_restore(run, protect, keys, few, tmp_path):
    write_public(load_key(keys / "friend.key"), tmp_path / "friend.pub")
    assert protect("--to", tmp_path / "friend.pub", folder=few).code == DONE
    assert run("verify", tmp_path / "sealed", "--key", keys / "friend.key", *ALONE).code == DONE
    back = ("restore", tmp_path / "sealed", "-o", tmp_path / "back", "--key", keys / "friend.key", *ALONE)
    assert run(*back).code == DONE and contents(tmp_path / "back") == contents(few)


# Going on


def test_a_finished_run_is_not_done_again(protect, monkeypatch, tmp_path):
    first = protect()
    before = stamped(tmp_path / "sealed")
    monkeypatch.setattr("intact.protect.files.attach", lambda *_: pytest.fail("sealed again"))
    again = protect()
    assert again.code == first.code and said(again) == said(first)
    assert f"0 files sealed, {IMAGES} by an earlier run, {len(REFUSED)} refused" in again.out
    assert stamped(tmp_path / "sealed") == before


def stamped(folder):
    """All files with the time of their last change; the ledger is opened, so its time does not count."""
    times = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    return contents(folder), events(folder), times | {"ledger.jsonl": 0}


def test_what_was_lost_or_damaged_since_is_made_again(protect, key, few, tmp_path):
    protect(folder=few)
    (tmp_path / "sealed" / "a.png").unlink()
    edit(tmp_path / "sealed" / "b.png")
    answer = protect(folder=few)
    assert answer.code == DONE and "2 files sealed, 1 by an earlier run" in answer.out
    for name, data in contents(tmp_path / "sealed").items():
        assert restore_file(data, "", load_key(key))[0] == (few / name).read_bytes()
    named = Counter(event["name"] for event in events(tmp_path / "sealed"))
    assert named == {"a.png": 2, "b.png": 2, "sub/c.png": 1}


def test_an_input_that_changed_is_sealed_anew(protect, key, few, tmp_path):
    protect(folder=few)
    write_png(few / "a.png", plane(800))
    write_png(few / "new.png", plane(801))
    answer = protect(folder=few)
    assert answer.code == DONE and "2 files sealed, 2 by an earlier run" in answer.out
    for name, data in contents(tmp_path / "sealed").items():
        assert restore_file(data, "", load_key(key))[0] == (few / name).read_bytes()


@pytest.mark.parametrize("torn", [True, False])
def test_a_result_without_its_event_is_booked(protect, few, tmp_path, torn):
    """The process was killed after it wrote a file and before, or while, it wrote its event."""
    protect(folder=few)
    ledger = tmp_path / "sealed" / "ledger.jsonl"
    lines, before = ledger.read_bytes().splitlines(keepends=True), contents(tmp_path / "sealed")
    ledger.write_bytes(b"".join(lines[:2]) + (lines[2][:40] if torn else b""))
    answer = protect(folder=few)
    assert answer.code == DONE and "1 files sealed, 2 by an earlier run" in answer.out
    assert contents(tmp_path / "sealed") == before
    assert [event["name"] for event in events(tmp_path / "sealed")] == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_that_was_killed_goes_on(start, run, key, tmp_path, after):
    folder, out = tmp_path / "in", tmp_path / "out"
    for k in range(40):
        write_png(folder / f"{k // 10}" / f"{k:03d}.png", np.tile(plane(k), (4, 4)))
    command = ("protect", folder, "-o", out, "--key", key, "--seal-only")
    process = start(*command, "--workers", 2)
    kill_when(process, lambda: (out / "ledger.jsonl").exists() and count(out) > 3 + 8 * after)
    written = contents(out)
    (out / "0").mkdir(exist_ok=True)
    (out / "0" / ".005.png.4711.part").write_bytes(b"half of a file")  # as a worker may leave it
    answer = run(*command, *ALONE)
    assert answer.code == DONE, answer.err
    sealed, inputs = contents(out), contents(folder)
    assert set(sealed) == set(inputs)
    for name, data in sealed.items():
        assert restore_file(data, "", load_key(key)) == (inputs[name], Path(name).name)
    whole = {name: data for name, data in written.items() if not Path(name).name.startswith(".")}
    assert all(sealed[name] == data for name, data in whole.items())
    checked = check(out / "ledger.jsonl", load_key(key))
    assert checked.events == 40
    assert Counter(event["name"] for event in events(out)) == dict.fromkeys(inputs, 1)


def kill_when(process, reached):
    """Kill a run and its workers as soon as it has come so far."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not reached() and time.monotonic() < until:
        time.sleep(0.002)
    with suppress(ProcessLookupError):  # it was at its end already
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_two_runs_into_one_folder_are_refused(start, run, key, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for k in range(12):
        write_png(folder / f"{k:03d}.png", np.tile(plane(k), (4, 4)))
    command = ("protect", folder, "-o", out, "--key", key, "--seal-only", *ALONE)
    first = start(*command)
    while first.poll() is None and not (out / "ledger.jsonl").exists():
        time.sleep(0.002)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = run(*command)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    first.communicate(timeout=PATIENCE)
    assert first.returncode == DONE and len(contents(out)) == 12
    assert second.code == WRONG_USE and "another process is writing to it" in second.err


# Restoring


@pytest.fixture
def restored(run, sealed, key, tmp_path):
    """Restores "sealed" into "back"."""

    def call(*options, folder=sealed):
        return run("restore", folder, "-o", tmp_path / "back", "--key", key, *ALONE, *options)

    return call


def test_the_archive_returns_byte_for_byte(restored, archive, sealed, key, tmp_path):
    answer = restored()
    assert answer.code == DONE and f"{IMAGES} files restored, 0 refused" in answer.out
    assert contents(tmp_path / "back") == originals(archive)
    assert {event["event"] for event in events(tmp_path / "back")} == {"restore"}
    again = restored()
    assert again.code == DONE and f"0 files restored, {IMAGES} by an earlier run" in again.out
    assert check(tmp_path / "back" / "ledger.jsonl", load_key(key)).events == IMAGES


def test_what_was_altered_is_not_written(restored, archive, sealed, tmp_path):
    edit(sealed / "png" / "001.png")
    edit(sealed / "series" / "000.dcm", 400)
    edit_pixel(sealed / "photo.jpg.png")
    cut = sealed / "volume.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-3])
    altered = ["photo.jpg.png", "png/001.png", "series/000.dcm", "volume.nii.gz"]
    answer = restored()
    assert answer.code == UNREADABLE and f"{IMAGES - 4} files restored, 4 refused" in answer.out
    assert [name for _, name, _ in said(answer)] == altered
    kept = originals(archive)
    for name in ("photo.jpg", *altered[1:]):
        del kept[name]
    assert contents(tmp_path / "back") == kept
    assert [event["name"] for event in events(tmp_path / "back") if event["event"] == "refuse"] == altered


def test_nothing_is_restored_with_another_key(run, sealed, keys, tmp_path):
    answer = run("restore", sealed, "-o", tmp_path / "back", "--key", keys / "friend.key", *ALONE)
    assert answer.code == UNREADABLE and answer.err.count("wrong key: ") == IMAGES
    assert contents(tmp_path / "back") == {}


def test_unsealed_files_are_not_restored(restored, few, tmp_path):
    answer = restored(folder=few)
    assert answer.code == UNREADABLE and answer.err.count("not sealed: ") == 3
    assert contents(tmp_path / "back") == {}


def test_a_rewritten_header_is_accepted_if_asked_for(restored, archive, sealed, tmp_path):
    path = sealed / "series" / "001.dcm"
    header = pydicom.dcmread(path)
    header.PatientComments = "seen"
    header.save_as(path)
    answer = restored()
    assert answer.code == UNREADABLE and "header: series/001.dcm: " in answer.err
    assert not (tmp_path / "back" / "series" / "001.dcm").exists()
    assert restored("--accept-header").code == DONE
    assert contents(tmp_path / "back") == originals(archive)


def test_pixels_without_an_envelope_come_back_under_another_name(restored, archive, sealed, tmp_path):
    path = sealed / "png" / "002.png"
    Raster.open(path).copy().save(path)
    assert restored().code == UNREADABLE and not (tmp_path / "back" / "png" / "002.png").exists()
    answer = restored("--accept-header")
    assert answer.code == DONE
    back = tmp_path / "back" / "png" / "pixels-of-002.png"
    np.testing.assert_array_equal(read(back).pixels, read(archive / "png" / "002.png").pixels)
    assert not (tmp_path / "back" / "png" / "002.png").exists()


NAMES = ["..", "../out.png", "/tmp/out.png", ".", "", "sub/a.png", "nul\0.png", "x" * 300, "ledger.jsonl"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_sealed_name_leads_nowhere_else(restored, sealed, key, tmp_path, name):
    """Whoever has a public key can seal for its owner, so the name in a seal is not to be trusted."""
    from intact.protect import seal_file

    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    data = write_png(tmp_path / "a.png", plane(1)).read_bytes()
    (folder / "a.png").write_bytes(seal_file(data, name, load_key(key))[0])
    shutil.copy(sealed / "photo.jpg.png", tmp_path / "in" / "z.png")
    answer = restored(folder=tmp_path / "in")
    assert "Traceback" not in answer.err and (tmp_path / "back" / "photo.jpg").exists()
    refused = name in ("..", ".", "", "nul\0.png", "x" * 300)
    assert answer.code == (UNREADABLE if refused else DONE)
    written = {path.parent for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == data}
    assert written == ({tmp_path} if refused else {tmp_path, tmp_path / "back" / "deep"})
    assert not Path("/tmp/out.png").exists()


def test_a_name_too_long_for_a_result_stops_nothing(protect, key, tmp_path):
    folder = tmp_path / "in"
    write_png(folder / "z.png", plane(1))
    Raster.fromarray(plane(2)).save(folder / ("x" * 240 + ".jpg"))
    answer = protect(folder=folder)
    assert answer.code == UNREADABLE and "give it a shorter one" in answer.err
    assert list(contents(tmp_path / "sealed")) == ["z.png"]


def test_originals_are_never_written_over(restored, tmp_path):
    (tmp_path / "back" / "png").mkdir(parents=True)
    (tmp_path / "back" / "png" / "000.png").write_text("mine\n")
    answer = restored()
    assert answer.code == UNREADABLE and "refused: png/000.png: " in answer.err
    assert (tmp_path / "back" / "png" / "000.png").read_text() == "mine\n"


# Verifying


@pytest.fixture
def verified(run, sealed, key):
    def call(*options, folder=sealed):
        return run("verify", folder, "--key", key, *ALONE, *options)

    return call


def test_untouched_files_are_sound(verified, sealed):
    before = contents(sealed)
    answer = verified()
    assert answer.code == DONE and answer.out == f"{IMAGES} files: {IMAGES} sound\n"
    assert contents(sealed) == before


def test_every_state_is_told(verified, sealed, few, tmp_path):
    edit(sealed / "png" / "001.png", -1000)
    edit(sealed / "series" / "000.dcm", 3000)
    header = pydicom.dcmread(sealed / "series" / "001.dcm")
    header.PatientComments = "seen"
    header.save_as(sealed / "series" / "001.dcm")
    shutil.copy(few / "a.png", sealed / "plain.png")
    (sealed / "notes.txt").write_text("seen by nobody\n")
    cut = sealed / "ward 3" / "deep" / "001"
    cut.write_bytes(cut.read_bytes()[:-4000] + cut.read_bytes()[-1500:])
    answer = verified("--json")
    states = {row["path"]: row["state"] for row in json.loads(answer.out)}
    assert answer.code == FLAGGED and len(states) == IMAGES + 2
    assert {path: state for path, state in states.items() if state != "sound"} == {
        "notes.txt": "unreadable",
        "plain.png": "not sealed",
        "png/001.png": states["png/001.png"],
        "series/000.dcm": "pixels",
        "series/001.dcm": "header",
        "ward 3/deep/001": "truncated",
    }
    assert states["png/001.png"] in ("truncated", "pixels", "header")
    answer = verified()
    assert answer.code == FLAGGED and f"{IMAGES + 2} files: {IMAGES - 4} sound" in answer.out
    assert "pixels: series/000.dcm: its pixels were changed after it was sealed\n" in answer.out


def test_another_key_verifies_nothing(run, sealed, keys):
    answer = run("verify", sealed, "--key", keys / "friend.key", *ALONE)
    assert answer.code == FLAGGED and f"{IMAGES} files: {IMAGES} wrong key" in answer.out


def test_damage_is_located_and_reported(run, key, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "sealed"
    for k in range(2):
        write_png(folder / f"{k}.png", np.tile(plane(k, noise=1), (3, 3)))
    command = ("protect", folder, "-o", out, "--key", key, "--seal-only", "--localise", *ALONE)
    assert run(*command).code == DONE
    edit_pixel(out / "1.png")
    answer = run("verify", out, "--key", key, "-o", tmp_path / "verified", *ALONE)
    assert answer.code == FLAGGED
    assert "pixels: 1.png: its pixels were changed after it was sealed (1 of 81 blocks altered)" in answer.out
    report = tmp_path / "verified"
    assert f"report: {report / 'verification.html'}" in answer.out
    assert "1.png" in (report / "verification.html").read_text("utf-8")
    rows = [json.loads(line) for line in (report / "verdicts.jsonl").read_text().splitlines()]
    assert [row["state"] for row in rows] == ["sound", "pixels"] and all(row["localised"] for row in rows)
    assert rows[1]["blocks"] == {"size": 16, "total": 81, "altered": 1, "unknown": 0}
    record = json.loads((report / "verify.json").read_text())
    assert record["counts"]["sound"] == 1 and record["counts"]["altered"] == 1 and record["complete"]
    assert any((report / "pictures").iterdir())
    assert [event["details"] for event in events(report)] == [{"state": "sound"}, {"state": "pixels"}]
    assert check(report / "ledger.jsonl", load_key(key), record["ledger"]["head"]).events == 2
    assert contents(folder) != {} and restore_file((out / "0.png").read_bytes(), "", load_key(key))


# The ledger


def test_a_ledger_is_checked_with_and_without_the_key(run, sealed, key):
    ledger = sealed / "ledger.jsonl"
    answer = run("ledger", "check", ledger)
    assert answer.code == DONE and "give --key to rule out a forged chain" in answer.out
    answer = run("ledger", "check", ledger, "--key", key)
    assert answer.code == DONE and f"{IMAGES + len(REFUSED)} events, sound by its key" in answer.out
    told = json.loads(run("ledger", "check", ledger, "--key", key, "--json").out)
    assert told == {
        "sound": True,
        "events": IMAGES + len(REFUSED),
        "head": events(sealed)[-1]["hash"],
        "keyed": True,
    }


def test_an_edited_ledger_is_refused(run, protect, sealed, key, few):
    ledger = sealed / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"event":"protect"', b'"event":"restore"')
    ledger.write_bytes(b"".join(lines))
    answer = run("ledger", "check", ledger)
    assert answer.code == FLAGGED and f"{ledger}: line 3: does not match its own hash" in answer.out
    told = json.loads(run("ledger", "check", ledger, "--json").out)
    assert told["sound"] is False and told["line"] == 3
    before = contents(sealed)
    answer = protect(folder=few, out=sealed)
    assert answer.code == UNREADABLE and "line 3: does not match its own hash" in answer.err
    assert contents(sealed) == before and ledger.read_bytes() == b"".join(lines)


def test_lines_cut_off_the_end_are_missed_by_the_head(run, sealed, key):
    ledger = sealed / "ledger.jsonl"
    head = run("ledger", "check", ledger).out.split("head: ")[1].strip()
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]))
    assert run("ledger", "check", ledger, "--key", key).code == DONE
    answer = run("ledger", "check", ledger, "--key", key, "--head", head)
    assert answer.code == FLAGGED and "lines were cut off its end" in answer.out


def test_a_ledger_of_another_key(run, keys, sealed, few):
    ledger = sealed / "ledger.jsonl"
    answer = run("ledger", "check", ledger, "--key", keys / "friend.key")
    assert answer.code == FLAGGED and "line 1: was not written with this key" in answer.out
    command = ("protect", few, "-o", sealed, "--key", keys / "friend.key", "--seal-only")
    before = contents(sealed)
    answer = run(*command, *ALONE)
    assert answer.code == UNREADABLE and "was not written with this key" in answer.err
    assert contents(sealed) == before


def test_no_key_is_told_by_what_is_printed_or_written(protect, key, tmp_path):
    answer = protect()
    secret = Key(load_key(key).secret).secret
    everything = (answer.out + answer.err).encode() + b"".join(
        path.read_bytes() for path in (tmp_path / "sealed").rglob("*") if path.is_file()
    )
    assert secret not in everything and secret.hex().encode() not in everything
