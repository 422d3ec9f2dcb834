"""On which side of the patient a place lies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from intact.image import Image
from intact.segment.anatomy import body

MIDDLE = 0.05  # of the body's width: nearer to its middle than this, a place has no side
ACROSS = 0.7  # of the way along rows that leads from right to left, in planes that show both sides


def side_of(image: Image, plane: int, row: int, column: int) -> str:
    """The side of a place in words; empty where a plane shows one side only, as sagittal ones do.

    The middle is that of the patient's outline in this plane. Where the file does not say how the
    patient lies, it is the side of the picture, which need not be the patient's.

    Args:
        image: Its affine or Patient Orientation (0020,0020) tell where left is.
        plane: Number of the plane.
        row: Of the place.
        column: Of the place.
    """
    leftwards = _leftwards(image)
    across, down = leftwards or (1.0, 0.0)
    if max(abs(across), abs(down)) < ACROSS:
        return ""
    by_column = abs(across) >= abs(down)
    first, last = _outline(image, plane)[by_column]
    off = (column if by_column else row) - (first + last) / 2
    if abs(off) <= MIDDLE * (last - first + 1):
        return "middle"
    if leftwards is None:
        return "left in picture" if off < 0 else "right in picture"
    towards_left = across if by_column else down
    return "patient's left" if off * towards_left > 0 else "patient's right"


@lru_cache(maxsize=1)  # an image has several regions on one plane; more would hold volumes in memory
def _outline(image: Image, plane: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and last row, and the first and last column, of the patient in a plane."""
    inside = body(image.plane(plane))
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def _leftwards(image: Image) -> tuple[float, float] | None:
    """How far a step to the next column, and to the next row, leads to the patient's left: -1 to 1."""
    if image.affine is not None:
        steps = image.affine[:3, :2]
        along = steps[0] / np.maximum(np.linalg.norm(steps, axis=0), 1e-12)
        return float(along[0]), float(along[1])
    stated = getattr(image.header, "PatientOrientation", None)
    if not stated:
        return None
    across, down = ((name[:1] == "L") - (name[:1] == "R") for name in map(str, stated))
    return float(across), float(down)
