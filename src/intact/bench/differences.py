"""Which methods differ for real: each one against a named reference, on the same images.

The reference is named beforehand. To take the best one would be to choose by test labels, and the
best of many is in part the luckiest.

A method has a score for each image and seed; its AUROC is the mean over seeds. In each resample
patients are drawn within each class, for both methods the same ones, and seeds are drawn for each
method, so that the interval of the difference covers both the choice of test images and the chance
in training. Where a method was trained with one seed only, the chance in its training is unknown and
is not covered. The p-value is twice the share of resampled differences on the other side of zero,
and over all comparisons of a benchmark the false discovery rate is held at 5 % (Benjamini and
Hochberg, 1995): a difference that is chosen so is called "real", any other "not told apart".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from intact import progress
from intact.bench.cells import Measured
from intact.bench.measures import Scored, by_kind
from intact.evaluate import NORMAL
from intact.metrics import auroc, benjamini_hochberg
from intact.metrics.resampling import aurocs, draw, interval
from intact.rows import Row

RESAMPLES = 2000
Q = 0.05  # accepted share of false discoveries
REAL, OPEN = "real", "not told apart"


@dataclass(frozen=True)
class Difference:
    """AUROC of one method less that of another, its 95 % interval, and the p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def compare(
    first: Float[ndarray, "n s"],
    second: Float[ndarray, "n t"],
    abnormal: Bool[ndarray, "n"],
    groups: Int[ndarray, "n"],
    seed: int = 0,
) -> Difference:
    """How much better `first` tells abnormal from normal images than `second`.

    Args:
        first: Scores of one method, one column per seed.
        second: Those of the other on the same images in the same order.
        abnormal: True where an image is abnormal.
        groups: The patient of each image.
        seed: Of the resampling.
    """
    counts, rng = draw(groups, abnormal, RESAMPLES, seed), np.random.default_rng(seed)
    values, means = [], []
    for scores in (first, second):
        each = np.stack([aurocs(column, abnormal, counts) for column in scores.T], axis=1)
        means.append(_of_drawn_seeds(each, rng))
        values.append(float(np.mean([auroc(column, abnormal) for column in scores.T])))
    differences = means[0] - means[1]
    found = interval(values[0] - values[1], differences)
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return Difference(found.value, found.low, found.high, min(1.0, 2 * (tail + 1) / (RESAMPLES + 1)))


def differences(measured: Sequence[Measured], reference: str) -> list[Row]:
    """Every entrant against the reference, for each pack and kind.

    Args:
        measured: Cells, in the order in which packs and entrants are to be told.
        reference: Name of an entrant; a pack on which it was not measured has no rows.

    Returns:
        Rows with the columns of differences.csv.
    """
    cells: dict[str, dict[str, list[Scored]]] = {}
    for one in measured:
        by_entrant = cells.setdefault(one.cell.pack.name, {})
        by_entrant.setdefault(one.cell.entrant.name, []).append(one.scored)
    asked = [
        (pack, name)
        for pack, found in cells.items()
        for name in found
        if reference in found and name != reference
    ]
    rows: list[Row] = []
    for pack, name in progress.track(asked, "comparing", len(asked)):
        rows += _against(pack, name, cells[pack][name], reference, cells[pack][reference])
    chosen = benjamini_hochberg(np.array([row["p"] for row in rows]), Q)
    return [row | {"verdict": REAL if real else OPEN} for row, real in zip(rows, chosen, strict=True)]


def _against(pack: str, name: str, own: list[Scored], reference: str, other: list[Scored]) -> list[Row]:
    first, (images, kinds, groups) = _table(own)
    second, (same, _, _) = _table(other)
    if not np.array_equal(images, same):
        raise ValueError(f"{name} and {reference} were not measured on the same images of {pack}")
    rows = []
    for kind, members in by_kind(kinds):
        found = compare(first[members], second[members], kinds[members] != NORMAL, groups[members])
        rows.append(
            {
                "pack": pack,
                "kind": kind,
                "method": name,
                "reference": reference,
                "images": int(members.sum()),
                "seeds": len(own),
                "reference_seeds": len(other),
                "difference": found.value,
                "low": found.low,
                "high": found.high,
                "p": found.p,
            }
        )
    return rows


def _table(cells: list[Scored]) -> tuple[Float[ndarray, "n s"], tuple[Shaped[ndarray, "n"], ...]]:
    """Scores with one column per cell; the same pack gives the same images in the same order."""
    first = cells[0]
    return np.stack([cell.score for cell in cells], axis=1), (first.image, first.kind, first.group)


def _of_drawn_seeds(
    each: Float[ndarray, "resamples s"], rng: np.random.Generator
) -> Float[ndarray, "resamples"]:
    """Mean over as many seeds as there are, drawn anew in each resample."""
    drawn = rng.integers(each.shape[1], size=each.shape)
    return np.take_along_axis(each, drawn, axis=1).mean(axis=1)
