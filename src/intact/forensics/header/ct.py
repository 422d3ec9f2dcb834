"""Whether CT slices are what their headers say of reconstruction, calibration and dose: rule B7.

DICOM PS3.3 C.8.2.1 (CT image). Air is -1000 HU on every scanner; what lies outside the circle of
reconstruction was never measured and holds one value; noise falls with the root of dose.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.base import Severity
from intact.forensics.header.rules import Found, Rule, at, few, graded, those
from intact.forensics.instance import Instance, Series
from intact.io.elements import numbers
from intact.residual import LAPLACIAN

_ROUND = 0.98  # overlap of what was reconstructed with a circle, for it to be one
_DIAMETER = 0.02  # by which the circle may differ from what the header says
_AIR = -800.0  # HU; background above it is no air
_COLDEST = -1200.0  # HU; noise in air stays above it
_DENSE = 500.0  # HU above the background that something in the image has
_CORNER = 16  # of the image's side, in a corner
_EVEN = 60.0  # HU, standard deviation of a background
_NOISE = 2.0  # times what tube current and thickness let expect
_AROUND = 4  # slices on each side that noise is compared with
_CENTRE = 256  # pixels, side of the part whose noise is measured


def _circle(series: Series) -> Found:
    """B7: the circle of reconstruction is as large as the header says."""
    wrong = those(series, _has_another_diameter)
    if wrong:
        said = "is not the diameter of the circle that holds pixels"
        yield graded(series, wrong, "B7", Severity.UNUSUAL, "ReconstructionDiameter", said)


def _hounsfield(series: Series) -> Found:
    """B7: air is near -1000 HU, and nothing measured is far below."""
    warm = those(series, _has_warm_air)
    if warm:
        said = "puts the air around the body far above -1000 HU"
        yield graded(series, warm, "B7", Severity.UNUSUAL, "RescaleIntercept", said)
    cold = those(series, _has_values_below_air)
    if cold:
        said = f"puts measured values below {_COLDEST:g} HU, which no CT measures"
        yield graded(series, cold, "B7", Severity.UNUSUAL, "RescaleIntercept", said)


def _exposures(series: Series) -> Found:
    """B7: noise falls with the root of exposure times thickness."""
    exposure = series.numbers("Exposure")
    if exposure is None:
        exposure = series.numbers("XRayTubeCurrent")
    if exposure is None or len(series) <= 2 * _AROUND or not series.placed or (exposure <= 0).any():
        return
    thickness = series.numbers("SliceThickness")
    if thickness is None or (thickness <= 0).any():
        thickness = np.ones(len(series))
    noise = np.array([_noise(one) for one in series.instances])
    if (noise <= 0).any():
        return
    level = np.log(noise * np.sqrt(exposure * thickness))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(level, _AROUND, mode="reflect"), 2 * _AROUND + 1
    )
    off = np.abs(level - np.median(windows, axis=1))
    wrong = [int(n) for n in np.flatnonzero(off > np.log(_NOISE))]
    if few(wrong, series):
        said = f"does not explain the noise, which is off by more than {_NOISE:g} times"
        yield at(series, wrong, "B7", Severity.UNUSUAL, "Exposure", said)


def _has_another_diameter(one: Instance) -> bool:
    told = [
        value
        for keyword in ("ReconstructionDiameter", "DataCollectionDiameter")
        for value in numbers(one.header, keyword)[:1]
    ]
    spacing = one.image.spacing
    outside = _outside(one)
    if not told or outside is None or spacing is None or spacing[-1] != spacing[-2]:
        return False
    diameter = _diameter(~outside) * spacing[-1]
    return diameter > 0 and all(abs(diameter - value) > _DIAMETER * value for value in told)


def _outside(one: Instance) -> Bool[ndarray, "h w"] | None:
    """What lies outside the circle of reconstruction: the lowest value, where it fills all corners."""
    pixels = one.image.pixels
    if pixels.ndim != 2 or one.image.modality != "CT":
        return None
    corners = {pixels[row, column] for row in (0, -1) for column in (0, -1)}
    return pixels == pixels[0, 0] if corners == {pixels.min()} else None


def _diameter(inside: Bool[ndarray, "h w"]) -> float:
    """Of a circle, in pixels; 0 where the region is none, or is cut by the frame."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if len(rows) < 3 or len(columns) < 3:
        return 0.0
    height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    middle = float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2
    diameter = (height + width) / 2
    disc = _disc(inside.shape[0], inside.shape[1], middle, diameter)
    overlap = np.count_nonzero(disc & inside) / np.count_nonzero(disc | inside)
    return diameter if overlap > _ROUND else 0.0


@lru_cache(maxsize=4)
def _disc(height: int, width: int, middle: tuple[float, float], diameter: float) -> Bool[ndarray, "h w"]:
    down, across = np.ogrid[:height, :width]
    return (down - middle[0]) ** 2 + (across - middle[1]) ** 2 <= (diameter / 2) ** 2


def _has_warm_air(one: Instance) -> bool:
    if not _has_units(one):
        return False
    pixels = one.image.pixels
    side = max(2, min(pixels.shape) // _CORNER)
    corners = np.stack([pixels[rows, columns] for rows in (slice(side), slice(-side, None))
                        for columns in (slice(side), slice(-side, None))])  # fmt: skip
    background, sample = _units(one, corners), _units(one, pixels[::8, ::8])
    level = float(np.median(background))
    low, high = float(_units(one, pixels.min())), float(np.percentile(sample, 99))
    # Were it tissue, something in the image would be colder.
    return bool(
        level > _AIR and background.std() < _EVEN and low > level - _DENSE / 2 and high > level + _DENSE
    )


def _has_values_below_air(one: Instance) -> bool:
    pixels = one.image.pixels
    if not _has_units(one) or float(_units(one, pixels.min())) >= _COLDEST:
        return False
    # What fills the space outside the scan is no measurement.
    fills = [pixels.min()] if _outside(one) is not None else []
    fills += [one.image.padding[1]] if one.image.padding else []
    measured = np.where(pixels > max(fills), pixels, pixels.max()) if fills else pixels
    return bool(_units(one, measured.min()) < _COLDEST)


def _has_units(one: Instance) -> bool:
    """Whether it is a CT slice that says how Hounsfield units are reckoned."""
    image = one.image
    return (
        image.modality == "CT"
        and image.pixels.ndim == 2
        and image.scale.table is None
        and "RescaleIntercept" in one.header
    )


def _units(one: Instance, values: ndarray) -> Float[ndarray, "..."]:
    """HU of some stored values."""
    return values * np.float32(one.image.scale.slope) + np.float32(one.image.scale.intercept)


def _noise(one: Instance) -> float:
    """Median of Immerkaer's mask in the middle of a slice, in physical units; 0 where there is none."""
    image = one.image
    if image.pixels.ndim != 2:
        return 0.0
    top, left = (max(0, (n - _CENTRE) // 2) for n in image.shape)
    part = image.pixels[top : top + _CENTRE, left : left + _CENTRE].astype(np.float32)
    slope = float(np.max(np.abs(image.scale.slope)))
    return slope * float(np.median(np.abs(cv2.filter2D(part, cv2.CV_32F, 6 * LAPLACIAN)[::2, ::2])))


RULES: tuple[Rule, ...] = (_circle, _hounsfield, _exposures)
