"""Verify whole folders of sealed files: a verdict for each, and pictures of what was altered."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intact import progress
from intact._version import __version__
from intact.engine import local
from intact.errors import InputError, NotSealedError
from intact.io.atomic import put
from intact.io.source import Source
from intact.model import batched
from intact.protect.archive import BATCH, LEDGER, TIMEOUT, find, processes
from intact.protect.blocks import BLOCK
from intact.protect.files import Examined, examine
from intact.protect.keys import Key
from intact.protect.ledger import Ledger
from intact.protect.seal import state_of
from intact.protect.workers import Item, make_folder

Row = dict[str, Any]
VERDICTS, RECORD, PICTURES = "verdicts.jsonl", "verify.json", "pictures"


@dataclass(frozen=True)
class Verified:
    """What a run came to.

    Args:
        rows: A verdict for each file, in the order of their names.
        report: The page, if a folder for it was given.
    """

    rows: list[Row]
    report: Path | None

    @property
    def counts(self) -> Counter[str]:
        """How many files are in which state."""
        return Counter(row["state"] for row in self.rows)

    @property
    def sound(self) -> bool:
        """Whether nothing was changed in any file."""
        return set(self.counts) == {"sound"}


def verify_archive(
    paths: Sequence[str | Path], key: Key, out: str | Path | None = None, *, workers: int | None = None
) -> Verified:
    """Verify every file of some folders.

    Args:
        paths: Files and folders.
        key: Of the one who sealed, or of a recipient.
        out: Folder for verdicts, pictures of altered images, a report and a ledger; by default
            nothing is written.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: A path does not exist.
        LedgerError: The ledger in `out` is broken or of another key.
        OutputError: Results cannot be written.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    folder = None if out is None else Path(out)
    items = find(paths, folder)
    if folder is not None:
        make_folder(folder / PICTURES)
    verifier = Verifier(key, folder)
    rows: list[Row] = []
    for batch in local.run(
        verifier, batched(items, BATCH), verifier.lost, workers=processes(workers, items), timeout=TIMEOUT
    ):
        rows += batch
        progress.report("verifying", len(rows), len(items))
    if folder is None:
        return Verified(rows, None)
    ledger = _book(folder, key, rows)
    record = {
        "intact": __version__,
        "started": started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": time.monotonic() - clock,
        "key": key.id,
        "paths": [str(path) for path in paths],
        "ledger": ledger,
        "counts": _count(rows),
        "complete": True,
    }
    put(folder / VERDICTS, "".join(json.dumps(row) + "\n" for row in rows).encode())
    put(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    from intact.report import write_verification

    return Verified(rows, write_verification(folder))


@dataclass(frozen=True)
class Verifier:
    """Verifies one file after the other, in whichever process."""

    key: Key
    out: Path | None

    def __call__(self, items: Sequence[Item]) -> list[Row]:
        """The verdict of each."""
        return [self._one(item) for item in items]

    def lost(self, item: Item, reason: str) -> Row:
        """For a file that ended the process working on it."""
        return _row(item.name, "unreadable", reason)

    def _one(self, item: Item) -> Row:
        try:
            examined = examine(Source(item.path).read(), item.name, self.key)
        except InputError as error:
            return _row(item.name, state_of(error), error.reason)
        row = _row(item.name, "sound", "")
        row["planes"] = examined.image.planes
        row["localised"] = examined.header is not None and examined.header.localise
        if examined.problem is not None:
            row |= {"state": state_of(examined.problem), "reason": examined.problem.reason}
            if examined.opened is None:
                row |= self._locate(examined, item)
        return row

    def _locate(self, examined: Examined, item: Item) -> Row:
        """Where pixels were altered, in numbers and in pictures."""
        if (damage := examined.damage()) is None:
            return {}
        blocks = {
            "size": BLOCK,
            "total": damage.altered.size,
            "altered": int(damage.altered.sum()),
            "unknown": int(damage.unknown.sum()),
        }
        if self.out is None:
            return {"blocks": blocks}
        try:
            recovered, known = examined.recovered()
        except NotSealedError:
            recovered, known = None, None
        altered, unknown = (damage.grid.spread(which) for which in (damage.altered, damage.unknown))
        from intact.report import draw_damage

        folder, stem = self.out / PICTURES, f"{item.number:05d}"
        pictures = draw_damage(examined.image, altered, unknown, recovered, known, folder, stem)
        return {"blocks": blocks, "pictures": pictures}


def _row(name: str, state: str, reason: str) -> Row:
    return {
        "path": name,
        "state": state,
        "reason": reason,
        "localised": False,
        "blocks": None,
        "planes": 0,
        "pictures": None,
    }


def _book(out: Path, key: Key, rows: Sequence[Row]) -> dict[str, Any]:
    """Note every verdict in the ledger of the folder."""
    with Ledger(out / LEDGER, key) as ledger:
        for row in rows:
            ledger.append("verify", row["path"], {"state": row["state"]})
        return {"path": str(out / LEDGER), "events": ledger.events, "head": ledger.head}


def _count(rows: Sequence[Row]) -> dict[str, Any]:
    states = Counter(row["state"] for row in rows)
    other = sum(states[state] for state in ("wrong key", "not sealed", "unreadable"))
    return {
        "files": len(rows),
        "sound": states["sound"],
        "altered": len(rows) - states["sound"] - other,
        "other": other,
        "states": dict(states),
    }
