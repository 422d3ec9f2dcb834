"""Seeds together: one row per pack, kind and method.

Two things are told apart. The interval of AUROC and of average precision is that of the mean over
seeds when test patients are drawn anew: how far other test images might move it. The range from the
lowest to the highest seed is how far another training moved it. Neither contains the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intact import progress
from intact.bench.cells import Measured
from intact.bench.measures import RESAMPLES, by_kind, decide, spread_out
from intact.evaluate import NORMAL
from intact.metrics.resampling import Statistic, aurocs, average_precisions, draw, interval
from intact.rows import Row

METRICS: dict[str, Statistic] = {"auroc": aurocs, "average_precision": average_precisions}
COSTS = ("fit_s", "images_per_s", "peak_mib", "imported_mib", "model_mib")
MEANS = (  # over seeds, without an interval
    "partial_auroc",
    "sensitivity_at_95",
    "accuracy",
    "f1",
    "flagged_rate",
    "false_alarm_rate",
    "aupro",
    "dice_at_5_fpr",
    *COSTS,
)


def rows_of(measured: Measured, alpha: float) -> list[Row]:
    """What results.csv says of one cell: a row per kind."""
    cell, record = measured.cell, measured.record
    decided = decide(measured.scored, alpha, record["normals_calibrated"])
    return [
        {
            "pack": cell.pack.name,
            "method": cell.entrant.name,
            "seed": cell.seed,
            "kind": kind,
            **ranked,
            **decided[kind],
            "alpha": alpha,
            "calibrated_on": record["normals_calibrated"],
            **{name: record[name] for name in COSTS},
            "left_out": len(record["left_out"]),
            "intact": record["identity"]["intact"],
            "torch": record["identity"]["torch"],
            "python": record["python"],
            "device": record["device"],
            "measured": record["measured"],
        }
        for kind, ranked in record["kinds"].items()
    ]


def summarise(measured: Sequence[Measured], alpha: float) -> list[Row]:
    """One row per pack, kind and method, in the order in which they first appear."""
    cells: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        cells.setdefault((one.cell.pack.name, one.cell.entrant.name), []).append(one)
    found = []
    for of_seeds in progress.track(cells.values(), "summing up", len(cells)):
        found += _together(of_seeds, alpha)
    return found


def _together(cells: Sequence[Measured], alpha: float) -> list[Row]:
    first = cells[0].scored
    every = [row for cell in cells for row in rows_of(cell, alpha)]
    scores = np.stack([cell.scored.score for cell in cells], axis=1)
    rows = []
    for kind, members in by_kind(first.kind):
        own = [row for row in every if row["kind"] == kind]
        row: Row = {name: own[0][name] for name in ("pack", "kind", "method", "n", "normals")}
        row["seeds"] = [cell.cell.seed for cell in cells]
        row["learned_from"] = min(cell.record["normals_fitted"] for cell in cells)
        row["calibrated_on"] = min(cell.record["normals_calibrated"] for cell in cells)
        truth = first.kind[members] != NORMAL
        counts = draw(first.group[members], truth, RESAMPLES)
        for name in METRICS:
            row |= _interval(name, own, scores[members], truth, counts)
            row |= {f"{name}_least": min(_column(own, name)), f"{name}_most": max(_column(own, name))}
        row |= {name: float(np.mean(_column(own, name))) for name in MEANS if name in own[0]}
        if "false_alarms" in own[0]:
            row["more_alarms"] = sum(r["false_alarms"] > r["expected_alarms_high"] for r in own)
        rows.append(row)
    return rows


def _interval(
    name: str,
    own: Sequence[Row],
    scores: Float[ndarray, "n s"],
    truth: Bool[ndarray, "n"],
    counts: Int[ndarray, "resamples n"],
) -> dict[str, float]:
    """Of the mean over seeds."""
    resampled = np.mean([METRICS[name](column, truth, counts) for column in scores.T], axis=0)
    return spread_out(name, interval(float(np.mean(_column(own, name))), resampled))


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows]
