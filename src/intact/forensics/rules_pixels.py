"""Whether stored pixels are what the header says of them: rules R7, R9, B7, B10.

DICOM PS3.3 C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), C.8.2.1 (CT image), F.7 (icon images). Files whose
pixel data are too short, or coded in another size than the header declares, are refused by the reader and
do not come here; how many bits a compressed stream has is not told.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.base import Finding, Severity
from intact.forensics.icon import icon_of, likeness
from intact.forensics.instance import Instance, Series, odd_ones
from intact.forensics.rules import Found, Rule, at, few, graded, those
from intact.io.elements import numbers

_EXCESS = "bytes after the last pixel were ignored"  # how the reader notes it
_GAP = 0.05  # of the range of measured values; padding nearer to them is a value like others
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
_ALIKE = 0.95  # correlation of an icon with its image

_LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def _layout(series: Series) -> Found:
    """R7: what lays pixels out agrees with them, and is the same in all slices."""
    excess = those(series, lambda one: any(_EXCESS in note for note in one.image.notes))
    if excess:
        said = "declare fewer pixels than the file holds"
        yield graded(series, excess, "R7", Severity.UNUSUAL, "Rows", said)
    high = those(series, _has_another_high_bit)
    if high:
        said = "is not Bits Stored (0028,0101) less one"
        yield graded(series, high, "R7", Severity.UNUSUAL, "HighBit", said)
    odd = odd_ones([one.image.pixels.shape for one in series.instances])
    if odd and few(odd, series):
        said = "or Columns (0028,0011) or Number of Frames (0028,0008) differs from the rest of the series"
        yield at(series, odd, "R7", Severity.UNUSUAL, "Rows", said)


def _padding(series: Series) -> Found:
    """R9: what marks space outside the scan does not occur inside."""
    inside = those(series, _has_padding_inside)
    if inside:
        said = "occurs inside the body, among values far from it"
        yield _weighed(series, inside, "R9", Severity.UNUSUAL, "PixelPaddingValue", said)


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


def _icons(series: Series) -> Found:
    """B10: a forger rarely thinks of the icon."""
    wrong = those(series, _has_another_icon)
    if wrong:
        said = "shows another image"
        yield _weighed(series, wrong, "B10", Severity.UNUSUAL, "IconImageSequence", said)


def _weighed(
    series: Series, where: list[int], rule: str, severity: Severity, keyword: str, said: str
) -> Finding:
    """What only pixels show weighs all it can in a file that comes alone."""
    found = at if len(series) == 1 else graded
    return found(series, where, rule, severity, keyword, said)


def _has_another_high_bit(one: Instance) -> bool:
    high = numbers(one.header, "HighBit")
    return bool(high) and one.image.pixels.dtype.kind != "f" and high[0] != one.image.bits - 1


def _has_padding_inside(one: Instance) -> bool:
    image = one.image
    if image.padding is None or len(image.shape) != 2 or image.colour:
        return False
    outside = image.padding_mask()
    if not _encloses(outside) or outside.all():
        return False
    measured = image.pixels[~outside].astype(np.float64)
    low, high = np.percentile(measured, (0.5, 99.5))
    gap = max(measured.min() - image.padding[1], image.padding[0] - measured.max())
    if gap <= _GAP * (high - low):
        return False
    return _holes(outside)


def _encloses(outside: Bool[ndarray, "h w"]) -> bool:
    """Whether any row has space outside the scan between two measured pixels: quick, and mostly not so."""
    inside = ~outside
    first, last = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    return bool((np.where(inside.any(axis=1), last - first, 0) > inside.sum(axis=1)).any())


def _holes(outside: Bool[ndarray, "h w"]) -> bool:
    """Whether the largest region that was measured has holes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~outside).astype(np.uint8), connectivity=8)
    body = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    _, rest = cv2.connectedComponents((~body).astype(np.uint8), connectivity=4)
    rim = np.concatenate([rest[0], rest[-1], rest[:, 0], rest[:, -1]])
    return bool((outside & ~np.isin(rest, rim)).any())


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
    middle = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    diameter = (height + width) / 2
    down, across = np.ogrid[: inside.shape[0], : inside.shape[1]]
    disc = (down - middle[0]) ** 2 + (across - middle[1]) ** 2 <= (diameter / 2) ** 2
    overlap = (disc & inside).sum() / (disc | inside).sum()
    return diameter if overlap > _ROUND else 0.0


def _has_warm_air(one: Instance) -> bool:
    found = _physical(one)
    if found is None:
        return False
    side = max(2, min(found.shape) // _CORNER)
    corners = np.stack([found[rows, columns] for rows in (slice(side), slice(-side, None))
                        for columns in (slice(side), slice(-side, None))])  # fmt: skip
    background = float(np.median(corners))
    sample = found[::4, ::4]
    return bool(
        background > _AIR
        and corners.std() < _EVEN
        and np.percentile(sample, 1) > background - _DENSE / 2
        and np.percentile(sample, 99) > background + _DENSE
    )


def _has_values_below_air(one: Instance) -> bool:
    found = _physical(one)
    if found is None or found.min() >= _COLDEST:
        return False
    outside = one.image.padding_mask()
    filled = _outside(one)
    measured = found[~(outside if filled is None else outside | filled)]
    return bool(measured.size) and float(measured.min()) < _COLDEST


def _physical(one: Instance) -> Float[ndarray, "h w"] | None:
    """HU of a CT slice that says how to reckon them."""
    if one.image.modality != "CT" or one.image.pixels.ndim != 2 or "RescaleIntercept" not in one.header:
        return None
    return one.image.physical()


def _noise(one: Instance) -> float:
    """Median of Immerkaer's mask in the middle of a slice, in physical units; 0 where there is none."""
    image = one.image
    if image.pixels.ndim != 2:
        return 0.0
    top, left = (max(0, (n - _CENTRE) // 2) for n in image.shape)
    part = image.pixels[top : top + _CENTRE, left : left + _CENTRE].astype(np.float32)
    slope = float(np.max(np.abs(image.scale.slope)))
    return slope * float(np.median(np.abs(cv2.filter2D(part, cv2.CV_32F, _LAPLACIANS))))


def _has_another_icon(one: Instance) -> bool:
    icon = icon_of(one.header)
    return icon is not None and 0 <= likeness(icon, one.image) < _ALIKE


RULES: tuple[Rule, ...] = (_layout, _padding, _circle, _hounsfield, _exposures, _icons)
