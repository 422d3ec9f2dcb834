"""Cells of a benchmark: pack x method x seed, each measured once and kept on disk.

    OUT/cells/PACK-METHOD-SEED-DIGEST/scores.csv   the score of every test image
                                      cell.json    everything else; written last

The digest stands for all that the numbers depend on: the pack's files, the method and all its
fields, the seed among them, and the versions of Intact and PyTorch. A folder without a whole
`cell.json`, or whose scores are not those that it names, counts as not measured.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from intact import progress
from intact._version import __version__
from intact.anomaly import METHODS
from intact.bench.measures import Scored
from intact.bench.packs import Pack
from intact.bench.run import RECORD, SCORES, Task
from intact.configure import configure
from intact.fit import suit_to_machine
from intact.io.atomic import sweep
from intact.rows import make_folder, read_rows
from intact.store import file_digest

LAST_WORDS = 20_000  # bytes of what a process says that are read
LONGEST = 500  # characters of a reason


@dataclass(frozen=True)
class Entrant:
    """A method with its fields, under the name that results call it by.

    Args:
        name: Unique in a benchmark; one method may enter twice, with other fields.
        method: Key in `intact.anomaly.METHODS`.
        fields: Those that differ from the method's defaults.
    """

    name: str
    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    pack: Pack
    entrant: Entrant
    seed: int

    def identity(self) -> dict[str, Any]:
        """All that the numbers depend on, as JSON gives it back.

        Fields that were not given are among them: defaults change, and some suit the machine.

        Raises:
            UsageError: Unknown method or field.
        """
        suited, _ = suit_to_machine(self.entrant.method, dict(self.entrant.fields))
        detector = configure(METHODS, self.entrant.method, {"seed": self.seed, **suited})
        depends_on = {
            "pack": self.pack.digest,
            "method": self.entrant.method,
            "fields": detector.fields(),
            "intact": __version__,
            "torch": str(torch.__version__),
        }
        found: dict[str, Any] = json.loads(json.dumps(depends_on))
        return found

    def folder(self, out: Path) -> Path:
        """Where it is kept."""
        digest = hashlib.sha256(json.dumps(self.identity()).encode()).hexdigest()[:12]
        return out / "cells" / f"{self.pack.name}-{self.entrant.method}-{self.seed}-{digest}"


@dataclass(frozen=True, eq=False)
class Measured:
    """A cell, what was found, and the scores it was found from."""

    cell: Cell
    record: dict[str, Any]
    scored: Scored


@dataclass(frozen=True)
class Failed:
    """A cell that could not be measured, and why."""

    cell: Cell
    reason: str


def look_up(cell: Cell, out: Path) -> Measured | None:
    """What an earlier run measured, if all of it is there."""
    folder = cell.folder(out)
    try:
        record = json.loads((folder / RECORD).read_text())
        whole = record["identity"] == cell.identity() and record["scores_sha256"] == file_digest(
            folder / SCORES
        )
    except (OSError, ValueError, KeyError):
        return None
    return Measured(cell, record, _read_scores(folder / SCORES)) if whole else None


def measure(cell: Cell, out: Path) -> Measured | Failed:
    """Measure a cell in a process of its own, whatever an earlier run found.

    Raises:
        OutputError: The folder cannot be made.
    """
    folder = make_folder(cell.folder(out))
    sweep(folder)
    task = Task(
        str(cell.pack.folder),
        cell.entrant.method,
        cell.seed,
        dict(cell.entrant.fields),
        str(folder),
        cell.identity(),
    )
    with tempfile.TemporaryFile() as complaints:
        code = _run(task, complaints)
        if code == 0 and (found := look_up(cell, out)) is not None:
            return found
        complaints.seek(-min(complaints.tell(), LAST_WORDS), 2)
        return Failed(cell, reason(code, complaints.read().decode("utf-8", "replace")))


def reason(code: int, complaints: str) -> str:
    """Why a process ended, in one line.

    Args:
        code: Its exit status; below 0, the signal that ended it.
        complaints: What it wrote to standard error.
    """
    if code < 0:
        advice = ": it may need more memory than there is" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{advice}"
    lines = [line for line in complaints.splitlines() if line.strip()]
    # Below the last traceback, the first line that is not indented names the exception.
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else lines
    raised = [n for n, line in enumerate(after) if not line.startswith(" ")]
    if not raised:
        return f"its process ended with status {code} and did not say why"
    name, colon, message = " ".join(after[raised[0] :]).partition(": ")
    return f"{name.rpartition('.')[2]}{colon}{message}"[:LONGEST]


def _run(task: Task, complaints: IO[bytes]) -> int:
    """The exit status; progress is passed on."""
    command = [sys.executable, "-m", "intact.bench.run", json.dumps(dataclasses.asdict(task))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as child:  # noqa: S603
        try:
            for line in child.stdout or ():
                what, done, total = json.loads(line)
                progress.report(what, done, total)
        except BaseException:
            child.kill()
            raise
    complaints.seek(0, 2)
    return child.returncode


def _read_scores(path: Path) -> Scored:
    rows = read_rows(path)
    return Scored(
        np.array([row["image"] for row in rows]),
        np.array([row["kind"] for row in rows]),
        np.array([int(row["group"]) for row in rows]),
        np.array([float(row["score"]) for row in rows]),
        np.array([float(row["p"]) for row in rows]),
    )
