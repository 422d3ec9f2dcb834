"""What is left of an image when its anatomy is taken away: noise, how strong it is, whether it repeats.

Arrays are planes [h, w] or volumes [d, h, w] of any numeric type, in stored or physical values;
volumes are treated plane by plane, as their noise is correlated across planes.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Num
from numpy import ndarray
from scipy import ndimage

# Immerkaer's mask, "Fast noise variance estimation", CVIU 64(2), 1996: blind to planes and straight edges.
LAPLACIAN = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6.0
LOUD = 4.0  # standard deviations of noise; what differs more from its surroundings is structure
_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def noise_sigma(values: Num[ndarray, "..."], valid: Bool[ndarray, "..."] | None = None) -> float:
    """Standard deviation of the noise: the median of Immerkaer's mask, which edges hardly move.

    Noise that is correlated between pixels, as in CT, is told too low: compare only images made
    the same way.

    Args:
        values: [h, w] or [d, h, w].
        valid: Where to measure; by default everywhere but at the frame.

    Returns:
        In the unit of the values; 0 where nothing is left to measure.
    """
    measured = np.ones(values.shape, bool) if valid is None else valid
    answers = np.concatenate(
        [_answers(*each) for each in zip(_planes(values), _planes(measured), strict=True)]
    )
    return _MAD * float(np.median(answers, overwrite_input=True)) if answers.size else 0.0


def _planes(values: Num[ndarray, "..."]) -> Num[ndarray, "d h w"]:
    return values.reshape(-1, *values.shape[-2:])


def _answers(plane: Num[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> Float[ndarray, "n"]:
    """What the mask answers where all that it sees was measured."""
    answers = np.abs(cv2.filter2D(plane.astype(np.float64), cv2.CV_64F, LAPLACIAN))
    inner = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(answers[1:-1, 1:-1][inner[1:-1, 1:-1] > 0])


def residual(values: Num[ndarray, "..."], sigma: float = 1.5) -> Float[ndarray, "..."]:
    """The values less their Gaussian blur in the plane.

    Args:
        values: [h, w] or [d, h, w].
        sigma: Of the Gaussian, in pixels.
    """
    planes = np.asarray(values, np.float64)
    sigmas = (0.0,) * (planes.ndim - 2) + (sigma, sigma)
    return planes - np.asarray(ndimage.gaussian_filter(planes, sigmas))


def without_structure(
    noise: Float[ndarray, "..."], valid: Bool[ndarray, "..."] | None = None
) -> Float[ndarray, "..."]:
    """A residual whose edges and seams, which would outweigh all noise, are cut to what noise could be.

    Args:
        noise: A residual.
        valid: Where the strength of the noise is measured; by default everywhere.
    """
    measured = noise if valid is None else noise[valid]
    highest = LOUD * _MAD * float(np.median(np.abs(measured)))
    return np.clip(noise, -highest, highest)


def correlation(one: Num[ndarray, "..."], other: Num[ndarray, "..."]) -> float:
    """Normalised cross-correlation of two arrays of equal shape: -1 to 1, and 0 where one is constant."""
    one, other = (np.asarray(values, np.float64) - np.mean(values) for values in (one, other))
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0
