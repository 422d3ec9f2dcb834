"""Copy-move by the noise alone: all shifts of an image against itself are tried at once.

Noise never repeats, so the autocorrelation of what is left without anatomy falls to nothing after a few
pixels, unless a part of the image was copied: then it has a peak at the copy's shift, however smooth the
copied part is. Correlation of residuals as evidence of a common origin is that of Lukas, Fridrich &
Goljan, "Detecting digital image forgeries using sensor pattern noise", SPIE 2006; whitening before the
correlation makes peaks narrow, as in Goljan, Fridrich & Filler, "Large scale test of sensor fingerprint
camera identification", SPIE 2009. The same against the mirrored image finds mirrored copies: genuine
symmetry shares anatomy, not noise.

Differs from the papers: there is one image and no fingerprint. The highest peaks are only hints. At the
shift of each, the local correlation shows which region repeats. It is believed if what is no edge in it
repeats more than symmetric anatomy does, and no longer two pixels beside, so that bones,
tables, grids and other patterns that repeat everywhere raise no alarm. The p-value is that of a Gaussian
correlation of white noise, over all shifts and places. Only the body is examined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft, ndimage, stats

from intact.forensics.base import Evidence, Examiner
from intact.forensics.patient import patient
from intact.forensics.texture import comparable
from intact.image import Image
from intact.residual import correlation, noise_sigma, without_structure

MEDIAN = 5  # pixels: side of the median whose difference to the image counts as noise; steps pass it
EDGE = 5  # pixels: side of the surroundings of an edge that are left out
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
SMALLEST = 64  # pixels: side of the image
FEWEST = 1000  # pixels that are not flat
LAG = 6.0  # sigma of the Gaussian window on the autocorrelation that tells the spectrum, in pixels
WEAK = 0.05  # of the mean power, below which frequencies are not amplified any further
APART = 24  # pixels between a region and its copy
SHARP = 5  # pixels: side of the surroundings above which a peak has to rise
PEAKS = 48  # highest, that are looked into
STRIDE = 4  # pixels between places that are looked at first
ALIKE = 0.5  # local correlation of a region that repeats
SMOOTH = 60  # pixels of it that are no edge, at least
TWINS = 0.3  # correlation that smooth parts of symmetric anatomy reach, more in few pixels
COPIED = 0.5  # above it, noise was copied
BESIDE, FALLS_TO = 2, 0.5  # pixels away from a copy its likeness is gone; of anatomy, it is not
NEAR = 3  # pixels over which white noise may still be correlated with itself
TINY = np.float32(1e-20)  # keeps an image without any noise from dividing by zero

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Shift = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Repeat:
    """A region whose noise occurs a second time.

    Args:
        mask: It and its copy.
        correlation: Of their noise, edges left out and values cut to their median.
        p_value: How often white noise would repeat so well, over all shifts and places.
        mirrored: Whether the copy is mirrored left to right.
    """

    mask: Mask
    correlation: float
    p_value: float
    mirrored: bool


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
        if not valid.any():
            return self._abstain("nothing was measured")
        plane = np.where(valid, plane, plane[valid].mean())
        valid = comparable(image) & patient(image)
        if np.count_nonzero(valid) < FEWEST:
            return self._abstain("the image is nearly constant, or without noise")
        sigma = noise_sigma(plane, valid)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        noise = without_structure(plane - cv2.medianBlur(plane, MEDIAN), valid)
        smooth = valid & ~_near_edges(noise)
        white = _whitened(noise * smooth)
        pairs = [_Pair(white, smooth, window=self.window, mirrored=mirrored) for mirrored in (False, True)]
        repeats = [repeat for pair in pairs for repeat in pair.repeats()]
        return self._told(repeats, plane.shape)

    def _told(self, repeats: list[Repeat], shape: tuple[int, ...]) -> Evidence:
        found = np.zeros(shape, np.float32)
        if not repeats:
            said = "No part of the image has the noise of another, plain or mirrored."
            return Evidence(self.kind, 0.0, found, said, p_value=1.0)
        for repeat in repeats:
            found[repeat.mask] = np.maximum(found[repeat.mask], repeat.correlation)
        best = min(repeats, key=lambda repeat: repeat.p_value)
        top, left = np.argwhere(best.mask).min(axis=0)
        said = (
            f"{int(best.mask.sum()):,} pixels from row {top}, column {left} on are a region and its "
            f"{'mirrored ' if best.mirrored else ''}copy: their noise, which never repeats, occurs twice "
            f"(correlation {best.correlation:.2f}; chance and anatomy explain {TWINS})."
        )
        return Evidence(self.kind, best.correlation, found, said, p_value=best.p_value)


class _Pair:
    """The white noise of an image beside itself, or beside its mirrored twin.

    Both go around the image's ends, so what lies a shift further is a part of the twin laid four times.
    """

    def __init__(self, white: Field, smooth: Mask, *, window: int, mirrored: bool) -> None:
        self.mirrored, self.window = mirrored, window
        self.one, self.ours = white, smooth
        turn = slice(None, None, -1 if mirrored else 1)
        self.other, theirs = (np.ascontiguousarray(each[:, turn]) for each in (white, smooth))
        self.energy = self._around(white * white)
        self.spread = _spread(white)
        self.four = [np.tile(each, (2, 2)) for each in (self.other, theirs, self.energy[:, turn])]

    def repeats(self) -> list[Repeat]:
        """Regions whose noise is that of the other, at the shifts of the highest peaks."""
        found = []
        for shift in self._hints():
            smooth = self.ours & self._moved(shift)[1]
            few = self._alike(shift, STRIDE) & smooth[::STRIDE, ::STRIDE]
            if np.count_nonzero(few) * STRIDE**2 < SMOOTH:
                continue
            alike = self._alike(shift, 1)
            if np.count_nonzero(alike & smooth) >= SMOOTH:
                region = _largest(alike & self._apart(shift), smooth)
                repeat = self._confirmed(region, smooth, shift)
                found += [repeat] if repeat is not None else []
        return found

    def _alike(self, shift: Shift, stride: int) -> Mask:
        """Where the local correlation at a shift is high, at every so many pixels."""
        noise, _, energy = self._moved(shift)
        product = self._around(self.one * noise, stride)
        least = (WEAK * float(self.energy[::8, ::8].mean())) ** 2
        most = np.maximum(self.energy[::stride, ::stride] * energy[::stride, ::stride], least)
        return (product > 0) & (product * product > ALIKE**2 * most)

    def _around(self, values: Field, stride: int = 1) -> Field:
        """The mean over the window around every so many pixels."""
        small = [math.ceil(n / stride) for n in values.shape[::-1]]
        fewer = values if stride == 1 else cv2.resize(values, small, interpolation=cv2.INTER_AREA)
        return cv2.blur(fewer, (max(1, round(self.window / stride)),) * 2)

    def _moved(self, shift: Shift) -> list[ndarray]:
        """What lies a shift further: noise, where it is smooth, energy."""
        (height, width), (down, right) = (
            self.one.shape,
            (at % n for at, n in zip(shift, self.one.shape, strict=True)),
        )
        return [each[down : down + height, right : right + width] for each in self.four]

    def _hints(self) -> list[Shift]:
        """The shifts whose correlation rises most above that of others beside; none twice, in reverse."""
        spectra = [fft.rfft2(each) for each in (self.one, self.other)]
        peaks = fft.irfft2(np.conj(spectra[0]) * spectra[1], self.one.shape)
        sharp = peaks - cv2.blur(peaks, (SHARP, SHARP))
        sharp[sharp < cv2.dilate(sharp, np.ones((SHARP, SHARP), np.uint8))] = 0.0
        sharp[len(peaks) // 2 + 1 :] = 0.0
        if not self.mirrored:
            sharp[:APART, :APART] = sharp[:APART, -APART:] = 0.0
        tops = np.flatnonzero(sharp > 0)
        if len(tops) > PEAKS:
            tops = tops[np.argpartition(sharp.flat[tops], -PEAKS)[-PEAKS:]]
        return [(int(at) // peaks.shape[1], int(at) % peaks.shape[1]) for at in tops]

    def _partners(self, shift: Shift) -> tuple[ndarray, ndarray]:
        """Row and column of the image that each row and column are compared with."""
        height, width = self.one.shape
        rows, columns = (np.arange(height) + shift[0]) % height, (np.arange(width) + shift[1]) % width
        return rows, width - 1 - columns if self.mirrored else columns

    def _apart(self, shift: Shift) -> Mask:
        """Pixels that are not compared with themselves, nor with a neighbour."""
        down, right = ((at - np.arange(len(at))) ** 2 for at in self._partners(shift))
        return np.asarray(down[:, None] + right[None] >= APART**2)

    def _confirmed(self, region: Mask, smooth: Mask, shift: Shift) -> Repeat | None:
        """The repeat, if noise that is no edge repeats at this shift, and not beside it."""
        smooth = smooth & region
        count = np.count_nonzero(smooth)
        if count < SMOOTH:
            return None
        best = self._likeness(smooth, shift)
        away = ((-BESIDE, 0), (BESIDE, 0), (0, -BESIDE), (0, BESIDE))
        beside = max(self._likeness(smooth, (shift[0] + dy, shift[1] + dx)) for dy, dx in away)
        tests = float(region.size) ** 2
        p_value = tests * float(stats.norm.sf((best - TWINS) * np.sqrt(count / self.spread)))
        if best < COPIED or beside > FALLS_TO * best or p_value >= 1.0:
            return None
        rows, columns = self._partners(shift)
        both = region.copy()
        at = np.nonzero(region)
        both[rows[at[0]], columns[at[1]]] = True
        return Repeat(both, best, p_value, self.mirrored)

    def _likeness(self, mask: Mask, shift: Shift) -> float:
        """Correlation of what is cut to its median: noise is alike everywhere, anatomy where it is strong."""
        values = [each[mask] for each in (self.one, self._moved(shift)[0])]
        limits = [float(np.median(np.abs(each))) for each in values]
        return correlation(*(np.clip(each, -top, top) for each, top in zip(values, limits, strict=True)))


def _near_edges(noise: Field) -> Mask:
    """Where a residual was cut, and around."""
    cut = np.abs(noise) >= np.abs(noise).max()
    return cv2.dilate(cut.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8)) > 0


def _whitened(noise: Field) -> Field:
    """Noise whose neighbouring pixels no longer go together.

    It is divided by a smooth spectrum, that of short lags: a copy's own trace, a ripple, stays.
    """
    raw = fft.rfft2(noise.astype(np.float32))
    near = fft.irfft2(np.abs(raw) ** 2, noise.shape)
    for axis, n in enumerate(noise.shape):
        lags = np.minimum(np.arange(n), n - np.arange(n)).astype(np.float32)
        near *= np.expand_dims(np.exp(-(lags**2) / (2 * LAG**2)), 1 - axis)
    power = np.abs(fft.rfft2(near))
    return np.asarray(fft.irfft2(raw / np.sqrt(power + WEAK * power.mean() + TINY), noise.shape))


def _spread(white: Field) -> float:
    """How many pixels count as one: the sum of squares of what correlation with neighbours is left."""
    power = np.abs(fft.rfft2(white)) ** 2
    near = np.roll(fft.irfft2(power, white.shape), (NEAR, NEAR), (0, 1))[: 2 * NEAR + 1, : 2 * NEAR + 1]
    return float(((near / (near.max() + TINY)) ** 2).sum())


def _largest(alike: Mask, smooth: Mask) -> Mask:
    """The connected part that holds most smooth pixels, without lone ones."""
    joined = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    labels, count = ndimage.label(joined, np.ones((3, 3)))
    sizes = np.bincount(labels[smooth], minlength=count + 1)
    sizes[0] = 0
    return np.asarray((labels == sizes.argmax()) & (labels > 0))
