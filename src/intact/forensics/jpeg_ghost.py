"""JPEG ghosts: a region that was once compressed more coarsely than the image it is in now.

Farid, "Exposing digital forgeries from JPEG ghosts", IEEE TIFS 4(1), 2009. Compress an image once more, at
one quality after another: where it was compressed at that quality before, hardly anything changes, as
its cosine coefficients already lie near multiples of those steps. At that quality the region stands out
from the rest as a dark ghost.

Differs from the paper: the change is computed from coefficients of 8 x 8 windows, without writing files,
and for all 64 places of the grid, as a pasted region seldom keeps its own. Of the coefficients only the
lowest frequencies count, of these only what does not round to zero, and relative to the step: so much
of a step is then left uniformly by chance, whatever the image shows. Windows of 3 and 6 blocks to a side
(17 x 17 pixels in the paper) are found with a number of false alarms over all windows, grids and
qualities that are tried, and no threshold has to be learned. Qualities go from 50 to 92 in steps of 6,
then singly about the best. The statistic of Kolmogorov and Smirnov between inside and outside is told, and
is the height of the map. On a grid where all of an image changes little it was compressed before as a
whole: there are no ghosts on that one, nor on the image's own, on which the last compression decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import stats

from intact.forensics.base import Evidence, Examiner
from intact.forensics.jpeg.blocks import SIDE, sliding_coefficients, standard_table
from intact.forensics.jpeg.history import History, jpeg_history, jpeg_luma
from intact.forensics.jpeg.votes import GRIDS, NONE
from intact.forensics.texture import not_flat
from intact.image import Image
from intact.residual import LAPLACIAN

FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))  # down, across
QUALITIES = range(50, 93, 6)
BETWEEN = 5  # qualities to either side of the best that are tried then
LEAST_STEP = 3  # smaller steps tell nothing after rounding to pixels
WINDOWS = (3, 6)  # blocks to a side
FEWEST = 24  # coefficients in a window
VARIANCE = 0.8  # of the square of a uniform value, over the square of its mean
ELSEWHERE = 0.85  # of the change by chance is left where an image was not compressed as a whole
OWN = 0.3  # share of the votes that the grid of a whole image has
BESIDE = 6.0  # decades by which chance is underrated on grids that share rows or columns with the image's
LEVEL = 0.2  # grey levels by which pixels miss that plane, at most
DRAWN = 0.8  # share of them: test patterns have 0.87 and more, real images up to 0.45
LIMIT = -4.0  # decimal logarithm of the number of false alarms below which a ghost is told

Plane = Float[ndarray, "h w"]
Blocks = Float[ndarray, "rows columns"]


class Ghost(NamedTuple):
    """A window that changes little.

    Args:
        log_alarms: Decimal logarithm of how often chance would leave so little.
        grid: Its place, 8 * row + column of its origin.
        quality: At which it changes least.
        window: Its blocks.
    """

    log_alarms: float
    grid: int
    quality: int
    window: tuple[slice, slice]


@dataclass(eq=False)
class JPEGGhost(Examiner):
    """Finds regions that were pasted from a file of lower JPEG quality, or of any into one that had none."""

    kind = "compression"
    source = "Farid, IEEE TIFS 4(1), 2009"

    def _examine(self, plane: Plane, valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        luma = jpeg_luma(plane, image)
        if isinstance(luma, str):
            return self._abstain(luma)
        if min(luma.shape) < SIDE * (2 * max(WINDOWS) + 1):
            return self._abstain("the image is too small to compare a region with the rest")
        if _drawn(luma):
            return self._abstain("the image was drawn, not measured: flat areas with edges between them")
        waves = list(sliding_coefficients(luma, FREQUENCIES))
        ghost = _strongest(waves, _own_grid(jpeg_history(plane, image)))
        if ghost is None:
            return self._nothing(plane)
        top, left = divmod(ghost.grid, SIDE)
        blocks = [wave[top::SIDE, left::SIDE] for wave in waves]
        near = range(ghost.quality - BETWEEN, ghost.quality + BETWEEN + 1)
        quality = min(near, key=lambda quality: _left(*changes(blocks, quality), ghost.window))
        change, count = changes(blocks, quality)
        region = _region(change, count, ghost.window)
        inside, outside = _left(change, count, region), _left(change, count, ~region)
        if outside < ELSEWHERE or count[region].sum() > count[~region].sum():
            return self._nothing(plane)
        apart = _apart(blocks, quality, region)
        found = np.zeros(plane.shape, np.float32)
        whole = np.repeat(np.repeat(region, SIDE, axis=0), SIDE, axis=1)
        place = (slice(top, top + whole.shape[0]), slice(left, left + whole.shape[1]))
        found[place] = apart * whole[: found[place].shape[0], : found[place].shape[1]]
        said = (
            f"{np.count_nonzero(found):,} pixels hardly change when they are compressed at quality {quality} "
            f"on a grid {top} rows and {left} columns off the corner, {100 * inside:.0f} % of what "
            f"chance gives and {100 * outside:.0f} % elsewhere (Kolmogorov-Smirnov {apart:.2f}; number of "
            f"false alarms 1e{ghost.log_alarms:.0f}). They come from a file of that quality."
        )
        return Evidence(self.kind, -ghost.log_alarms, found, said, p_value=10.0**ghost.log_alarms)

    def _nothing(self, plane: Plane) -> Evidence:
        said = "No region looks as if it had been compressed at a lower quality than the rest."
        return Evidence(self.kind, 0.0, np.zeros(plane.shape, np.float32), said, p_value=1.0)


def _drawn(luma: Plane) -> bool:
    """Test patterns: even where something changes, most pixels lie in the plane of their neighbours."""
    changing = not_flat(luma)
    answers = np.abs(cv2.filter2D(luma, cv2.CV_32F, LAPLACIAN))
    return bool(np.count_nonzero(answers[changing] < LEVEL) >= DRAWN * np.count_nonzero(changing))


def changes(
    waves: list[Float[ndarray, "..."]], quality: int
) -> tuple[Float[ndarray, "..."], Float[ndarray, "..."]]:
    """How much windows change when they are compressed, and how many coefficients count.

    Returns:
        Two arrays of the shape of each wave; the first is the second, on average, where chance decides.
    """
    table = standard_table(quality)
    change, count = np.zeros(waves[0].shape, np.float32), np.zeros(waves[0].shape, np.float32)
    for at, wave in zip(FREQUENCIES, waves, strict=True):
        if table[at] < LEAST_STEP:
            continue
        left = wave * np.float32(1 / table[at])
        multiple = np.rint(left)
        left -= multiple
        counts = (multiple != 0).astype(np.float32)
        left *= left
        left *= counts
        change += left
        count += counts
    return 12 * change, count


def _strongest(waves: list[Plane], own: int) -> Ghost | None:
    """The window of all qualities and grids that chance explains least."""
    tests = math.log10(waves[0].size * len(QUALITIES) * len(WINDOWS))
    whole, found = {own}, dict[int, Ghost]()
    for quality in QUALITIES:
        sums = [_by_grid(values) for values in changes(waves, quality)]
        for side in WINDOWS:
            change, count = (
                cv2.boxFilter(one, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
                for one in sums
            )
            spreads = (count - change) / np.sqrt(VARIANCE * np.maximum(count, 1))
            spreads *= count >= FEWEST
            alarms = tests + _log_chance(spreads.max(axis=(0, 1)))
            for grid in map(int, np.flatnonzero(alarms < LIMIT)):
                enough = count[..., grid] >= FEWEST
                usual = np.median((change[..., grid] / np.maximum(count[..., grid], 1))[enough])
                if usual < ELSEWHERE:
                    whole.add(grid)
                elif grid not in found or alarms[grid] < found[grid].log_alarms:
                    row, column = np.unravel_index(int(spreads[..., grid].argmax()), enough.shape)
                    window = _window(int(row), int(column), side)
                    found[grid] = Ghost(float(alarms[grid]), grid, quality, window)
    return _believed(found, whole - {NONE})


def _believed(found: dict[int, Ghost], whole: set[int]) -> Ghost | None:
    """The strongest ghost that is on no grid of the whole image, and not explained by one."""
    ghosts = []
    for grid in found.keys() - whole:
        # Where nothing changes down or across, windows see the other grid too.
        beside = any(grid // SIDE == one // SIDE or grid % SIDE == one % SIDE for one in whole)
        alarms = found[grid].log_alarms + BESIDE * beside
        if alarms < LIMIT:
            ghosts.append(found[grid]._replace(log_alarms=alarms))
    return min(ghosts, default=None, key=lambda ghost: ghost.log_alarms)


def _by_grid(values: Plane) -> Float[ndarray, "rows columns grids"]:
    """The values of all windows, by block and by the grid that the window belongs to."""
    rows, columns = values.shape[0] // SIDE, values.shape[1] // SIDE
    whole = values[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
    return np.ascontiguousarray(whole.swapaxes(1, 2)).reshape(rows, columns, GRIDS)


def _window(row: int, column: int, side: int) -> tuple[slice, slice]:
    """The blocks that a box filter of this side sums at a block."""
    top, left = row - side // 2, column - side // 2
    return slice(max(top, 0), top + side), slice(max(left, 0), left + side)


def _own_grid(history: History | str) -> int:
    """The grid of the image as a whole; -1 where it has none, or only a part of it has."""
    if isinstance(history, str):
        return NONE
    voted = history.votes[history.votes != NONE]
    return history.grid if np.mean(voted == history.grid) > OWN else NONE


def _left(change: Blocks, count: Blocks, where: tuple[slice, slice] | Bool[ndarray, "rows columns"]) -> float:
    """What is left of the change that chance gives."""
    return float(change[where].sum() / max(float(count[where].sum()), 1.0))


def _region(change: Blocks, count: Blocks, window: tuple[slice, slice]) -> Bool[ndarray, "rows columns"]:
    """The blocks around a window that change as little as it does, rather than as by chance."""
    change, count = (cv2.blur(one, (3, 3), borderType=cv2.BORDER_REFLECT_101) for one in (change, count))
    limit = (1 + _left(change, count, window)) / 2
    like = (change < limit * count).astype(np.uint8)
    _, labels = cv2.connectedComponents(like, connectivity=4)
    inside = labels[window]
    return labels == np.bincount(inside[inside > 0], minlength=2).argmax()


def _apart(blocks: list[Blocks], quality: int, region: Bool[ndarray, "rows columns"]) -> float:
    """How far apart the distributions of the coefficients' changes are, inside and outside of a region."""
    table = standard_table(quality)
    steps = [np.float32(table[at]) for at in FREQUENCIES]
    relative = np.stack([wave / step for wave, step in zip(blocks, steps, strict=True) if step >= LEAST_STEP])
    multiple = np.rint(relative)
    off, told = np.abs(relative - multiple), multiple != 0
    return float(stats.ks_2samp(off[told & region], off[told & ~region]).statistic)


def _log_chance(spreads: Float[ndarray, "..."] | float) -> Float[ndarray, "..."]:
    """Decimal logarithm of how often chance goes so many standard deviations up."""
    return np.asarray(stats.norm.logsf(spreads) / math.log(10))
