"""`Findings`: the rows of a run on disk, and where a stopped run goes on.

`findings.jsonl` holds one JSON object per image and detector, in the order in which the images
were found; what is on disk is always the beginning of the whole. `run.json` says what run it is.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from intact.errors import OutputError, UsageError
from intact.io.atomic import put, sweep

Row = dict[str, Any]

SAME = {  # of a screening run
    "paths": "paths",
    "alpha": "alpha",
    "labelled": "labels",
    "identify": "identify",
    "models": "models",
    "forensics": "forensics",
    "genuine": "genuine images",
    "recorded": "records of pixels",
    "reference": "normal images to explain by",
    "variants": "marks of normal variants",
}


class Findings:
    """The findings of one run; a context manager that holds the folder for this process alone.

    Args:
        out: Folder of the run, created if need be.
        run: The run record so far.
        rows_per_entry: How many rows each image has: one per detector.
        same: What in the record must be equal for a run to be the same run, and how to call it.

    Raises:
        UsageError: `out` holds another run, or another process is writing to it.
        OutputError: `out` cannot be written to.
    """

    def __init__(
        self, out: Path, run: dict[str, Any], rows_per_entry: int = 1, same: Mapping[str, str] = SAME
    ) -> None:
        self.out, self.run, self._per_entry, self._same = out, run, rows_per_entry, same
        self._finished: dict[str, Any] | None = None  # the record of a run with nothing left to do
        self._path = out / "findings.jsonl"
        self._file: BinaryIO

    def __enter__(self) -> Findings:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        except OSError as error:
            raise OutputError(
                f"{self.out}: cannot be written to ({error.strerror}); choose another -o"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"{self.out}: another process is writing to it right now") from None
        try:
            self._take_up()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        with suppress(OSError):  # closing writes what did not fit on the disk: `append` told
            self._file.close()

    def resume(self, names: Sequence[str]) -> int:
        """How many of the images `names` are done already; what a kill left of a row is dropped.

        Raises:
            UsageError: The images are not those that the run began with.
        """
        whole, size, waiting = 0, 0, 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                name, expected = (
                    json.loads(line)["path"],
                    names[whole] if whole < len(names) else None,
                )
                if name != expected:
                    raise UsageError(
                        f"{self.out}: row {number + 1} of its findings is of {name}, but now {expected} "
                        "comes there: the files have changed since that run; choose another -o"
                    )
                waiting += len(line)
                if (number + 1) % self._per_entry == 0:
                    whole, size, waiting = whole + 1, size + waiting, 0
        os.truncate(self._path, size)
        return whole

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows so that they survive a crash of this process.

        Raises:
            OutputError: The disk is full, say; the same command goes on from here.
        """
        self._finished = None
        data = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            self._file.write(data.encode())
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self._path}: {error.strerror}; make room, then the same command goes on where this one "
                "stopped"
            ) from error

    def rows(self) -> Iterator[Row]:
        """All rows so far."""
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Complete the run record; where nothing was left to do, it stays as it is."""
        if self._finished:
            return self._finished
        from datetime import UTC, datetime

        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.run |= {**facts, "finished": now, "complete": True}
        self._write_run()
        return self.run

    def _take_up(self) -> None:
        """Check that the folder is new or holds this very run, and write the run record."""
        try:
            earlier = json.loads((self.out / "run.json").read_text())
        except FileNotFoundError:
            if self._path.stat().st_size:
                raise UsageError(
                    f"{self.out}: holds findings without a run.json; choose another -o"
                ) from None
            return self._write_run()
        except ValueError as error:
            raise UsageError(f"{self.out / 'run.json'} is damaged ({error}); choose another -o") from error
        for key, name in self._same.items():
            if earlier.get(key) != json.loads(json.dumps(self.run[key])):
                raise UsageError(
                    f"{self.out}: holds a run with other {name}; choose another -o, or give the same "
                    f"{name} to go on with that run"
                )
        self.run["started"] = earlier["started"]
        self._finished = earlier if earlier["complete"] else None
        sweep(self.out)
        return None

    def _write_run(self) -> None:
        put(
            self.out / "run.json",
            (json.dumps(self.run, indent=1, ensure_ascii=False) + "\n").encode(),
        )
