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

from intact.residual import LOUD

FINE = 1.0  # sigma of the blur whose difference to a slice is its fine structure, in pixels
CENTRE = 256  # pixels, side of the central part,
ENOUGH = 128  # and rows and columns of it that are compared
NEW = 0.1  # of what is usual around it; genuine slices have 0.2 and more
LESS = 0.9  # of what is usual without edges: more is no mixture
AROUND = 10  # slices on each side whose median is usual
REACH = 2  # slices on each side that a slice may have been computed from
BY_ALL = 0.5  # of what one neighbour leaves unexplained all leave, at most, of a mixture
FROM_EACH = 0.1  # of the slice before and of the one after there is in a mixture, at least
_COLLINEAR = 1e-4  # of the largest: eigenvalues below it are rounding
_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_ROUNDING = 1e-5  # of a correlation


def fine(slices: Num[ndarray, "d h w"]) -> Float[ndarray, "d h w"]:
    """The centre of each slice less its blur; of large slices, every other row and column."""
    step, centres = _step(slices), map(_centre, slices)
    return np.stack([(one - cv2.GaussianBlur(one, (0, 0), FINE))[::step, ::step] for one in centres])


def sampled(slices: Num[ndarray, "d h w"]) -> Float[ndarray, "d p"]:
    """The values that `fine` is of."""
    step = _step(slices)
    return np.stack([_centre(one)[::step, ::step].ravel() for one in slices])


def without_edges(noise: Float[ndarray, "d h w"]) -> Float[ndarray, "d h w"]:
    """Fine structure whose edges, which many slices may have in common, are cut to what noise could be."""
    loudest = [value for one in noise if (value := _loudest(one))]
    highest = float(np.median(loudest)) if loudest else 0.0  # one for all, or copies were cut unlike
    return np.clip(noise, -highest, highest)


def correlations(fields: Float[ndarray, "d h w"]) -> Float[ndarray, "d d"]:
    """Of all slices with all others; 0 where one is empty."""
    flat = fields.reshape(len(fields), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    product = flat @ flat.T
    length = np.sqrt(np.diagonal(product))
    length = np.where(length > 0, length, np.inf)
    return product / length / length[:, None]


def computed(alike: Float[ndarray, "d d"], cut: Float[ndarray, "d d"]) -> dict[int, float]:
    """Slices whose noise is a mixture of their neighbours' noise: means and interpolations.

    Args:
        alike: Correlations of fine structure: cutting edges would spoil a mixture.
        cut: Those without edges, which must show it too, as far as they can.

    Returns:
        The multiple correlation of each with its neighbours.
    """
    left, shared, weights = _unexplained(alike)
    # A copy is explained by one neighbour as well as by all.
    by_one = np.maximum(1 - shared.max(axis=1) ** 2, _ROUNDING)
    # The neighbours of a mixture can be reckoned back from it, but not from both their sides.
    between = weights[:, REACH - 1 : REACH + 1].min(axis=1) > FROM_EACH
    noisy = _unexplained(cut)[0]
    little = (left < NEW * around(left)) & (noisy < LESS * around(noisy))
    found = np.flatnonzero(little & (left < BY_ALL * by_one) & between)
    return {int(n) + 1: float(np.sqrt(1 - left[n])) for n in found}


def repeated(cut: Float[ndarray, "d d"]) -> dict[tuple[int, int], float]:
    """Pairs of slices with the same noise, neighbours or not.

    Args:
        cut: Correlations of fine structure without edges.

    Returns:
        The correlation of each pair.
    """
    steps = np.where(np.diagonal(cut)[1:] > 0, 1 - np.diagonal(cut, 1), np.nan)
    usual = around(np.append(steps, np.nan))
    limit = NEW * np.minimum(usual[:, None], usual[None, :])
    pairs = np.argwhere(np.triu(1 - cut < limit, 1))
    return {(int(one), int(other)): float(cut[one, other]) for one, other in pairs}


def _unexplained(
    alike: Float[ndarray, "d d"],
) -> tuple[Float[ndarray, "n"], Float[ndarray, "n k"], Float[ndarray, "n k"]]:
    """What neighbours leave of each slice but the first and last: the share, correlations and weights."""
    alike = np.pad(alike, REACH - 1)  # beyond the last slices there is nothing
    places = np.arange(REACH, len(alike) - REACH)
    near = places[:, None] + np.array([step for step in range(-REACH, REACH + 1) if step])
    shared = alike[places[:, None], near]
    among = np.linalg.pinv(alike[near[:, :, None], near[:, None, :]], rcond=_COLLINEAR, hermitian=True)
    weights = np.einsum("nij,nj->ni", among, shared)
    left = np.maximum(1 - (weights * shared).sum(axis=1), _ROUNDING)
    return np.where(np.diagonal(alike)[places] > 0, left, np.nan), shared, weights


def around(values: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """The median around each place, which itself and its neighbours do not count for; nan where unknown."""
    padded = np.pad(values, AROUND, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1).copy()
    windows[:, AROUND - 1 : AROUND + 2] = np.nan
    known = np.isfinite(windows).any(axis=1)
    medians = np.full(len(values), np.nan)
    medians[known] = np.nanmedian(windows[known], axis=1)
    return medians


def _step(slices: Num[ndarray, "d h w"]) -> int:
    return max(1, min(CENTRE, *slices.shape[1:]) // ENOUGH)


def _centre(one: Num[ndarray, "h w"]) -> Float[ndarray, "h2 w2"]:
    top, left = (max(0, (n - CENTRE) // 2) for n in one.shape)
    return np.ascontiguousarray(one[top : top + CENTRE, left : left + CENTRE], np.float32)


def _loudest(noise: Float[ndarray, "h w"]) -> float:
    sample = np.abs(noise[noise != 0])
    return LOUD * _MAD * float(np.median(sample)) if sample.size else 0.0
