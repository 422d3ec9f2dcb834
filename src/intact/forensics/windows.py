"""Sums over square cells and windows of them, and regions made of such windows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

# Modalities whose pixels are interpolated between beams: differently everywhere, and neighbours say little.
SCANNED = ("US", "IVUS")
LONGEST = 4096  # values of a histogram; beyond, it is wrapped around

Mask = Bool[ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Odd:
    """A region that disagrees with the rest.

    Args:
        log_p: Decimal logarithm of how often chance gives as much, over all places that were tried.
        region: Where.
        said: What it does, to follow "so many pixels".
    """

    log_p: float
    region: Mask
    said: str


def cell_sums(field: ndarray, side: int) -> ndarray:
    """Sums over squares of a plane; what is left over at the far edges is not summed."""
    rows, columns = (n // side for n in field.shape)
    inner = field[: rows * side, : columns * side]
    if inner.dtype == bool:
        inner = inner.astype(np.float32)
    across = inner.reshape(rows, side, columns * side).sum(axis=1)
    return np.asarray(across.reshape(rows, columns, side).sum(axis=2))


def cell_histograms(values: Int[ndarray, "h w"], valid: Mask, side: int) -> Float[ndarray, "r c v"]:
    """Histograms of squares: float32 counts of values from 0 on, wrapped around if there are very many."""
    rows, columns = (n // side for n in values.shape)
    inner = (slice(0, rows * side), slice(0, columns * side))
    length = min(int(values.max()) + 1, LONGEST)
    number = (np.arange(rows * side)[:, None] // side) * columns + np.arange(columns * side) // side
    flat = (number * length + values[inner] % length)[valid[inner]]
    counts = np.bincount(flat, minlength=rows * columns * length)
    return counts.reshape(rows, columns, length).astype(np.float32)


def window_sums(cells: ndarray, size: int, step: int = 1) -> ndarray:
    """Sums over windows of `size` x `size` cells, along the first two axes; one window every `step` cells."""
    rows = sum(cells[at : len(cells) - size + 1 + at] for at in range(size))[::step]  # type: ignore[index]
    across = cells.shape[1]
    return sum(rows[:, at : across - size + 1 + at] for at in range(size))[:, ::step]  # type: ignore[index]


def pixels_of(windows: Bool[ndarray, "r c"], size: int, side: int, shape: tuple[int, ...]) -> Mask:
    """The pixels that windows of `size` cells of `side` pixels cover."""
    mask = np.zeros(shape, bool)
    for row, column in np.argwhere(windows) * side:
        mask[row : row + size * side, column : column + size * side] = True
    return mask


def closed(hits: Mask, side: int) -> Mask:
    """What lies between hits that are dense; lone ones are left out."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side // 2 + 1,) * 2)
    filled = cv2.morphologyEx(hits.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    return cv2.morphologyEx(filled, cv2.MORPH_OPEN, kernel) > 0
