"""A U-shaped Swin transformer with two encoders, one for the picture and one for its high frequencies.

Yang, Xie, Mai, Chen, "DFST-UNet: Dual-Domain Fusion Swin Transformer U-Net for Image Forgery Localization",
Entropy 27(5):535, 2025. The frame is Swin-Unet (Cao et al., ECCV Workshops 2022); its blocks are those of Liu
et al., "Swin Transformer", ICCV 2021, as MONAI has them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.sfta import SpatialAttention

PATCH = 4  # pixels per side of a token of the finest scale
SCALES = 4
DEPTH = 2  # blocks of each stage: one looks at windows, one at windows that are shifted by half
WINDOW = 8  # tokens per side
HEAD = 24  # channels of an attention head
CUTOFF = 30 / 512  # of the high-pass, in cycles per pixel
BORDER = 16  # pixels mirrored around before the transform, six standard deviations of what is taken away
REDUCTION = 16  # of the attention to channels


class DualSwinUNet(nn.Module):
    """A logit for each pixel.

    Args:
        channels: Of the picture.
        width: Channels of a token of the finest scale, a multiple of 24; they double with each scale.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**scale for scale in range(SCALES)]
        patches = nn.Conv2d(channels, width, PATCH, PATCH)
        self.picture = Encoder(nn.Sequential(patches, ChannelNorm(width)), widths)
        self.high = Encoder(_convolutional_embedding(channels, width), widths)
        self.fuse = nn.ModuleList(AttentionFusion(each) for each in widths)
        self.bottom = _stage(widths[-1])
        finer = widths[-2::-1]
        self.expand = nn.ModuleList(PatchExpanding(2 * each, 2) for each in finer)
        self.merge = nn.ModuleList(nn.Conv2d(2 * each, each, 1) for each in finer)
        self.up = nn.ModuleList(_stage(each) for each in finer)
        self.leave = PatchExpanding(width, PATCH)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """The sides must be divisible by 32."""
        both = zip(self.fuse, self.picture(x), self.high(high_frequencies(x)), strict=True)
        *skips, y = (fuse(first, second) for fuse, first, second in both)
        y = self.bottom(y)
        for expand, merge, stage, skip in zip(self.expand, self.merge, self.up, reversed(skips), strict=True):
            y = stage(merge(torch.cat([expand(y), skip], dim=1)))
        return self.head(self.leave(y))


class Encoder(nn.Module):
    """Tokens of patches, then stages of Swin blocks, each at half the resolution of the one before.

    Args:
        embed: From a picture to tokens of patches.
        widths: Channels of each scale, finest first, each twice the one before.
    """

    def __init__(self, embed: nn.Module, widths: list[int]) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import PatchMergingV2

        self.embed = embed
        self.stages = nn.ModuleList(_stage(each) for each in widths)
        self.merge = nn.ModuleList(PatchMergingV2(each, spatial_dims=2) for each in widths[:-1])

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """What each scale sees, finest first: at 1/4, 1/8, 1/16 and 1/32 of the picture's sides."""
        x = self.stages[0](self.embed(x))
        maps = [x]
        for merge, stage in zip(self.merge, list(self.stages)[1:], strict=True):
            x = stage(merge(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            maps.append(x)
        return maps


class AttentionFusion(nn.Module):
    """Two maps as one: attention to their channels, then to places; both maps are added to what is left.

    Args:
        channels: Of either map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        from monai.networks.blocks import ChannelSELayer

        self.mix = nn.Sequential(
            ChannelSELayer(2, 2 * channels, REDUCTION),
            nn.Conv2d(2 * channels, channels, 1),
            SpatialAttention(),
        )

    def forward(self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Same shape."""
        return self.mix(torch.cat([a, b], dim=1)) + a + b


class PatchExpanding(nn.Module):
    """Each token becomes `factor` x `factor` tokens: of half the channels, or with factor 4 of as many.

    Args:
        channels: Of a token.
        factor: 2 or 4.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        outputs = channels // 2 if factor == 2 else channels
        self.expand = nn.Sequential(
            nn.Conv2d(channels, outputs * factor**2, 1, bias=False), nn.PixelShuffle(factor)
        )
        self.norm = ChannelNorm(outputs)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """The sides grow by the factor."""
        return self.norm(self.expand(x))


class ChannelNorm(nn.LayerNorm):
    """Brings the channels of each place to mean 0 and variance 1."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def high_frequencies(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """What a Gaussian high-pass leaves: each frequency f, in cycles per pixel, times 1 - exp(-f² / 2 f0²).

    The border is mirrored, as a transform takes opposite borders for neighbours.
    """
    padded = F.pad(x, [BORDER] * 4, mode="reflect")
    height, width = padded.shape[-2:]
    rows, columns = torch.fft.fftfreq(height, device=x.device), torch.fft.rfftfreq(width, device=x.device)
    kept = 1.0 - torch.exp(-(rows[:, None].square() + columns.square()) / (2 * CUTOFF**2))
    found = torch.fft.irfft2(torch.fft.rfft2(padded) * kept, s=(height, width))
    return found[..., BORDER:-BORDER, BORDER:-BORDER]


def _convolutional_embedding(channels: int, width: int) -> nn.Module:
    """Tokens that keep how strong a signal is, which the norm after a linear embedding would take away."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, PATCH, PATCH),
    )


def _stage(width: int) -> nn.Module:
    from monai.networks.nets.swin_unetr import BasicLayer

    return BasicLayer(width, DEPTH, width // HEAD, (WINDOW, WINDOW), [0.0] * DEPTH, qkv_bias=True)
