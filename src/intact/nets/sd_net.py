"""Networks that find what occurs twice in a picture, and what was manipulated in it.

Wu, AbdAlmageed, Natarajan, "BusterNet: Detecting Copy-Move Image Forgery with Source/Target Localization",
ECCV 2018: two branches, self-correlation and percentile pooling. Li, Wang, Zhou, Qin, "Image copy-move
forgery detection and localization based on super-BPD segmentation and DCNN" (SD-Net), Scientific Reports 12,
2022: a pyramid of features, as in Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

CONVOLUTIONS = (2, 2, 3, 3)  # of each block of VGG-16, up to the fourth
SIDES = ((1, 3, 5), (5, 7, 11))  # of the kernels of an inception block, and of the last one of a branch
FILTERS = (8, 6, 4)  # of each kernel of the inception blocks at 1/8, 1/4 and 1/2 of the sides
LAST = 2  # filters of each kernel of the last one
FEATURES = LAST * len(SIDES[1])  # of a branch
FUSED = 3  # filters of each kernel of the block that joins the branches
NEAR = 2  # places: what is no farther away, along rows and columns, is no copy but the same thing
SHARE = 8  # one in so many correlations is sorted
QUERIES = 1024  # places compared with all others at once
TINY = 1e-4


class CopyNet(nn.Module):
    """Logits of copies: of both branches together, of what occurs twice, and of what was manipulated.

    Args:
        channels: Of the picture.
        width: Channels of the first block of VGG; the fourth has eight times as many.
        pyramid: Channels of the feature pyramid.
        ranks: How many of its correlations are kept of each place.
    """

    def __init__(self, channels: int, width: int, pyramid: int, ranks: int) -> None:
        super().__init__()
        self.similar = SimilarityBranch(channels, width, pyramid, ranks)
        self.manipulated = ManipulationBranch(channels, width)
        self.told = nn.ModuleList(nn.Conv2d(FEATURES, 1, 3, padding=1) for _ in range(2))
        self.fuse = nn.Sequential(
            Inception(2 * FEATURES, FUSED), nn.Conv2d(len(SIDES[0]) * FUSED, 1, 3, padding=1)
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
        """The sides must be divisible by 16."""
        branches = [self.similar(x), self.manipulated(x)]
        told = [head(branch) for head, branch in zip(self.told, branches, strict=True)]
        return _doubled(torch.cat([self.fuse(torch.cat(branches, dim=1)), *told], dim=1))


class SimilarityBranch(nn.Module):
    """How well each place is repeated elsewhere, at two scales, as features at half the sides."""

    def __init__(self, channels: int, width: int, pyramid: int, ranks: int) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        self.lateral = nn.ModuleList(nn.Conv2d(each * width, pyramid, 1) for each in (8, 8))
        self.smooth = nn.ModuleList(nn.Conv2d(pyramid, pyramid, 3, padding=1) for _ in range(2))
        self.norm = nn.ModuleList(nn.BatchNorm2d(ranks) for _ in range(2))
        self.ranks = ranks
        self.decode = Decoder(2 * ranks)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f h2 w2"]:
        """The sides must be divisible by 16."""
        fine = self.stem(x)
        coarse = self.lateral[1](F.max_pool2d(fine, 2))
        levels = [self.lateral[0](fine) + F.interpolate(coarse, scale_factor=2.0), coarse]
        told = [
            norm(percentile_pooling(standardised(smooth(level)), self.ranks))
            for norm, smooth, level in zip(self.norm, self.smooth, levels, strict=True)
        ]
        return self.decode(torch.cat([told[0], _doubled(told[1])], dim=1))


class ManipulationBranch(nn.Module):
    """What a place itself looks like, as features at half the sides."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        self.decode = Decoder(8 * width)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f h2 w2"]:
        """The sides must be divisible by 8."""
        return self.decode(self.stem(x))


class Stem(nn.Sequential):
    """The first four blocks of VGG-16, with batch normalisation; the fourth does not halve the sides.

    (n, channels, h, w) -> (n, 8 * width, h / 8, w / 8).
    """

    def __init__(self, channels: int, width: int) -> None:
        layers: list[nn.Module] = []
        for at, count in enumerate(CONVOLUTIONS):
            outputs = width * 2**at
            for _ in range(count):
                layers += [
                    nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                ]
                channels = outputs
            if at < len(CONVOLUTIONS) - 1:
                layers.append(nn.MaxPool2d(2))
        super().__init__(*layers)


class Decoder(nn.Module):
    """Two doublings, an inception block before and after each, and one with large kernels.

    Args:
        inputs: Channels at 1/8 of the sides.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        between = [len(SIDES[0]) * filters for filters in FILTERS]
        self.blocks = nn.ModuleList(
            Inception(i, filters) for i, filters in zip((inputs, *between[:-1]), FILTERS, strict=True)
        )
        self.last = Inception(between[-1], LAST, SIDES[1])

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f h2 w2"]:
        """The sides grow fourfold."""
        first, *others = self.blocks
        x = first(x)
        for block in others:
            x = block(_doubled(x))
        return self.last(x)


class Inception(nn.Module):
    """Convolutions with kernels of three sizes beside each other, batch normalisation and ReLU.

    Args:
        inputs: Channels.
        filters: Of each size.
        sides: Of the kernels, in pixels.
    """

    def __init__(self, inputs: int, filters: int, sides: tuple[int, ...] = SIDES[0]) -> None:
        super().__init__()
        self.beside = nn.ModuleList(nn.Conv2d(inputs, filters, side, padding=side // 2) for side in sides)
        self.norm = nn.BatchNorm2d(len(sides) * filters)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        """Same sides."""
        return F.relu(self.norm(torch.cat([each(x) for each in self.beside], dim=1)))


def standardised(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """With mean 0 and variance 1 over the channels of each place."""
    mean = features.mean(dim=1, keepdim=True)
    spread = features.std(dim=1, correction=0, keepdim=True)
    return (features - mean) / spread.clamp(min=TINY)


def percentile_pooling(features: Float[Tensor, "n c h w"], ranks: int) -> Float[Tensor, "n ranks h w"]:
    """Of each place its correlations with all others, in falling order, read at `ranks` places of that order.

    The ranks lie evenly on a logarithmic scale, within the highest eighth: copies show in the highest few.
    Places in the neighbourhood are left out.
    """
    height, width = features.shape[-2:]
    rows = features.flatten(2).mT
    count = max(1, height * width // SHARE)
    at = torch.logspace(0, 1, ranks, base=float(count), device=features.device).round().long() - 1
    near = neighbours(height, width).to(features.device)
    parts = []
    for part, close in zip(rows.split(QUERIES, dim=1), near.split(QUERIES), strict=True):
        alike = (part @ rows.mT / features.shape[1]).masked_fill(close, -1.0)
        parts.append(alike.topk(count, dim=2).values[:, :, at])
    return torch.cat(parts, dim=1).mT.unflatten(2, (height, width))


def neighbours(height: int, width: int) -> Bool[Tensor, "t t"]:
    """Which places of a grid lie in each other's neighbourhood, themselves included."""
    down, across = ((torch.arange(n)[:, None] - torch.arange(n)).abs() <= NEAR for n in (height, width))
    return (down[:, None, :, None] & across[None, :, None, :]).reshape(height * width, -1)


def _doubled(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
