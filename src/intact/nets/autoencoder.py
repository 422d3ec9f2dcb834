"""A small convolutional encoder and decoder with a linear code between them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 64)
HIDDEN = 1024  # width of the linear layer on either side of the code


def encoder(channels: int, size: int, outputs: int, widths: tuple[int, ...] = WIDTHS) -> nn.Sequential:
    """(n, channels, size, size) -> (n, outputs): a halving per width, two linear layers.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 2 to the number of `widths`.
        outputs: Numbers in the code.
        widths: Channels after each halving.
    """
    side = size // 2 ** len(widths)
    down = zip((channels, *widths[:-1]), widths, strict=True)
    return nn.Sequential(
        *(_block(nn.Conv2d(i, o, 4, 2, 1, bias=False), o) for i, o in down),
        nn.Flatten(),
        nn.Sequential(
            nn.Linear(widths[-1] * side * side, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)
        ),
        nn.Linear(HIDDEN, outputs),
    )


def decoder(channels: int, size: int, latent: int, widths: tuple[int, ...] = WIDTHS) -> nn.Sequential:
    """(n, latent) -> (n, channels, size, size): the mirror image of `encoder`, no output activation."""
    side = size // 2 ** len(widths)
    up = list(zip(widths[::-1], (*widths[-2::-1], channels), strict=True))
    return nn.Sequential(
        _dense(latent),
        nn.Linear(HIDDEN, widths[-1] * side * side),
        nn.Unflatten(1, (widths[-1], side, side)),
        *(_block(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), o) for i, o in up[:-1]),
        nn.ConvTranspose2d(*up[-1], 4, 2, 1),
    )


class Autoencoder(nn.Module):
    """`encoder`, a code, `decoder`.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 16.
        latent: Length of the code.
    """

    def __init__(self, channels: int, size: int, latent: int) -> None:
        super().__init__()
        self.encoder = encoder(channels, size, latent)
        self.decoder = decoder(channels, size, latent)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Encode and decode."""
        return self.decoder(self.encoder(images))


def _block(convolution: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _dense(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True))
