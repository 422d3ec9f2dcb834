"""A small convolutional autoencoder with a linear bottleneck."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 64)


class Autoencoder(nn.Module):
    """Four halvings, a linear code, four doublings; no output activation.

    Args:
        channels: Of the image.
        size: Side of the image, a multiple of 16.
        latent: Length of the code.
        hidden: Width of the linear layer on either side of the code.
    """

    def __init__(self, channels: int, size: int, latent: int, hidden: int = 1024) -> None:
        super().__init__()
        side = size // 16
        flat = WIDTHS[-1] * side * side
        down = zip((channels, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.encoder = nn.Sequential(
            *(_block(nn.Conv2d(i, o, 4, 2, 1, bias=False), o) for i, o in down),
            nn.Flatten(),
            nn.Sequential(nn.Linear(flat, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            nn.Linear(hidden, latent),
        )
        up = list(zip(WIDTHS[::-1], (*WIDTHS[-2::-1], channels), strict=True))
        self.decoder = nn.Sequential(
            nn.Sequential(nn.Linear(latent, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            nn.Linear(hidden, flat),
            nn.Unflatten(1, (WIDTHS[-1], side, side)),
            *(_block(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), o) for i, o in up[:-1]),
            nn.ConvTranspose2d(*up[-1], 4, 2, 1),
        )

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Encode and decode."""
        return self.decoder(self.encoder(images))


def _block(convolution: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
