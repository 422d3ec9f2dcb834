"""Values that a region has and the rest has not, or the reverse: a region with a history of its own.

Stamm & Liu, "Forensic detection of image manipulation using statistical intrinsic fingerprints", IEEE
TIFS 5(3), 2010. Whole numbers that pass through a curve, a window or 8 bits leave empty and doubled
values behind: a comb in the histogram.

Differs from the paper: a comb of the whole image is history, not tampering, as rescaling, decimation
and ultrasound of few bits leave combs too; it is told but raises nothing. What counts is a region that
disagrees with the rest, in one of three ways, each with a bound on how often chance gives as much:

- It fills gaps: its pixels have values that the rest avoids. Chance would fill gaps equally often at all
  places of equal brightness, so that the number in a window is binomial.
- It has gaps: values that its own neighbouring values and the rest of the image promise are missing.
  Counts are Poisson, and Chernoff's bound holds for what is promised and missing. Runs of equal pixels
  count once, as smooth and compressed images repeat values.
- Its values have a common phase at some frequency (`value_phases.py`), even if noise filled the gaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import fft, ndimage, stats

from intact.forensics.base import Evidence, Examiner
from intact.forensics.texture import grain, not_flat
from intact.forensics.value_phases import common_phases
from intact.forensics.windows import SCANNED, Odd, cell_histograms, cell_sums, closed, pixels_of, window_sums
from intact.image import Image

AROUND = 9  # values, of the running median that a comb stands out from
EMPTY, STRONG = 0.02, 40.0  # share of empty values, and strength, from which an image has a comb
CELL, LARGE = (16, 32), 384  # side of cells in pixels; in images from LARGE pixels on the second
WINDOWS = 2, 3  # sides of windows, in cells
FEW = 20  # pixels that values around have on average, below which a gap of the image is chance
GAP, FILLED = 0.2, 0.01  # of what values around have, a gap holds at most; and without the region
NEAR = 5  # values around a missing one that promise it
PROMISED = 3.0  # pixels that a value needs, if it is to be missed
AS_ONE = 1.5  # pixels that count as one, as neighbours are alike
TILTS = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])  # of Chernoff's bound
PAINTED = 0.5  # of the pixels are grey, if colour was painted over a grey image
LEAST = -300.0  # decimal logarithm, below which numbers have no difference
SURE = 1e-6  # how often chance may give as much, over all places and values

Values = Int[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]


@dataclass(frozen=True)
class Comb:
    """How much a histogram is a comb.

    Args:
        empty: Share of values between the 5th and 95th percentile that no pixel has.
        strength: Highest power of the histogram's periodic part over the median power.
        period: Of that part, in values.
    """

    empty: float
    strength: float
    period: float


def comb_of(values: Int[ndarray, "n"]) -> Comb:
    """The comb in the histogram of whole numbers."""
    low, high = (int(np.percentile(values, at)) for at in (5, 95))
    counts = np.bincount(values[(values >= low) & (values <= high)] - low, minlength=high - low + 1)
    if len(counts) <= AROUND:
        return Comb(0.0, 0.0, 0.0)
    usual = ndimage.median_filter(counts.astype(np.float64), AROUND)
    power = np.abs(fft.rfft((counts - usual) / np.sqrt(usual + 1) * np.hanning(len(counts))))[1:] ** 2
    middle, best = float(np.median(power)), int(power.argmax())
    strength = float(power[best]) / middle if middle else 0.0
    return Comb(float((counts == 0).mean()), strength, len(counts) / (best + 1))


@dataclass(eq=False)
class HistogramGaps(Examiner):
    """Finds regions whose values fill the gaps of the rest, or have gaps that the rest has not."""

    kind = "export"
    source = "Stamm & Liu, IEEE TIFS 2010"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Mask, image: Image) -> Evidence:
        if image.pixels.dtype.kind == "f":
            return self._abstain("floating-point values have no gaps")
        if image.modality in SCANNED:
            return self._abstain("ultrasound is interpolated between beams: its pixels repeat one another")
        cell = CELL[min(plane.shape) >= LARGE]
        if min(plane.shape) < (WINDOWS[-1] + 1) * cell:
            return self._abstain(f"the image is smaller than {(WINDOWS[-1] + 1) * cell} pixels")
        stored, measured = _grey(image)
        values, valid = _steps(stored, valid & measured & not_flat(stored.astype(np.float32)))
        if np.count_nonzero(valid) < (WINDOWS[-1] * cell) ** 2 or not grain(image):
            return self._abstain("there are hardly any pixels with noise")
        new = _new(values, valid)
        odd = [
            *_filling(values, new, cell),
            *_lacking(values, new, valid, cell),
            *common_phases(values, valid, cell, WINDOWS, SURE),
        ]
        odd = [one for one in odd if one.log_p > math.log10(SURE) or one.region.any()]
        return self._told(
            comb_of(values[valid]), min(odd, key=lambda one: one.log_p, default=None), plane.shape
        )

    def _told(self, whole: Comb, odd: Odd | None, shape: tuple[int, ...]) -> Evidence:
        history = (
            f" The whole image has a comb of period {whole.period:.1f} ({whole.empty:.0%} of its values are "
            "empty), as scaling, windowing and export leave it: that is its history, not tampering."
            if whole.empty > EMPTY or whole.strength > STRONG
            else ""
        )
        log_p = 0.0 if odd is None else min(0.0, odd.log_p + math.log10(3))  # three questions were asked
        p_value = 10.0**log_p
        if odd is None or p_value > SURE:
            said = f"No region has values of its own.{history}"
            return Evidence(self.kind, -log_p, np.zeros(shape, np.float32), said, p_value=p_value)
        rows, columns = np.nonzero(odd.region)
        said = (
            f"{rows.size:,} pixels around row {int(np.median(rows))}, column {int(np.median(columns))} "
            f"{odd.said}; chance gives as much in 1e{log_p:.0f} of images.{history}"
        )
        return Evidence(self.kind, -log_p, odd.region.astype(np.float32), said, p_value=p_value)


def _grey(image: Image) -> tuple[Values, Mask]:
    """Stored values, of colour the middle sample, and where they are an image: paint over grey is not."""
    if not image.colour:
        return image.pixels.astype(np.int64), np.ones(image.shape, bool)
    grey = np.ptp(image.pixels, axis=-1) == 0
    painted = image.photometric == "RGB" and grey.mean() > PAINTED
    return image.pixels[..., 1].astype(np.int64), grey if painted else np.ones_like(grey)


def _steps(stored: Values, valid: Mask) -> tuple[Values, Mask]:
    """Values counted from the lowest in their smallest common step; clipped ends, no noise, are invalid."""
    if not valid.any():
        return np.zeros_like(stored), valid
    low, high = stored[valid].min(), stored[valid].max()
    step = int(np.gcd.reduce(stored[valid] - low)) or 1
    inside = valid & (stored > low) & (stored < high)
    return np.where(inside, (stored - low) // step, 0), inside


def _new(values: Values, valid: Mask) -> Mask:
    """Pixels that equal neither the one before nor the one above: of a run, or of a ramp, the first."""
    new = valid.copy()
    new[:, 1:] &= values[:, 1:] != values[:, :-1]
    new[1:] &= values[1:] != values[:-1]
    return new


def _filling(values: Values, valid: Mask, cell: int) -> list[Odd]:
    """Windows with more pixels on gaps of the histogram than their brightness gives by chance."""
    counts = np.bincount(values[valid]).astype(np.float64)
    near = ndimage.uniform_filter1d(counts, AROUND)
    gap = (near >= FEW) & (counts < GAP * near)
    if not gap.any():
        return []
    share = ndimage.uniform_filter1d(counts * gap, AROUND) / np.maximum(
        near, 1e-9
    )  # of pixels so bright are on gaps
    on_gap, expected = gap[values] & valid, np.where(valid, share[values], 0.0)
    found = []
    for size in WINDOWS:
        hits, hoped, pixels = (window_sums(cell_sums(one, cell), size) for one in (on_gap, expected, valid))
        chance = np.clip(hoped / np.maximum(pixels, 1), 1e-12, 1.0)
        log_p = stats.binom.logsf(hits - 1, pixels, chance) / math.log(10) + math.log10(
            len(WINDOWS) * hits.size
        )
        log_p = np.maximum(log_p, LEAST)
        region = closed(on_gap & pixels_of(log_p < math.log10(SURE), size, cell, values.shape), cell)
        inside, elsewhere = np.count_nonzero(on_gap & region), np.count_nonzero(on_gap & ~region)
        if elsewhere > min(FILLED * near[gap].sum(), inside / 2):  # gaps are filled elsewhere too
            continue
        said = f"fill the gaps of the rest ({inside:,} have values that only {elsewhere:,} others have)"
        found.append(Odd(float(log_p.min()), region, said))
    return found


def _lacking(values: Values, new: Mask, valid: Mask, cell: int) -> list[Odd]:
    """Windows without values that neighbouring values and the rest of the image promise."""
    cells = cell_histograms(values, new, cell)
    whole = cells.sum(axis=(0, 1))[None]
    usual = whole / np.maximum(cv2.blur(whole, (NEAR, 1)), 1e-6)
    found = []
    for size in WINDOWS:
        counts = window_sums(cells, size)
        shape = counts.shape[:2]
        promised = _promised(counts.reshape(-1, counts.shape[2])) * usual / AS_ONE
        promised[promised < PROMISED] = 0
        missing = ((counts.reshape(promised.shape) == 0) * promised).sum(axis=1)
        # ln E[exp(tilt * missing)] - tilt * missing, where each value is missing with exp(-promised).
        some = np.unique(np.nonzero(missing)[0])
        if not some.size:
            continue
        tilts = TILTS[:, None, None]
        likely = np.log1p(np.exp((tilts - 1) * promised[some]) - np.exp(-promised[some])).sum(axis=2)
        bound = (likely - TILTS[:, None] * missing[some]).min(axis=0)
        log_p = np.zeros(len(missing))
        log_p[some] = bound
        log_p = log_p.reshape(shape) / math.log(10) + math.log10(len(WINDOWS) * len(missing))
        region = pixels_of(log_p < math.log10(SURE), size, cell, values.shape) & valid
        worst = int(log_p.argmin())
        values_missing = int(
            np.count_nonzero((counts.reshape(promised.shape)[worst] == 0) & (promised[worst] > 0))
        )
        said = (
            f"have gaps in their values ({values_missing} are missing in one window of {size * cell} pixels, "
            "which equally bright places elsewhere have)"
        )
        found.append(Odd(float(log_p.min()), region, said))
    return found


def _promised(counts: Float[ndarray, "n v"]) -> Float[ndarray, "n v"]:
    """For each value the mean count around it, or what the poorer side has at most."""
    half = NEAR // 2
    kernel = np.ones((1, half), np.uint8)
    sides = np.zeros((2, *counts.shape), np.float32)
    sides[0, :, :-1] = cv2.dilate(counts, kernel, anchor=(0, 0))[:, 1:]
    sides[1, :, 1:] = cv2.dilate(counts, kernel, anchor=(half - 1, 0))[:, :-1]
    return np.minimum(cv2.blur(counts, (NEAR, 1), borderType=cv2.BORDER_CONSTANT), sides.min(axis=0))
