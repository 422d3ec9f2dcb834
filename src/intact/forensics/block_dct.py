"""Copy-move by block matching: every block is described by a few cosine coefficients, and sorted.

Fridrich, Soukal & Lukas, "Detection of copy-move forgery in digital images", DFRWS 2003. Blocks that
were copied become neighbours when descriptions are sorted, and all pairs of a clone have one shift.

Differs from the paper: the mean of a block does not count, so that brighter copies are found; limits
are in units of the image's noise instead of 8-bit grey levels, so that any depth will do; blocks with
nothing but noise are left out; and a shift is believed only where the noise repeats (`clone.py`), so
that symmetric anatomy raises no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.fft import idctn

from intact.forensics.base import Evidence, Examiner
from intact.forensics.clone import Clone, enough_texture, find_clones, not_flat
from intact.image import Image
from intact.residual import noise_sigma

COEFFICIENTS = 15  # of the lowest frequencies, the mean left out
SORTED = 8  # of them that blocks are sorted by
NEXT = 8  # blocks in the sorted order that each is compared with
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
STEP = 2.0  # of quantisation, in standard deviations of the noise
LIKE = 1.5  # distance up to which blocks are alike, in standard deviations for each coefficient
APART = 1.5  # block sides between a block and its like
LEAST_APART = 24  # pixels
VOTES = (60, 0.0003)  # pairs that agree, at least: a number, and a share of all blocks


@dataclass(eq=False)
class BlockDCT(Examiner):
    """Finds regions that were copied without turning or scaling.

    Args:
        block: Side of the blocks in pixels; clones have to be larger.
    """

    kind = "copy-move"
    source = "Fridrich, Soukal & Lukas, DFRWS 2003"

    block: int = 16

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < 4 * self.block:
            return self._abstain(f"the image is smaller than {4 * self.block} pixels")
        valid = valid & not_flat(plane)
        sigma = noise_sigma(plane, valid)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        chosen = enough_texture(plane, valid, self.block, sigma)
        places = np.argwhere(chosen)
        if len(places) < VOTES[0]:
            return self._abstain("there are hardly any blocks with more than noise")
        features = self._describe(plane)[:, chosen].T
        pairs = _alike(features, places, sigma, max(LEAST_APART, APART * self.block))
        votes = max(VOTES[0], int(VOTES[1] * len(places)))
        return self._told(plane, find_clones(plane, pairs, size=self.block, votes=votes, valid=valid))

    def _describe(self, plane: Float[ndarray, "h w"]) -> Float[ndarray, "k h w"]:
        """Cosine coefficients of the block around every pixel, the lowest frequencies first."""
        order = sorted(np.ndindex(self.block, self.block), key=lambda at: (sum(at), at))
        maps = []
        for at in order[1 : COEFFICIENTS + 1]:
            unit = np.zeros((self.block, self.block), np.float32)
            unit[at] = 1.0
            maps.append(cv2.filter2D(plane, cv2.CV_32F, idctn(unit, norm="ortho").astype(np.float32)))
        return np.stack(maps)

    def _told(self, plane: Float[ndarray, "h w"], clones: list[Clone]) -> Evidence:
        found = np.zeros(plane.shape, np.float32)
        for clone in clones:
            found[clone.both] = np.maximum(found[clone.both], clone.correlation)
        if not clones:
            said = "No two regions share their noise at a common shift."
            return Evidence(self.kind, 0.0, found, said, p_value=1.0)
        best = clones[0]
        (top, left), (down, right) = np.argwhere(best.mask).min(axis=0), best.shift
        said = (
            f"{int(best.mask.sum()):,} pixels around row {top}, column {left} and those {down} rows and "
            f"{right} columns further have the same noise (correlation {best.correlation:.2f}; genuine "
            "likeness reaches 0.16): one is a copy of the other."
        )
        return Evidence(self.kind, best.correlation, found, said, p_value=best.p_value)


def _alike(
    features: Float[ndarray, "n k"], places: Int[ndarray, "n 2"], sigma: float, apart: float
) -> Int[ndarray, "m 4"]:
    """Pairs of blocks that are neighbours in the sorted order, alike and far enough apart."""
    coarse = np.clip(np.rint(features[:, :SORTED] / (STEP * sigma)), -127, 127).astype(np.int64) + 128
    key = np.zeros(len(coarse), np.uint64)
    for column in coarse.T.astype(np.uint64):
        key = (key << np.uint64(8)) | column
    order = np.argsort(key, kind="stable")
    features, places = features[order], places[order]
    limit = (LIKE * sigma) ** 2 * features.shape[1]
    found = []
    for step in range(1, NEXT + 1):
        gap = places[step:] - places[:-step]
        far = np.flatnonzero((gap.astype(np.int64) ** 2).sum(axis=1) >= apart**2)
        distance = ((features[far + step] - features[far]) ** 2).sum(axis=1)
        like = far[distance < limit]
        found.append(np.hstack([places[like], places[like + step]]))
    return np.concatenate(found)
