"""Poisson image editing in rectangles and boxes, by sine transforms.

Pérez, Gangnet, Blake, "Poisson image editing", SIGGRAPH 2003. In a whole rectangle Poisson's
equation with a known rim is solved at once by the discrete sine transform (type I). For a mask
inside, that solution preconditions conjugate gradients, which then take a few iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft

Planes = Float[ndarray, "*c h w"]
Steps = Float[ndarray, "..."]  # differences of neighbouring pixels, along one axis
Guide = Callable[[Steps, Steps], Steps]  # what the steps shall be, given the host's and the guest's

ACCURACY = 1e-9  # of the residual, over its start
MOST = 200  # iterations, which no mask should need


def stronger(first: Steps, second: Steps) -> Steps:
    """The larger of two steps, in absolute value; the second where they are equal."""
    return np.where(np.abs(first) > np.abs(second), first, second)


GUIDES: dict[str, Guide] = {
    "normal": lambda host, guest: guest,  # Eq. 9
    "mixed": stronger,  # Eq. 12
}


def seamless(
    host: Planes, guest: Planes, mask: Bool[ndarray, "h w"], guide: Guide = GUIDES["normal"]
) -> Float[ndarray, "*c h w"]:
    """The host, in whose mask the differences of neighbours are as near as can be to those of `guide`.

    Args:
        host: What is there; outside the mask and at the rim of the rectangle it stays.
        guest: What comes in, in the whole rectangle, as a pixel's neighbours count.
        mask: Where; its part at the rim is left out.
        guide: One of `GUIDES`, or another function of the host's and the guest's differences.

    Returns:
        float64, not cut to any range.
    """
    host, guest = host.astype(np.float64), guest.astype(np.float64)
    blended = host.copy()
    if min(mask.shape) < 3:
        return blended
    lacking = []  # in the host's steps
    for axis in (-2, -1):
        there = np.diff(host, axis=axis)
        lacking.append(guide(there, np.diff(guest, axis=axis)) - there)
    inside = mask[1:-1, 1:-1]
    right = _divergence(*lacking)
    blended[..., 1:-1, 1:-1] += solve_box(right) if inside.all() else _solve(right * inside, inside)
    return blended


def _solve(right: Planes, inside: Bool[ndarray, "h w"]) -> Planes:
    """What has the Laplacian `right` inside and is 0 elsewhere: conjugate gradients, preconditioned."""
    x, residual = np.zeros_like(right), right
    enough = ACCURACY * np.linalg.norm(right)
    direction, before = np.zeros_like(right), 1.0
    for _ in range(MOST):
        if np.linalg.norm(residual) <= enough:
            break
        z = solve_box(residual) * inside
        size = float((residual * z).sum())
        direction = z + size / before * direction
        image = _laplacian(direction) * inside
        share = size / float((direction * image).sum())
        x = x + share * direction
        residual = residual - share * image
        before = size
    return x


def solve_box(right: Float[ndarray, "*space"], dims: int = 2) -> Float[ndarray, "*space"]:
    """What, less its neighbours along the last `dims` axes, sums up to `right`; zeros are around."""
    axes = tuple(range(-dims, 0))
    waves = fft.dstn(right, type=1, axes=axes, norm="ortho")
    return fft.idstn(waves / _eigenvalues(*right.shape[-dims:]), type=1, axes=axes, norm="ortho")


@lru_cache(maxsize=4096)
def _eigenvalues(*sides: int) -> Float[ndarray, "*space"]:
    """Of `_laplacian` in any number of dimensions, whose eigenvectors are products of sines."""
    each = (2.0 - 2.0 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) for n in sides)
    return np.asarray(sum(np.ix_(*each)))


def _laplacian(x: Planes) -> Planes:
    """Sum of x - its neighbour over four neighbours, zeros being around."""
    around = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)])
    return _divergence(np.diff(around, axis=-2), np.diff(around, axis=-1))


def _divergence(down: Steps, right: Steps) -> Planes:
    """Sum of the steps from four neighbours to each pixel, for all pixels but the rim.

    Args:
        down: (*c, h - 1, w), from each row to the next.
        right: (*c, h, w - 1), from each column to the next.
    """
    rows = down[..., :-1, 1:-1] - down[..., 1:, 1:-1]
    return rows + right[..., 1:-1, :-1] - right[..., 1:-1, 1:]
