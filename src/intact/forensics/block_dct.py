"""Copy-move by block matching: every block is described by a few cosine coefficients, and sorted.

Fridrich, Soukal & Lukas, "Detection of copy-move forgery in digital images", DFRWS 2003. Blocks that
were copied become neighbours when descriptions are sorted, and all pairs of a clone have one shift.

Differs from the paper: the mean of a block does not count, so that brighter copies are found; limits
are in units of the image's noise instead of 8-bit grey levels, so that any depth will do; blocks with
nothing but noise are left out; and a shift is believed only where the noise repeats (`copies/clone.py`), so
that symmetric anatomy raises no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.fft import idct

from intact.forensics.copies.block_matching import BlockMatching

COEFFICIENTS = 15  # of the lowest frequencies, the mean left out


@dataclass(eq=False)
class BlockDCT(BlockMatching):
    """Finds regions that were copied without turning or scaling, by cosine coefficients of blocks.

    Args:
        block: Side of the blocks in pixels; clones have to be larger.
    """

    source = "Fridrich, Soukal & Lukas, DFRWS 2003"

    def _describe(self, plane: Float[ndarray, "h w"], chosen: Bool[ndarray, "h w"]) -> Float[ndarray, "k n"]:
        """Cosine coefficients of the blocks, the lowest frequencies first."""
        waves = idct(np.eye(self.block), norm="ortho", axis=0).T.astype(np.float32)
        order = sorted(np.ndindex(self.block, self.block), key=lambda at: (sum(at), at))
        wanted = order[1 : COEFFICIENTS + 1]
        across = {u: cv2.filter2D(plane, cv2.CV_32F, waves[u][None]) for u in {u for _, u in wanted}}
        return np.stack([cv2.filter2D(across[u], cv2.CV_32F, waves[v][:, None])[chosen] for v, u in wanted])
