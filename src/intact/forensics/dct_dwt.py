"""Copy-move by cosine coefficients of the wavelet approximation: half the size, half the noise.

Hayat & Qazi, "Forgery detection in digital images via discrete wavelet and discrete cosine transforms",
Computers & Electrical Engineering 62, 2017. One level of the Haar wavelet is taken; blocks of its
approximation are described by their cosine coefficients, sorted, and compared with their neighbours.
Noise is halved, and what compression does to fine detail is gone, while a block costs a quarter.

Differs from the paper: a copy seldom moves by an even number of pixels, and the approximation of one
pixel further is another; so it is taken at three phases, any two of which are an odd shift apart. Blocks
overlap by all but one coefficient. The mean does not count, limits are in units of the image's noise,
and a shift is believed only where the noise of the whole image repeats (`clone.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.fft import dct

from intact.forensics.base import Evidence, Examiner
from intact.forensics.clone import Clone, enough_texture, find_clones, not_flat
from intact.image import Image
from intact.residual import noise_sigma

PHASES = ((0, 0), (0, 1), (1, 0))  # between them are shifts of every parity
COEFFICIENTS = 15  # of the lowest frequencies, the mean left out
SORTED = 8  # of them that blocks are sorted by
NEXT = 6  # blocks in the sorted order that each is compared with
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
STEP = 2.0  # of quantisation, in standard deviations of the noise
LIKE = 1.5  # distance up to which blocks are alike, in standard deviations for each coefficient
APART = 24  # pixels between a block and its like, at least
VOTES = (40, 0.0002)  # pairs that agree, at least: a number, and a share of all blocks

Plane = Float[ndarray, "h w"]


@dataclass(eq=False)
class DCTDWT(Examiner):
    """Finds regions that were copied without turning or scaling, quicker and blinder to noise.

    Args:
        block: Side of the blocks in coefficients of the approximation; twice that in pixels.
    """

    kind = "copy-move"
    source = "Hayat & Qazi, Computers & Electrical Engineering 62, 2017"

    block: int = 8

    def _examine(self, plane: Plane, valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        side = 2 * self.block
        if min(plane.shape) < 4 * side:
            return self._abstain(f"the image is smaller than {4 * side} pixels")
        valid = valid & not_flat(plane)
        sigma = noise_sigma(plane, valid)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        chosen = enough_texture(plane, valid, side, sigma)
        described = [self._describe(plane, phase, chosen) for phase in PHASES]
        features, places = (np.concatenate(parts) for parts in zip(*described, strict=True))
        if len(places) < VOTES[0]:
            return self._abstain("there are hardly any blocks with more than noise")
        pairs = _alike(features, places, sigma)
        votes = max(VOTES[0], int(VOTES[1] * len(places)))
        return self._told(plane, find_clones(plane, pairs, size=side, votes=votes, valid=valid))

    def _describe(
        self, plane: Plane, phase: tuple[int, int], chosen: Bool[ndarray, "h w"]
    ) -> tuple[Float[ndarray, "n k"], Int[ndarray, "n 2"]]:
        """Cosine coefficients of all chosen blocks of one phase, and the pixels in their middle."""
        down, right = phase
        small = haar_approximation(plane[down:, right:])
        waves = dct(np.eye(self.block), norm="ortho", axis=0).astype(np.float32)
        order = sorted(np.ndindex(self.block, self.block), key=lambda at: (sum(at), at))
        # The kernel's middle is its element at half its side.
        maps = [
            cv2.sepFilter2D(small, cv2.CV_32F, waves[x], waves[y]) for y, x in order[1 : COEFFICIENTS + 1]
        ]
        here = chosen[down::2, right::2][: small.shape[0], : small.shape[1]]
        return np.stack([one[here] for one in maps], axis=1), 2 * np.argwhere(here) + phase

    def _told(self, plane: Plane, clones: list[Clone]) -> Evidence:
        found = np.zeros(plane.shape, np.float32)
        for clone in clones:
            found[clone.both] = np.maximum(found[clone.both], clone.correlation)
        if not clones:
            said = "No two regions share their coarse detail and their noise at a common shift."
            return Evidence(self.kind, 0.0, found, said, p_value=1.0)
        best = clones[0]
        (top, left), (down, right) = np.argwhere(best.mask).min(axis=0), best.shift
        said = (
            f"{int(best.mask.sum()):,} pixels around row {top}, column {left} and those {down} rows and "
            f"{right} columns further have the same noise (correlation {best.correlation:.2f}; genuine "
            "likeness reaches 0.16): one is a copy of the other."
        )
        return Evidence(self.kind, best.correlation, found, said, p_value=best.p_value)


def haar_approximation(plane: Plane) -> Float[ndarray, "h2 w2"]:
    """One level of the orthonormal Haar wavelet's approximation; an odd row or column is left out."""
    even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 2


def _alike(features: Float[ndarray, "n k"], places: Int[ndarray, "n 2"], sigma: float) -> Int[ndarray, "m 4"]:
    """Pairs of blocks that are neighbours in the sorted order, alike and far enough apart."""
    coarse = np.clip(np.rint(features[:, :SORTED] / (STEP * sigma)), -127, 127).astype(np.int64) + 128
    # Eight numbers of eight bits sort as one.
    key = (coarse.astype(np.uint64) << np.arange(8 * (SORTED - 1), -1, -8, dtype=np.uint64)).sum(axis=1)
    order = np.argsort(key, kind="stable")
    features, places = features[order], places[order]
    limit = (LIKE * sigma) ** 2 * features.shape[1]
    found = []
    for step in range(1, NEXT + 1):
        gap = places[step:] - places[:-step]
        far = np.flatnonzero((gap**2).sum(axis=1) >= APART**2)
        like = far[((features[far + step] - features[far]) ** 2).sum(axis=1) < limit]
        found.append(np.hstack([places[like], places[like + step]]))
    return np.concatenate(found)
