"""What a benchmark leaves behind: its tables, the score of every image, and the page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intact._version import __version__
from intact.anomaly import METHODS
from intact.bench.cells import Entrant, Failed, Measured
from intact.bench.differences import differences
from intact.bench.protocol import protocol
from intact.bench.summary import rows_of, summarise
from intact.bench.tables import markdown
from intact.evaluate import NORMAL
from intact.io.atomic import put
from intact.report.bench import Comparison, write_comparison
from intact.rows import Row, write_rows


@dataclass(frozen=True, eq=False)
class Benched:
    """What a benchmark came to.

    Args:
        out: Folder of the results.
        made: Measurements made now; the others were there from an earlier run.
        rows: Those of results.csv.
        comparison: What the page shows.
        left_out: Files of packs that could not be used, and why.
    """

    out: Path
    made: int
    rows: list[Row]
    comparison: Comparison
    left_out: dict[str, str]

    @property
    def failed(self) -> list[Row]:
        """Measurements that could not be made: pack, method, seed and reason."""
        return self.comparison.failed


def tell(
    found: Sequence[Measured | Failed], out: Path, *, alpha: float, reference: str, made: int, started: float
) -> Benched:
    """Write all that is to be told of some cells.

    Args:
        found: Of all packs, methods and seeds.
        out: An existing folder.
        alpha: False-alarm rate.
        reference: Name of the entrant that others are compared with.
        made: How many of them were measured now.
        started: When, by `time.monotonic`.

    Raises:
        OutputError: Results cannot be written.
    """
    measured = [one for one in found if isinstance(one, Measured)]
    failed = [row for one in found if isinstance(one, Failed) for row in _rows(one, alpha)]
    rows = [row for one in found for row in _rows(one, alpha)]
    compared = differences(measured, reference)
    asked = Counter((one.cell.pack.name, one.cell.entrant.name) for one in found)
    summaries = [row | {"asked": asked[row["pack"], row["method"]]} for row in summarise(measured, alpha)]
    packs = {one.cell.pack.name: one.cell.pack for one in found}
    entrants = {one.cell.entrant.name: one.cell.entrant for one in found}
    comparison = Comparison(
        run={
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": time.monotonic() - started,
            "intact": __version__,
            "paths": [str(pack.folder) for pack in packs.values()],
            "alpha": alpha,
            "reference": reference,
            "seeds": sorted({one.cell.seed for one in found}),
            "cells": len(found),
            "devices": sorted({one.record["device"] for one in measured}),
        },
        packs=[_about(name, measured) for name in packs],
        entrants=[_described(entrant, measured) for entrant in entrants.values()],
        summaries=summaries,
        differences=compared,
        failed=failed,
        protocol=protocol(alpha, reference),
    )
    write_rows(out / "results.csv", rows)
    write_rows(out / "differences.csv", compared)
    write_rows(out / "scores.csv", [row for one in measured for row in _scores(one, alpha)], exact=True)
    put(out / "results.md", markdown(comparison).encode("utf-8", "replace"))
    write_comparison(out, comparison)
    left_out = {
        f"{one.cell.pack.name}/{name}": reason for one in measured for name, reason in one.record["left_out"]
    }
    return Benched(out, made, rows, comparison, left_out)


def _rows(one: Measured | Failed, alpha: float) -> list[Row]:
    """What results.csv says of a cell; one that was not measured has a row with the reason."""
    if isinstance(one, Measured):
        return [row | {"not_measured": ""} for row in rows_of(one, alpha)]
    cell = one.cell
    return [
        {
            "pack": cell.pack.name,
            "method": cell.entrant.name,
            "seed": cell.seed,
            "kind": "",
            "not_measured": one.reason,
        }
    ]


def _scores(one: Measured, alpha: float) -> list[Row]:
    cell, scored = one.cell, one.scored
    key = {"pack": cell.pack.name, "method": cell.entrant.name, "seed": cell.seed}
    columns = (scored.kind, scored.image, scored.group, scored.score, scored.p)
    return [
        key
        | {"kind": kind, "image": image, "patient": group, "score": score, "p": p, "flagged": int(p <= alpha)}
        for kind, image, group, score, p in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _about(pack: str, measured: Sequence[Measured]) -> Row:
    """What a pack holds, as far as a measurement has seen it."""
    own = [one for one in measured if one.cell.pack.name == pack]
    if not own:
        return {"name": pack, "test": {}, "left_out": 0}
    kinds = own[0].scored.kind.tolist()
    names = sorted(set(kinds), key=lambda kind: (kind != NORMAL, kind))
    return {
        "name": pack,
        "test": {name: kinds.count(name) for name in names},
        "left_out": len(own[0].record["left_out"]),
    }


def _described(entrant: Entrant, measured: Sequence[Measured]) -> Row:
    kind = METHODS[entrant.method]
    used = next((one.record for one in measured if one.cell.entrant.name == entrant.name), None)
    return {
        "name": entrant.name,
        "method": entrant.method,
        "family": kind.family,
        "source": kind.source,
        "set": dict(entrant.fields),
        "fields": used["fields"] if used else {},
        "notes": used["notes"] if used else [],
    }
