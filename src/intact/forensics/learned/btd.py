"""`btd`: a diffusion model of genuine images takes one step back in time, and what it removes is looked at.

Grabovski, Yasur, Amit, Elovici, Mirsky, "Back-in-Time Diffusion: Unsupervised Detection of Medical
Deepfakes", arXiv:2407.15169, 2024; settings as in the authors' code. A DDPM learns on genuine crops to
predict the noise that was added to them, for 1000 times (U-Net of widths 32, 64, 128, 256, crops of 96 x 96
of CT and 128 x 128 of MR, a moving average of its weights with decay 0.995). To examine an image, nothing is
added to it: it is taken for an image at the first time, when there is hardly any noise, and one reverse step
leads to an "image before the image". A model that knows the noise of genuine images removes from them what
it expects; where a generator drew, it removes something else. The score is the norm of what was removed.

Differs from the paper: a quarter of its widths, one residual block per level instead of two, no linear
attention, the linear schedule, and 500 steps of 8 crops at 1e-3 instead of 700,000 of 128 at 8e-6, with a
moving average that is shorter in proportion. Times are drawn unevenly, so that small ones, of which only the
first is used, are seen more often. The authors score crops around known places and choose norm and direction
for each data set. Here no place is known: the image is seen in overlapping windows of the size of the crops,
the norm is taken in small squares around each pixel, over the image's own median norm (its noise), and too
little counts as much as too much, each measured against genuine images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.forensics.learned.crops import Crops
from intact.forensics.learned.one_class import OneClass
from intact.nets.diffusion import Denoiser, cleaned, follow, linear_schedule, noised
from intact.train import train

TIMES = 1000
MULTIPLIERS = (1, 2, 4, 8)
DECAY = 0.98  # of the moving average of the weights
UNEVEN = 3.0  # power of an even chance from 0 to 1 that draws a time
OVERLAP = 0.125  # of one window with the next
AT_ONCE = 4  # windows
FAINT = 1e-6  # a norm that is nothing


@dataclass(eq=False)
class BackInTimeDiffusion(OneClass):
    """How unusual, for a genuine image, is what a diffusion model removes in one step.

    Args:
        width: Channels of the U-Net at full resolution, a multiple of 4; 32 in the paper.
        square: Side of the squares in which the norm is taken, in pixels, odd.
    """

    steps: int = 500
    width: int = 8
    square: int = 9

    source: ClassVar[str] = "Grabovski et al., arXiv:2407.15169, 2024"

    def _build(self, channels: int) -> None:
        attention = (False,) * len(MULTIPLIERS)
        self.net = Denoiser(channels, self.width, MULTIPLIERS, 1, attention, heads=1)

    def _teach(self, crops: Crops) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        kept = linear_schedule(TIMES)
        self.net.to("cuda" if torch.cuda.is_available() else "cpu")
        learner = copy.deepcopy(self.net)  # `net` itself becomes the average of what it was

        def loss(batch: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
            follow(self.net, learner, DECAY)
            images = batch[:, :1]
            t = (TIMES * torch.rand(len(images), generator=rng) ** UNEVEN).long()
            noise = torch.randn(images.shape, generator=rng).to(images)
            return (learner(noised(images, noise, kept[t]), t.to(images.device)) - noise).square().mean()

        optimiser = torch.optim.Adam(learner.parameters(), lr=self.lr)
        train(learner, loss, crops.batches(), steps=self.steps, optimiser=optimiser)
        follow(self.net, learner, DECAY)
        self.net.to("cpu").eval()

    def _measure(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """The logarithm of the norm of what is removed around each pixel, over the image's median."""
        power = F.avg_pool2d(
            self._removed(seen)[None, None].square(),
            self.square,
            stride=1,
            padding=self.square // 2,
            count_include_pad=False,
        )[0, 0]
        norm = (power.sqrt() + FAINT).log()
        return norm - norm.median()

    def _removed(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """What one reverse step from the first time takes away, no noise being added."""
        from monai.inferers import sliding_window_inference

        found = sliding_window_inference(
            seen[None, None], (self.crop, self.crop), AT_ONCE, self._noise, overlap=OVERLAP, mode="gaussian"
        )
        noise: Tensor = found
        return (seen - cleaned(seen, noise, float(linear_schedule(TIMES)[0])))[0, 0]

    def _noise(self, windows: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        return self.net(windows, torch.zeros(len(windows), dtype=torch.long))
