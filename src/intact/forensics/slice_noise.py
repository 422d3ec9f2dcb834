"""Which slices of a volume hold the noise of others.

Noise never repeats: whatever neighbouring slices share, by overlap or by interpolation, each has
something in its fine structure that no other has, and about as much as the slices around it. A slice
with a tenth of that is a copy, or was computed from its neighbours. Compared is the central part of the
slices, which holds the body and keeps long series quick.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

FINE = 1.0  # sigma of the blur whose difference to a slice is its fine structure, in pixels
CENTRE = 256  # pixels, side of the central part
NEW = 0.1  # of what is usual around it; genuine slices have 0.2 and more
AROUND = 10  # slices on each side whose median is usual
REACH = 2  # slices on each side that a slice may have been computed from
BY_ALL = 0.5  # of what one neighbour leaves unexplained all leave, at most, of a mixture
FROM_EACH = 0.1  # of the slice before and of the one after there is in a mixture, at least
_COLLINEAR = 1e-4  # of the largest: eigenvalues below it are rounding
_ROUNDING = 1e-5  # of a correlation


def fine(slices: Num[ndarray, "d h w"]) -> Float[ndarray, "d n"]:
    """The fine structure of each slice's centre, of mean 0 and length 1; 0 where a slice is empty."""
    return np.stack([_normalised(_fine(_centre(one))) for one in slices])


def computed(alike: Float[ndarray, "d d"]) -> dict[int, float]:
    """Slices whose noise is a mixture of their neighbours' noise: means and interpolations.

    Args:
        alike: Correlations of fine structure.

    Returns:
        The multiple correlation of each with its neighbours.
    """
    alike = np.pad(alike, REACH - 1)  # beyond the last slices there is nothing
    places = np.arange(REACH, len(alike) - REACH)
    near = places[:, None] + np.array([step for step in range(-REACH, REACH + 1) if step])
    shared = alike[places[:, None], near]
    among = np.linalg.pinv(alike[near[:, :, None], near[:, None, :]], rcond=_COLLINEAR, hermitian=True)
    weights = np.einsum("nij,nj->ni", among, shared)
    explained = (weights * shared).sum(axis=1)
    new = np.where(np.diagonal(alike)[places] > 0, np.maximum(1 - explained, _ROUNDING), np.nan)
    # A copy is explained by one neighbour as well as by all.
    by_one = np.maximum(1 - shared.max(axis=1) ** 2, _ROUNDING)
    # The neighbours of a mixture can be reckoned back from it, but not from both their sides.
    between = weights[:, REACH - 1 : REACH + 1].min(axis=1) > FROM_EACH
    found = np.flatnonzero((new < NEW * _around(new)) & (new < BY_ALL * by_one) & between)
    return {int(n) + 1: float(np.sqrt(min(1.0, explained[n]))) for n in found}


def repeated(alike: Float[ndarray, "d d"]) -> dict[tuple[int, int], float]:
    """Pairs of slices with the same noise, neighbours or not.

    Args:
        alike: Correlations of fine structure.

    Returns:
        The correlation of each pair.
    """
    steps = np.where(np.diagonal(alike)[1:] > 0, 1 - np.diagonal(alike, 1), np.nan)
    usual = _around(np.append(steps, np.nan))
    limit = NEW * np.minimum(usual[:, None], usual[None, :])
    pairs = np.argwhere(np.triu(1 - alike < limit, 1))
    return {(int(one), int(other)): float(alike[one, other]) for one, other in pairs}


def _around(values: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """The median around each place, which itself and its neighbours do not count for; nan where unknown."""
    padded = np.pad(values, AROUND, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1).copy()
    windows[:, AROUND - 1 : AROUND + 2] = np.nan
    known = np.isfinite(windows).any(axis=1)
    medians = np.full(len(values), np.nan)
    medians[known] = np.nanmedian(windows[known], axis=1)
    return medians


def _centre(one: Num[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
    top, left = (max(0, (n - CENTRE) // 2) for n in one.shape)
    return np.ascontiguousarray(one[top : top + CENTRE, left : left + CENTRE], np.float32)


def _fine(one: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    return one - cv2.GaussianBlur(one, (0, 0), FINE)


def _normalised(field: Float[ndarray, "h w"]) -> Float[ndarray, "n"]:
    """As a vector of mean 0 and length 1, so that products are correlations."""
    vector = field.ravel() - field.mean()
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
