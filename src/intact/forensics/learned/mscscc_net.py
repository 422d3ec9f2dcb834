"""`mscscc_net`: PSCC-Net for images that went through JPEG, which learns to restore them as well.

"MSCSCC-Net: multi-scale contextual spatial-channel correlation network for forgery detection and
localization of JPEG-compressed image". What JPEG leaves hides what forgers leave; so that the two are told
apart, a decoder restores the uncompressed image from the same maps from which masks are told, and
comparisons look at several scales of context: a place at all places and at means of blocks of them (the
contextual spatial correlation module), channels with each other in each small region by itself (the
contextual channel correlation module). Masks go from coarse to fine and a head tells of the whole image, as
in `pscc`; the score is made as there.

Only the abstract could be read, so this is a reading of it, and all of the following is chosen here:
PSCC-Net as the skeleton, with its loss; blocks of 1, 2, 4 and 8 places; regions of 4 x 4 places; as the
decoder four residual blocks at half resolution and a pixel shuffle, which tell what is to be added to the
compressed image; its loss of 0.1 times the mean absolute difference plus one less the structural
similarity; half of the crops compressed, at a quality of 30 to 100, as medical images mostly are not.

Differs from the paper besides: planes are grey, of any depth, so the steps of JPEG's luminance table are
taken in 256ths of the plane's range, values are not cut off, and the grid of blocks begins anywhere; JPEG
2000 is not imitated. Widths, crops and optimiser are as told in `pscc`, with 500 steps instead of 600.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.forensics.jpeg.blocks import standard_table
from intact.forensics.learned.base import Lessons
from intact.forensics.learned.pscc import PSCCNet, answers_loss
from intact.losses import ssim_map
from intact.nets.jpeg_like import SIDE, quantised
from intact.nets.mscscc import MSCSCC

RESTORED = 0.1  # weight of the restoration
QUALITIES = (30, 100)
GREYS = 127.5  # levels from the middle of a range to its end


@dataclass(eq=False)
class MSCSCCNet(PSCCNet):
    """How likely MSCSCC-Net finds each pixel forged, and its window.

    Args:
        compressed: Share of the crops that go through JPEG.
    """

    steps: int = 500
    compressed: float = 0.5

    source: ClassVar[str] = (
        "MSCSCC-Net (multi-scale contextual spatial-channel correlation), after its abstract"
    )
    halvings: ClassVar[int] = 5

    def _network(self, channels: int) -> nn.Module:
        return MSCSCC(channels, self.width, self.stem)

    def _fit(self, lessons: Lessons) -> None:
        self._rng = np.random.default_rng(self.seed)
        super()._fit(lessons)

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        genuine = crops[:, :1]
        compressed = torch.stack([self._compressed(crop) for crop in genuine])
        net = cast(MSCSCC, self.net)
        answers = net.judge(compressed)
        restored = compressed + net.decoder(answers.maps)
        unlike = 1.0 - ssim_map((restored + 1.0) / 2.0, (genuine + 1.0) / 2.0).mean()
        lost = F.l1_loss(restored, genuine) + unlike
        return answers_loss(answers, crops[:, 1:]) + RESTORED * lost

    def _compressed(self, crop: Float[Tensor, "1 h w"]) -> Float[Tensor, "1 h w"]:
        """At a random quality and grid, or not at all."""
        share, quality = self._rng.random(), int(self._rng.integers(QUALITIES[0], QUALITIES[1] + 1))
        row, column = (int(n) for n in self._rng.integers(SIDE, size=2))
        if share >= self.compressed:
            return crop
        steps = torch.from_numpy(standard_table(quality)[None] / GREYS).to(crop)
        return quantised(crop, steps, (row, column))
