"""Whether the slices of a volume follow one another as noise and anatomy do: check B5.

`noise.py` tells which slices hold another's noise, `mixture.py` which are sums of their neighbours,
`anatomy.py` which do not continue the anatomy; here the findings come together. All limits are measured
against the volume itself, so that overlapping reconstructions and averages of slabs, whose neighbours
share most of their noise, need none of their own. Nothing is said of films, of stacks of fewer than five
slices, of slices below 32 pixels and of masks. A series that was turned around as a whole follows as well
as before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Num
from numpy import ndarray

from intact.forensics.base import Finding, Severity
from intact.forensics.slices.anatomy import Spot, coarse, exchanged, foreign, missing, spots, unlike
from intact.forensics.slices.mixture import mixtures
from intact.forensics.slices.noise import computed, correlations, fine, repeated, without_edges

FEWEST = 5  # slices
SMALLEST = 32  # pixels of a side
LEVELS = 16  # fewer different values are a mask's
MANY = 0.2  # of all slices with one trace: then the whole volume was resampled


def examine_continuity(slices: Num[ndarray, "d h w"], names: Sequence[str]) -> list[Finding]:
    """What of a volume does not follow.

    Args:
        slices: Of one volume, in the order of their places, of any type and in any unit.
        names: The file of each.

    Returns:
        Findings of repeated, computed, misplaced and missing slices, and of spots that do not continue.
    """
    if len(slices) < FEWEST or min(slices.shape[1:]) < SMALLEST or _is_mask(slices):
        return []
    noise = fine(slices)
    cut = correlations(without_edges(noise))
    anatomy = coarse(slices)
    exact = mixtures(slices)
    mixed = {n: share for n, share in computed(correlations(noise), cut).items() if n not in exact}
    known = {*exact, *mixed}
    copies = {pair: share for pair, share in repeated(cut).items() if not {*pair} & known}
    if max(len(copies), len(known)) > max(1, MANY * len(slices)):
        return [_resampled(max(len(copies), len(known)), names)]
    apart = unlike(anatomy)
    swaps = exchanged(apart)
    strangers = [] if swaps else foreign(apart)
    found = [
        *(_copy(pair, share, names) for pair, share in copies.items()),
        *(_sum(n, share, names) for n, share in exact.items()),
        *(_mixture(n, share, names) for n, share in mixed.items()),
        *(_swap(pair, names) for pair in swaps),
        *(_stranger(n, names) for n in strangers),
    ]
    # What is odd beside a slice that was replaced needs no other cause.
    known |= {*sum(copies, ()), *sum(swaps, ()), *strangers}
    gaps = missing(anatomy)
    found += [_gap(n, jump, names) for n, jump in gaps.items() if not known & {n - 1, n, n + 1, n + 2}]
    return found if known else [*found, *(_spot(spot, names) for spot in spots(anatomy))]


def _copy(pair: tuple[int, int], share: float, names: Sequence[str]) -> Finding:
    one, other = pair
    said = (
        f"Slices {one + 1} and {other + 1} have the same noise (correlation {share:.3f}): "
        "one is a copy of the other."
    )
    return Finding("B5", Severity.IMPOSSIBLE, "", said, (names[one], names[other]))


def _sum(n: int, off: float, names: Sequence[str]) -> Finding:
    said = (
        f"Slice {n + 1} is one weighted sum of its neighbours, to within rounding, at {1 - off:.1%} of the "
        "places that were compared: it was computed from them."
    )
    return Finding("B5", Severity.IMPOSSIBLE, "", said, (names[n],))


def _mixture(n: int, share: float, names: Sequence[str]) -> Finding:
    said = (
        f"The noise of slice {n + 1} is a mixture of its neighbours' (correlation {share:.3f}): it was "
        "computed from them."
    )
    return Finding("B5", Severity.IMPOSSIBLE, "", said, (names[n],))


def _resampled(count: int, names: Sequence[str]) -> Finding:
    said = f"{count} of {len(names)} slices hold no noise of their own: the volume was resampled as a whole."
    return Finding("B5", Severity.BENIGN, "", said, tuple(names))


def _swap(pair: tuple[int, int], names: Sequence[str]) -> Finding:
    one, other = pair
    said = f"Slices {one + 1} and {other + 1} would follow their neighbours better if exchanged."
    return Finding("B5", Severity.UNUSUAL, "", said, (names[one], names[other]))


def _stranger(n: int, names: Sequence[str]) -> Finding:
    said = (
        f"Slice {n + 1} is less like its neighbours than they are like each other: it is out of its "
        "place, or of another volume."
    )
    return Finding("B5", Severity.UNUSUAL, "", said, (names[n],))


def _gap(n: int, jump: float, names: Sequence[str]) -> Finding:
    said = (
        f"From slice {n + 1} to {n + 2} the anatomy changes {jump:.1f} times as much as before and after: "
        "a slice between them is missing, or the patient moved."
    )
    return Finding("B5", Severity.UNUSUAL, "", said, (names[n], names[n + 1]))


def _spot(spot: Spot, names: Sequence[str]) -> Finding:
    said = (
        f"Around row {spot.row}, column {spot.column} of slice {spot.slice_ + 1} there is something that "
        f"neither neighbouring slice continues (difference {spot.times:.1f} times that of the neighbours to "
        f"each other; nowhere else more than {spot.elsewhere:.1f})."
    )
    return Finding("B5", Severity.UNUSUAL, "", said, (names[spot.slice_],))


def _is_mask(slices: Num[ndarray, "d h w"]) -> bool:
    sample = slices[:: max(1, len(slices) // 16), ::4, ::4]
    return len(np.unique(sample)) < LEVELS
