"""Runs that were stopped: the same command goes on, to the results of an unbroken run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from made_archive import plane, write_png

DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)
PATIENCE = 120.0  # seconds after which a process is taken for stuck


@pytest.fixture(scope="module")
def unbroken(start, archive, model, tmp_path_factory):
    """A run that nothing stopped: its folder and how long it took."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    began = time.monotonic()
    process = start("screen", archive, "--no-forensics", "--model", model, "-o", out)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == UNREADABLE
    return out, time.monotonic() - began


@pytest.fixture
def command(archive, model, tmp_path):
    """`screen` into this test's own folder."""
    return ("screen", archive, "--no-forensics", "--model", model, "-o", tmp_path / "out")


@pytest.fixture
def goes_on(run, command, unbroken, tmp_path):
    """Runs the command to its end and compares the results with those of the unbroken run."""

    def check():
        answer = run(*command, "--workers", 0)
        assert answer.code == UNREADABLE, answer.err
        assert contents(tmp_path / "out") == contents(unbroken[0])
        record = json.loads((tmp_path / "out" / "run.json").read_text())
        assert record["complete"] and (tmp_path / "out" / "report.html").exists()
        assert record["counts"] == json.loads((unbroken[0] / "run.json").read_text())["counts"]

    return check


@pytest.mark.parametrize("seed", range(2))
def test_all_processes_are_killed_at_a_random_moment(start, command, goes_on, unbroken, seed):
    process = start(*command)
    time.sleep(random.Random(seed).uniform(0.2, 1.0) * unbroken[1])
    end_group(process, signal.SIGKILL)
    goes_on()


def test_all_processes_are_killed_again_and_again(start, command, goes_on, tmp_path):
    for _ in range(2):
        process = start(*command)
        wait_for_more_rows(tmp_path / "out", process)
        end_group(process, signal.SIGKILL)
    goes_on()


def test_only_the_first_process_is_killed(start, command, goes_on, tmp_path):
    process = start(*command)
    wait_for_more_rows(tmp_path / "out", process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(workers, timeout=10)
    assert [worker for worker in left if worker.status() != psutil.STATUS_ZOMBIE] == []
    goes_on()


def test_a_killed_worker_is_replaced(start, command, unbroken, tmp_path):
    process = start(*command)
    out = tmp_path / "out"
    while process.poll() is None and not (workers := workers_of(process)):
        time.sleep(0.01)
    workers[0].kill()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == UNREADABLE
    assert contents(out) == contents(unbroken[0])


def test_an_interrupted_run_says_that_it_goes_on(start, command, goes_on, tmp_path):
    process = start(*command)
    wait_for_more_rows(tmp_path / "out", process)
    complained = interrupt(process)
    if process.returncode != UNREADABLE:  # it may have been at its end
        assert process.returncode == STOPPED
        assert "the same command goes on" in complained and "Traceback" not in complained
    goes_on()


@pytest.mark.parametrize("delay", [0.1, 0.6])
def test_a_run_interrupted_while_its_workers_start(start, command, goes_on, delay):
    process = start(*command)
    while process.poll() is None and not psutil.Process(process.pid).children():
        time.sleep(0.01)
    time.sleep(delay)  # their parent is importing now
    complained = interrupt(process)
    if process.returncode != UNREADABLE:  # on a busy machine they were seen too late
        assert process.returncode == STOPPED
        assert "the same command goes on" in complained and "Traceback" not in complained
    goes_on()


@pytest.mark.parametrize("share", [0.0, 0.11, 0.37, 0.5, 0.83, 0.999, 1.0])
def test_findings_that_end_anywhere(unbroken, goes_on, tmp_path, share):
    cut(unbroken[0], tmp_path / "out", share)
    goes_on()


def test_findings_that_end_between_two_lines(unbroken, goes_on, tmp_path):
    lines = (unbroken[0] / "findings.jsonl").read_bytes().splitlines(keepends=True)
    cut(unbroken[0], tmp_path / "out", 1.0)
    (tmp_path / "out" / "findings.jsonl").write_bytes(b"".join(lines[:23]))
    goes_on()


def test_maps_that_were_not_finished_are_cleared_away(unbroken, goes_on, tmp_path):
    cut(unbroken[0], tmp_path / "out", 0.4)
    (tmp_path / "out" / "maps" / ".0123-head.tif.4711.part").write_bytes(b"II*")
    goes_on()


def test_findings_that_end_between_the_rows_of_two_models(run, archive, model, tmp_path):
    shutil.copytree(model, tmp_path / "twin")
    command = (
        "screen",
        archive,
        "--no-forensics",
        "--model",
        model,
        "--model",
        tmp_path / "twin",
        "--workers",
        0,
        "-o",
    )
    run(*command, tmp_path / "whole")
    for rows_left in (1, 31, 32, 33):
        cut(tmp_path / "whole", tmp_path / "out", 1.0)
        lines = (tmp_path / "out" / "findings.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "out" / "findings.jsonl").write_bytes(b"".join(lines[:rows_left]) + b'{"pa')
        run(*command, tmp_path / "out")
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_run_is_not_done_again(monkeypatch, run, command, tmp_path):
    first = run(*command, "--workers", 0)
    before = everything(tmp_path / "out")
    record = json.loads(before.pop("run.json"))
    monkeypatch.setattr("intact.screener._open", lambda unit: pytest.fail(f"read {unit.name}"))
    again = run(*command, "--workers", 0)
    after = everything(tmp_path / "out")
    assert json.loads(after.pop("run.json")) == record
    assert (again.code, again.out) == (first.code, first.out) and after == before


def test_files_that_changed_are_refused(run, command, archive, model, tmp_path):
    shutil.copytree(archive, tmp_path / "in")
    changed = (command[0], tmp_path / "in", *command[2:], "--workers", 0)
    assert run(*changed).code == UNREADABLE
    before = everything(tmp_path / "out")
    new = write_png(tmp_path / "in" / "png" / "0000.png", plane(5))
    answer = run(*changed)
    assert answer.code == WRONG_USE
    assert str(new) in answer.err and "the files have changed since that run" in answer.err
    new.unlink()
    (tmp_path / "in" / "Übersicht, größer.png").unlink()
    answer = run(*changed)
    assert answer.code == WRONG_USE and "the files have changed since that run" in answer.err
    assert everything(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--alpha", 0.2), "alpha"),
        (("--identify",), "identify"),
        (("--labels", "folder"), "labels"),
    ],
)
def test_other_options_are_refused(run, command, unbroken, tmp_path, options, name):
    cut(unbroken[0], tmp_path / "out", 0.5)
    before = everything(tmp_path / "out")
    answer = run(*command, *options)
    assert answer.code == WRONG_USE
    assert f"holds a run with other {name}; choose another -o" in answer.err
    assert everything(tmp_path / "out") == before


def test_another_model_of_the_same_name_is_refused(run, archive, normals, model, unbroken, tmp_path):
    cut(unbroken[0], tmp_path / "out", 0.5)
    run("fit", normals, "--method", "ae", "--set", "size=32", "--set", "steps=1",
        "--set", "latent=8", "--calibrate", 0.4, "-o", tmp_path / "head")  # fmt: skip
    answer = run("screen", archive, "--no-forensics", "--model", tmp_path / "head", "-o", tmp_path / "out")
    assert answer.code == WRONG_USE and "holds a run with other models" in answer.err


def test_a_damaged_run_record_is_refused(run, command, unbroken, tmp_path):
    cut(unbroken[0], tmp_path / "out", 0.5)
    (tmp_path / "out" / "run.json").write_text('{"intact": ')
    answer = run(*command)
    assert answer.code == WRONG_USE and "run.json is damaged" in answer.err


def test_two_runs_into_one_folder_are_refused(start, run, command, unbroken, tmp_path):
    first = start(*command)
    while first.poll() is None and not (tmp_path / "out" / "run.json").exists():
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGSTOP)  # it holds the folder for as long as the second one asks
    try:
        second = run(*command, "--workers", 0)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    first.communicate(timeout=PATIENCE)
    assert second.code == WRONG_USE and "another process is writing to it" in second.err
    assert first.returncode == UNREADABLE
    assert contents(tmp_path / "out") == contents(unbroken[0])


def contents(out: Path) -> dict[str, bytes]:
    """The findings and maps of a run."""
    paths = [out / "findings.jsonl", *(out / "maps").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def everything(out: Path) -> dict[str, bytes]:
    """All files of a run."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def cut(whole: Path, out: Path, share: float) -> None:
    """A run like `whole` that ended when this share of its findings was on disk."""
    shutil.copytree(whole, out, dirs_exist_ok=True)
    record = json.loads((whole / "run.json").read_text())
    for key in ("counts", "labels", "seconds", "finished"):
        del record[key]
    (out / "run.json").write_text(json.dumps(record | {"complete": False}))
    (out / "report.html").unlink()
    findings = out / "findings.jsonl"
    os.truncate(findings, int(share * findings.stat().st_size))


def wait_for_more_rows(out: Path, process) -> None:
    """Until the run has written something more, or has ended."""
    findings = out / "findings.jsonl"
    before = findings.stat().st_size if findings.exists() else 0
    while process.poll() is None and (not findings.exists() or findings.stat().st_size <= before):
        time.sleep(0.005)


def workers_of(process) -> list[psutil.Process]:
    """The worker processes, which are children of the process that they are forked from."""
    with suppress(psutil.NoSuchProcess):
        return [worker for child in psutil.Process(process.pid).children() for worker in child.children()]
    return []


def interrupt(process) -> str:
    """What Ctrl-C does; gives what the run said."""
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=PATIENCE)[1]


def end_group(process, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was at its end already
        os.killpg(process.pid, how)
    process.communicate()
