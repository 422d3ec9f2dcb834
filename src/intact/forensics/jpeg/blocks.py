"""Cosine coefficients of 8 x 8 windows, and the steps in which JPEG rounds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.fft import dct

SIDE = 8  # pixels of a block
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

Blocks = Float[ndarray, "rows columns 8 8"]


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


@cache
def _waves() -> Float[ndarray, "8 8"]:
    """The cosines of one block side, one to a row."""
    return dct(np.eye(SIDE), norm="ortho", axis=0).astype(np.float32)
