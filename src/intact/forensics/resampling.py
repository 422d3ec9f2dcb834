"""Regions that were enlarged or made smaller, by the periodic trace of interpolation.

Gallagher, "Detection of linear and cubic interpolation in JPEG compressed images", CRV 2005; the trace
is that of Popescu & Farid, "Exposing digital forgeries by detecting traces of resampling", IEEE TSP
53(2), 2005. Values between two pixels are predicted well by their neighbours and values near a pixel
badly, so that the mean size of the second difference goes up and down along the image, at the frequency
by which a scaling factor misses a whole number.

Differs from the papers: a whole image that was resampled is normal in medicine, so that it is told
(`resampling_peak`) but raises nothing. Windows are examined instead. Second differences are divided by
their mean size around, as edges would outweigh all noise, and a peak is compared with the frequencies
beside it: without a period, ordinates of a spectrum are exponential, and the ratio of one to the mean
of others has an F distribution. Rows and columns are asked alone and, as scaling is mostly equal in
both, together. Frequencies that stand out in most windows, and multiples of 1/8, which JPEG blocks and
wavelets leave, do not count: factors such as 4/3 and 2, which share them, are missed. A region
without the trace that the rest has is not told, as smooth tissue loses it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft, ndimage

from intact.forensics.base import Evidence, Examiner
from intact.forensics.texture import grain, not_flat
from intact.forensics.windows import SCANNED, pixels_of, window_sums
from intact.image import Image

SMOOTH = 9  # pixels, of the running median that the global trace stands out from
PEAK = 50.0  # times the median power: from here an image was resampled as a whole
STRIP = 8  # pixels, by which windows are apart
WINDOWS = 4, 8  # sides of windows in strips
AROUND = 15  # pixels, over which the mean size of second differences is taken
HIGHEST = 3.0  # of a second difference, times that mean
BESIDE, LEFT_OUT = 14, 2  # ordinates on either side that a peak is compared with, but for the nearest
OVERLAP = 1.94  # by which a Hann window lessens the number of independent ordinates
LOWEST, TOP = 0.1, 0.48  # cycles per pixel: below anatomy decides, above ordinates are half as free
LN10 = math.log(10)
GRID = 8  # pixels of a JPEG block, and of three levels of wavelets
COMMON = 2.0  # times the median that chance gives: from here a frequency is the whole image's
MEASURED = 0.9  # share of a window that was measured
SURE = 1e-6  # how often chance may give as much, over all places and frequencies

Plane = Float[ndarray, "h w"]


@dataclass(frozen=True)
class Peak:
    """The periodic trace along the rows of an image.

    Args:
        strength: Power of the highest ordinate over the median.
        frequency: Of that, in cycles per pixel; a scaling by f leaves |1/f - round(1/f)|.
    """

    strength: float
    frequency: float


def resampling_peak(plane: Plane) -> Peak:
    """The trace of a whole plane, Gallagher's: the spectrum of the mean size of second differences."""
    size = _second_difference(plane).mean(axis=0, dtype=np.float64)[1:-1]
    size = size - ndimage.median_filter(size, SMOOTH)
    power = np.abs(fft.rfft(size * np.hanning(len(size))))[1:] ** 2
    middle, best = float(np.median(power)), int(power.argmax())
    return Peak(float(power[best]) / middle if middle else 0.0, (best + 1) / len(size))


@dataclass(eq=False)
class Resampling(Examiner):
    """Finds regions that were scaled, where the rest was not, or otherwise."""

    kind = "resampling"
    source = "Gallagher, CRV 2005; Popescu & Farid, IEEE TSP 2005"

    def _examine(self, plane: Plane, valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if image.modality in SCANNED:
            return self._abstain("ultrasound is interpolated between beams, differently everywhere")
        if min(plane.shape) < 2 * WINDOWS[0] * STRIP:
            return self._abstain(f"the image is smaller than {2 * WINDOWS[0] * STRIP} pixels")
        plane = np.where(valid, plane, 0).astype(np.float32)
        measured = valid & not_flat(plane)
        if np.count_nonzero(measured) < (WINDOWS[-1] * STRIP) ** 2 or not grain(image):
            return self._abstain("there are hardly any pixels with noise")
        odd = [_oddest(plane, measured, size) for size in WINDOWS]
        peaks = [resampling_peak(turned) for turned in (plane, plane.T)]
        return self._told(max(peaks, key=lambda peak: peak.strength), odd)

    def _told(self, whole: Peak, odd: list[tuple[float, Bool[ndarray, "h w"], float]]) -> Evidence:
        log_p, region, frequency = min(odd, key=lambda one: one[0])
        log_p = min(0.0, log_p + math.log10(len(odd)))
        p_value = 10.0**log_p
        history = (
            f" The whole image has a trace of frequency {whole.frequency:.3f}, as resizing or a grid leaves "
            "it: that is its history, not tampering."
            if whole.strength > PEAK
            else ""
        )
        if p_value > SURE:
            said = f"No region has a trace of resampling of its own.{history}"
            return Evidence(self.kind, -log_p, np.zeros(region.shape, np.float32), said, p_value=p_value)
        rows, columns = np.nonzero(region)
        said = (
            f"Around row {int(np.median(rows))}, column {int(np.median(columns))} the noise grows and "
            f"shrinks {frequency:.3f} times per pixel, as where an image was scaled; elsewhere it does not. "
            f"Chance gives as much in 1e{log_p:.0f} of images.{history}"
        )
        return Evidence(self.kind, -log_p, region.astype(np.float32), said, p_value=p_value)


def _oddest(
    plane: Plane, measured: Bool[ndarray, "h w"], size: int
) -> tuple[float, Bool[ndarray, "h w"], float]:
    """Windows of one size with a period that most windows do not have: along rows, columns, or both.

    Returns:
        Decimal logarithm of how often chance gives the best of them, where they are, and its frequency.
    """
    side = size * STRIP
    if min(plane.shape) < side:
        return 0.0, np.zeros(plane.shape, bool), 0.0
    share = window_sums(_strips(measured), size) / side**2
    chosen = share > MEASURED
    along, allowed, frequency = _chances(plane, side)
    across, allowed_too, _ = _chances(np.ascontiguousarray(plane.T), side)
    across = across.swapaxes(0, 1)
    both = (along + across) * LN10
    # Of two chances that multiply to exp(s), one in exp(s) * (1 - s) is as small (Fisher).
    both = np.where(allowed & allowed_too, (both + np.log1p(-both)) / LN10, 0.0)
    choices = np.where(chosen[..., None, None], np.stack([along, across, both], axis=-1), 0.0)
    tests = int(chosen.sum()) * (2 * int(allowed.sum()) + int(allowed_too.sum()))
    log_p = choices + math.log10(max(tests, 1))
    row, column, wave, which = np.unravel_index(int(log_p.argmin()), log_p.shape)
    # Windows that hold a part of the region alone give less.
    best = float(log_p[row, column, wave, which])
    sure = log_p[..., wave, which] < min(math.log10(SURE), best / 2)
    region = pixels_of(sure, size, STRIP, plane.shape) & measured
    return best, region, float(frequency[wave])


def _chances(
    plane: Plane, side: int
) -> tuple[Float[ndarray, "r c f"], Bool[ndarray, "f"], Float[ndarray, "f"]]:
    """How often chance gives the ordinates along the rows of windows (decimal logarithm); which count."""
    power, frequency = _spectra(plane, side)
    mean, degrees = _beside(power)
    ratio = power / np.maximum(mean, 1e-30)
    usual = np.median(ratio, axis=(0, 1)) / math.log(2)
    allowed = (frequency > LOWEST) & (frequency < TOP) & (usual < COMMON)
    allowed &= np.abs(frequency * GRID - np.rint(frequency * GRID)) / GRID > 1.5 / side
    log_p = -degrees * np.log10(1 + ratio / np.maximum(usual, 1.0) / degrees)
    return np.where(allowed, log_p, 0.0), allowed, frequency


def _spectra(plane: Plane, side: int) -> tuple[Float[ndarray, "r c f"], Float[ndarray, "f"]]:
    """Power along the rows, of the size of second differences in windows, a strip apart."""
    size = _second_difference(plane)
    usual = cv2.blur(size, (AROUND, AROUND))
    even = np.minimum(size / np.maximum(usual, 1e-9), HIGHEST)
    rows = np.add.reduceat(even, np.arange(0, len(even) - len(even) % STRIP, STRIP), axis=0)
    rows = rows[: len(even) // STRIP]
    sums = sum(rows[at : len(rows) - side // STRIP + 1 + at] for at in range(side // STRIP))
    parts = np.lib.stride_tricks.sliding_window_view(np.asarray(sums), side, axis=1)[:, ::STRIP]
    parts = (parts - parts.mean(axis=2, keepdims=True)) * np.hanning(side).astype(np.float32)
    return np.abs(fft.rfft(parts, axis=2)) ** 2, np.arange(side // 2 + 1) / side


def _beside(power: Float[ndarray, "r c f"]) -> tuple[Float[ndarray, "r c f"], Float[ndarray, "f"]]:
    """The mean of the ordinates beside each, and for how many independent ones it stands."""
    reach = BESIDE + LEFT_OUT
    kernel = np.ones(2 * reach + 1)
    kernel[BESIDE : BESIDE + 2 * LEFT_OUT + 1] = 0
    inside = np.ones(power.shape[2])
    inside[:LEFT_OUT] = 0  # the mean was taken away
    count = ndimage.correlate1d(inside, kernel, mode="constant")
    total = ndimage.correlate1d(power * inside, kernel, axis=2, mode="constant")
    return total / np.maximum(count, 1), np.maximum(count, 1) / OVERLAP


def _second_difference(plane: Plane) -> Plane:
    """Size of the second difference along the rows."""
    return np.abs(cv2.filter2D(plane, cv2.CV_32F, np.array([[-1.0, 2.0, -1.0]], np.float32)))


def _strips(measured: Bool[ndarray, "h w"]) -> Float[ndarray, "r c"]:
    rows, columns = (n // STRIP for n in measured.shape)
    inner = measured[: rows * STRIP, : columns * STRIP]
    return inner.reshape(rows, STRIP, columns, STRIP).sum(axis=(1, 3)).astype(np.float64)
