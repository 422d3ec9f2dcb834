"""Aligned double quantisation: blocks that were compressed once, in an image compressed twice.

Bianchi, De Rosa & Piva, "Improved DCT coefficient analysis for forgery localization in JPEG images", ICASSP
2011, after Lin, He, Tang & Tang, "Fast, automatic and fine-grained tampered JPEG image detection via DCT
coefficient analysis", Pattern Recognition 42(11), 2009. Where an image was compressed twice on one grid,
the multiples of the first step fall unevenly into those of the second: some are too frequent and others
are missing. A region that was pasted in between was not compressed on that grid before, and its
coefficients are spread evenly. How the first step would show is computed, the step is the one under which
the histogram is likeliest, and every block is told by the likelihood of its coefficients either way.

This is the aligned version of 2011: the histogram without the first compression is that of a grid half a
block off. Differs from the paper: the steps of the last compression are estimated, as pixels do not carry
them; coefficients that round to zero, clipped blocks and flat ones say nothing; one block in 50 may be like
none; a first compression has to be certain, or nothing is said; and what stands out is told by a number
of false alarms: the ratio of likelihoods of a window passes a value by chance no more often than its
inverse (Markov's inequality).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import ndtr

from intact.forensics.base import Evidence, Examiner
from intact.forensics.jpeg.blocks import SIDE, block_coefficients, unclipped_blocks
from intact.forensics.jpeg.history import ROUNDED, History, jpeg_history
from intact.image import Image

FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0), (4, 0))  # down, across
LARGEST = 40  # multiple of the last step that is told apart
COARSEST = 40  # first step that is looked for, in grey levels
SHARES = np.linspace(0.0, 1.0, 21)  # of the coefficients that were compressed twice
SMOOTH = (0.1, 0.2, 0.4, 0.2, 0.1)  # weights of neighbours in the histogram without a first compression
CERTAIN = 0.2  # nats to a coefficient by which a first compression has to explain the histograms
MOST = 0.7  # of the coefficients, at least, have to have been compressed twice
SURE = 0.98  # that one of them was, at most
STRAY = 0.02  # of the blocks of an image compressed twice that are like none
NEAR_ENDS = 4  # grey levels from black and white within which the first decoding may have clipped
SPAN = 8  # grey levels: what rounding to pixels does to flatter blocks is no noise
WINDOWS = (3, 6)  # blocks to a side
LIMIT = -6.0  # decimal logarithm of the number of false alarms below which a region is told
VALUES = np.arange(-LARGEST, LARGEST + 1)  # multiples of the last step

Blocks = Float[ndarray, "rows columns"]


@dataclass(frozen=True, eq=False)
class Trace:
    """What the first of two compressions left in the histogram of one coefficient.

    Args:
        step: Of the first compression, in grey levels.
        share: Of the coefficients that were compressed twice.
        gain: By how much that makes the histogram likelier, in nats.
        told: Of so many coefficients.
        once: Of each of VALUES, logarithm of how much likelier it is after one compression than after two.
    """

    step: int
    share: float
    gain: float
    told: int
    once: Float[ndarray, "values"]


@dataclass(eq=False)
class DoubleQuantisation(Examiner):
    """Finds regions that were pasted into a JPEG file, or changed in it, before it was saved once more."""

    kind = "compression"
    source = "Bianchi, De Rosa & Piva, ICASSP 2011; Lin et al., Pattern Recognition 42(11), 2009"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        history = jpeg_history(plane, image)
        if isinstance(history, str):
            return self._abstain(history)
        values, traces = _first_compression(history)
        gain, told = sum(trace.gain for trace in traces), sum(trace.told for trace in traces)
        if not told:
            return self._abstain("the steps of the last compression cannot be told")
        share = sum(trace.share * trace.told for trace in traces) / told
        if gain < CERTAIN * told or share < MOST:
            return self._abstain("nothing shows that the image was compressed before its last compression")
        once = np.sum([trace.once[value] for trace, value in zip(traces, values, strict=True)], axis=0)
        once = np.log((STRAY + (1 - STRAY) * np.exp(once)) / (1 - STRAY + STRAY * np.exp(once)))
        region, alarms = _unlikely(once)
        found = np.zeros(plane.shape, np.float32)
        steps = ", ".join(str(trace.step) for trace in traces[:3])
        whole = (
            f"The image was compressed twice on one grid, first with steps of {steps} ... grey levels "
            f"({100 * share:.0f} % of the coefficients that tell)."
        )
        if not region.any():
            return Evidence(self.kind, 0.0, found, f"{whole} No region is an exception.", p_value=1.0)
        top, left = history.origin
        pixels = np.repeat(np.repeat(region, SIDE, axis=0), SIDE, axis=1)
        found[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        said = (
            f"{whole} {np.count_nonzero(pixels):,} pixels were compressed only once (number of false alarms "
            f"1e{alarms:.0f}): they were pasted or changed in between."
        )
        return Evidence(self.kind, -alarms, found, said, p_value=10.0**alarms)


@cache
def evenness(first: int, last: int) -> Float[ndarray, "values"]:
    """How often multiples of the last step occur after a first one, over how often without it.

    Each multiple of the first step is spread by rounding to pixels. The mean over a period is 1.
    """
    reach = (LARGEST + 1) * last // first + 1
    multiples = first * np.arange(-reach, reach + 1)[:, None]
    edges = [ndtr((last * (VALUES + half) - multiples) / ROUNDED) for half in (0.5, -0.5)]
    return np.asarray(first / last * (edges[0] - edges[1]).sum(axis=0))


def first_step(values: Int[ndarray, "n"], once: Int[ndarray, "m"], last: int) -> Trace:
    """The first step under which the multiples of the last one are likeliest.

    Args:
        values: Indices of VALUES, of the image's blocks.
        once: The same of blocks that show no first compression.
        last: The last step, in grey levels.
    """
    counts, usual = _histogram(values).astype(float), _histogram(once).astype(float)
    usual = np.convolve(np.pad((usual + usual[::-1]) / 2, 2, "edge"), SMOOTH, "valid") + 0.1
    silent = [0, LARGEST, -1]  # zero, and what is beyond the ends
    counts[silent] = usual[silent] = 0
    usual /= usual.sum()
    best = Trace(last, 0.0, 0.0, int(counts.sum()), np.zeros(len(VALUES)))
    for first in range(last + 1, COARSEST + 1):
        uneven = evenness(first, last) / (usual @ evenness(first, last))
        mixed = 1 - SHARES[:, None] + SHARES[:, None] * np.maximum(uneven, 1e-9)
        gains = np.log(np.maximum(mixed, 1e-9)) @ counts
        at = int(gains.argmax())
        if gains[at] > best.gain:
            share = min(float(SHARES[at]), SURE)
            against = -np.log(1 - share + share * uneven)
            against[silent] = 0
            best = Trace(first, float(SHARES[at]), float(gains[at]), best.told, against)
    return best


def _first_compression(history: History) -> tuple[list[Int[ndarray, "rows columns"]], list[Trace]]:
    """For each frequency whose last step is known: its values as indices of VALUES, and its trace."""
    half = SIDE // 2
    aside = ((history.origin[0] + half) % SIDE, (history.origin[1] + half) % SIDE)
    ours, theirs = (block_coefficients(history.luma, origin) for origin in (history.origin, aside))
    clear, clear_aside = (_telling(history.luma, origin) for origin in (history.origin, aside))
    values, traces = [], []
    for at in FREQUENCIES:
        step = int(history.steps[at])
        if step:
            own, once = (_indices(blocks[(..., *at)] / step) for blocks in (ours, theirs))
            traces.append(first_step(own[clear], once[clear_aside], step))
            values.append(np.where(clear, own, LARGEST))
    return values, traces


def _telling(plane: Float[ndarray, "h w"], origin: tuple[int, int]) -> Bool[ndarray, "rows columns"]:
    """Blocks whose coefficients were near multiples after the first decoding: neither clipped nor flat."""
    clear = unclipped_blocks(plane, origin, NEAR_ENDS)
    rows, columns = clear.shape
    whole = plane[origin[0] :, origin[1] :][: SIDE * rows, : SIDE * columns].reshape(
        rows, SIDE, columns, SIDE
    )
    return clear & (np.ptp(whole, axis=(1, 3)) >= SPAN)


def _indices(multiples: Float[ndarray, "..."]) -> Int[ndarray, "..."]:
    return np.clip(np.rint(multiples), -LARGEST, LARGEST).astype(np.int64) + LARGEST


def _histogram(values: Int[ndarray, "n"]) -> Int[ndarray, "values"]:
    return np.bincount(values, minlength=len(VALUES))


def _unlikely(once: Blocks) -> tuple[Bool[ndarray, "rows columns"], float]:
    """Where windows are likelier after one compression than after two, by far more than chance gives.

    Returns:
        The blocks, and the decimal logarithm of the smallest number of false alarms of a window.
    """
    tests = math.log10(once.size * len(WINDOWS))
    found, fewest = np.zeros(once.shape, bool), 0.0
    for side in WINDOWS:
        sums = cv2.boxFilter(once, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        alarms = tests - sums / math.log(10)
        fewest = min(fewest, float(alarms.min()))
        found |= alarms < LIMIT
    if fewest >= LIMIT:
        return found, 0.0
    near = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    middle = cv2.blur(once, (3, 3)) > 0
    return near & middle, fewest
