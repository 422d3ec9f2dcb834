"""Poisson image interpolation: a square in which an image's gradients are mixed with another one's.

Tan, Hou, Day, Simpson, Rueckert, Kainz, "Detecting Outliers with Poisson Image Interpolation",
MICCAI 2021, https://arxiv.org/abs/2107.02622, with the numbers of the authors' code (jemtan/PII).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intact.forge.synthetic.interpolation import LEAST
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.seamless import Guide, Steps, seamless, stronger
from intact.forge.synthetic.squares import random_square


def poisson_patches(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    widths: tuple[float, float] = (0.05, 0.2),
    core: float = 0.8,
) -> Made:
    """Mix the gradients of each image with those of the one before it, inside a square, and rebuild it.

    The label is the foreign image's factor, and 0 where nothing changed.

    Args:
        images: In [0, 1]; the first is mixed with the last.
        rng: Draws everything.
        widths: Least and greatest half of the square's side, as shares of the image's.
        core: Share of the image's sides in which the square's centre lies.
    """
    pictures = images.numpy(force=True)
    made, labels = pictures.copy(), np.zeros_like(pictures[:, 0])
    for i, (own, other) in enumerate(zip(pictures, np.roll(pictures, 1, axis=0), strict=True)):
        square = random_square(own.shape[1:], rng, widths, core, rim=1)
        rows = slice(square.rows.start - 1, square.rows.stop + 1)  # with the rim that stays
        columns = slice(square.columns.start - 1, square.columns.stop + 1)
        host, guest = own[:, rows, columns], other[:, rows, columns]
        blended = seamless(host, guest, np.ones(host.shape[1:], bool), weighted(square.factor))
        blended = blended.clip(0.0, 1.0).astype(host.dtype)
        made[i, :, rows, columns] = blended
        labels[i, rows, columns] = square.factor * (np.abs(blended - host).max(axis=0) > LEAST)
    return Made(torch.from_numpy(made).to(images), torch.from_numpy(labels).to(images))


def weighted(factor: float) -> Guide:
    """The stronger of (1 - factor) of the host's step and factor of the guest's."""

    def guide(host: Steps, guest: Steps) -> Steps:
        return stronger((1.0 - factor) * host, factor * guest)

    return guide
