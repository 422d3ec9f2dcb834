"""Which slices of a volume do not continue the anatomy of their neighbours.

Anatomy changes little from one slice to the next, and evenly. A slice that is less like both its
neighbours than these are like each other is out of its place, or another patient's. Where that holds
for one spot alone, something was put into that slice. Where two slices differ twice as much as those
before and those after them, one between them is missing.

Everything is measured in averages of some pixels, so that noise counts for little.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

COARSE = 4  # pixels that are averaged
BETTER = 0.6  # of the unlikeness is left when two slices are exchanged back, at most
FAR = 8  # slices apart that an exchange is looked for
ALIKE = 0.75  # of a slice's mean unlikeness to its neighbours is theirs to each other; genuinely 1 and more
LEAST = 1e-3  # unlikeness below which nothing is told: empty slices are all alike
JUMP = 1.9  # times the change before and after: a slice is missing; genuine volumes reach 1.7
ODD = 3.0  # standard deviations by which such a jump exceeds the volume's others
TISSUE = 0.3  # of a usual slice's contrast; what has less is the end of the body
WINDOW = 32  # pixels, side of the windows in which a spot is looked for
SPOT = 0.7  # times what the neighbours differ by, at least,
ALONE = 1.7  # and times that of any other place; genuine volumes reach 1.4
_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation

Coarse = Float[ndarray, "d h w"]


class Spot(NamedTuple):
    """A place in one slice that its neighbours do not continue."""

    slice_: int
    row: int  # of its centre, in pixels
    column: int
    times: float  # the slice's difference to both neighbours over theirs to each other,
    elsewhere: float  # and the largest such value in the rest of the volume


def coarse(slices: Num[ndarray, "d h w"]) -> Coarse:
    """Slices in averages of 4 by 4 pixels."""
    size = tuple(max(2, n // COARSE) for n in slices.shape[:0:-1])
    return np.stack(
        [cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_AREA) for one in slices]
    )


def unlike(volume: Coarse) -> Float[ndarray, "d d"]:
    """How unlike slices are: 1 less their correlation, in averages of twice as many pixels."""
    size = tuple(max(2, n // 2) for n in volume.shape[:0:-1])
    flat = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA).ravel() for one in volume])
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 0, length, 1)
    return 1.0 - flat @ flat.T


def exchanged(apart: Float[ndarray, "d d"]) -> list[tuple[int, int]]:
    """Pairs of slices that follow their neighbours much better in each other's place."""
    found: list[tuple[int, int]] = []
    order = list(range(len(apart)))
    while (pair := _best_exchange(apart, order)) and len(found) < len(order) // 2:
        one, other = pair
        order[one], order[other] = order[other], order[one]
        found.append(pair)
    return found


def _best_exchange(apart: Float[ndarray, "d d"], order: list[int]) -> tuple[int, int] | None:
    """The two places whose exchange leaves the least of the unlikeness around them."""
    last = len(order) - 1
    best, pair = BETTER, None
    for one in range(last):
        for other in range(one + 1, min(one + FAR, last) + 1):
            tried = order.copy()
            tried[one], tried[other] = order[other], order[one]
            steps = [n for n in {one - 1, one, other - 1, other} if 0 <= n < last]
            now = sum(apart[order[n], order[n + 1]] for n in steps)
            then = sum(apart[tried[n], tried[n + 1]] for n in steps)
            if now > LEAST and then < best * now:
                best, pair = then / now, (one, other)
    return pair


def foreign(apart: Float[ndarray, "d d"]) -> list[int]:
    """Slices less like their neighbours than these are like each other."""
    off = (np.diagonal(apart, 1)[:-1] + np.diagonal(apart, 1)[1:]) / 2
    return [int(n) + 1 for n in np.flatnonzero((off > LEAST) & (np.diagonal(apart, 2) < ALIKE * off))]


def missing(volume: Coarse) -> dict[int, float]:
    """Where a slice is missing, after which place, and how many times larger the change is there."""
    flat = volume.reshape(len(volume), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    contrast = np.linalg.norm(flat, axis=1)
    tissue = contrast > TISSUE * np.median(contrast)
    change = (np.diff(flat, axis=0) ** 2).sum(axis=1)
    beside = np.maximum(change[:-2], change[2:])
    inside = tissue[:-3] & tissue[1:-2] & tissue[2:-1] & tissue[3:] & (beside > 0) & (change[1:-1] > 0)
    if not inside.any():
        return {}
    jumps = np.where(inside, change[1:-1] / np.where(inside, beside, 1), np.nan)
    logs = np.log(jumps)
    usual = np.nanmedian(logs)
    odd = logs - usual > ODD * _MAD * np.nanmedian(np.abs(logs - usual))
    return {int(n) + 1: float(jumps[n]) for n in np.flatnonzero(odd & (jumps > JUMP))}


def spots(volume: Coarse) -> list[Spot]:
    """The one place, if there is one, where a slice differs from both neighbours and these do not."""
    window, step = WINDOW // COARSE, WINDOW // COARSE // 2
    inner = (slice(step // 2, None, step),) * 2

    def mean(field: Float[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
        return cv2.boxFilter(field, -1, (window, window), borderType=cv2.BORDER_REFLECT)[inner]

    steps = np.stack([mean((after - before) ** 2) for before, after in pairwise(volume)])
    across = np.stack(
        [mean((after - before) ** 2) for before, after in zip(volume, volume[2:], strict=False)]
    )
    usual = float(across.mean())
    if not usual:
        return []
    times = np.minimum(steps[:-1], steps[1:]) / (across + usual)
    at, row, column = np.unravel_index(int(times.argmax()), times.shape)
    others = times[np.abs(np.arange(len(times)) - at) > 1]
    best, elsewhere = float(times[at, row, column]), float(others.max(initial=0))
    if best < SPOT or not len(others) or best < ALONE * elsewhere:
        return []
    place = [COARSE * (int(n) * step + step // 2) for n in (row, column)]
    return [Spot(int(at) + 1, place[0], place[1], best, elsewhere)]
