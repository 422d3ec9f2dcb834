"""Copy-move by the noise alone: all shifts of an image against itself are tried at once.

Noise never repeats, so the autocorrelation of what is left without anatomy falls to nothing after a few
pixels, unless a part of the image was copied: then it has a peak at the copy's shift, however smooth the
copied part is. Correlation of residuals as evidence of a common origin is that of Lukas, Fridrich &
Goljan, "Detecting digital image forgeries using sensor pattern noise", SPIE 2006; whitening before the
correlation makes peaks narrow, as in Goljan, Fridrich & Filler, "Large scale test of sensor fingerprint
camera identification", SPIE 2009. The same against the mirrored image finds mirrored copies: genuine
symmetry shares anatomy, not noise.

Differs from the papers: there is one image and no fingerprint. Its highest peaks are only hints. At the
shift of each, the local correlation shows which region repeats, and that region is believed as the pairs
of block matching are (`clone.py`): if its noise repeats beyond what twins reach, and no longer some
pixels beside, so that edges, grids and other patterns that repeat everywhere raise no alarm. The number
of false alarms allows for all shifts and all places.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from numpy import ndarray
from scipy import fft

from intact.forensics.base import Evidence, Examiner
from intact.forensics.clone import Clone, find_clones, not_flat, shifted
from intact.image import Image
from intact.residual import noise_sigma, without_structure

BLUR = 1.5  # sigma of the blur whose difference to the image counts as noise, in pixels
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
SMALLEST = 64  # pixels: side of the image
FEWEST = 1000  # pixels that are not flat
LAG = 6.0  # sigma of the Gaussian window on the autocorrelation that tells the spectrum, in pixels
WEAK = 0.05  # of the mean power, below which frequencies are not amplified any further
APART = 24  # pixels between a region and its copy
SHARP = 5  # pixels: side of the surroundings above which a peak has to rise
PEAKS = 48  # highest, that are looked into
ALIKE = 0.5  # local correlation of a region that repeats
VOTES = 60  # pixels of it at least
MARGIN = 32  # pixels between an image and its mirrored twin

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]


@dataclass(eq=False)
class ResidualCorrelation(Examiner):
    """Finds copies, mirrored ones too, by noise that occurs twice.

    Args:
        window: Side in pixels of the neighbourhood whose noise is correlated; copies have to be larger.
    """

    kind = "copy-move"
    source = "after Lukas et al., SPIE 2006; Goljan et al., SPIE 2009"

    window: int = 15

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < SMALLEST:
            return self._abstain(f"the image is smaller than {SMALLEST} pixels")
        plane = np.where(valid, plane, plane[valid].mean() if valid.any() else 0.0).astype(np.float32)
        valid = valid & not_flat(plane)
        if np.count_nonzero(valid) < FEWEST:
            return self._abstain("the image is nearly constant")
        sigma = noise_sigma(plane, valid)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        noise = without_structure(plane - cv2.GaussianBlur(plane, (0, 0), BLUR), valid) * valid
        white, spectrum = _whitened(noise.astype(np.float32))
        plain = self._repeats(white, white, np.abs(spectrum) ** 2, mirrored=False)
        clones = find_clones(plane, plain, size=1, votes=VOTES, valid=valid)
        if clones:
            return self._told(clones, np.any([clone.both for clone in clones], axis=0), "")
        flipped = np.ascontiguousarray(white[:, ::-1])
        cross = np.conj(spectrum) * fft.rfft2(flipped)
        pairs = self._repeats(white, flipped, cross, mirrored=True)
        clones = _mirrored_clones(plane, pairs, valid)
        return self._told(clones, _both_mirrored(clones, plane.shape), "mirrored ")

    def _repeats(
        self, one: Field, other: Field, spectrum: Complex[ndarray, "h w2"] | Field, *, mirrored: bool
    ) -> Int[ndarray, "m 4"]:
        """Rows and columns of pixels around which the noise of one is that of the other elsewhere.

        The shifts are those of the highest peaks of the cross-correlation, whose spectrum is given;
        they go around the image's ends.
        """
        peaks = fft.irfft2(spectrum, one.shape)
        side = (self.window, self.window)
        energy = [cv2.blur(each * each, side) for each in (one, other)]
        floor = WEAK * float(energy[0].mean())
        found = [np.zeros((0, 4), np.int64)]
        for shift in _highest(peaks, mirrored=mirrored):
            back = (-shift[0], -shift[1])
            product = cv2.blur(one * np.roll(other, back, (0, 1)), side)
            most = energy[0] * np.roll(energy[1], back, (0, 1))
            alike = (product > 0) & (product**2 > ALIKE**2 * most) & (most > floor**2)
            starts = np.argwhere(alike)
            if len(starts) >= VOTES:
                pairs = np.hstack([starts, (starts + shift) % one.shape])
                found.append(pairs[_usable(pairs, one.shape, mirrored=mirrored)])
        return np.concatenate(found)

    def _told(self, clones: list[Clone], found: Mask, how: str) -> Evidence:
        tests = float(found.size) ** 2  # every shift at every place
        alarms = tests * clones[0].p_value if clones else 1.0
        if alarms >= 1.0:
            said = "No part of the image has the noise of another, plain or mirrored."
            return Evidence(self.kind, 0.0, np.zeros(found.shape, np.float32), said, p_value=1.0)
        best = clones[0]
        top, left = np.argwhere(best.mask).min(axis=0)
        said = (
            f"{int(best.mask.sum()):,} pixels from row {top}, column {left} on are a {how}copy: their noise, "
            f"which never repeats, occurs a second time (correlation {best.correlation:.2f}; genuine likeness "
            "reaches 0.16)."
        )
        return Evidence(
            self.kind, best.correlation, best.correlation * found.astype(np.float32), said, p_value=alarms
        )


def _whitened(noise: Field) -> tuple[Field, Complex[ndarray, "h w2"]]:
    """Noise whose neighbouring pixels no longer go together, and its spectrum.

    The spectrum that is divided by is a smooth one, that of short lags: a copy's own trace, which is
    a ripple, stays.
    """
    raw = fft.rfft2(noise)
    near = fft.irfft2(np.abs(raw) ** 2, noise.shape)
    for axis, n in enumerate(noise.shape):
        lags = np.minimum(np.arange(n), n - np.arange(n)).astype(np.float32)
        near *= np.expand_dims(np.exp(-(lags**2) / (2 * LAG**2)), 1 - axis)
    power = np.abs(fft.rfft2(near))
    spectrum = raw / np.sqrt(power + WEAK * power.mean() + np.finfo(np.float32).tiny)
    return fft.irfft2(spectrum, noise.shape), spectrum


def _highest(peaks: Field, *, mirrored: bool) -> list[tuple[int, int]]:
    """The shifts whose correlation rises most above that of shifts beside; one of a shift and its reverse."""
    sharp = peaks - cv2.blur(peaks, (SHARP, SHARP))
    sharp[sharp < cv2.dilate(sharp, np.ones((SHARP, SHARP), np.uint8))] = 0.0
    sharp[peaks.shape[0] // 2 + 1 :] = 0.0
    if not mirrored:
        sharp[:APART, :APART] = sharp[:APART, -APART:] = 0.0
    order = np.argpartition(sharp.ravel(), -PEAKS)[-PEAKS:]
    rows, columns = np.unravel_index(order[sharp.ravel()[order] > 0], sharp.shape)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def _usable(pairs: Int[ndarray, "m 4"], shape: tuple[int, ...], *, mirrored: bool) -> Bool[ndarray, "m"]:
    """Pairs that are no pixel and its neighbour, nor from one edge of the image to the other."""
    across = shape[1] - 1 - pairs[:, 3] if mirrored else pairs[:, 3]
    apart = np.hypot(pairs[:, 2] - pairs[:, 0], across - pairs[:, 1]) >= APART
    down, right = np.abs(pairs[:, 2:] - pairs[:, :2]).T
    return apart & (down < shape[0] - SMALLEST // 4) & (right < shape[1] - SMALLEST // 4)


def _mirrored_clones(plane: Field, pairs: Int[ndarray, "m 4"], valid: Mask) -> list[Clone]:
    """Clones between an image and its mirrored twin, which is set beside it."""
    if not len(pairs):
        return []
    gap = np.full((len(plane), MARGIN), float(plane[valid].mean()), np.float32)
    twins = np.hstack([plane, gap, plane[:, ::-1]])
    measured = np.hstack([valid, gap != gap, valid[:, ::-1]])
    pairs = pairs + [0, 0, 0, plane.shape[1] + MARGIN]
    return find_clones(twins, pairs, size=1, votes=VOTES, valid=measured)


def _both_mirrored(clones: list[Clone], shape: tuple[int, ...]) -> Mask:
    """What was copied and its copy, as regions of the image itself."""
    found = np.zeros(shape, bool)
    for clone in clones:
        found |= clone.mask[:, : shape[1]]
        found |= shifted(clone.mask, clone.shift)[:, -shape[1] :][:, ::-1]
    return found
