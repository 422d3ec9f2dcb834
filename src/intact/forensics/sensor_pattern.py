"""The fixed pattern of a detector: whether an image has it, and where it is missing.

Lukas, Fridrich & Goljan, "Digital camera identification from sensor pattern noise", IEEE TIFS 1(2), 2006;
Chen, Fridrich, Goljan & Lukas, "Determining image origin and integrity using sensor noise", IEEE TIFS 3(1),
2008; Goljan, "Digital camera identification from images: estimating false acceptance probability",
IWDW 2009 (peak-to-correlation energy, PCE). No two pixels of a detector are equally sensitive. What many
of its images have in common, when anatomy is filtered away, is its fingerprint; what was pasted or
generated lacks it.

Differs from the papers: the denoising filter is an undecimated wavelet (B3 spline, four scales) in place
of a decimated Daubechies-4, with the strength of the image's own noise in place of 5 grey levels. Rows
and columns are centred at once, as there is no colour filter, and values count from the lowest. The
image's place on the detector is known, so the peak of the correlation is that at no shift. For regions
nothing is trained to predict the correlation: what the filter takes away in rich anatomy is known, and
with that the share of the pattern that a window shows is about the same all over a genuine image. What
chance adds to it is measured with the fingerprint moved aside, where it cannot fit, and allowed for. How
far genuine shares stray beyond chance depends on the fingerprint's quality, so only a comparison with
other genuine images of the device gives a p-value. Regions have to fill most of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft

from intact.errors import UsageError
from intact.forensics.base import Evidence, Examiner
from intact.forensics.texture import not_flat
from intact.image import Image
from intact.residual import noise_sigma

SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16
WHITE = (0.889, 0.200, 0.086, 0.041)  # deviation of each scale of white noise of deviation 1
WINDOWS = (3, 5, 7, 9)  # pixels in which the variance of anatomy is measured; the least counts
FEWEST = 20  # images of a detector that a fingerprint needs
PEAK = 11  # pixels: side of the surroundings of the peak that do not count as noise
ASIDE = 6  # places the fingerprint is moved to, to see what chance gives
STEP = 0.25  # of a window, from one to the next
DEVIATIONS = 3.0  # of chance, that a window's share of the pattern may be higher
FAINT = 0.2  # of the pattern's usual energy, below which a window tells nothing
LACKS = 0.6  # of the pattern, from which a window is marked
TINY = 1e-12

Field = Float[ndarray, "h w"]


@dataclass(eq=False)
class SensorPattern(Examiner):
    """Compares an image with the fingerprint of the detector it is said to come from.

    The score is the share of the pattern that a window lacks at least; beyond 1, all of the image lacks
    it: 2 less the root of its peak-to-correlation energy over the limit.

    Args:
        fingerprint: Of the detector, as `fingerprint` gives it, of the image's shape; None abstains.
        window: Side in pixels of the regions that are looked at one by one.
        pce: Peak-to-correlation energy from which an image is taken to have the pattern.
    """

    kind = "noise"
    routine = False
    source = "Lukas et al., IEEE TIFS 2006; Chen et al., IEEE TIFS 2008; Goljan, IWDW 2009"

    fingerprint: Float[ndarray, "h w"] | None = None
    window: int = 64
    pce: float = 60.0

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if self.fingerprint is None:
            return self._abstain("no fingerprint of the device was given")
        if self.fingerprint.shape != plane.shape:
            return self._abstain(f"the fingerprint is one of {self.fingerprint.shape} pixels")
        if min(plane.shape) < 2 * self.window:
            return self._abstain(f"the image is smaller than {2 * self.window} pixels")
        noise, kept, values = _noise_of(plane, valid)
        if not noise.any():
            return self._abstain("there is no noise to compare")
        noise = _cleaned(noise)
        # Where the filter takes the pattern for anatomy, less of it can be expected.
        expected = kept * values * self.fingerprint.astype(np.float32)
        if not expected.any():
            return self._abstain("the fingerprint is empty where the image shows anything")
        energy = peak_to_correlation(noise, expected)
        if energy < self.pce:
            return self._absent(energy, plane.shape)
        return self._regions(noise, expected, energy)

    def _absent(self, energy: float, shape: tuple[int, ...]) -> Evidence:
        said = (
            f"The image lacks the pattern of the device (peak-to-correlation energy {energy:.1f}, not "
            f"{self.pce:g}): another device made it, or processing took the pattern away."
        )
        score = 2.0 - float(np.sign(energy) * np.sqrt(abs(energy) / self.pce))
        return Evidence(self.kind, score, np.ones(shape, np.float32), said)

    def _regions(self, noise: Field, expected: Field, energy: float) -> Evidence:
        missing = self._missing(noise, expected)
        worst = min(float(missing.max()), 1.0)
        found = np.zeros(noise.shape, np.float32)
        said = f"The image has the pattern of the device (peak-to-correlation energy {energy:,.0f})"
        if worst <= LACKS:
            return Evidence(self.kind, max(worst, 0.0), found, f"{said}, and so has every region of it.")
        for row, column in np.argwhere(missing > LACKS) * self._step + self.window // 4:
            found[row : row + self.window // 2, column : column + self.window // 2] = 1.0
        row, column = (int(at) * self._step for at in np.unravel_index(missing.argmax(), missing.shape))
        said += (
            f", but of what the rest shows of it the {self.window} x {self.window} pixels from row {row}, "
            f"column {column} on lack {worst:.0%} at least: what lies there was pasted, made or smoothed."
        )
        return Evidence(self.kind, worst, found, said)

    @property
    def _step(self) -> int:
        return max(1, round(STEP * self.window))

    def _missing(self, noise: Field, expected: Field) -> Field:
        """Which share of the pattern each window lacks at least, against the middle one: at most about 1.

        0 where so little of the pattern is expected that none could be seen.
        """
        power = self._sums(expected * expected)
        seen = power > FAINT * np.median(power)
        power = np.maximum(power, TINY)
        shares = self._sums(noise * expected) / power
        strength = np.sqrt(self._sums(noise * noise) / power)
        aside = []
        for place in range(1, ASIDE + 1):
            moves = [place * n // (ASIDE + 1) for n in noise.shape]
            moved = np.roll(noise, moves, (0, 1))
            scale = np.sqrt(np.maximum(self._sums(moved * moved) * power, TINY))
            aside.append((self._sums(moved * expected) / scale)[seen])
        chance = DEVIATIONS * float(np.std(aside)) * strength
        middle = max(float(np.median(shares[seen])), TINY)
        return np.where(seen, 1 - (shares + chance) / middle, 0.0)

    def _sums(self, values: Field) -> Field:
        """Sums over all windows, one step apart."""
        side = (self.window, self.window)
        sums = cv2.boxFilter(values, cv2.CV_32F, side, anchor=(0, 0), normalize=False)
        whole = [n - self.window + 1 for n in values.shape]
        return sums[: whole[0] : self._step, : whole[1] : self._step]


def fingerprint(images: Sequence[Image]) -> Field:
    """The pattern that images of one detector have in common: their maximum-likelihood estimate.

    Args:
        images: At least 20 planes of one shape, of different patients or of nothing.

    Returns:
        float32: what each pixel sees more than others, as a share. 0 where nothing was measured.

    Raises:
        UsageError: Too few images, or of different shapes.
    """
    shapes = {image.shape for image in images}
    if len(images) < FEWEST or len(shapes) != 1 or len(images[0].shape) != 2:
        raise UsageError(
            f"a fingerprint takes {FEWEST} planes of one shape at least; these are {len(images)} of shapes "
            f"{sorted(shapes)}"
        )
    above = np.zeros(images[0].shape)
    below = np.zeros(images[0].shape)
    for image in images:
        grey = image.pixels.astype(np.float32)
        plane = grey.mean(axis=-1) if image.colour else grey
        noise, kept, values = _noise_of(plane, ~image.padding_mask())
        above += noise * values
        below += kept * values * values
    return _cleaned((above / (below + TINY + 1e-6 * below.max())).astype(np.float32))


def peak_to_correlation(noise: Field, expected: Field) -> float:
    """The squared correlation at no shift over its mean square at others, with the correlation's sign."""
    spectra = [fft.rfft2(each - each.mean()) for each in (noise, expected)]
    all_shifts = fft.irfft2(spectra[0] * np.conj(spectra[1]), noise.shape)
    peak = float(all_shifts[0, 0])
    half = PEAK // 2
    squares = np.roll(all_shifts, (half, half), (0, 1)) ** 2
    outside = float(squares.sum() - squares[:PEAK, :PEAK].sum()) / (squares.size - PEAK**2)
    return float(np.sign(peak)) * peak**2 / max(outside, TINY)


def _noise_of(plane: Field, valid: Bool[ndarray, "h w"]) -> tuple[Field, Field, Field]:
    """Noise; the share of it that the filter kept, 0 to 1; and values from the lowest on.

    All are 0 where nothing was measured or values are clipped.
    """
    if not valid.any():
        return (np.zeros_like(plane),) * 3
    plane = np.where(valid, plane, plane[valid].mean()).astype(np.float32)
    used = valid & not_flat(plane)
    strength = noise_sigma(plane, used) if used.any() else 0.0
    if not strength:
        return (np.zeros_like(plane),) * 3
    noise, kept, smooth = np.zeros_like(plane), np.zeros_like(plane), plane
    for scale, white in enumerate(WHITE):
        kernel = np.zeros(4 * 2**scale + 1, np.float32)
        kernel[:: 2**scale] = SPLINE
        smoother = cv2.sepFilter2D(smooth, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
        share = _noise_share(smooth - smoother, strength * white)
        noise += share * (smooth - smoother)
        kept = share if scale == 0 else kept
        smooth = smoother
    return noise * used, kept * used, (plane - plane.min()) * used


def _noise_share(detail: Field, strength: float) -> Field:
    """What Wiener's filter takes for noise of each coefficient, 0 to 1 (Mihcak et al., ICASSP 1999)."""
    square, variance = detail * detail, np.float32(strength) ** 2
    least = np.minimum.reduce([cv2.blur(square, (side, side)) for side in WINDOWS])
    return variance / (variance + np.maximum(least - variance, 0))


def _cleaned(noise: Field) -> Field:
    """Noise without what all rows, all columns or a frequency have in common: lines, grids, blocks."""
    noise = noise - noise.mean(axis=0, keepdims=True)
    noise = noise - noise.mean(axis=1, keepdims=True)
    spectrum = fft.rfft2(noise)
    size = np.abs(spectrum)
    share = _noise_share(size, float(np.sqrt((size * size).mean())))
    return np.asarray(fft.irfft2(spectrum * share, noise.shape))
