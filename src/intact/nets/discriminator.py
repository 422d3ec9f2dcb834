"""Networks that tell the real from the made."""

from __future__ import annotations

from torch import nn


def latent_discriminator(latent: int, width: int) -> nn.Sequential:
    """(n, latent) -> (n, 1), a logit: is this code drawn from the prior? Two hidden layers of `width`."""
    return nn.Sequential(
        nn.Linear(latent, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, 1),
    )
