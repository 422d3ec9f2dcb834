"""Networks that draw a change of an image, and the one that tells changed images from others.

The body of AdvGAN (Xiao et al., IJCAI 2018; layers as in public code of self-recoverable examples,
arXiv 2204.12050): convolutions down, residual blocks, transposed convolutions up. NROI-AdvGAN adds
skips through CBAM (Woo et al., ECCV 2018: a gate for channels, then one for places).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Maps = Float[Tensor, "n c h w"]
WIDTHS = (8, 16, 32)


class CBAM(nn.Module):
    """Attention to channels, then to places.

    Args:
        channels: Of the maps.
        squeeze: By how much the layer between is narrower.
    """

    def __init__(self, channels: int, squeeze: int = 4) -> None:
        super().__init__()
        narrow = max(1, channels // squeeze)
        self.shared = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=False), nn.ReLU(), nn.Conv2d(narrow, channels, 1, bias=False)
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, maps: Maps) -> Maps:
        """The maps, weighted."""
        gates = self.shared(maps.mean((2, 3), keepdim=True)) + self.shared(maps.amax((2, 3), keepdim=True))
        maps = maps * gates.sigmoid()
        both = torch.cat([maps.mean(1, keepdim=True), maps.amax(1, keepdim=True)], dim=1)
        return maps * self.place(both).sigmoid()


class Residual(nn.Module):
    """Two 3x3 convolutions on reflected edges, added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels, affine=True),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, maps: Maps) -> Maps:
        """Maps of the same shape."""
        return maps + self.layers(maps)


class Perturber(nn.Module):
    """Draws a change between -1 and 1 for an image between 0 and 1.

    Norms are of each image alone, so a change does not depend on the rest of a batch.

    Args:
        widths: Channels of the encoder's layers; each but the first halves the sides.
        blocks: Residual blocks at the bottom.
        skips: Pass the encoder's maps through CBAM to the decoder.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, blocks: int = 4, *, skips: bool = False) -> None:
        super().__init__()
        down = zip((1, *widths), widths, strict=False)
        self.down = nn.ModuleList(
            _normed(nn.Conv2d(a, b, 3, stride=1 if a == 1 else 2, padding=1, bias=False), b) for a, b in down
        )
        self.bottom = nn.Sequential(*(Residual(widths[-1]) for _ in range(blocks)))
        self.gates = nn.ModuleList(CBAM(width) for width in widths[:-1]) if skips else None
        ups, channels = [], widths[-1]
        for width in reversed(widths[:-1]):
            up = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1, bias=False)
            ups.append(_normed(up, width))
            channels = 2 * width if skips else width
        self.up = nn.ModuleList(ups)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
        """The change."""
        height, width = images.shape[-2:]
        unit = 2 ** (len(self.down) - 1)
        x = F.pad(images, (0, -width % unit, 0, -height % unit), mode="replicate")
        passed = []
        for layer in self.down:
            x = layer(x)
            passed.append(x)
        x = self.bottom(x)
        for number, layer in enumerate(self.up):
            x = layer(x)
            if self.gates is not None:
                place = len(self.gates) - 1 - number
                x = torch.cat([x, self.gates[place](passed[place])], dim=1)
        return self.head(x).tanh()[..., :height, :width]


class Discriminator(nn.Module):
    """Tells how likely an image was changed, as a logit; NROI-AdvGAN's five blocks and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        kernels, widths = (7, 5, 3, 3, 3), (8, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for size, before, width in zip(kernels, (1, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, size, padding=size // 2), nn.ReLU()]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten())  # 7 x 7 of 224 x 224
        self.dense = nn.Sequential(nn.Linear(49 * widths[-1], 512), nn.ReLU(), nn.Linear(512, 1))

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n"]:
        """Logits."""
        return self.dense(self.layers(images)).squeeze(1)


def _normed(layer: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(layer, nn.InstanceNorm2d(channels, affine=True), nn.ReLU())
