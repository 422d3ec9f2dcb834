"""RealNet's networks: U-Nets that rebuild feature maps, and a head that looks at the largest residuals.

Zhang, Xu, Zhou, "RealNet: A Feature Selection Network with Realistic Synthetic Anomaly for Anomaly
Detection", CVPR 2024, https://arxiv.org/abs/2403.05897; layers as in the authors' code, cnulab/RealNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MULTIPLIERS = (1, 2, 4)  # channels of the U-Net's levels over those of its first; attention at the last two
BLOCKS = 2  # residual blocks per level on the way down; one more on the way up
GROUPS = 32  # of group norm
HEAD = 64  # channels per head of attention
MOMENTUM = 0.9  # share of a batch in the statistics that residuals are ranked by


class FeatureUNet(nn.Module):
    """From maps to maps of the same shape; zeros before any training.

    Args:
        channels: Of the maps; the first level has half of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels // 2 * m for m in MULTIPLIERS]
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, x = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            if level:
                self.down.append(_Block(x, x, "halved"))
                skips.append(x)
            for _ in range(BLOCKS):
                self.down.append(_with_attention(x, width, level))
                skips.append(width)
                x = width
        self.middle = nn.Sequential(_Block(x, x), _Attention(x), _Block(x, x))
        for level, width in reversed(list(enumerate(widths))):
            for i in range(BLOCKS + 1):
                parts = [_with_attention(x + skips.pop(), width, level)]
                x = width
                if level and i == BLOCKS:
                    parts.append(_Block(x, x, "doubled"))
                self.up.append(nn.Sequential(*parts))
        self.head = nn.Sequential(_norm(x), nn.SiLU(), _zeroed(nn.Conv2d(x, channels, 3, padding=1)))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The sides must be divisible by 4."""
        maps = [self.stem(x)]
        for block in self.down:
            maps.append(block(maps[-1]))
        x = self.middle(maps[-1])
        for block in self.up:
            x = block(torch.cat([x, maps.pop()], dim=1))
        return self.head(x)


class ResidualHead(nn.Module):
    """A logit per position, from the residuals of all maps that stand out most in the image.

    Channels are ranked after a batch norm, by their highest value and by their mean; of each ranking
    the first are looked at, in this order, as they were before the norm.

    Args:
        channels: Of all residuals together.
        chosen: Channels that each of the two rankings gives.
    """

    def __init__(self, channels: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.norm = nn.BatchNorm2d(channels, momentum=MOMENTUM, affine=False)
        self.near = nn.Sequential(
            *(_Refine(2 * chosen) for _ in range(2)),
            nn.ReLU(),
            nn.Conv2d(2 * chosen, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 8, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 1, 3, padding=1),
        )

    def forward(self, residuals: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "n h w"]:
        """At twice the side of the first residual."""
        size = residuals[0].shape[-2:]
        grown = [F.interpolate(r, size=size, mode="bilinear", align_corners=True) for r in residuals]
        return self.near(self.select(torch.cat(grown, dim=1)))[:, 0]

    def select(self, residual: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The channels chosen for each image; some may be there twice."""
        ranked = self.norm(residual.detach()).flatten(2)
        first = ranked.amax(dim=2).topk(self.chosen, dim=1).indices
        second = ranked.mean(dim=2).topk(self.chosen, dim=1).indices
        index = torch.cat([first, second], dim=1)
        return residual[torch.arange(len(residual), device=residual.device)[:, None], index]


class _Block(nn.Module):
    """Group norm, SiLU and one convolution, added to a shortcut; may halve or double the sides before it."""

    def __init__(self, inputs: int, outputs: int, side: str = "kept") -> None:
        super().__init__()
        self.norm = _norm(inputs)
        self.resize, self.resize_shortcut = _RESIZES[side](inputs), _RESIZES[side](inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.resize(F.silu(self.norm(x))))
        return self.shortcut(self.resize_shortcut(x)) + y


class _Attention(nn.Module):
    """Every position sees all others; added to what was there, zero before any training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD)
        self.norm = _norm(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.output = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = self.query_key_value(self.norm(x)).view(n, 3, self.heads, c // self.heads, h * w)
        query, key, value = parts.transpose(3, 4).unbind(dim=1)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.output(seen.transpose(2, 3).reshape(n, c, h, w))


class _Refine(nn.Module):
    """Adds to a map what a 3 x 3 and a 1 x 1 convolution make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.narrow = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.relu(self.wide(F.relu(x))))


_RESIZES: dict[str, Callable[[int], nn.Module]] = {
    "kept": lambda channels: nn.Identity(),
    "halved": lambda channels: nn.AvgPool2d(2),
    "doubled": lambda channels: nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
}


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def _zeroed(convolution: nn.Conv2d) -> nn.Conv2d:
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution


def _with_attention(inputs: int, outputs: int, level: int) -> nn.Module:
    block = _Block(inputs, outputs)
    return nn.Sequential(block, _Attention(outputs)) if level else block
