"""Where an image has texture and noise to examine: nothing flat, nothing drawn, more than rounding makes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.base import grey
from intact.image import Image
from intact.residual import LAPLACIAN, noise_sigma

RICH, MEASURED = 1.5, 0.9  # a block's deviation, in the noise's; and share of it that was measured
LETTER = 15  # pixels: side of the surroundings of a letter
END, MOSTLY, STROKES = 0.1, 0.8, 0.05  # of the range at either end; shares of pixels there, and bright
SEAM = 7  # pixels: twice as far as the blur reaches, and one
AROUND = 9  # pixels: side of the square in which noise is measured
ROUNDING = 0.24  # mean answer of that mask, in stored steps, where noise is what rounding makes

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]


def enough_texture(plane: Field, valid: Mask, size: int, sigma: float) -> Mask:
    """Where blocks of this size show more than noise, and nothing that was not measured."""
    exact = plane.astype(np.float64)  # squares of 16-bit values have no exact float32
    mean = cv2.blur(exact, (size, size))
    deviation = np.sqrt(np.maximum(cv2.blur(exact * exact, (size, size)) - mean * mean, 0))
    enough = (deviation > RICH * sigma) & (cv2.blur(valid.astype(np.float32), (size, size)) > MEASURED)
    frame = size // 2 + 1
    whole = np.zeros_like(enough)
    whole[frame:-frame, frame:-frame] = True
    return enough & whole


def not_flat(plane: Field) -> Mask:
    """Where neighbouring pixels differ at all: no background of one value, no clipped white."""
    kernel = np.ones((5, 5), np.uint8)
    return cv2.dilate(plane, kernel) > cv2.erode(plane, kernel)


def lettering(plane: Field, valid: Mask) -> Mask:
    """Where nearly all pixels are as bright or as dark as any in the image, as in and around letters."""
    if not valid.any():
        return np.zeros_like(valid)
    low, high = float(plane[valid].min()), float(plane[valid].max())
    bright = (plane > high - END * (high - low)).astype(np.float32)
    dark = (plane < low + END * (high - low)).astype(np.float32)
    around = (LETTER, LETTER)
    return (cv2.blur(bright + dark, around) > MOSTLY) & (cv2.blur(bright, around) > STROKES)


@lru_cache(maxsize=1)  # many methods ask, one after the other
def grain(image: Image) -> float:
    """Standard deviation of the noise where neighbouring pixels differ, in stored steps."""
    plane, valid = grey(image)
    return noise_sigma(plane, valid & not_flat(plane))


@lru_cache(maxsize=1)  # many methods ask, one after the other
def comparable(image: Image) -> Mask:
    """Where there is noise to compare: more, in stored integers, than rounding makes.

    Where JPEG left one smooth wave, rounding draws the same pattern on each like it. Letters are copies
    of each other, and what compression leaves around them is alike too.
    """
    plane, valid = grey(image)
    # Beside what is flat there is an edge, and edges may be like each other to the last bit.
    measured = valid & not_flat(plane) & ~lettering(plane, valid)
    chosen = cv2.erode(measured.astype(np.uint8), np.ones((SEAM, SEAM), np.uint8)) > 0
    if image.pixels.dtype.kind != "f":
        answers = np.abs(cv2.filter2D(plane, cv2.CV_32F, LAPLACIAN))
        chosen &= cv2.blur(answers, (AROUND, AROUND)) > ROUNDING
    chosen.flags.writeable = False
    return chosen
