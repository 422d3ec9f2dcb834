"""Volumes: the neighbours of a plane, and scores that are smoothed through all planes.

A detector of planes sees each plane of a volume on its own, so that its map is noisy from plane to plane,
and what it says of a volume rests on a single one. A lesion goes through several planes, noise does not:
smoothed in three dimensions, by millimetres, it stands out, and a volume is judged by its highest thousandth
rather than by one pixel of one plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from intact.data.transforms import Placement, Preparation
from intact.image import Image

TOP = 0.001  # share of a volume's pixels, the highest ones, whose mean is its score


@dataclass(frozen=True)
class Smoothing:
    """How the score maps of one image are smoothed.

    Args:
        at: Where each plane went when it was prepared.
        depth: Planes of a volume; 1 for a single plane.
        sigma: Standard deviations along planes, rows and columns, in pixels as prepared.
    """

    at: Placement
    depth: int
    sigma: tuple[float, float, float]


def depth_of(image: Image) -> int:
    """Planes of each volume: all of an image's, but for a time series of volumes; 1 for a single plane."""
    return image.shape[-3] if len(image.shape) > 2 else 1


def neighbours_of(index: int, depth: int, reach: int) -> list[int]:
    """Indices of the planes within `reach` on each side; at the ends of its volume the last one repeats."""
    first = index // depth * depth
    return [min(max(i, first), first + depth - 1) for i in range(index - reach, index + reach + 1)]


def spacing_known(image: Image) -> bool:
    """Whether the image says how far its pixels are apart, and its planes."""
    return len(image.spacing or ()) >= min(len(image.shape), 3)


def smoothing_of(image: Image, preparation: Preparation) -> Smoothing | None:
    """The smoothing that a preparation asks of an image; where spacing is unknown, it counts as 1 mm."""
    if not preparation.smooth_mm:
        return None
    spacing = image.spacing or (1.0, 1.0)
    between = spacing[-3] if len(spacing) > 2 else 1.0
    at = preparation.place(image.shape[-2:], image.spacing)
    voxel = between, spacing[-2] * at.source[0] / at.rows, spacing[-1] * at.source[1] / at.columns
    sigma = tuple(preparation.smooth_mm / side for side in voxel)
    return Smoothing(at, depth_of(image), (sigma[0], sigma[1], sigma[2]))


def smooth(maps: Sequence[Float[Tensor, "h w"]], smoothing: Smoothing) -> list[Float[Tensor, "h w"]]:
    """The maps of all planes, smoothed within each volume by a Gaussian cut at 4 sigma, border repeated."""
    whole = torch.stack(list(maps)).numpy()
    volumes = whole.reshape(-1, smoothing.depth, *whole.shape[1:])
    smoothed = gaussian_filter(volumes, (0.0, *smoothing.sigma), mode="nearest")
    return list(torch.from_numpy(smoothed.reshape(whole.shape)))


def top_mean(maps: Sequence[Float[Tensor, "h w"]], at: Placement) -> float:
    """Mean of the highest `TOP` of all pixels that belong to the image, at least of one."""
    inner = torch.stack([one[at.top : at.top + at.rows, at.left : at.left + at.columns] for one in maps])
    count = max(1, int(np.ceil(TOP * inner.numel())))
    return float(inner.flatten().topk(count).values.double().mean())
