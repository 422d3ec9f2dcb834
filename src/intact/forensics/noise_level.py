"""Noise-level inconsistency: a region that is far cleaner or noisier than what surrounds it.

Mahdian & Saic, "Using noise inconsistencies for blind image forensics", Image and Vision Computing
27(10), 2009. The diagonal band of one step of the Daubechies wavelet with eight vanishing moments holds
hardly any anatomy; in each block of 8 x 8 of its coefficients the median absolute value tells the
standard deviation of the noise. What was filled, blurred or generated is too clean; what was pasted
from another image may be either.

Differs from the paper: it divides the image into parts of even noise, but no medical image has even
noise. Noise goes with intensity (radiographs, magnitudes of MR) and changes slowly over the image (CT,
coils). So the logarithm of the noise is taken relative to that of blocks of the same intensity, then to
the median of what lies around, and only a ratio that is rare in this image counts. How rare it is tells
the image's own distribution, whose tail is carried on as an exponential one: genuine anatomy strays
farther than a Gaussian would. Too much noise is told by the lower quartile of the absolute values, as
letters and edges, which fill a part of a block, move its median. Only the body is examined, since noise
in air ends where the reconstruction ends, and nothing that its header calls compressed with loss. Blocks
overlap by three quarters.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from intact.forensics.base import Evidence, Examiner
from intact.forensics.patient import patient
from intact.image import Image

MOMENTS = 8  # that the wavelet has zero: blind to all but what changes within two or three pixels
BLOCK, STEP = 8, 2  # coefficients: side of a block, and from one to the next
PIXELS = 2  # that a coefficient stands for, along each axis
QUARTILE, MEDIAN = np.float32(0.3186), np.float32(0.6745)  # of |x|, x standard normal
ROUNDING = 12**-0.5  # standard deviation that storing whole numbers adds
QUIET = 1.5  # times rounding's that the noise must have, else rounding is all there is
LEVELS, EACH = 16, 64  # groups of equal intensity at most; blocks in a group at least
AROUND = 0.35  # of the image's shorter side: how far around noise is compared
COMPARED = 0.5  # of what lies around has to be measured
FEWEST = 200  # blocks
ODD = -math.log(0.6)  # departure of the noise's logarithm, from which a region may be reported
TAIL = (
    0.4,
    0.12,
)  # shares of the blocks between which the slope is measured; the end is beyond what is forged
SURE = 0.01  # p-value of the surest block of a region that is marked
_SCALE = 32  # levels of the logarithm that a median filter of bytes tells apart, per unit

Blocks = Float[ndarray, "r c"]


@dataclass(eq=False)
class NoiseLevel(Examiner):
    """Finds regions whose noise is not that of tissue of the same intensity around them."""

    kind = "noise"
    source = "Mahdian & Saic, Image and Vision Computing 2009"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < 4 * BLOCK * PIXELS:
            return self._abstain(f"the image is smaller than {4 * BLOCK * PIXELS} pixels")
        if getattr(image.header, "LossyImageCompression", "") == "01":
            return self._abstain("compression with loss took noise away unevenly")
        used = _covered(_measured(plane, valid) & patient(image))
        if np.count_nonzero(used) < FEWEST:
            return self._abstain("hardly any of the body was measured without clipping")
        plane = np.where(valid, plane, plane[valid].mean())
        quartile, sigma = block_sigmas(plane)
        rounding = 0.0 if image.pixels.dtype.kind == "f" else ROUNDING
        typical = float(np.median(sigma[used]))
        if typical <= QUIET * rounding:
            return self._abstain(f"there is hardly any noise (standard deviation {typical:.2f})")
        compared = used & (_share(used) > COMPARED)
        if np.count_nonzero(compared) < FEWEST:
            return self._abstain("the body is too small to compare one part of it with another")
        means, least = _block_means(plane), max(rounding, 1e-3 * typical)
        cleaner, noisier = (
            _beside(_for_intensity(np.log(np.maximum(each, least)), means, used), used)
            for each in (sigma, quartile)
        )
        return self._told(plane.shape, [_Side.of(-cleaner, compared), _Side.of(noisier, compared)])

    def _told(self, shape: tuple[int, ...], sides: list[_Side]) -> Evidence:
        odd = min(sides, key=lambda side: float(side.chance.min()))
        surest = float(odd.chance.min())
        p_value = min(1.0, 2 * math.exp(surest))
        found = np.zeros(shape, np.float32)
        score = max(0.0, -surest / math.log(10))
        if p_value > SURE:
            said = "The noise is as strong everywhere as in tissue of equal intensity around."
            return Evidence(self.kind, score, found, said, p_value=p_value)
        blocks = np.unravel_index(int(odd.chance.argmin()), odd.chance.shape)
        row, column = (PIXELS * (STEP * int(at) + BLOCK // 2) for at in blocks)
        found = _painted(np.any([side.regions(math.log(SURE / 2)) for side in sides], axis=0), shape)
        clean = odd is sides[0]
        times = math.exp(float(odd.ratio[blocks]) * (-1 if clean else 1))
        said = (
            f"Around row {row}, column {column} the noise is {times:.2f} times as strong as in tissue of "
            f"equal intensity around it, which chance would give in {p_value:.1g} of images: the "
            f"{np.count_nonzero(found):,} pixels marked were "
            + ("filled, smoothed or generated." if clean else "pasted from a noisier image, or overlaid.")
        )
        return Evidence(self.kind, score, found, said, p_value=p_value)


@dataclass(frozen=True, eq=False)
class _Side:
    """Departure of blocks to one side, and the logarithm of how many would stray as far by chance."""

    ratio: Blocks
    chance: Blocks

    @classmethod
    def of(cls, ratio: Blocks, compared: Bool[ndarray, "r c"]) -> _Side:
        """Judge each block by the tail of all others; what is not odd at all has a chance of 1."""
        begin, end = np.quantile(ratio[compared], [1 - share for share in TAIL])
        slope = max(float(end - begin) / math.log(TAIL[0] / TAIL[1]), 1e-3)
        count = np.count_nonzero(compared) * (STEP / BLOCK) ** 2  # that do not overlap
        chance = math.log(count * TAIL[1]) - (ratio - end) / slope
        odd = compared & (ratio > ODD)
        return cls(np.where(odd, ratio, 0.0), np.where(odd, np.minimum(chance, 0.0), 0.0))

    def regions(self, limit: float) -> Bool[ndarray, "r c"]:
        """Connected odd blocks, one of which at least is so sure."""
        labels, _ = ndimage.label(self.ratio > 0, np.ones((3, 3)))
        sure = np.unique(labels[self.chance <= limit])
        return np.asarray(np.isin(labels, sure[sure > 0]))


@functools.cache
def daubechies(moments: int) -> tuple[float, ...]:
    """Low-pass taps of Daubechies' wavelet with so many vanishing moments; their squares add up to 1.

    Source: Daubechies, "Orthonormal bases of compactly supported wavelets", Comm. Pure Appl. Math. 1988:
    the zeros of her polynomial within the unit circle, and as many at -1 as moments vanish.
    """
    polynomial = np.zeros(2 * moments - 1)
    power = np.array([1.0])
    for k in range(moments):
        polynomial[moments - 1 - k : moments + k] += math.comb(moments - 1 + k, k) * power
        power = np.convolve(power, [-0.25, 0.5, -0.25])
    zeros = np.roots(polynomial)
    taps = np.real(np.poly(np.concatenate([-np.ones(moments), zeros[np.abs(zeros) < 1]])))
    return tuple(taps * math.sqrt(2) / taps.sum())


def diagonal_band(plane: Float[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
    """The coefficients of one wavelet step that are high-pass along both axes, in the plane's unit."""
    low = np.array(daubechies(MOMENTS), np.float32)
    high = low[::-1] * (-1.0) ** np.arange(len(low), dtype=np.float32)
    middle = round(float((np.arange(len(high)) * high**2).sum()))
    return cv2.sepFilter2D(plane, cv2.CV_32F, high, high, anchor=(middle, middle))[::PIXELS, ::PIXELS]


def block_sigmas(plane: Float[ndarray, "h w"]) -> tuple[Blocks, Blocks]:
    """Standard deviation of the noise in each block, in the plane's unit.

    Returns:
        By the lower quartile of |HH|, and by its median as in the paper.
    """
    values = np.lib.stride_tricks.sliding_window_view(np.abs(diagonal_band(plane)), (BLOCK, BLOCK))
    values = values[::STEP, ::STEP]
    values = values.reshape(*values.shape[:2], BLOCK**2)
    places = [round(share * (BLOCK**2 - 1)) for share in (0.25, 0.5)]
    # NumPy sorts such short rows faster than it partitions them.
    lower, middle = np.moveaxis(np.sort(values, axis=-1)[..., places], -1, 0)
    return lower / QUARTILE, middle / MEDIAN


def _measured(plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """What is neither padding nor clipped to the lowest or highest value."""
    values = plane[valid]
    if not values.size:
        return valid
    clipped = ((plane <= values.min()) | (plane >= values.max())).astype(np.uint8)
    patches = cv2.morphologyEx(clipped, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return valid & (patches == 0)


def _covered(usable: Bool[ndarray, "h w"]) -> Bool[ndarray, "r c"]:
    """Blocks whose coefficients come from usable pixels only."""
    reach = MOMENTS + 1
    inner = cv2.erode(usable.astype(np.uint8), np.ones((reach, reach), np.uint8), borderValue=0)
    values = np.lib.stride_tricks.sliding_window_view(inner[::PIXELS, ::PIXELS] > 0, (BLOCK, BLOCK))
    return np.asarray(values[::STEP, ::STEP].all(axis=(-2, -1)))


def _block_means(plane: Float[ndarray, "h w"]) -> Blocks:
    side = BLOCK * PIXELS
    means = cv2.blur(plane, (side, side), anchor=(0, 0))
    shape = [(math.ceil(n / PIXELS) - BLOCK) // STEP + 1 for n in plane.shape]
    return means[:: STEP * PIXELS, :: STEP * PIXELS][: shape[0], : shape[1]]


def _for_intensity(log_sigma: Blocks, means: Blocks, used: Bool[ndarray, "r c"]) -> Blocks:
    """The logarithm of the noise, less the median of that of blocks of the same intensity."""
    order = np.argsort(means[used], kind="stable")
    groups = np.array_split(order, int(np.clip(len(order) // EACH, 1, LEVELS)))
    levels = [float(np.median(means[used][group])) for group in groups]
    expected = [float(np.median(log_sigma[used][group])) for group in groups]
    return log_sigma - np.interp(means, levels, expected)


def _beside(ratio: Blocks, used: Bool[ndarray, "r c"]) -> Blocks:
    """A logarithm of ratios, less its median over what lies around."""
    known = np.where(used, ratio, 0.0)
    coarse = np.clip(np.rint(_SCALE * known + 128), 0, 255).astype(np.uint8)
    around = cv2.medianBlur(coarse, _window(ratio.shape)).astype(np.float32)
    return ratio - (around - 128) / _SCALE


def _share(used: Bool[ndarray, "r c"]) -> Blocks:
    """How much of what lies around each block was measured."""
    side = _window(used.shape)
    return cv2.blur(used.astype(np.float32), (side, side), borderType=cv2.BORDER_REPLICATE)


def _window(shape: tuple[int, ...]) -> int:
    return int(AROUND * min(shape)) | 1


def _painted(blocks: Bool[ndarray, "r c"], shape: tuple[int, ...]) -> Float[ndarray, "h w"]:
    """Blocks as the pixels in their middle."""
    found = np.zeros(shape, np.float32)
    half, step = BLOCK * PIXELS // 4, STEP * PIXELS
    for row, column in np.argwhere(blocks):
        top, left = step * row + half, step * column + half
        found[top : top + 2 * half, left : left + 2 * half] = 1.0
    return found
