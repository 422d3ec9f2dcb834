"""The convolutional networks of DCGAN: an encoder, a generator that mirrors it, a discriminator.

Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", ICLR 2016, https://arxiv.org/abs/1511.06434, with the encoder and the
discriminator as GANomaly has them: the first convolution without a normalisation, the last one
over the whole map, no biases.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLU


def halvings(size: int) -> int:
    """How often a side is halved until it is 4 to 7: once at least, four times from 64."""
    return max(1, size.bit_length() - 3)


def encoder(channels: int, size: int, outputs: int, width: int = 64, cap: int = 512) -> nn.Sequential:
    """(n, channels, size, size) -> (n, outputs), without bounds.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 2 to the power of `halvings(size)`.
        outputs: Numbers in the code.
        width: Channels after the first halving; they double with each further one.
        cap: Most channels.
    """
    widths = _widths(size, width, cap)
    return nn.Sequential(
        *_down(channels, widths),
        nn.Conv2d(widths[-1], outputs, size >> len(widths), bias=False),
        nn.Flatten(),
    )


def generator(channels: int, size: int, latent: int, width: int = 64, cap: int = 512) -> nn.Sequential:
    """(n, latent) -> (n, channels, size, size) in [-1, 1]: the mirror image of `encoder`."""
    widths = _widths(size, width, cap)[::-1]
    side = size >> len(widths)
    return nn.Sequential(
        nn.Unflatten(1, (latent, 1, 1)),
        *_raised(nn.ConvTranspose2d(latent, widths[0], side, bias=False), widths[0]),
        *(
            layer
            for i, o in pairwise(widths)
            for layer in _raised(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), o)
        ),
        nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


class Discriminator(nn.Module):
    """An `encoder` with one output, whose last map is returned as well.

    Args:
        channels: Of the image.
        size: Side of the image, as in `encoder`.
        width: Channels after the first halving.
        cap: Most channels.
    """

    def __init__(self, channels: int, size: int, width: int = 64, cap: int = 512) -> None:
        super().__init__()
        whole = encoder(channels, size, 1, width, cap)
        self.features, self.head = whole[:-2], whole[-2:]

    def forward(
        self, images: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n f s s"]]:
        """The logit of "this is a real image", and the map before it."""
        maps = self.features(images)
        return self.head(maps)[:, 0], maps


def initialise(net: nn.Module, rng: torch.Generator | None = None) -> None:
    """Convolutions from N(0, 0.02), the scales of batch norms from N(1, 0.02), in place."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=rng)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=rng)
            nn.init.zeros_(module.bias)


def _widths(size: int, width: int, cap: int) -> list[int]:
    return [min(width * 2**k, cap) for k in range(halvings(size))]


def _down(channels: int, widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]
    for i, o in pairwise(widths):
        layers += [
            nn.Conv2d(i, o, 4, 2, 1, bias=False),
            nn.BatchNorm2d(o),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
    return layers


def _raised(convolution: nn.Module, width: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
