"""From pairs of places that look alike to clones: common shifts, and whether the noise repeats too.

Anatomy repeats: ribs, vertebrae, two halves of a brain. Noise does not. Two regions that share their
noise are one measurement, copied; two that share anatomy alone are genuine twins. Measured on textured
phantoms, genuine twins reach a correlation of 0.16 and copies stay above 0.5 under blending, JPEG and
added noise of the image's own strength. How many pixels of noise there are to compare is told by the
noise of the region itself: what compression left there may be smooth, and repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import stats

from intact.forensics.texture import SEAM
from intact.residual import correlation, without_structure

NOISE = 1.5  # sigma of the blur whose difference to the image counts as noise, in pixels
TWINS = 0.16  # correlation of noise that genuine twins reach
COPIED = 0.4  # above it, noise was copied
BESIDE, FALLS_TO = 5, 0.5  # pixels away from a copy its likeness is gone; of an edge, it is not
GRID = 8  # pixels after which what JPEG left repeats
AWAY = [(-BESIDE, 0), (BESIDE, 0), (0, -BESIDE), (0, BESIDE), (-GRID, 0), (GRID, 0), (0, -GRID), (0, GRID)]
FEWEST = 40  # pixels of noise that can be compared
SURE = 1e-4  # p-value from which on a clone is believed
CALM = 2.0  # times the median size of noise; what is stronger can be an edge,
SHARED = 0.3  # and without it a copy keeps so much of its likeness at least
LAG = 3  # pixels over which noise may be correlated with itself
TOLERANCE = 2  # pixels by which shifts of one clone may differ
MOST = 12  # shifts that are looked into

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Values = Float[ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Clone:
    """Two regions that are a shift apart and show the same.

    Args:
        shift: From one to the other, (rows, columns) in pixels.
        mask: One of them; the other is this, shifted.
        correlation: Of their noise.
        p_value: How often genuine twins would share so much noise, at this size and over all shifts
            that were tried.
    """

    shift: tuple[int, int]
    mask: Mask
    correlation: float
    p_value: float

    @property
    def both(self) -> Mask:
        """Both regions."""
        return self.mask | shifted(self.mask, self.shift)


def find_clones(
    plane: Field, pairs: Int[ndarray, "m 4"], *, size: int, votes: int, valid: Mask
) -> list[Clone]:
    """The shifts that many pairs agree on, and whether the noise of what they cover repeats.

    Args:
        plane: The image.
        pairs: Row and column of a block's middle, and of its like's.
        size: Side of the blocks in pixels.
        votes: Pairs that have to agree.
        valid: Where there is anything to compare.

    Returns:
        Those whose noise repeats, the surest first.
    """
    shifts = pairs[:, 2:] - pairs[:, :2]
    turned = (shifts[:, 0] < 0) | ((shifts[:, 0] == 0) & (shifts[:, 1] < 0))
    starts = np.where(turned[:, None], pairs[:, 2:], pairs[:, :2])
    shifts = np.where(turned[:, None], -shifts, shifts)
    common = _common_shifts(shifts, plane.shape, votes)
    if not common:
        return []
    noise = without_structure(plane - cv2.GaussianBlur(plane, (0, 0), NOISE), valid)
    found = []
    for shift in common:
        down, right = (np.abs(shifts[:, axis] - shift[axis]) <= TOLERANCE for axis in (0, 1))
        near = down & right
        mask = _covered(starts[near], plane.shape, size) & valid
        clone = _confirmed(noise, mask, shift, tests=len(common))
        if clone is not None:
            found.append(clone)
    return sorted(found, key=lambda clone: clone.p_value)


def shifted(mask: Mask, shift: tuple[int, int]) -> Mask:
    """A mask moved by a shift; what leaves the frame is lost."""
    moved = np.zeros_like(mask)
    ours, theirs = _overlap(mask.shape, shift)
    moved[theirs] = mask[ours]
    return moved


def _common_shifts(shifts: Int[ndarray, "m 2"], shape: tuple[int, int], votes: int) -> list[tuple[int, int]]:
    """Shifts with so many votes within the tolerance, the most common first, each only once."""
    height, width = shape
    cells = shifts[:, 0].astype(np.int64) * 2 * width + shifts[:, 1] + width
    counts = np.bincount(cells, minlength=height * 2 * width).reshape(height, 2 * width).astype(np.float32)
    window = 2 * TOLERANCE + 1
    sums = cv2.boxFilter(counts, -1, (window, window), normalize=False, borderType=cv2.BORDER_CONSTANT)
    found: list[tuple[int, int]] = []
    while len(found) < MOST:
        row, column = np.unravel_index(int(sums.argmax()), sums.shape)
        if sums[row, column] < votes:
            break
        found.append((int(row), int(column) - width))
        sums[max(row - window, 0) : row + window + 1, max(column - window, 0) : column + window + 1] = 0
    return found


def _covered(starts: Int[ndarray, "m 2"], shape: tuple[int, int], size: int) -> Mask:
    """What blocks with these middles cover, without lone ones."""
    middles = np.zeros(shape, np.uint8)
    middles[starts[:, 0], starts[:, 1]] = 1
    joined = cv2.morphologyEx(middles, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    whole = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(whole, np.ones((size, size), np.uint8)) > 0


def _confirmed(noise: Field, mask: Mask, shift: tuple[int, int], tests: int) -> Clone | None:
    """The clone, if the noise repeats at this shift or one beside it, and nowhere near that."""
    # The blur brings what is outside a copy some pixels in.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((SEAM, SEAM), np.uint8)) > 0
    places = np.argwhere(inner)
    if len(places) < FEWEST:
        return None
    steps = range(-TOLERANCE, TOLERANCE + 1)
    tried = [(shift[0] + dy, shift[1] + dx) for dy in steps for dx in steps]
    best, exact = max((_likeness(*_values(noise, places, one)), one) for one in tried)
    if best < COPIED:
        return None
    # An edge is like itself further along without having been copied, and so is a grid of JPEG.
    away = [(exact[0] + dy, exact[1] + dx) for dy, dx in AWAY]
    if max(_likeness(*_values(noise, places, one)) for one in away) > FALLS_TO * best:
        return None
    if _likeness(*_calm(noise, places, exact)) < SHARED * best:
        return None
    (top, left), (down, right) = places.min(axis=0), places.max(axis=0) + 1
    spread = _self_correlation(noise[top:down, left:right], inner[top:down, left:right])
    deviations = (best - TWINS) * np.sqrt(len(places) / spread)
    p_value = tests * len(tried) * float(stats.norm.sf(deviations))
    return Clone(exact, mask, best, p_value) if p_value < SURE else None


def _values(noise: Field, places: Int[ndarray, "n 2"], shift: tuple[int, int]) -> tuple[Values, Values]:
    """The noise at some places, and what lies a shift away from each."""
    there = places + shift
    seen = ((there >= 0) & (there < noise.shape)).all(axis=1)
    return noise[tuple(places[seen].T)], noise[tuple(there[seen].T)]


def _calm(noise: Field, places: Int[ndarray, "n 2"], shift: tuple[int, int]) -> tuple[Values, Values]:
    """The same without the strongest values: few pixels of an edge outweigh all noise around it."""
    here, there = _values(noise, places, shift)
    calm = np.maximum(np.abs(here), np.abs(there)) < CALM * np.median(np.abs(here))
    return here[calm], there[calm]


def _likeness(here: Values, there: Values) -> float:
    """The correlation of two samples of noise; 0 where there is none."""
    return correlation(here, there) if here.size else 0.0


def _self_correlation(noise: Field, inside: Mask | None = None) -> float:
    """The sum of squares of the noise's correlation with itself: pixels that count as one."""
    inside = np.ones(noise.shape, bool) if inside is None else inside
    centred = np.where(inside, noise - noise[inside].mean(), 0)
    power = float((centred**2).sum()) / float(np.count_nonzero(inside))
    if not power:
        return 1.0
    total = 0.0
    for dy in range(-LAG, LAG + 1):
        for dx in range(-LAG, LAG + 1):
            ours, theirs = _overlap(noise.shape, (dy, dx))
            both = max(1.0, float(np.count_nonzero(inside[ours] & inside[theirs])))
            total += (float((centred[ours] * centred[theirs]).sum()) / both / power) ** 2
    return total


def _overlap(shape: tuple[int, int], shift: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The parts of a plane that a shift brings over each other."""
    ours = tuple(slice(max(-s, 0), n - max(s, 0)) for n, s in zip(shape, shift, strict=True))
    theirs = tuple(slice(max(s, 0), n - max(-s, 0)) for n, s in zip(shape, shift, strict=True))
    return ours, theirs
