"""Regions whose values share a phase at some frequency: what is left of a comb when noise filled it.

The values v of a region that was made from fewer levels lie at multiples of a step, and exp(2 pi i f v)
has one phase at the step's frequency f. In a genuine region the noise spreads values over all phases.
Blocks of some pixels are summed, and each window asks which share of their power is left in the sum of
all: for random phases it has a beta distribution, whatever the strength of each block.

What equally bright pixels of the whole image have in common is taken away first. Frequencies count where
noise spreads values over half a period, and where most of the image has no comb.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from numpy import ndarray
from scipy import fft, ndimage

from intact.forensics.windows import Odd, cell_histograms, cell_sums, closed, pixels_of, window_sums
from intact.residual import LAPLACIAN

BLOCK = 4  # side of the blocks whose phases are compared, in pixels
SPREAD = 0.5  # of a period, at least, is the standard deviation of the noise
REACH = 2.0  # standard deviations within which most values lie
LOOKED_INTO = 6  # frequencies
COMMON = 3.0  # times what chance gives: from here a frequency is the whole image's
ALONG = 0.25  # of the blocks' usual amplitude, a region has at least along the common phase
QUARTER = 0.3186  # lower quartile of the absolute value of a standard normal variable


def common_phases(
    values: Int[ndarray, "h w"], valid: Bool[ndarray, "h w"], cell: int, windows: tuple[int, ...], sure: float
) -> list[Odd]:
    """Windows whose blocks agree in the phase of their values, at the frequencies that stand out most.

    Args:
        values: From 0 on.
        valid: Where they were measured.
        cell: Side of cells in pixels, a multiple of 4.
        windows: Sides of windows in cells.
        sure: How often chance may give as much, for a window to belong to the region.
    """
    sigma = _noise(values, cell)
    width = 2 * round(float(np.median(sigma))) + 1
    sigma[_cut(values, valid, cell)] = 0
    frequencies, tests = _standing_out(cell_histograms(values, valid, cell), sigma, windows)
    counts = np.bincount(values[valid]).astype(np.float64)
    base = np.maximum(ndimage.uniform_filter1d(counts, width), 1e-9)
    number = cell // BLOCK
    spread = np.repeat(np.repeat(sigma, number, axis=0), number, axis=1)
    found = []
    for frequency in frequencies:
        phase = np.exp(2j * np.pi * frequency * np.arange(len(counts)))
        phase -= ndimage.uniform_filter1d(counts * phase, width) / base
        pixels = np.append(phase, 0).astype(np.complex64)[np.where(valid, values, len(counts))]
        blocks = cell_sums(pixels, BLOCK)[: spread.shape[0], : spread.shape[1]]
        blocks[spread * frequency < SPREAD] = 0
        for size in windows:
            found += _agreeing(blocks, frequency, size, cell, tests, sure, values.shape)
    return found


def _noise(values: Int[ndarray, "h w"], cell: int) -> Float[ndarray, "r c"]:
    """Standard deviation of the noise in each cell: a quartile, as edges fill half of some."""
    answers = np.abs(cv2.filter2D(values.astype(np.float32), cv2.CV_32F, LAPLACIAN))
    rows, columns = (n // cell for n in values.shape)
    tiles = answers[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).swapaxes(1, 2)
    at = cell * cell // 4
    return np.asarray(np.partition(tiles.reshape(rows, columns, -1), at, axis=2)[..., at] / QUARTER)


def _cut(values: Int[ndarray, "h w"], valid: Bool[ndarray, "h w"], cell: int) -> Bool[ndarray, "r c"]:
    """Cells whose values reach the ends of the range: noise that is cut there has a phase of its own."""
    pixels = np.maximum(cell_sums(valid, cell), 1)
    seen = np.where(valid, values, 0).astype(np.float64)
    mean = cell_sums(seen, cell) / pixels
    reach = REACH * np.sqrt(np.maximum(cell_sums(seen * seen, cell) / pixels - mean * mean, 0))
    return (mean < reach) | (mean > values.max() - reach)


def _standing_out(
    cells: Float[ndarray, "r c v"], sigma: Float[ndarray, "r c"], windows: tuple[int, ...]
) -> tuple[list[float], int]:
    """Frequencies at which the histogram of some window has most power, and how many were asked."""
    frequency = np.arange(cells.shape[2] // 2 + 1) / cells.shape[2]
    first = int(np.searchsorted(frequency, SPREAD / max(float(sigma.max()), 1e-9)))
    frequency = frequency[first:]
    if not frequency.size:
        return [], 1
    told = sigma[..., None] * frequency > SPREAD
    phasors = np.where(told, fft.rfft(cells)[..., first:], 0)
    pixels = told * cells.sum(axis=2, keepdims=True)
    best, tests = np.zeros(len(frequency)), 1
    for size in windows:
        weight = window_sums(pixels, size)
        power = np.abs(window_sums(phasors, size)) ** 2 / np.maximum(weight, 1)
        usual = np.median(power[::size, ::size], axis=(0, 1)) / math.log(2)
        best = np.maximum(best, (power / np.maximum(usual, 1)).max(axis=(0, 1)))
        tests += int(np.count_nonzero(weight))
    order = np.argsort(-best, kind="stable")[:LOOKED_INTO]
    return [float(frequency[at]) for at in order if best[at] > 0], tests


def _agreeing(
    blocks: Complex[ndarray, "r c"],
    frequency: float,
    size: int,
    cell: int,
    tests: int,
    sure: float,
    shape: tuple[int, ...],
) -> list[Odd]:
    """The window whose blocks agree best, and all that agree surely."""
    power = np.abs(blocks) ** 2
    # Near half a turn per value, phases are real numbers, which have half the freedom.
    doubled = abs((blocks**2).sum()) / max(float(power.sum()), 1e-12)
    step = cell // BLOCK
    side = size * step
    total, powers, count = (window_sums(cell_sums(one, step), size) for one in (blocks, power, blocks != 0))
    asked = count > side * side / 3
    if not asked.any():
        return []
    gain = np.where(asked, np.abs(total) ** 2 / np.maximum(powers, 1e-12), 0)  # 1 by chance
    usual = max(1.0, float(np.median(gain[asked])) / math.log(2))
    if usual > COMMON:
        return []
    share = np.clip(gain / usual / np.maximum(count, 1), 0, 1 - 1e-12)
    log_p = (count - 1) / (1 + doubled) * np.log10(1 - share) + math.log10(tests)
    at = np.unravel_index(int(log_p.argmin()), log_p.shape)
    if log_p[at] > math.log10(sure):
        return [Odd(float(log_p[at]), np.zeros(shape, bool), "")]
    along = (blocks * np.conj(total[at]) / abs(total[at])).real / np.sqrt(power.mean())
    mild = np.zeros(shape, np.uint8)
    part = np.repeat(np.repeat(cv2.blur(along, (5, 5)) > ALONG, BLOCK, axis=0), BLOCK, axis=1)
    mild[: part.shape[0], : part.shape[1]] = part
    region = closed(mild > 0, cell) & pixels_of(log_p < math.log10(sure), size, cell, shape)
    said = f"have a comb of their own in their values (period {1 / frequency:.2f}), which the rest has not"
    return [Odd(float(log_p[at]), region, said)]
