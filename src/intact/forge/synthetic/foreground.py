"""What of an image is the body, where something abnormal may be: all but a constant background."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

TOLERANCE = 20 / 255  # brightness that noise of the background may reach, as in the code of NSA


def foreground(pictures: Float[ndarray, "n c h w"]) -> Bool[ndarray, "n h w"]:
    """Where the body is.

    The background has the brightness that most of the image's rim has, dark or bright. If the rim
    has no brightness in common there is none, and the whole image is body, as in most X-rays.
    """
    masks = np.ones((len(pictures), *pictures.shape[2:]), bool)
    reach = 2 * scaled(3, masks.shape[1]) + 1
    for picture, mask in zip(pictures, masks, strict=True):
        grey = picture.mean(axis=0)
        rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        level = np.median(rim)
        if (np.abs(rim - level) <= TOLERANCE).mean() > 0.5:
            mask[:] = majority(np.abs(grey - level) > TOLERANCE, reach)
    return masks


def majority(mask: Bool[ndarray, "h w"], side: int) -> Bool[ndarray, "h w"]:
    """Median of a mask over squares: without grains, corners rounded."""
    return cv2.blur(mask.astype(np.float32), (side, side)) > 0.5


def scaled(pixels: int, side: int) -> int:
    """A length that is given for images of 224 x 224 pixels, in an image of another side."""
    return max(1, round(pixels * side / 224))
