"""What JPEG leaves in decoded pixels: where its grid lies, and in which steps it rounded.

The grid is that of Nikoukhah, Anger, Ehret, Colom, Morel & Grompone von Gioi, "JPEG grid detection based
on the number of DCT zeros and its application to automatic and localized forgery detection", CVPR
Workshops 2019. JPEG rounds many cosine coefficients to zero; a window that lies on its grid has more
zeros than windows beside. Every pixel votes for the grid whose window over it has most. By chance, votes
would fall on each of the 64 grids alike, and that tells how often so many of one kind would occur: a
number of false alarms, not a threshold.

The steps are those of the last compression: on its grid, coefficients lie near multiples of them (after
Neelamani et al., "JPEG compression history estimation for color images", IEEE TIP 15(6), 2006).
Coefficients rounded to zero say nothing of the step and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import stats
from scipy.fft import dct

from intact.image import Image

SIDE = 8
GRIDS = SIDE * SIDE
ZERO = 0.499  # grey levels below which a coefficient counts as rounded to zero; half a level does not
NONE = -1  # no vote
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as JFIF has it
# Steps of quality 50 for luminance: ITU-T T.81, table K.1.
TABLE_50 = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
LARGEST_STEP = 128
FINEST = 98  # quality that can be told: above it most steps are 1, as after rounding to pixels
FINE, HIGHEST = 8, 256  # bins to a grey level, and grey levels, in which coefficients are counted
ROUNDED = 0.29  # standard deviation of coefficients about their multiples after rounding to pixels
SPREAD, STRAY = 0.35, 0.001  # what is allowed of it, and the share of coefficients that lie anywhere
SURE = 12.0  # nats by which a step has to fit better than none
AS_GOOD = 0.6  # of the fit of steps that were used, compared with the best
FITTING = 0.25  # of the fit of steps that were used: with less, a table was not the one

Votes = Int[ndarray, "h w"]
Blocks = Float[ndarray, "rows columns 8 8"]


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


def standard_table(quality: int) -> Int[ndarray, "8 8"]:
    """The steps for luminance at a quality of 1 to 100, by the rule of the IJG's program."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((TABLE_50 * scale + 50) // 100, 1, 255)


def block_coefficients(plane: Float[ndarray, "h w"], origin: tuple[int, int]) -> Blocks:
    """Cosine coefficients of all whole blocks of a grid.

    Args:
        plane: Grey values.
        origin: Row and column where the first block begins, each 0 to 7.
    """
    top, left = origin
    rows, columns = (plane.shape[0] - top) // SIDE, (plane.shape[1] - left) // SIDE
    whole = plane[top : top + SIDE * rows, left : left + SIDE * columns]
    waves = _waves()
    tall = waves @ whole.reshape(rows, SIDE, SIDE * columns)
    return np.ascontiguousarray((tall.reshape(rows, SIDE, columns, SIDE) @ waves.T).swapaxes(1, 2))


def sliding_coefficients(
    plane: Float[ndarray, "h w"], frequencies: Sequence[tuple[int, ...]]
) -> Iterator[Float[ndarray, "h2 w2"]]:
    """One cosine coefficient after another of the window that begins at each pixel.

    Args:
        plane: Grey values.
        frequencies: Down and across, each 0 to 7.
    """
    height, width = plane.shape
    tall: dict[int, ndarray] = {}
    for down, across in frequencies:
        if down not in tall:
            tall[down] = cv2.filter2D(plane, cv2.CV_32F, _waves()[down][:, None], anchor=(0, 0))
        both = cv2.filter2D(tall[down], cv2.CV_32F, _waves()[across][None], anchor=(0, 0))
        yield both[: height - SIDE + 1, : width - SIDE + 1]


def unclipped_blocks(
    plane: Float[ndarray, "h w"], origin: tuple[int, int], margin: int = 0
) -> Bool[ndarray, "rows columns"]:
    """Which whole blocks of a grid have no value within a margin of black and white, in grey levels."""
    top, left = origin
    rows, columns = (plane.shape[0] - top) // SIDE, (plane.shape[1] - left) // SIDE
    within = (plane > margin) & (plane < 255 - margin)
    whole = within[top : top + SIDE * rows, left : left + SIDE * columns]
    return np.asarray(whole.reshape(rows, SIDE, columns, SIDE).all(axis=(1, 3)))


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
def _waves() -> Float[ndarray, "8 8"]:
    """The cosines of one block side, one to a row."""
    return dct(np.eye(SIDE), norm="ortho", axis=0).astype(np.float32)


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


def grid_votes(plane: Float[ndarray, "h w"]) -> Votes:
    """For every pixel the grid, 8 * row + column of its origin, whose window over it has most zeros.

    -1 where several have as many, where windows are constant along an axis, and at the border.
    """
    zeros = _zeros(plane)
    votes = np.full(plane.shape, NONE, np.int16)
    rows, columns = (np.arange(n) % SIDE for n in zeros.shape)
    grids = SIDE * rows[:, None] + columns
    # The highest key over a pixel holds the most zeros, and of ties the last grid or the first:
    # where these are not one grid, nobody has won. All 64 windows over a pixel differ in their grid.
    last, first = (_highest(GRIDS * zeros + key) for key in (grids, GRIDS - 1 - grids))
    grid = last % GRIDS
    won = (last >= GRIDS) & (grid == GRIDS - 1 - first % GRIDS)
    votes[SIDE - 1 : -SIDE + 1, SIDE - 1 : -SIDE + 1] = np.where(won, grid, NONE)
    return votes


def main_grid(votes: Votes) -> tuple[int, float]:
    """The grid with most votes, and the decimal logarithm of its number of false alarms.

    The grid is -1 if chance would give as many votes.
    """
    counts = np.bincount(votes[votes >= 0], minlength=GRIDS)
    best = int(counts.argmax())
    alarms = log_alarms(log_tests(votes.shape), math.ceil(votes.size / GRIDS), int(counts[best]) // GRIDS)
    return (best if alarms < 0 else NONE), alarms


def _zeros(plane: Float[ndarray, "h w"]) -> Int[ndarray, "h2 w2"]:
    """How many cosine coefficients of the window that begins at each pixel round to zero.

    The mean does not count; windows that are constant along an axis have none.
    """
    height, width = plane.shape
    count = np.zeros((height - SIDE + 1, width - SIDE + 1), np.uint8)
    frequencies = list(np.ndindex(SIDE, SIDE))[1:]  # not the mean
    for response in sliding_coefficients(plane, frequencies):
        count += (np.abs(response) < ZERO).view(np.uint8)
    for axis in (0, 1):
        flat = np.abs(np.diff(plane, axis=axis, append=np.take(plane, [-1], axis=axis))) == 0
        run = np.ones((SIDE - 1, SIDE) if axis == 0 else (SIDE, SIDE - 1), np.uint8)
        constant = cv2.erode(flat.astype(np.uint8), run, anchor=(0, 0), borderValue=0) > 0
        count[constant[: count.shape[0], : count.shape[1]]] = 0
    return count.astype(np.int16)


def _highest(keys: Int[ndarray, "h2 w2"]) -> Int[ndarray, "h3 w3"]:
    """The highest key of the 8 x 8 windows over each pixel that has all of them."""
    spread = cv2.dilate(keys.astype(np.uint16), np.ones((SIDE, SIDE), np.uint8), anchor=(SIDE - 1, SIDE - 1))
    return spread[SIDE - 1 :, SIDE - 1 :].astype(np.int16)


def log_tests(shape: tuple[int, ...]) -> float:
    """Decimal logarithm of how many regions and grids are tried in an image of this shape."""
    return 2 * math.log10(GRIDS * shape[0] * shape[1])


def log_alarms(tests: float, windows: int, hits: int) -> float:
    """Decimal logarithm of how often chance gives so many votes of one kind among all that are tried."""
    windows = max(windows, hits)
    chance = float(stats.binom.logsf(hits - 1, windows, 1 / GRIDS))
    if math.isinf(chance):  # beyond what floats hold; Chernoff's bound lies above the truth
        share = hits / windows
        rest = (1 - share) * math.log((1 - share) * GRIDS / (GRIDS - 1)) if share < 1 else 0.0
        chance = -windows * (share * math.log(share * GRIDS) + rest)
    return tests + chance / math.log(10)
