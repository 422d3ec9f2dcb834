"""Patterns that repeat over the whole image: an artefact of the acquisition, not of anybody's hand.

A spike in raw MR data becomes a herringbone of stripes, a stray radio signal a zipper, an anti-scatter
grid fine lines on a radiograph: each is one frequency far stronger than those around it. The strength
of noise at a frequency is exponentially distributed about that of its surroundings (Brockwell & Davis,
"Time Series: Theory and Methods", 1991, chapter 10), which tells how often chance gives a peak.

Frequencies of anatomy and of straight borders, and multiples of 1/8, which JPEG leaves, are not looked
at. Images that were interpolated have no noise at high frequencies; there, too, nothing is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft

from intact.forensics.base import ARTEFACT, Evidence, Examiner
from intact.image import Image
from intact.residual import without_structure

SMALLEST = 64  # pixels along a side
LOWEST = 0.12  # cycles per pixel; below is anatomy
AXIS = 3  # frequencies beside the axes, where straight borders are
AROUND = 11  # side of the neighbourhood, in frequencies, that a peak is compared with
LEAKS = 2  # frequencies around a peak that belong to it
QUIET = 1e-3  # of the median power: frequencies without noise
SURE = 1e-6  # p-value below which there is a pattern
JPEG = 8  # pixels
SIGMA = 1.5  # of the blur whose difference to the image counts as noise, in pixels


@dataclass(eq=False)
class PeriodicPattern(Examiner):
    """Finds stripes and grids that cover an image."""

    kind = ARTEFACT
    source = "periodogram test, Brockwell & Davis 1991"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < SMALLEST:
            return self._abstain(f"the image is smaller than {SMALLEST} pixels")
        if not valid.any() or np.ptp(plane[valid]) == 0:
            return self._abstain("the image shows nothing")
        filled = np.where(valid, plane, plane[valid].mean())
        noise = without_structure(filled - cv2.GaussianBlur(filled, (0, 0), SIGMA), valid)
        if not noise.any():
            return self._abstain("there is no noise to compare with")
        spectrum = fft.rfft2(noise * _taper(plane.shape))
        power = np.abs(spectrum) ** 2
        looked = _looked_at(plane.shape)
        around = _around(power)
        looked &= around > QUIET * np.median(power[looked])
        if not looked.any():
            return self._abstain("the image has no noise at high frequencies")
        ratio = np.where(looked, power / np.maximum(around, 1e-30), 0.0)
        peak = np.unravel_index(int(ratio.argmax()), ratio.shape)
        p_value = min(1.0, np.count_nonzero(looked) * float(np.exp(-float(ratio[peak]))))
        if p_value > SURE:
            said = "No frequency stands out from the noise around it."
            return Evidence(self.kind, 0.0, np.zeros(plane.shape, np.float32), said, p_value=1.0)
        return self._told(spectrum, ratio, peak, plane.shape, p_value)

    def _told(
        self,
        spectrum: ndarray,
        ratio: Float[ndarray, "h k"],
        peak: tuple[np.intp, ...],
        shape: tuple[int, int],
        p_value: float,
    ) -> Evidence:
        rows, columns = float(fft.fftfreq(shape[0])[peak[0]]), float(fft.rfftfreq(shape[1])[peak[1]])
        period = 1.0 / np.hypot(rows, columns)
        angle = float(np.degrees(np.arctan2(rows, columns)))
        said = (
            f"Stripes {period:.1f} pixels apart, {angle:.0f} degrees from the rows' direction, cover the "
            f"image: their frequency is {float(ratio[peak]):,.0f} times as strong as those around it. "
            "Disturbances of the acquisition leave such patterns."
        )
        kept = np.zeros_like(spectrum)
        near = tuple(slice(max(int(at) - LEAKS, 0), int(at) + LEAKS + 1) for at in peak)
        kept[near] = spectrum[near]
        stripes = fft.irfft2(kept, shape)
        strength = np.sqrt(cv2.GaussianBlur(stripes * stripes, (0, 0), max(4.0, 2 * period)))
        found = (strength / strength.max()).astype(np.float32)
        return Evidence(self.kind, float(np.log10(ratio[peak])), found, said, p_value=p_value)


def _taper(shape: tuple[int, int]) -> Float[ndarray, "h w"]:
    """A Hann window, so that the frame is no edge."""
    return np.outer(np.hanning(shape[0]), np.hanning(shape[1]))


def _looked_at(shape: tuple[int, int]) -> Bool[ndarray, "h k"]:
    """The frequencies at which there is nothing but noise in an undisturbed image."""
    rows, columns = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]
    high = np.hypot(rows, columns) >= LOWEST
    off_axis = (np.abs(rows) > AXIS / shape[0]) & (columns > AXIS / shape[1])
    inside = (np.abs(rows) < 0.5 - AXIS / shape[0]) & (columns < 0.5 - AXIS / shape[1])
    return high & off_axis & inside & ~(_eighths(rows, shape[0]) & _eighths(columns, shape[1]))


def _eighths(frequencies: Float[ndarray, "..."], length: int) -> Bool[ndarray, "..."]:
    distance = np.abs(frequencies * JPEG - np.rint(frequencies * JPEG)) / JPEG
    return distance <= AXIS / length


def _around(power: Float[ndarray, "h k"]) -> Float[ndarray, "h k"]:
    """The mean power around each frequency, those that belong to it left out."""
    window, own = (AROUND, AROUND), (2 * LEAKS + 1, 2 * LEAKS + 1)
    whole = cv2.boxFilter(power, -1, window, normalize=False, borderType=cv2.BORDER_REFLECT)
    inner = cv2.boxFilter(power, -1, own, normalize=False, borderType=cv2.BORDER_REFLECT)
    return np.maximum(whole - inner, 0.0) / (AROUND**2 - (2 * LEAKS + 1) ** 2)
