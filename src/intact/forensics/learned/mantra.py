"""`mantra`: features that tell kinds of processing, and where they differ from their surroundings.

Wu, AbdAlmageed, Natarajan, "ManTra-Net: Manipulation Tracing Network for Detection and Localization of
Image Forgeries with Anomalous Features", CVPR 2019; layers as in the authors' code, ISICV/ManTraNet.

First a network learns, on genuine images alone, which of many kinds of processing a crop went through:
plain, SRM and constrained filters side by side, then twelve convolutions 3 x 3 without any pooling, which
give each pixel a vector of length 1. Whatever a forger does, the vectors inside will differ from those
around. So the second part takes them to fewer numbers of mean 0 and variance 1 (a 1 x 1 convolution and
batch normalisation) and measures Z-scores: how far each pixel is from the mean of the 7 x 7, 15 x 15 and 31
x 31 pixels around it and of all pixels, over the standard deviation of all. A convolutional LSTM with
filters of 7 x 7 looks at these four from fine to coarse, and a 7 x 7 convolution tells a logit. All of it
is then taught with forgeries.

Differs from the paper: the twelve layers have at most 16 channels instead of 32 to 256, 8 numbers are
measured instead of 64, the LSTM has 4 channels instead of 8, all so that a CPU can teach it; 19 kinds of
processing instead of 385, chosen here for medical images, told at every pixel of crops of 32 x 32 instead
of 256 x 256, after batch normalisation, without which the traces of crops are too much alike for so few
steps; filters start as He's, without biases; the constrained ones are brought to their sum in each pass;
the first layer's borders are mirrored without repeating the outermost pixel; the 1 x 1 convolution has no
unit norm, as normalisation follows; focal Tversky and weighted entropy instead of plain entropy, and AdamW
at 1e-3 along a cosine instead of Adam at 1e-4, as forgeries are small and steps few. "All pixels" are those
of a crop in training and of a window of 512 pixels at most in use. The paper tells no score of an image: it
is the mean of the highest thousandth of logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.filters import gaussian_blur, median_blur
from intact.forensics.jpeg.blocks import standard_table
from intact.forensics.learned.base import Lessons
from intact.forensics.learned.crops import Crops
from intact.forensics.learned.pixel_network import PixelNetwork
from intact.nets.jpeg_like import quantised
from intact.nets.mantra import ManTraNet
from intact.train import train

PATCH, PATCHES = 32, 32  # side of a crop whose processing is told, and crops in a step
GREYS = 127.5  # levels of 8 bits from the middle of a range to its end

Planes = Float[Tensor, "1 h w"]
Processing = Callable[[Planes, torch.Generator], Planes]


@dataclass(eq=False)
class ManTra(PixelNetwork):
    """How likely ManTra-Net finds each pixel forged.

    Args:
        first_steps: Optimiser steps in which kinds of processing are learned, before the others.
        widest: Most channels of a layer; 256 in the paper.
        measured: Numbers whose Z-scores are taken; 64 in the paper.
        remembered: Channels of the LSTM; 8 in the paper.
    """

    batch: int = 6
    crop: int = 96
    first_steps: int = 400
    widest: int = 16
    measured: int = 8
    remembered: int = 4

    source: ClassVar[str] = "Wu et al., CVPR 2019"

    def _network(self, channels: int) -> nn.Module:
        return ManTraNet(channels, self.widest, self.measured, self.remembered)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        width = cast(ManTraNet, self.net).traces.width
        # Traces of genuine images are much alike: without normalisation no kind is ever told from another.
        self.kinds = nn.Sequential(nn.BatchNorm2d(width, affine=False), nn.Conv2d(width, len(KINDS), 1))

    def _fit(self, lessons: Lessons) -> None:
        self._learn_kinds(lessons)
        super()._fit(lessons)

    def _learn_kinds(self, lessons: Lessons) -> None:
        nets = nn.Sequential(cast(ManTraNet, self.net).traces, self.kinds)
        nets.to("cuda" if torch.cuda.is_available() else "cpu")
        with Crops(lessons, PATCH, PATCHES, self.seed, genuine_only=True) as crops:
            optimiser = torch.optim.AdamW(nets.parameters(), lr=self.lr, weight_decay=1e-4)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.first_steps)
            batches = processed(crops.batches(), self.seed)

            def loss(patches: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
                return F.cross_entropy(nets(patches[:, :1]), patches[:, 1].long())

            train(nets, loss, batches, steps=self.first_steps, optimiser=optimiser, schedule=schedule)
        nets.to("cpu")


def processed(batches: Iterator[Float[Tensor, "b 2 h w"]], seed: int) -> Iterator[Float[Tensor, "b 2 h w"]]:
    """Genuine crops, each processed in one way; in the second channel the number of its kind."""
    rng = torch.Generator().manual_seed(seed)
    for batch in batches:
        numbers = torch.randint(len(KINDS), (len(batch),), generator=rng)
        for crop, number in zip(batch, numbers.tolist(), strict=True):
            crop[0] = KINDS[number](crop[:1], rng)[0]
            crop[1] = number
        yield batch


def _untouched(x: Planes, rng: torch.Generator) -> Planes:
    return x


def _blurred(x: Planes, rng: torch.Generator, sigma: float) -> Planes:
    return gaussian_blur(x, sigma)


def _median(x: Planes, rng: torch.Generator, size: int) -> Planes:
    return median_blur(x, size)


def _noisy(x: Planes, rng: torch.Generator, sigma: float) -> Planes:
    return x + sigma * torch.randn(x.shape, generator=rng)


def _compressed(x: Planes, rng: torch.Generator, quality: int) -> Planes:
    """By JPEG's steps, the grid beginning anywhere."""
    row, column = torch.randint(8, (2,), generator=rng).tolist()
    return quantised(x, torch.from_numpy(standard_table(quality)[None] / GREYS).to(x), (row, column))


def _resampled(x: Planes, rng: torch.Generator, factor: float) -> Planes:
    """Made smaller and enlarged again, or enlarged, of which the middle is kept."""
    height, width = x.shape[-2:]
    scaled = F.interpolate(x[None], scale_factor=factor, mode="bicubic", align_corners=False)
    if factor < 1:
        return F.interpolate(scaled, size=(height, width), mode="bicubic", align_corners=False)[0]
    top, left = (scaled.shape[-2] - height) // 2, (scaled.shape[-1] - width) // 2
    return scaled[0, :, top : top + height, left : left + width]


def _curved(x: Planes, rng: torch.Generator, gamma: float) -> Planes:
    """A power of the values, those below the range being its lower end."""
    return 2.0 * ((x + 1.0) / 2.0).clamp(min=0.0).pow(gamma) - 1.0


def _stretched(x: Planes, rng: torch.Generator, gain: float) -> Planes:
    return x.mean() + gain * (x - x.mean())


KINDS: tuple[Processing, ...] = (
    _untouched,
    *(partial(_blurred, sigma=sigma) for sigma in (0.6, 1.0, 2.0)),
    *(partial(_median, size=size) for size in (3, 5)),
    *(partial(_noisy, sigma=sigma) for sigma in (0.02, 0.05, 0.1)),
    *(partial(_compressed, quality=quality) for quality in (90, 70, 50)),
    *(partial(_resampled, factor=factor) for factor in (0.6, 0.8, 1.25)),
    *(partial(_curved, gamma=gamma) for gamma in (0.6, 1.6)),
    *(partial(_stretched, gain=gain) for gain in (0.6, 1.6)),
)
