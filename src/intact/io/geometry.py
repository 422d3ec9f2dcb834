"""Where DICOM pixels lie in the patient: spacing in mm and the affine in LPS.

Source: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.16.2.1 to .4 (the same for frames), C.8.8.3.2 (dose
grids), C.8.5.5.1.15 (ultrasound). The affine maps (column, row, plane) to (x, y, z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from intact.io.elements import group, item, numbers, tag, text

Vector = NDArray[np.float64]
Place = tuple[tuple[float, ...] | None, NDArray[np.float64] | None]  # spacing, affine

_CENTIMETRES = 3  # value of Physical Units X Direction (0018,6024)
_TOLERANCE = 0.05  # of the slice distance: positions are often rounded to 0.1 mm
_SMALLEST = 1e-3  # mm; below it two planes are at the same place


@dataclass(frozen=True)
class Stack:
    """How parallel planes follow each other.

    Args:
        step: From one plane to the next in mm, (3,).
        gap: Its length along the normal, in mm.
        regular: Whether all gaps are equal within 5 %.
    """

    step: Vector
    gap: float
    regular: bool


def normal(orientation: Vector) -> Vector:
    """Unit normal of Image Orientation (Patient), (6,) to (3,)."""
    a, b, c, d, e, f = (float(v) for v in orientation)
    across = np.array([b * f - c * e, c * d - a * f, a * e - b * d])  # np.cross is slow
    return np.asarray(across / math.sqrt(across @ across), np.float64)


def stack(positions: Vector, orientation: Vector) -> Stack | None:
    """Measure planes at `positions` (n, 3); None when two coincide or they go back and forth."""
    along = positions @ normal(orientation)
    gaps = np.diff(along)
    if not len(gaps) or np.abs(gaps).min() < _SMALLEST or len(set(np.sign(gaps))) > 1:
        return None
    step = (positions[-1] - positions[0]) / len(gaps)
    gap = float(np.abs(gaps).mean())
    return Stack(step, gap, bool(np.abs(np.abs(gaps) - gap).max() <= _TOLERANCE * gap))


def affine_of(position: Vector, orientation: Vector, plane: Vector, step: Vector) -> Vector:
    """The 4 x 4 affine of a plane with (row, column) spacing `plane` and the next one at `step`."""
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * plane[1]
    affine[:3, 1] = orientation[3:] * plane[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    return affine


def locate(dataset: Dataset, frames: int, notes: list[str]) -> Place:
    """Spacing and affine of an image.

    Returns:
        Spacing (rows, columns), or (planes, rows, columns) when the frames are a stack of planes.
        Frames that are moments, angles or echoes have no distance: their spacing is that of a
        plane and their affine is None.
    """
    plane = plane_spacing(dataset, notes)
    orientation = plane_orientation(dataset)
    if plane is None or orientation is None:
        return plane, None
    positions = [plane_position(dataset, frame) for frame in range(frames)]
    if any(position is None for position in positions):
        return plane, None
    placed = np.array(positions)
    if frames == 1:
        thickness = _thickness(dataset)
        step = normal(orientation) * thickness
        return plane, affine_of(placed[0], orientation, np.array(plane), step)
    planes = stack(placed, orientation)
    if planes is None:
        notes.append("the frames do not follow one another in space; their distance is unknown")
        return plane, None
    if not planes.regular:
        notes.append(f"the frames are not evenly spaced; their mean distance is {planes.gap:g} mm")
    affine = affine_of(placed[0], orientation, np.array(plane), planes.step)
    return (planes.gap, *plane), affine


def plane_position(dataset: Dataset, frame: int = 0) -> Vector | None:
    """Image Position (Patient) of a frame, (3,) in mm, or None."""
    holder = group(dataset, frame, "PlanePositionSequence") or dataset
    values = numbers(holder, "ImagePositionPatient")
    if not values:
        values = numbers(_detector(dataset), "ImagePositionPatient")
    if len(values) != 3:
        return None
    position = np.array(values)
    orientation = plane_orientation(dataset)
    if frame and holder is dataset and orientation is not None:
        offsets = numbers(dataset, "GridFrameOffsetVector")
        gaps = numbers(dataset, "SpacingBetweenSlices")
        if len(offsets) > frame:
            # Offsets are relative, or else z coordinates of which the first is the position.
            return np.asarray(position + normal(orientation) * (offsets[frame] - offsets[0]))
        if not gaps or "RECON TOMO" not in (dataset.get("ImageType") or ()):
            return None
        return np.asarray(position + normal(orientation) * gaps[0] * frame)
    return position


def plane_orientation(dataset: Dataset) -> Vector | None:
    """Image Orientation (Patient), (6,): two perpendicular unit vectors, or None."""
    holder = group(dataset, 0, "PlaneOrientationSequence") or dataset
    values = numbers(holder, "ImageOrientationPatient")
    if not values:
        values = numbers(_detector(dataset), "ImageOrientationPatient")
    if len(values) != 6:
        return None
    orientation = np.array(values)
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
    square = abs(orientation[:3] @ orientation[3:]) < 1e-2
    return orientation if square and np.allclose(lengths, 1.0, atol=1e-2) else None


def plane_spacing(dataset: Dataset, notes: list[str]) -> tuple[float, float] | None:
    """(rows, columns) in mm, from the best element that has it."""
    measures = group(dataset, 0, "PixelMeasuresSequence") or dataset
    for holder, keyword, remark in (
        (measures, "PixelSpacing", ""),
        (dataset, "ImagerPixelSpacing", "measured at the detector, not in the patient"),
        (dataset, "NominalScannedPixelSpacing", "that of the film scanner"),
    ):
        values = numbers(holder, keyword)
        if len(values) == 2 and min(values) > 0:
            if remark:
                notes.append(f"spacing is from {tag(keyword)}: {remark}")
            return values[0], values[1]
        if values:
            notes.append(f"{tag(keyword)} is {values}, which is no distance; it was ignored")
    region = item(dataset, "SequenceOfUltrasoundRegions")
    if region is not None and len(dataset.SequenceOfUltrasoundRegions) == 1:
        units = [text(region, f"PhysicalUnits{axis}Direction") for axis in "YX"]
        deltas = [numbers(region, f"PhysicalDelta{axis}") for axis in "YX"]
        if units == [str(_CENTIMETRES)] * 2 and all(d and d[0] for d in deltas):
            return 10.0 * abs(deltas[0][0]), 10.0 * abs(deltas[1][0])
    notes.append(f"{tag('PixelSpacing')} is missing; sizes in mm are unknown")
    return None


def _thickness(dataset: Dataset) -> float:
    measures = group(dataset, 0, "PixelMeasuresSequence") or dataset
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        values = numbers(measures, keyword)
        if values and values[0] > 0:
            return values[0]
    return 1.0  # a single plane has no next one; any length keeps the affine invertible


def _detector(dataset: Dataset) -> Dataset:
    return item(dataset, "DetectorInformationSequence") or Dataset()
