"""AnatPaste: a piece of the image is pasted softly into its dark organs, the lungs in chest X-rays.

Sato, Suzuki, Wataya, Nishigaki, Kita, Yamagata, Tomiyama, Kido, "Anatomy-aware self-supervised
learning for anomaly detection in chest radiographs", iScience 2023, https://arxiv.org/abs/2205.04282.
Numbers are those of the authors' code (jun-sato/AnatPaste); its lengths are for images of 256 x 256
pixels.

Differs from that code: the local histogram equalisation is OpenCV's, with the same limit; a small
region is taken out of the mask alone, not with the box around it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from intact.forge.synthetic.cut_paste import cut, patch_sides
from intact.forge.synthetic.jitter import Picture, jittered
from intact.forge.synthetic.made import Made

SIDE = 256  # of the authors' images
CLIP = 2.56  # limit of a bin in the equalisation over the mean bin: 0.01 of the tile over 1/256
LEAST = 400 / SIDE**2  # a smaller region is no organ, as a share of the image

Plane = Float[ndarray, "h w"]


def anat_paste(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = (0.02, 0.15),
    aspect: float = 0.3,
    jitter: float = 0.1,
    opacity: tuple[float, float] = (150 / 255, 1.0),
    blur: float = 15.0,
    margin: float = 10.0,
) -> Made:
    """Paste an ellipse or a rectangle of each image over a place in its own dark organs.

    Its centre is any pixel of the organs, and nothing outside them changes. If none are found, it may
    lie anywhere. The label is the opacity.

    Args:
        images: In [0, 1].
        rng: Draws everything.
        area: Least and greatest area of what is cut out, as shares of the image's.
        aspect: Width over height is between this and its inverse, uniform in its logarithm.
        jitter: Strength of the changes of brightness and colour.
        opacity: Least and greatest, before its border is blurred.
        blur: Greatest deviation of the blur, in pixels of an image with 256 rows.
        margin: Width of the border of the cut that is left free for the blur, likewise.
    """
    pictures = images.numpy(force=True).copy()
    labels = np.zeros_like(pictures[:, 0])
    for picture, label in zip(pictures, labels, strict=True):
        scale = len(label) / SIDE
        patch = jittered(cut(picture, patch_sides(label.shape, rng, area, aspect), rng), rng, jitter)
        organs = dark_organs(picture.mean(axis=0))
        inside = np.argwhere(organs if organs.any() else ~organs)
        centre = inside[rng.integers(len(inside))]
        label[:] = _shape(label.shape, centre, patch.shape[1:], margin * scale, rng) * rng.uniform(*opacity)
        sigma = rng.uniform(0.0, blur) * scale
        if sigma > 0:
            label[:] = cv2.GaussianBlur(label, (0, 0), sigma)
        if organs.any():
            label *= organs
        picture += label * (_moved(patch, centre, label.shape) - picture)
    return Made(torch.from_numpy(pictures).to(images), torch.from_numpy(labels).to(images))


def dark_organs(grey: Plane) -> Bool[ndarray, "h w"]:
    """Dark regions that do not touch the border and are not small: in a chest X-ray, the lungs.

    Local contrast is evened out first; dark is what lies below Otsu's threshold.
    """
    levels = np.rint(255.0 * grey.clip(0.0, 1.0)).astype(np.uint8)
    even = cv2.createCLAHE(CLIP, (8, 8)).apply(levels)
    threshold, _ = cv2.threshold(even, 0, 1, cv2.THRESH_OTSU)
    dark = (even <= threshold).astype(np.uint8)
    square = np.ones((3, 3), np.uint8)
    opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, square)
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    left, top, width, height = boxes.T[:4]
    free = (left > 0) & (top > 0) & (left + width < grey.shape[1]) & (top + height < grey.shape[0])
    free[0] = False  # what is not dark
    grown = cv2.dilate(free[regions].astype(np.uint8), square)
    _, regions, boxes, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    large = boxes[:, cv2.CC_STAT_AREA] >= LEAST * grey.size
    large[0] = False
    return large[regions]


def _shape(
    size: tuple[int, ...], centre: ndarray, sides: tuple[int, ...], margin: float, rng: np.random.Generator
) -> Plane:
    """1 in an ellipse or a rectangle, each as often; it is `margin` smaller on each side than the cut."""
    half = np.maximum(np.array(sides) / 2 - margin, 0.5)
    rows, columns = (np.abs(np.arange(n) - c) / h for n, c, h in zip(size, centre, half, strict=True))
    if rng.random() < 0.5:
        return (np.add.outer(rows**2, columns**2) <= 1.0).astype(np.float32)
    return (np.maximum.outer(rows, columns) <= 1.0).astype(np.float32)


def _moved(patch: Picture, centre: ndarray, size: tuple[int, ...]) -> Picture:
    """The patch around its new centre in a black image, where the authors' blur reaches beyond it."""
    moved = np.zeros((len(patch), *size), patch.dtype)
    start = np.asarray(centre) - np.array(patch.shape[1:]) // 2
    first, last = np.maximum(start, 0), np.minimum(start + patch.shape[1:], size)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    inner = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
    moved[(slice(None), *box)] = patch[(slice(None), *inner)]
    return moved
