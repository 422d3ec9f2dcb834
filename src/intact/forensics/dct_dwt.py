"""Copy-move by cosine coefficients of the wavelet approximation: half the size, half the noise.

Hayat & Qazi, "Forgery detection in digital images via discrete wavelet and discrete cosine transforms",
Computers & Electrical Engineering 62, 2017. One level of the Haar wavelet is taken; blocks of its
approximation are described by their cosine coefficients, sorted, and compared with their neighbours.
Noise is halved, and what compression does to fine detail is gone, while a block costs a quarter.

Differs from the paper: a copy seldom moves by an even number of pixels, and the approximation of one
pixel further is another; so it is taken at three phases, any two of which are an odd shift apart. Blocks
overlap by all but one coefficient. The mean does not count, and the rest is as all matching of blocks
here (`copies/block_matching.py`): limits in units of the image's noise, and clones told by their noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.fft import dct

from intact.forensics.copies.block_matching import BlockMatching

PHASES = ((0, 0), (0, 1), (1, 0))  # between them are shifts of every parity
COEFFICIENTS = 15  # of the lowest frequencies, the mean left out


@dataclass(eq=False)
class DCTDWT(BlockMatching):
    """Finds regions that were copied without turning or scaling, quicker and blinder to noise.

    Args:
        block: Side of the blocks in pixels, an even number; clones have to be larger.
    """

    source = "Hayat & Qazi, Computers & Electrical Engineering 62, 2017"

    def _places(self, chosen: Bool[ndarray, "h w"]) -> Int[ndarray, "n 2"]:
        """All chosen blocks of each phase; the pixel in their middle is one of the approximation's too."""
        phases = [2 * np.argwhere(chosen[down::2, right::2]) + (down, right) for down, right in PHASES]
        return np.concatenate(phases)

    def _describe(self, plane: Float[ndarray, "h w"], chosen: Bool[ndarray, "h w"]) -> Float[ndarray, "k n"]:
        """Cosine coefficients of the blocks, the lowest frequencies first."""
        side = self.block // 2
        waves = dct(np.eye(side), norm="ortho", axis=0).astype(np.float32)
        order = sorted(np.ndindex(side, side), key=lambda at: (sum(at), at))
        described = []
        for down, right in PHASES:
            small, here = haar_approximation(plane[down:, right:]), chosen[down::2, right::2]
            maps = [
                cv2.sepFilter2D(small, cv2.CV_32F, waves[x], waves[y]) for y, x in order[1 : COEFFICIENTS + 1]
            ]
            described.append(np.stack([one[here] for one in maps]))
        return np.concatenate(described, axis=1)


def haar_approximation(plane: Float[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
    """One level of the orthonormal Haar wavelet's approximation; an odd row or column is repeated."""
    even = np.pad(plane, [(0, n % 2) for n in plane.shape], mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 2
