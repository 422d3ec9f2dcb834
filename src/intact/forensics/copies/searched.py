"""What of an image is searched for turned copies: a plane of bearable size, and its places with texture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from numpy import ndarray

from intact.forensics.base import grey
from intact.forensics.copies.affine_map import Field, Map, Mask
from intact.forensics.copies.dense_field import nearest
from intact.forensics.copies.same_noise import Grainy, grainy
from intact.forensics.copies.zernike import moments
from intact.forensics.texture import comparable, enough_texture
from intact.image import Image
from intact.residual import noise_sigma

PIXELS = 300 * 300  # that are searched; images with more are made smaller by a whole number
SMALLEST = 4  # which is this at most
LEAST_SIGMA = 0.2  # of a stored step: with less, rounding and compression decide what is alike
FEWEST = 200  # places with more than noise


@dataclass(frozen=True, eq=False)
class Searched:
    """An image as it is searched.

    Args:
        plane: float32, the image about its median, 0 where nothing was measured.
        valid: Where there is anything to compare.
        small: float32, the plane that is searched.
        times: How often that is smaller.
        chosen: Where its discs show more than noise.
        diameter: Of the discs, in its pixels.
        apart: Between a place and its like, at least, in its pixels.
    """

    plane: Field
    valid: Mask
    small: Float[ndarray, "h2 w2"]
    times: int
    chosen: Bool[ndarray, "h2 w2"]
    diameter: int
    apart: float

    @cached_property
    def places(self) -> Int[ndarray, "n 2"]:
        """Row and column of what was chosen."""
        return np.argwhere(self.chosen)

    @cached_property
    def moments(self) -> Complex[ndarray, "n k"]:
        """Of the discs around all places."""
        return moments(self.small, self.diameter, self.chosen)

    @cached_property
    def sizes(self) -> Float[ndarray, "n k"]:
        """Of the moments, which turning and mirroring leave alone."""
        return np.abs(self.moments)

    @cached_property
    def likes(self) -> Int[ndarray, "n"]:
        """For every place the number of the one whose disc looks most like its own."""
        return nearest(self.sizes, self.sizes, self.places, self.apart)

    @cached_property
    def grainy(self) -> Grainy:
        """The image with what its noise is like."""
        return grainy(self.plane, self.valid)

    def enlarged(self, mask: Bool[ndarray, "h2 w2"], matrix: Map) -> tuple[Mask, Map]:
        """A region and its map in pixels of the image, with the discs around its places."""
        discs = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self.diameter, self.diameter))
        size = (self.times * mask.shape[1], self.times * mask.shape[0])
        large = cv2.resize(cv2.dilate(mask.astype(np.uint8), discs), size, interpolation=cv2.INTER_NEAREST)
        whole = np.zeros(self.plane.shape, bool)
        whole[: size[1], : size[0]] = large > 0
        # A pixel of the searched plane lies in the middle of those that it stands for.
        middle = (self.times - 1) / 2
        turn = matrix[:, :2]
        return whole, np.column_stack([turn, self.times * matrix[:, 2] + middle - turn @ (middle, middle)])


@lru_cache(maxsize=1)  # several methods search an image, one after the other
def searched(image: Image, diameter: int, apart: float) -> Searched | str:
    """What to search for copies of discs so large and so far apart, or why there is nothing to search."""
    plane, valid = grey(image)
    if min(plane.shape) < 4 * diameter:
        return f"the image is smaller than {4 * diameter} pixels"
    if not valid.any():
        return "nothing was measured"
    plane = np.where(valid, plane - np.median(plane[valid]), 0).astype(np.float32)
    valid = comparable(image)
    sigma = noise_sigma(plane, valid)
    if image.pixels.dtype.kind != "f" and sigma < LEAST_SIGMA:
        return f"there is no noise to compare (standard deviation {sigma:.2f})"
    times = min(math.ceil(math.sqrt(plane.size / PIXELS)), SMALLEST)
    small = _smaller(plane, times)
    seen = _smaller(valid.astype(np.float32), times) > 0.5
    sigma = noise_sigma(small, seen)
    chosen = enough_texture(small, seen, diameter, sigma)
    if np.count_nonzero(chosen) < FEWEST:
        return "there are hardly any places with more than noise"
    return Searched(plane, valid, small, times, chosen, diameter, apart)


def _smaller(plane: Float[ndarray, "h w"], times: int) -> Float[ndarray, "h2 w2"]:
    """The plane at a fraction of its size; what does not fill a pixel is left out."""
    height, width = (n // times for n in plane.shape)
    whole = np.ascontiguousarray(plane[: height * times, : width * times])
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA) if times > 1 else whole
