"""Residual generator, critic and encoder of f-AnoGAN: pre-activated blocks that double or halve the side.

The networks for 64 x 64 images of Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved
Training of Wasserstein GANs", NeurIPS 2017, https://arxiv.org/abs/1704.00028, as used by Schlegl et
al. (see `intact.anomaly.f_anogan`). Other sizes have more or fewer blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.gan import halvings

Norm = Callable[[int], nn.Module]
Weighted = TypeVar("Weighted", nn.Conv2d, nn.Linear)

GAIN = math.sqrt(2)  # He's, for the convolutions next to a ReLU


def layer_norm(channels: int) -> nn.Module:
    """Over all channels and positions of an image, with a scale and an offset per channel.

    The critic must not see a batch: the penalty bounds its gradient image by image.
    """
    return nn.GroupNorm(1, channels)


class Residual(nn.Module):
    """Norm, ReLU, convolution, twice, beside a 1 x 1 convolution; subclasses change the side.

    Args:
        inputs: Channels that come in.
        hidden: Channels between the two convolutions.
        outputs: Channels that go out.
        norm: Makes a normalisation for so many channels.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(hidden)
        self.conv1 = _initialised(nn.Conv2d(inputs, hidden, 3, padding=1, bias=False), GAIN)
        self.conv2 = _initialised(nn.Conv2d(hidden, outputs, 3, padding=1), GAIN)
        self.shortcut = _initialised(nn.Conv2d(inputs, outputs, 1))


class Up(Residual):
    """(n, inputs, s, s) -> (n, outputs, 2s, 2s)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__(inputs, outputs, outputs, norm)

    def forward(self, x: Float[Tensor, "n i s s"]) -> Float[Tensor, "n o t t"]:
        """Each pixel is repeated 2 x 2 before the first convolution and after the shortcut's."""
        # Repeated pixels seen by a 3 x 3 kernel are a transposed convolution with a 4 x 4 one.
        kernel = 4.0 * _spread(self.conv1.weight).flip(2, 3).transpose(0, 1)
        out = F.conv_transpose2d(F.relu(self.norm1(x)), kernel, stride=2, padding=1)
        out = self.conv2(F.relu(self.norm2(out)))
        return F.interpolate(self.shortcut(x), scale_factor=2.0) + out


class Down(Residual):
    """(n, inputs, 2s, 2s) -> (n, outputs, s, s)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__(inputs, inputs, outputs, norm)

    def forward(self, x: Float[Tensor, "n i t t"]) -> Float[Tensor, "n o s s"]:
        """Means of 2 x 2 after the second convolution and before the shortcut's."""
        out = F.relu(self.norm2(self.conv1(F.relu(self.norm1(x)))))
        out = F.conv2d(out, _spread(self.conv2.weight), self.conv2.bias, stride=2, padding=1)
        return self.shortcut(F.avg_pool2d(x, 2)) + out


def generator(channels: int, size: int, latent: int, width: int = 64) -> nn.Sequential:
    """(n, latent) -> (n, channels, size, size) in [-1, 1].

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 2 to the power of `halvings(size)`.
        latent: Numbers in the code.
        width: Channels at full resolution; they double up to eight times as many.
    """
    widths = _widths(size, width)[::-1]
    side = size >> (len(widths) - 1)
    return nn.Sequential(
        _initialised(nn.Linear(latent, widths[0] * side * side)),
        nn.Unflatten(1, (widths[0], side, side)),
        *(Up(i, o, nn.BatchNorm2d) for i, o in pairwise(widths)),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _initialised(nn.Conv2d(width, channels, 3, padding=1), GAIN),
        nn.Tanh(),
    )


def encoder(channels: int, size: int, latent: int, width: int = 64) -> nn.Sequential:
    """(n, channels, size, size) -> (n, latent) in [-1, 1]: a critic with batch norms and a tanh."""
    return nn.Sequential(
        *_down(channels, size, width, nn.BatchNorm2d),
        _initialised(nn.Linear(_flat(size, width), latent)),
        nn.Tanh(),
    )


class Critic(nn.Module):
    """One number per image, higher for real ones, and the flattened map that it is read from.

    Args:
        channels: Of the image.
        size: Side of the image, as in `generator`.
        width: Channels at full resolution.
    """

    def __init__(self, channels: int, size: int, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(*_down(channels, size, width, layer_norm))
        self.head = _initialised(nn.Linear(_flat(size, width), 1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
        """Without bounds; `features` gives the map, (n, 8192) for 64 x 64 images."""
        return self.head(self.features(images))[:, 0]


def _spread(weight: Float[Tensor, "o i 3 3"]) -> Float[Tensor, "o i 4 4"]:
    """The kernel that, with stride 2, does what `weight` and then means of 2 x 2 do.

    Less than half the products, and no map at full resolution.
    """
    return F.avg_pool2d(weight, 2, stride=1, padding=1)


def _widths(size: int, width: int) -> list[int]:
    """Channels from full resolution to the smallest map."""
    return [width * min(2**k, 8) for k in range(halvings(size) + 1)]


def _flat(size: int, width: int) -> int:
    return _widths(size, width)[-1] * (size >> halvings(size)) ** 2


def _down(channels: int, size: int, width: int, norm: Norm) -> list[nn.Module]:
    widths = _widths(size, width)
    return [
        _initialised(nn.Conv2d(channels, width, 3, padding=1)),
        *(Down(i, o, norm) for i, o in pairwise(widths)),
        nn.Flatten(),
    ]


def _initialised(module: Weighted, gain: float = 1.0) -> Weighted:
    """Glorot's uniform weights times `gain`, no bias."""
    nn.init.xavier_uniform_(module.weight, gain)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module
