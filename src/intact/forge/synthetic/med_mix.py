"""MedMix: lesions made of patches, cut out, deformed and pasted; their number makes a class.

The augmentation of PMSACL (Tian et al., Medical Image Analysis 2023, https://arxiv.org/abs/2109.01303),
whose code was never published. Our reading of its summaries: patches of normal images change in colour,
noise, grey curve and size and are pasted at random places. All numbers here are ours, and so is that a
patch comes from another image of the batch.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from intact.forge.synthetic.corruptions import bend_intensity
from intact.forge.synthetic.jitter import jittered
from intact.forge.synthetic.made import Made

SHORTEST, LONGEST = 0.06, 0.25  # sides of a patch before it is resized, over the image's
RESIZE = 1.5  # a patch becomes so many times longer or shorter, at most
JITTER = 0.4  # see `jittered`
NOISE = 0.05  # greatest deviation of the noise


def med_mix(images: Float[Tensor, "n c h w"], rng: np.random.Generator, counts: Int[ndarray, "n"]) -> Made:
    """Each image with as many patches pasted as `counts` says; labels are 1 under a patch.

    Args:
        images: At least two, so that patches come from another image.
        rng: Draws donors, sizes, places and deformations.
        counts: Patches per image, the pseudo-class; 0 leaves an image as it is.
    """
    made, labels = images.clone(), images.new_zeros(len(images), *images.shape[2:])
    height, width = images.shape[2:]
    for i, count in enumerate(counts.tolist()):
        for _ in range(count):
            donor = images[(i + int(rng.integers(1, max(2, len(images))))) % len(images)]
            patch = _deform(_cut(donor, rng), rng)
            high, wide = patch.shape[1:]
            top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
            made[i, :, top : top + high, left : left + wide] = patch
            labels[i, top : top + high, left : left + wide] = 1.0
    return Made(made, labels)


def _cut(image: Float[Tensor, "c h w"], rng: np.random.Generator) -> Float[Tensor, "c a b"]:
    high, wide = (max(2, round(length * rng.uniform(SHORTEST, LONGEST))) for length in image.shape[1:])
    top, left = int(rng.integers(image.shape[1] - high + 1)), int(rng.integers(image.shape[2] - wide + 1))
    return image[:, top : top + high, left : left + wide]


def _deform(patch: Float[Tensor, "c a b"], rng: np.random.Generator) -> Float[Tensor, "c d e"]:
    """Another size, other colours, a bent grey curve, and noise."""
    times = RESIZE ** rng.uniform(-1, 1)
    size = [max(2, round(length * times)) for length in patch.shape[1:]]
    x = F.interpolate(patch[None], size=size, mode="bilinear", align_corners=False, antialias=times < 1)[0]
    coloured = torch.from_numpy(jittered(x.cpu().numpy(), rng, JITTER)).to(x)
    noise = rng.uniform(0, NOISE) * rng.standard_normal(tuple(x.shape))
    return (bend_intensity(coloured, rng) + torch.from_numpy(noise).to(x)).clamp(0, 1)
