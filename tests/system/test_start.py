"""`intact start` and `intact fit --start` as a user meets them, on small phantoms."""

from __future__ import annotations

import json

import pytest
from made_archive import plane, write_dicom, write_png

from intact.cli_shared import DONE, UNREADABLE, WRONG_USE

QUICK = ("--rounds", 3, "--images", 4, "--inner-steps", 2, "--set", "size=32", "--set", "latent=4")


@pytest.fixture
def tasks(tmp_path):
    """Two organs: heads, and something paler."""
    for k in range(6):
        write_png(tmp_path / "heads" / f"{k}.png", plane(k))
        write_dicom(tmp_path / "pale" / f"{k}", plane(50 + k) // 2)
    return [tmp_path / "heads", tmp_path / "pale"]


@pytest.fixture
def new(tmp_path):
    """A few images of a third, and two that are not normal."""
    for k in range(12):
        write_png(tmp_path / "new" / f"{k:02d}.png", 40 + plane(100 + k) // 2)
    for k in range(2):
        write_png(tmp_path / "ill" / f"{k}.png", 40 + plane(200 + k, lesion=True) // 2)
    return tmp_path / "new"


def test_a_start_is_learned_fitted_from_and_screened_with(run, tasks, new, tmp_path):
    learned = run("start", *tasks, "-o", tmp_path / "start", *QUICK)
    assert learned.code == DONE, learned.err
    assert "heads (6 images)" in learned.out and "pale (6 images)" in learned.out
    assert f"intact fit NORMALS --start {tmp_path / 'start'} -o MODEL" in " ".join(learned.out.split())
    assert "learning a start" in learned.err
    manifest = json.loads((tmp_path / "start" / "manifest.json").read_text())
    assert manifest["kind"] == "start" and [task["planes"] for task in manifest["start"]["tasks"]] == [6, 6]

    fit = ("fit", new, "-o", tmp_path / "model", "--start", tmp_path / "start", "--calibrate", 0.5)
    fitted = run(*fit, "--set", "steps=3", "--json")
    assert fitted.code == DONE, fitted.err
    assert "training began at a start that was learned on" in fitted.err
    card = json.loads(fitted.out)
    assert card["method"] == "ae" and "heads (6 images)" in card["start"]
    screen = ("screen", tmp_path / "ill", "-o", tmp_path / "out", "--model", tmp_path / "model")
    screened = run(*screen, "--alpha", 0.3, "--no-forensics", "--workers", 0)
    assert screened.code in (0, 1), screened.err


def test_the_same_command_again_has_nothing_left_to_do(run, tasks, tmp_path):
    command = ("start", *tasks, "-o", tmp_path / "start", *QUICK, "--json")
    first, again = run(*command), run(*command)
    assert json.loads(first.out) == json.loads(again.out)
    assert "learning a start" in first.err and "learning a start" not in again.err


def test_files_that_are_no_images_are_named(run, tasks, tmp_path):
    (tasks[0] / "notes.png").write_text("no image\n")
    answer = run("start", *tasks, "-o", tmp_path / "start", *QUICK)
    assert answer.code == UNREADABLE and "left out" in answer.err and "notes.png" in answer.err


def test_what_cannot_be_is_said(run, tasks, new, tmp_path):
    out = ("-o", tmp_path / "start")
    (tmp_path / "empty").mkdir()
    assert run("start", *tasks, *out, *QUICK).code == DONE
    begin = ("--start", tmp_path / "start", "-o", tmp_path / "model")
    for code, said, arguments in (
        (WRONG_USE, "at least two tasks", ("start", tasks[0], *out)),
        (WRONG_USE, "patchcore trains no network", ("start", *tasks, *out, "--method", "patchcore")),
        (UNREADABLE, "empty: holds no image", ("start", *tasks, tmp_path / "empty", *out, *QUICK)),
        (WRONG_USE, "one of ae", ("fit", new, *begin, "--method", "vae")),
        (WRONG_USE, "one of ae", ("fit", new, *begin, "--method", "patchcore")),
        (WRONG_USE, "one method", ("fit", new, *begin, "--method", "ae", "--method", "vae")),
        (WRONG_USE, "one method", ("fit", new, *begin, "--classes")),
        (WRONG_USE, "choose another -o", ("fit", new, "--start", tmp_path / "start", *out)),
        (WRONG_USE, "is not a model folder", ("fit", new, "--start", new, "-o", tmp_path / "model")),
    ):
        answer = run(*arguments)
        assert answer.code == code and said in answer.err, (arguments, answer)
