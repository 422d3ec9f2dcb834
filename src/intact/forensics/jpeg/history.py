"""What JPEG leaves in decoded pixels: where its grid lies, and in which steps it rounded.

The grid is that for which the pixels vote (`votes.py`). The steps are those of the last compression:
on its grid, coefficients lie near multiples of them (after Neelamani et al., "JPEG compression history
estimation for color images", IEEE TIP 15(6), 2006). Coefficients rounded to zero say nothing of the step
and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import stats

from intact.forensics.jpeg.blocks import SIDE, block_coefficients, standard_table, unclipped_blocks
from intact.forensics.jpeg.votes import GRIDS, NONE, Votes, grid_votes, main_grid
from intact.image import Image

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as JFIF has it
LARGEST_STEP = 128
FINEST = 98  # quality that can be told: above it most steps are 1, as after rounding to pixels
FINE, HIGHEST = 8, 256  # bins to a grey level, and grey levels, in which coefficients are counted
ROUNDED = 0.29  # standard deviation of coefficients about their multiples after rounding to pixels
SPREAD, STRAY = 0.35, 0.001  # what is allowed of it, and the share of coefficients that lie anywhere
SURE = 12.0  # nats by which a step has to fit better than none
AS_GOOD = 0.6  # of the fit of steps that were used, compared with the best
FITTING = 0.25  # of the fit of steps that were used: with less, a table was not the one


@dataclass(frozen=True, eq=False)
class History:
    """That an image was once compressed as JPEG.

    Args:
        luma: The brightness as JPEG has it, 0 to 255.
        votes: For every pixel the grid that it votes for, 8 * row + column of the grid's origin; or -1.
        grid: The grid of the whole image.
        log_alarms: Decimal logarithm of how often chance would give such a grid.
        steps: Of the last compression, by frequency; 0 where nothing tells. The mean has 0.
        quality: Of the last compression, 1 to 98 as the IJG's program counts; None where the steps are
            those of another program, finer, or not known.
    """

    luma: Float[ndarray, "h w"]
    votes: Votes
    grid: int
    log_alarms: float
    steps: Int[ndarray, "8 8"]
    quality: int | None

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column where the first whole block begins."""
        return divmod(self.grid, SIDE)


def jpeg_history(plane: Float[ndarray, "h w"], image: Image) -> History | str:
    """The history of a plane of an image; if there is none, why.

    Args:
        plane: Its grey values.
        image: It, for its depth and colours.
    """
    luma = jpeg_luma(plane, image)
    if isinstance(luma, str):
        return luma
    # Several examiners look at one image in turn.
    found = _history(luma.astype(np.uint8).tobytes(), luma.shape)
    return "nothing shows that the image was ever compressed as JPEG" if found is None else found


def jpeg_luma(plane: Float[ndarray, "h w"], image: Image) -> Float[ndarray, "h w"] | str:
    """The brightness that JPEG would have compressed, whole numbers from 0 to 255; or why there is none.

    Args:
        plane: Grey values of an image.
        image: It, for its depth and colours.
    """
    if image.pixels.dtype != np.uint8 or image.bits < 8:
        return f"values of {image.bits} bits do not come from an 8-bit JPEG file"
    if min(plane.shape) < 4 * SIDE:
        return "the image is too small to have a grid"
    if image.photometric == "YBR_FULL":
        return image.pixels[..., 0].astype(np.float32)
    return np.rint(image.pixels @ np.array(LUMA, np.float32)) if image.colour else plane


@lru_cache(maxsize=2)
def _history(values: bytes, shape: tuple[int, int]) -> History | None:
    luma = np.frombuffer(values, np.uint8).reshape(shape).astype(np.float32)
    votes = grid_votes(luma)
    grid, alarms = main_grid(votes)
    if grid == NONE:
        return None
    origin = divmod(grid, SIDE)
    # Values that were cut at black or white have left their multiples.
    steps, quality = last_steps(block_coefficients(luma, origin)[unclipped_blocks(luma, origin)])
    for array in (luma, votes, steps):
        array.flags.writeable = False
    return History(luma, votes, grid, alarms, steps, quality)


def last_steps(blocks: Float[ndarray, "... 8 8"]) -> tuple[Int[ndarray, "8 8"], int | None]:
    """The steps of the compression that wrote these blocks, and its quality."""
    levels = np.minimum(np.abs(blocks.reshape(-1, GRIDS)) * FINE + 0.5, HIGHEST * FINE - 1).astype(np.int64)
    bins = HIGHEST * FINE
    counts = np.bincount((levels + bins * np.arange(GRIDS)).ravel(), minlength=GRIDS * bins)
    fits, used = (counts.reshape(GRIDS, bins) @ table.T for table in _fits_to_steps())
    fits[0] = used[0] = 0.0
    tables = np.stack([standard_table(quality).ravel() for quality in range(1, FINEST + 1)])
    told = (np.arange(GRIDS), np.minimum(tables, LARGEST_STEP) - 1)
    best = int(_finest(fits[told].sum(axis=1)[None], used[told].sum(axis=1)[None])[0])
    if best >= 0:
        table = tables[best]
        table[0] = 0
        return table.reshape(SIDE, SIDE), best + 1
    return 1 + _finest(fits, used).reshape(SIDE, SIDE), None


def _finest(fits: Float[ndarray, "n choices"], used: Float[ndarray, "n choices"]) -> Int[ndarray, "n"]:
    """The choice of each row that fits best among those which fit as they should; -1 for none.

    What was compressed twice lies near the multiples of both steps, but exactly on those of the last.
    """
    share = np.where(fits > SURE, fits / np.maximum(used, SURE), 0.0)
    fitting = (share > FITTING) & (share > AS_GOOD * share.max(axis=1, keepdims=True))
    return np.where(fitting.any(axis=1), np.where(fitting, fits, -np.inf).argmax(axis=1), -1)


@cache
def _fits_to_steps() -> tuple[Float[ndarray, "steps bins"], Float[ndarray, "steps bins"]]:
    """For every step and size of a coefficient: how much likelier the size is with the step than without.

    Also how much likelier it would be on average, were that the step.
    """
    steps = np.arange(1, LARGEST_STEP + 1)[:, None]
    sizes = np.arange(HIGHEST * FINE)[None] / FINE
    multiple = np.rint(sizes / steps)
    told = (multiple > 0) & (sizes < HIGHEST - 1)
    off = np.linspace(-4 * ROUNDED, 4 * ROUNDED, 65)
    weights = stats.norm.pdf(off, scale=ROUNDED)
    used = (_fit(off[None], steps) * weights).sum(axis=1, keepdims=True) / weights.sum()
    return np.where(told, _fit(sizes - multiple * steps, steps), 0.0), np.where(told, used, 0.0)


def _fit(off: Float[ndarray, "..."], steps: Int[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Logarithm of the likelihood of being so far off a multiple of a step, over that without a step."""
    spikes = sum(steps * stats.norm.pdf(off + n * steps, scale=SPREAD) for n in (-1, 0, 1))
    return np.log((1 - STRAY) * spikes + STRAY)
