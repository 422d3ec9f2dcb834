"""An image-to-image network with residual blocks at a quarter of the side, read at five depths.

The generator of Johnson, Alahi, Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", ECCV 2016, as used for translation; its first half gives the features that Park, Efros,
Zhang, Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020,
https://arxiv.org/abs/2007.15651, compare: the image, both halvings, the first and the middle block.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Translator(nn.Module):
    """Encoder and decoder of images in [-1, 1], without shortcuts between the two.

    Args:
        channels: Of the image.
        width: Channels at full resolution; four times as many in the blocks.
        blocks: Residual blocks, two at least; the middle one ends the encoder.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        middle = (blocks + 1) // 2
        self.channels = (channels, 2 * width, 4 * width, 4 * width, 4 * width)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    *_normed(_reflected(channels, width, 7), width),
                    *_normed(nn.Conv2d(width, 2 * width, 3, 2, 1), 2 * width),
                ),
                nn.Sequential(*_normed(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), 4 * width)),
                Residual(4 * width),
                nn.Sequential(*(Residual(4 * width) for _ in range(middle - 1))),
            ]
        )
        self.decoder = nn.Sequential(
            *(Residual(4 * width) for _ in range(blocks - middle)),
            *_normed(nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, 1), 2 * width),
            *_normed(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), width),
            _reflected(width, channels, 7),
            nn.Tanh(),
        )

    def encode(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The image itself and four maps, at 1/2, 1/4, 1/4 and 1/4 of its sides."""
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], list[Tensor]]:
        """The image that comes out, and the five maps of the one that went in."""
        maps = self.encode(images)
        return self.decoder(maps[-1]), maps


class Residual(nn.Module):
    """Two 3 x 3 convolutions, edges reflected, added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normed(_reflected(channels, channels, 3), channels),
            _reflected(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Any side of at least 2."""
        return x + self.layers(x)


def _reflected(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")


def _normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]
