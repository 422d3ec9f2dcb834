"""Maps between two places of an image: how one was turned, scaled, mirrored and moved to be the other.

A map is float64 [2, 3]: it takes (row, column, 1) of a pixel to (row, column) of its like.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

LARGEST = 3.0  # enlargement, and its inverse, up to which a map is believed
SKEW = 1.6  # ratio of the enlargements along two axes, at most
BROADER = 1.5  # sigma of the blur that takes away what is too large for noise, and more with other blurs
STEPS = 8  # of refinement under each blur, at most
SETTLED = 0.02  # pixels; a step below which it ends
DAMPING = 0.1  # of its steps
FEWEST = 40  # pixels that refinement needs
SEAM = 5  # side of the square by which a region is made smaller, as blurs bring in what is outside
MOST = 1500  # pixels that it looks at
MARGIN = 12  # pixels around a region within which it looks

Field = Float[ndarray, "h w"]
Mask = Bool[ndarray, "h w"]
Map = Float[ndarray, "2 3"]
Box = tuple[slice, slice]


def mapped(mask: Mask, matrix: Map) -> Mask:
    """Where a map takes a region; what leaves the frame is lost."""
    found = np.zeros_like(mask)
    here = box_of(mask)
    if here is None:
        return found
    rows, columns = here
    corners = [
        (row, column, 1) for row in (rows.start, rows.stop) for column in (columns.start, columns.stop)
    ]
    reach = np.rint(np.array(corners) @ matrix.T)
    top, left = np.clip(reach.min(axis=0), 0, mask.shape).astype(int)
    bottom, right = np.clip(reach.max(axis=0), 0, mask.shape).astype(int)
    if top < bottom and left < right:
        turn, start = matrix[:, :2], (rows.start, columns.start)
        local = np.column_stack([turn, matrix[:, 2] + turn @ start - (top, left)])
        part, size = np.ascontiguousarray(mask[here]).view(np.uint8), (right - left, bottom - top)
        moved = cv2.warpAffine(part, opencv(local), size, flags=cv2.INTER_NEAREST)
        found[top:bottom, left:right] = moved > 0
    return found


def inverse(matrix: Map) -> Map:
    """The map back."""
    back = np.linalg.inv(matrix[:, :2])
    return np.hstack([back, -back @ matrix[:, 2:]])


def fitted(places: Float[ndarray, "n 2"], likes: Float[ndarray, "n 2"]) -> Map:
    """The map that takes places to their likes with the least squared error."""
    middle, other = places.mean(axis=0), likes.mean(axis=0)
    known = places - middle
    _, turn = cv2.solve(known.T @ known, known.T @ (likes - other), flags=cv2.DECOMP_SVD)
    return np.column_stack([turn.T, other - turn.T @ middle])


def plausible(matrix: Map) -> bool:
    """Whether a map is one that a forger could have used."""
    if not np.isfinite(matrix).all():
        return False
    largest, least = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(least > 1 / LARGEST and largest < LARGEST and largest < SKEW * least)


def refined(plane: Field, inside: Mask, matrix: Map, blurs: tuple[float, ...]) -> Map:
    """The map nearby that makes a region most alike: first its shapes, then its noise.

    Lucas & Kanade, "An iterative image registration technique with an application to stereo vision",
    IJCAI 1981, for maps of six numbers, and copies that are brighter or of other contrast.
    """
    here, there = box_of(inside), box_of(mapped(inside, matrix))
    if here is None or there is None:
        return matrix
    start, corner = (np.array([part.start for part in box]) for box in (here, there))
    places = _away_from_seams(inside[here]) + start
    if len(places) < FEWEST:
        return matrix
    places = places[:: 1 + len(places) // MOST]
    middle, reach = places.mean(axis=0), places.std()
    around = np.vstack([((places - middle) / reach).T, np.ones(len(places))])
    # value + slope * (step of the map) = gain * seen + offset, for all places at once
    known = np.empty((8, len(places)))
    known[7] = -1.0
    own = np.column_stack([matrix[:, :2] * reach, matrix[:, :2] @ middle + matrix[:, 2]])
    for blur in blurs:
        known[6] = -_band(plane[here], blur)[tuple((places - start).T)]
        like = _band(plane[there], blur)
        layers = np.dstack([like, *np.gradient(like)])
        for _ in range(STEPS):
            rows, columns = (own @ around - corner[:, None]).astype(np.float32)
            read = cv2.remap(layers, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            value, down, right = read.reshape(-1, 3).T
            np.multiply(down, around, out=known[:3])
            np.multiply(right, around, out=known[3:6])
            gram = known @ known.T
            gram[range(6), range(6)] += DAMPING * gram.diagonal()[:6].mean()
            solved, unknown = cv2.solve(gram, -known @ value[:, None], flags=cv2.DECOMP_CHOLESKY)
            if not solved:  # nothing but one value
                break
            step = unknown[:6].reshape(2, 3)
            own += step
            if np.abs(step).max() < SETTLED:
                break
    turn = own[:, :2] / reach
    return np.column_stack([turn, own[:, 2] - turn @ middle])


def _away_from_seams(inside: Mask) -> Int[ndarray, "n 2"]:
    """Row and column of the pixels of a region that blurs do not mix with others."""
    return np.argwhere(cv2.erode(inside.astype(np.uint8), np.ones((SEAM, SEAM), np.uint8), borderValue=0))


def _band(plane: Field, blur: float) -> Field:
    """Structure between this size and some times more; with no blur, noise."""
    finer = cv2.GaussianBlur(plane, (0, 0), blur) if blur else plane
    return finer - cv2.GaussianBlur(plane, (0, 0), BROADER + 2 * blur)


def box_of(mask: Mask) -> Box | None:
    """The part of the frame that holds a region, and some pixels around it."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return None
    rows, columns = (
        slice(max(start - MARGIN, 0), min(start + length + MARGIN, n))
        for start, length, n in zip((top, left), (height, width), mask.shape, strict=True)
    )
    return rows, columns


def opencv(matrix: Map) -> Map:
    """The same map for (column, row), as OpenCV counts; and back."""
    return np.ascontiguousarray(matrix[::-1][:, [1, 0, 2]])
