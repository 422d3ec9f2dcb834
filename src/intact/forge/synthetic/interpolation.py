"""Foreign patch interpolation: a square in which an image is mixed with another one.

Tan, Hou, Batten, Qiu, Kainz, "Detecting Outliers with Foreign Patch Interpolation", MELBA 2022,
https://arxiv.org/abs/2011.04197, with the numbers of the authors' code (jemtan/FPI).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intact.forge.synthetic.made import Made
from intact.forge.synthetic.squares import random_square

LEAST = 1e-3  # a pixel that changes less carries no label


def interpolate_patches(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    widths: tuple[float, float] = (0.05, 0.2),
    core: float = 0.8,
) -> Made:
    """Mix each image with the one before it, inside a square: (1 - factor) of its own, factor foreign.

    The label is the factor, and 0 where the two images are alike.

    Args:
        images: In [0, 1]; the first is mixed with the last.
        rng: Draws everything.
        widths: Least and greatest half of the square's side, as shares of the image's.
        core: Share of the image's sides in which the square's centre lies.
    """
    made = images.clone()
    labels = torch.zeros_like(images[:, 0])
    foreign = images.roll(1, dims=0)
    for i in range(len(images)):
        square = random_square(images.shape[2:], rng, widths, core)
        box = (slice(None), square.rows, square.columns)
        own, other = images[i][box], foreign[i][box]
        made[i][box] = (1.0 - square.factor) * own + square.factor * other
        alike = (own - other).abs().amax(dim=0) <= LEAST
        labels[i][box[1:]] = square.factor * (~alike)
    return Made(made, labels)
