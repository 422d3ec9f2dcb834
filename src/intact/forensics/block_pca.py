"""Copy-move by block matching: every block is described by its principal components, and sorted.

Popescu & Farid, "Exposing digital forgeries by detecting duplicated image regions", Dartmouth College
TR2004-515, 2004. The components are learned from the blocks of the image itself, so that few numbers
hold nearly all of what tells its blocks apart.

Differs from the paper: the mean of a block does not count, so that brighter copies are found; the
components are learned from every eighth block, which gives the same ones; at least 8 and at most 12 of
them are kept; the rest is as all matching of blocks here (`copies/block_matching.py`): quantisation in
units of the noise in place of 256 bins, neighbours up to 4 apart in place of 100, and clones told by
their noise in place of 128 votes for one offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.copies.block_matching import BlockMatching

EVERY = 8  # one block in so many is learned from
KEPT = (8, 12)  # components, at least and at most


@dataclass(eq=False)
class BlockPCA(BlockMatching):
    """Finds regions that were copied without turning or scaling, by principal components of blocks.

    Args:
        block: Side of the blocks in pixels; clones have to be larger.
        lost: Share of the variance of blocks that the components may leave out.
    """

    source = "Popescu & Farid, Dartmouth TR2004-515, 2004"

    block: int = 8
    lost: float = 0.01

    def _describe(self, plane: Float[ndarray, "h w"], chosen: Bool[ndarray, "h w"]) -> Float[ndarray, "k n"]:
        """Principal components of the blocks, the strongest first."""
        learned_from = np.argwhere(chosen)[::EVERY] - self.block // 2
        windows = np.lib.stride_tricks.sliding_window_view(plane, (self.block, self.block))
        blocks = windows[tuple(learned_from.T)].reshape(len(learned_from), -1)
        components = _components(blocks - blocks.mean(axis=1, keepdims=True), self.lost)
        # Components of blocks without their mean have none; float32 leaves a little, times any offset.
        components -= components.mean(axis=1, keepdims=True)
        kernels = components.reshape(-1, self.block, self.block)
        return np.stack([cv2.filter2D(plane, cv2.CV_32F, kernel)[chosen] for kernel in kernels])


def _components(blocks: Float[ndarray, "n p"], lost: float) -> Float[ndarray, "k p"]:
    """Unit vectors along which blocks vary most, together all but a share of the variance."""
    centred = blocks - blocks.mean(axis=0)
    variance, vectors = np.linalg.eigh(centred.T @ centred)
    share = np.cumsum(variance[::-1]) / variance.sum()
    kept = int(np.clip(np.searchsorted(share, 1 - lost) + 1, *KEPT))
    return np.ascontiguousarray(vectors.T[::-1][:kept])
