"""Morphology of masks plane by plane: sizes in pixels of the plane, and a frame that is an end.

scipy does the work; here are the sizes, the borders and what a slice of a body asks for.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from scipy import ndimage
from skimage.morphology import convex_hull_image

Mask = Bool[ndarray, "..."]  # [h,w] or [d,h,w], as the image's shape


def border(field: Mask, width: float) -> Mask:
    """What of a field lies this close to its outside in the plane."""
    return field & ~ndimage.minimum_filter(field, _box(field.ndim, 2 * width, 2 * width), mode="constant")


def from_frame(mask: Mask) -> Mask:
    """The parts of a mask, plane by plane, that touch the frame."""
    labels, count = ndimage.label(mask, in_plane(mask.ndim))
    touching = np.zeros(count + 1, bool)
    for side in (labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]):
        touching[side] = True
    touching[0] = False
    return touching[labels]


def filled(mask: Mask) -> Mask:
    """Holes closed plane by plane, as lungs are open at the ends of a volume."""
    return ~from_frame(~mask)


def largest(mask: Mask, share: float) -> Mask:
    """The largest connected part, and those of at least this share of its size."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(1.0, share * sizes.max()))[labels]


def hulls(plane: Mask, share: float) -> Mask:
    """The convex hulls of a plane's parts, of those of at least this share of the largest."""
    labels, _ = ndimage.label(largest(plane, share))
    hulls = np.zeros(plane.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        hulls[box] |= convex_hull_image(labels[box] == number)
    return hulls


def opened(mask: Mask, rows: float, columns: float) -> Mask:
    """Without what is thinner than this in the plane; there is nothing outside the frame."""
    opened: Mask = ndimage.grey_opening(mask, _box(mask.ndim, rows, columns), mode="constant")
    return opened


def closed(mask: Mask, width: float) -> Mask:
    """With the gaps that are narrower than this in the plane; nothing sticks to the frame."""
    rim = int(np.ceil(width))
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(rim, rim)] * 2)
    return ndimage.grey_closing(padded, _box(mask.ndim, width, width))[..., rim:-rim, rim:-rim]


def _box(ndim: int, rows: float, columns: float) -> list[int]:
    """The size of a box in the plane, odd to be centred."""
    return [1] * (ndim - 2) + [2 * max(1, round(extent / 2)) + 1 for extent in (rows, columns)]


def in_plane(ndim: int) -> Mask:
    """The structure that joins a pixel to its four neighbours in the plane."""
    cross = ndimage.generate_binary_structure(2, 1)
    return np.pad(cross[(None,) * (ndim - 2)], [(1, 1)] * (ndim - 2) + [(0, 0)] * 2)
