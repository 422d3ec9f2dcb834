"""Whether the slices of a volume follow one another as anatomy and noise do: check B5.

Noise never repeats: two slices whose fine structure is the same hold the same measurement, and one whose
fine structure is a mixture of its neighbours' was computed from them. Anatomy changes little from one
slice to the next: a slice that is less like both its neighbours than these are like each other is out of
its place, or another patient's.

Nothing is said of films and of stacks of fewer than five slices. In reconstructions that overlap, and in
averages of slabs, all neighbours share noise: there only exact copies are told. A series
that was turned around as a whole follows as well as before.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.forensics.base import Finding, Severity

FEWEST = 5  # slices
FINE = 1.0  # sigma of the blur whose difference to a slice is its fine structure, in pixels
COARSE = 8  # pixels that are averaged for what two slices have in common as anatomy
COPY = 0.95  # correlation of fine structure above which two slices hold one measurement,
EXACT = 0.998  # and in volumes so smooth that
SMOOTH = 0.6  # neighbours always correlate so much
BETTER = 0.6  # of the unlikeness is left when two slices are exchanged back, at most
FAR = 8  # slices apart that an exchange is looked for
ALIKE = 0.75  # of a slice's mean unlikeness to its neighbours is theirs to each other; genuinely 1 and more
LEAST = 1e-3  # unlikeness below which nothing is told: empty slices are all alike


def examine_continuity(slices: Float[ndarray, "d h w"], names: tuple[str, ...]) -> list[Finding]:
    """What of a volume does not follow.

    Args:
        slices: Of one volume, in the order of their places, in any unit.
        names: The file of each.

    Returns:
        Findings of repeated, computed and misplaced slices; none for fewer than five slices.
    """
    if len(slices) < FEWEST:
        return []
    coarse = np.stack([_normalised(_coarse(one)) for one in slices])
    unlike = 1.0 - coarse @ coarse.T
    fine = np.stack([_normalised(one - cv2.GaussianBlur(one, (0, 0), FINE)) for one in slices])
    alike = fine @ fine.T
    return [
        *_repeated(alike, names),
        *_computed(alike, names),
        *(_exchanged(unlike, names) or _foreign(unlike, names)),
    ]


def _repeated(alike: Float[ndarray, "d d"], names: tuple[str, ...]) -> list[Finding]:
    """Pairs of slices with the same noise, neighbours or not."""
    limit = COPY if np.median(np.diagonal(alike, 1)) < SMOOTH else EXACT
    return [
        Finding(
            "B5",
            Severity.IMPOSSIBLE,
            "",
            f"Slices {one + 1} and {other + 1} have the same noise (correlation {alike[one, other]:.3f}): "
            "one is a copy of the other.",
            (names[one], names[other]),
        )
        for one, other in np.argwhere(np.triu(alike, 1) > limit)
    ]


def _computed(alike: Float[ndarray, "d d"], names: tuple[str, ...]) -> list[Finding]:
    """Slices whose noise is a mixture of their neighbours' noise: means and interpolations."""
    before, after, across = np.diagonal(alike, 1)[:-1], np.diagonal(alike, 1)[1:], np.diagonal(alike, 2)
    if np.median(before) >= SMOOTH:  # every slice is a mixture of its neighbours
        return []
    # The multiple correlation of a slice with both neighbours; undefined where these are copies.
    explained = (before**2 + after**2 - 2 * before * after * across) / np.maximum(1 - across**2, 1e-9)
    known = (np.maximum(before, after) <= COPY) & (across <= COPY)
    return [
        Finding(
            "B5",
            Severity.IMPOSSIBLE,
            "",
            f"The noise of slice {n + 2} is a mixture of its neighbours' (correlation "
            f"{np.sqrt(explained[n]):.3f}): it was computed from them.",
            (names[n + 1],),
        )
        for n in np.flatnonzero(known & (explained > COPY**2))
    ]


def _exchanged(unlike: Float[ndarray, "d d"], names: tuple[str, ...]) -> list[Finding]:
    """Pairs of slices that follow their neighbours much better in each other's place."""
    found: list[Finding] = []
    order = list(range(len(unlike)))
    while (pair := _best_exchange(unlike, order)) and len(found) < len(order) // 2:
        one, other = pair
        order[one], order[other] = order[other], order[one]
        said = f"Slices {one + 1} and {other + 1} would follow their neighbours better if exchanged."
        found.append(Finding("B5", Severity.UNUSUAL, "", said, (names[one], names[other])))
    return found


def _best_exchange(unlike: Float[ndarray, "d d"], order: list[int]) -> tuple[int, int] | None:
    """The two places whose exchange leaves the least of the unlikeness around them."""
    last = len(order) - 1
    best, pair = BETTER, None
    for one in range(last):
        for other in range(one + 1, min(one + FAR, last) + 1):
            tried = order.copy()
            tried[one], tried[other] = order[other], order[one]
            steps = [n for n in {one - 1, one, other - 1, other} if 0 <= n < last]
            now = sum(unlike[order[n], order[n + 1]] for n in steps)
            then = sum(unlike[tried[n], tried[n + 1]] for n in steps)
            if now > LEAST and then < best * now:
                best, pair = then / now, (one, other)
    return pair


def _foreign(unlike: Float[ndarray, "d d"], names: tuple[str, ...]) -> list[Finding]:
    """Slices less like their neighbours than these are like each other."""
    found = []
    for n in range(1, len(unlike) - 1):
        off = (unlike[n - 1, n] + unlike[n, n + 1]) / 2
        if off > LEAST and unlike[n - 1, n + 1] < ALIKE * off:
            said = (
                f"Slice {n + 1} is less like its neighbours than they are like each other: it is out of its "
                "place, or of another volume."
            )
            found.append(Finding("B5", Severity.UNUSUAL, "", said, (names[n],)))
    return found


def _coarse(one: Float[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
    height, width = (max(2, n // COARSE) for n in one.shape)
    return cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)


def _normalised(field: Float[ndarray, "h w"]) -> Float[ndarray, "n"]:
    """As a vector of mean 0 and length 1, so that products are correlations."""
    vector = field.ravel() - field.mean()
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
