"""`patch_channel`: a classifier that can say which patch it goes by, as each patch has a channel of its own.

Hua, Shi, Wang, Ge, "Learning Patch-Channel Correspondence for Interpretable Face Forgery Detection", IEEE
Transactions on Image Processing 32, 2023; details from the authors' code. The last normalisation of a network
is replaced by a layer that whitens its channels (iterative normalisation, five Newton iterations) and rotates
them. Two tasks take turns: classification steps teach the weights by cross-entropy; correspondence steps
show copies of the images in which all but patch c is zero, and turn the rotation so that the mean answer of
channel c is the largest there. To examine an image, the channels that speak most for a forgery name patches.

Differs from the paper: windows of 64 x 64 pixels of the image at its own resolution in place of whole faces,
with 4 x 4 patches instead of 10 x 10; a quarter of ResNet-18's width, to its third stage, with one more
convolution before the layer, in place of Xception; one correspondence step after ten others instead of a
thousand. Faces are alike, so their patches are known by what they show; a window may show anything, so rows
and columns are given to the network as well. The rotation is found in one go, as the solution of a Procrustes
problem, instead of by steps along a Cayley curve. What patches' channels add to the logit of a window is
shared out among the patches; windows lie one patch apart, and each patch has the mean of all windows that it
is in. AdamW instead of stochastic gradient descent.

Of this much teaching the correspondence is a half: channels answer most to their own patch where it is shown
alone (11 of 16 in a trial), but in whole windows the strongest channel named an altered patch no more often
than chance. Where a forgery lies is told by the windows, which overlap.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError
from intact.filters import upsample
from intact.forensics.learned.base import Lessons
from intact.forensics.learned.crops import Crops
from intact.forensics.learned.window_network import WindowNetwork, filled_up
from intact.nets.patch_channel import PatchChannelNet
from intact.train import descend, take_steps

EVERY = 10  # classification steps for a correspondence step
SHOWN = 8  # windows of a batch whose patches are shown


@dataclass(eq=False)
class PatchChannel(WindowNetwork):
    """How likely a window is forged, and how much of that each patch's channel says.

    Args:
        stride: From one window to the next, and the side of a patch; a window is a whole number of them.
        width: Channels of the first stage; there are four times as many at the end, one for each patch at
            least.
    """

    width: int = 16

    source: ClassVar[str] = "Hua et al., IEEE TIP 2023"

    def __post_init__(self) -> None:
        if self.window % self.stride or (self.window // self.stride) ** 2 > 4 * self.width:
            raise UsageError(
                f"a window of {self.window} pixels has to be a whole number of patches of {self.stride}, "
                f"at most {4 * self.width} in all"
            )

    def _network(self, channels: int) -> nn.Module:
        return PatchChannelNet(self.width, self.window // self.stride)

    def _fit(self, lessons: Lessons) -> None:
        net = cast(PatchChannelNet, self.net.to("cuda" if torch.cuda.is_available() else "cpu"))
        optimiser = torch.optim.AdamW(net.parameters(), lr=self.lr, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        number = itertools.count(1)

        def step(windows: Float[Tensor, "b 2 h w"]) -> None:
            descend(self._loss(windows), optimiser)
            schedule.step()
            if next(number) % EVERY == 0:
                net.correspond(windows[:SHOWN, :1])

        with Crops(lessons, self.window, self.batch, self.seed) as crops:
            take_steps([net], step, crops.batches(), steps=self.steps)
        self.net.to("cpu")

    def _map(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Of each patch the mean over its windows; between the middles of patches interpolated."""
        height, width = seen.shape
        filled = filled_up(seen, self.window)
        top, left = (filled.shape[0] - height) // 2, (filled.shape[1] - width) // 2
        below, right = (-n % self.stride for n in filled.shape)
        filled = F.pad(filled[None, None], (0, right, 0, below), mode="replicate")[0, 0]
        windows = filled.unfold(0, self.window, self.stride).unfold(1, self.window, self.stride)
        net = cast(PatchChannelNet, self.net)
        said = torch.stack([net.evidence(row[:, None]) for row in windows])
        patches = overlaid(said)[None]
        grown = upsample(patches, (filled.shape[0], filled.shape[1]))[0]
        return grown[top : top + height, left : left + width]


def overlaid(said: Float[Tensor, "r c g g"]) -> Float[Tensor, "r+g-1 c+g-1"]:
    """The mean, at each patch, of what all windows say of it that it is in."""
    rows, columns, grid, _ = said.shape
    stacked = said.flatten(2).permute(2, 0, 1).flatten(1)[None]
    size = (rows + grid - 1, columns + grid - 1)
    total, count = (F.fold(each, size, grid)[0, 0] for each in (stacked, torch.ones_like(stacked)))
    return total / count
