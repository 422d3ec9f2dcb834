"""Matching of blocks: each is described, descriptions are sorted, neighbours in that order compared.

What all methods of this kind share. Copied blocks have equal descriptions, so sorting brings them side
by side, and all pairs of a clone have one shift. Distances are in units of the image's noise instead
of 8-bit grey levels, so that any depth will do; blocks with nothing but noise are left out; and a
shift is believed only where the noise repeats (`clone.py`), so that symmetric anatomy raises no alarm.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intact.forensics.base import Evidence, Examiner
from intact.forensics.copies.clone import Clone, find_clones
from intact.forensics.texture import comparable, enough_texture, grain
from intact.image import Image

SMALLEST = 64  # pixels: side of an image with room for two regions
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
SORTED = 8  # features that blocks are sorted by
STEP = 2.0  # of quantisation, in standard deviations of the noise
NEXT = 4  # blocks in the sorted order that each is compared with
LIKE = 1.4  # distance up to which blocks are alike, in standard deviations for each feature
GLANCE = slice(3, 7)  # features that tell most pairs apart which sorting brought together
APART = 1.5  # block sides between a block and its like
LEAST_APART = 24  # pixels
VOTES = (20, 0.0001)  # pairs that agree, at least: a number, and a share of all blocks


@dataclass(eq=False)
class BlockMatching(Examiner):
    """Finds regions that were copied without turning or scaling; a method says how blocks are described.

    Args:
        block: Side of the blocks in pixels; clones have to be larger.
    """

    kind = "copy-move"

    block: int = 16

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if min(plane.shape) < SMALLEST:
            return self._abstain(f"the image is smaller than {SMALLEST} pixels")
        sigma = grain(image)
        if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
            return self._abstain(f"there is no noise to compare (standard deviation {sigma:.2f})")
        valid = comparable(image)
        chosen = enough_texture(plane, valid, self.block, sigma)
        places = self._places(chosen)
        if len(places) < VOTES[0]:
            return self._abstain("there are hardly any blocks with more than noise")
        features = self._describe(plane / np.float32(sigma), chosen)
        pairs = _alike(features, places, max(LEAST_APART, APART * self.block))
        votes = max(VOTES[0], int(VOTES[1] * len(places)))
        return self._told(plane, find_clones(plane, pairs, size=self.block, votes=votes, valid=valid))

    def _places(self, chosen: Bool[ndarray, "h w"]) -> Int[ndarray, "n 2"]:
        """Row and column of the blocks that are described, of those around the chosen pixels."""
        return np.argwhere(chosen)

    @abstractmethod
    def _describe(self, plane: Float[ndarray, "h w"], chosen: Bool[ndarray, "h w"]) -> Float[ndarray, "k n"]:
        """Features of the blocks, in the order of their places, the weightiest first.

        They are to have noise of standard deviation 1, as the plane has.
        """

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


def _alike(features: Float[ndarray, "k n"], places: Int[ndarray, "n 2"], apart: float) -> Int[ndarray, "m 4"]:
    """Pairs of blocks that are neighbours in the sorted order, alike and far enough apart."""
    coarse = np.clip(np.rint(features[:SORTED] / np.float32(STEP)), -127, 127).astype(np.int8)
    order = np.lexsort(coarse[::-1])  # by the first of them, then the second, ...
    glanced = np.take(features[GLANCE], order, axis=1)
    limit = LIKE**2 * len(features)
    found = []
    for step in range(1, NEXT + 1):
        near = np.flatnonzero(_square(glanced[:, :-step] - glanced[:, step:]) < limit)
        ours, theirs = order[near], order[near + step]
        far = _square((places[theirs] - places[ours]).T) >= apart**2
        like = far & (_square(features[:, ours] - features[:, theirs]) < limit)
        found.append(np.hstack([places[ours[like]], places[theirs[like]]]))
    return np.concatenate(found)


def _square(vectors: Float[ndarray, "k n"] | Int[ndarray, "k n"]) -> Float[ndarray, "n"] | Int[ndarray, "n"]:
    """Squared length of each column."""
    return np.einsum("kn,kn->n", vectors, vectors)
