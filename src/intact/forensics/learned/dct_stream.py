"""`dct_stream`: a network on the rounded cosine coefficients of 8 x 8 blocks, where JPEG leaves its history.

Kwon, Yu, Nam, Lee, "CAT-Net: Compression Artifact Tracing Network for Detection and Localization of Image
Splicing", WACV 2021; Kwon, Nam, Yu, Lee, Kim, "Learning JPEG Compression Artifacts for Image Manipulation
Detection and Localization", IJCV 130, 2022. What was compressed twice has other histograms of coefficients
than what was compressed once. This is CAT-Net's DCT stream: coefficients in whole steps without sign, at
most 20, as 21 planes of zeros and ones; a 3 x 3 convolution (64) dilated by 8, which compares each with
those of its frequency in the blocks around; a 1 x 1 convolution to 4 channels; each block's 8 x 8 places
made channels, once as they are and once times the step of their frequency; four residual blocks (96); a
logit for each block, interpolated to pixels.

The paper reads coefficients and steps in the file. Stored values are all there is here, and most medical
images never were JPEG files, so both are found again:

- In a plane of at most 256 evenly spaced values, one grey level is the unit. If the pixels vote for a grid
  (`intact.forensics.jpeg.votes`), blocks lie on it, and the steps are those of the last compression
  (`intact.forensics.jpeg.history`), one grey level where nothing tells.
- In any other plane blocks begin at its corner, and all steps are half the standard deviation of its noise
  (a choice made here). No file can be told then, but noise that was smoothed or resampled.

Differs from the paper: the stream alone, without the stream of colours and the stages of several
resolutions after it; the published width of the dilated convolution is halved; crops are not aligned to the
grid: as above it is found in each crop, and coefficients of turned crops are those of turned blocks; taught
from nothing, not from a network that told single from double compression, whose files are not at hand; one
output instead of two; focal Tversky and cross-entropy instead of cross-entropy weighted 0.5 and 2.5; AdamW.
Colours are averaged, and the mean of three bytes is no brightness that JPEG knew: history is told in grey
images only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from intact.forensics.jpeg.blocks import SIDE, Blocks, block_coefficients
from intact.forensics.jpeg.history import last_steps
from intact.forensics.learned.grey_levels import Plane, grid_origin, in_units
from intact.forensics.learned.pixel_network import PixelNetwork, forged_pixels
from intact.nets.dct_stream import HIGHEST, DCTStream


@dataclass(eq=False)
class DCTStreamExaminer(PixelNetwork):
    """How likely CAT-Net's DCT stream finds each pixel forged.

    Args:
        width: Channels of the dilated convolution; 64 in the paper.
    """

    width: int = 32

    source: ClassVar[str] = "Kwon et al., WACV 2021; IJCV 2022"

    def _network(self, channels: int) -> nn.Module:
        return DCTStream(self.width)

    def _seen(self, plane: Plane) -> Plane:
        return in_units(plane)

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        return forged_pixels(self._filled(crops[:, :1]), crops[:, 1:])

    def _filled(self, seen: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Each on its own grid, filled up to whole blocks by repeating the border."""
        height, width = seen.shape[-2:]
        coded = [_Coded.of(plane) for plane in seen[:, 0].cpu().numpy()]
        multiples, steps = (
            torch.from_numpy(np.stack(parts)).to(seen.device)
            for parts in ([each.multiples for each in coded], [each.steps for each in coded])
        )
        logits = self.net(multiples, steps)
        own = [
            logits[n, :, top : top + height, left : left + width]
            for n, (top, left) in enumerate(each.corner for each in coded)
        ]
        return torch.stack(own).float()


@dataclass(frozen=True, eq=False)
class _Coded:
    """A plane as JPEG would write it, but for signs.

    Args:
        multiples: Of the step, where the pixels of the block lay.
        steps: In units, for each frequency.
        corner: Row and column of the plane's first pixel.
    """

    multiples: UInt8[ndarray, "h2 w2"]
    steps: Float[ndarray, "8 8"]
    corner: tuple[int, int]

    @classmethod
    def of(cls, plane: Plane) -> _Coded:
        """A plane in units, a block's side larger at most so that it holds whole blocks on any grid."""
        origin = grid_origin(plane)
        row, column = origin or (0, 0)
        corner = (-row % SIDE, -column % SIDE)
        larger = [SIDE * -(-(n + SIDE - 1) // SIDE) for n in plane.shape]
        ends = [(c, m - n - c) for n, m, c in zip(plane.shape, larger, corner, strict=True)]
        blocks = block_coefficients(np.pad(plane, ends, mode="edge"), (0, 0))
        steps = np.ones((SIDE, SIDE), np.float32)
        if origin is not None:
            told = _told_steps(block_coefficients(plane, origin))
            steps = np.where(told > 0, told, steps).astype(np.float32)
        multiples = np.minimum(np.rint(np.abs(blocks) / steps), HIGHEST).astype(np.uint8)
        return cls(multiples.swapaxes(1, 2).reshape(larger), steps, corner)


def _told_steps(blocks: Blocks) -> ndarray:
    """The steps of the last compression, 0 where nothing tells; blocks may have been turned since.

    Tables are not quite symmetric. Of what fits the blocks as they are and turned, the finer steps fit by
    chance, as they divide many.
    """
    each = [last_steps(turned)[0] for turned in (blocks, blocks.swapaxes(2, 3))]
    return each[0] if each[0].sum() >= each[1].sum() else each[1].T
