"""Whether slices follow one another as a device leaves them: rules R8, R10 to R14.

DICOM PS3.3 C.7.6.2 (image plane), C.7.6.3 (image pixel) and the modules of the devices.
"""

from __future__ import annotations

import numpy as np

from intact.forensics.base import Severity
from intact.forensics.header.rules import Found, Rule, at, few, graded, those
from intact.forensics.instance import Instance, Series, odd_ones
from intact.io.elements import numbers

# Of one device in one acquisition: the same in all files.
_STEADY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "SeriesDate", "SeriesNumber", "StudyID",
    "AccessionNumber", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName",
    "InstitutionName", "SoftwareVersions", "ProtocolName", "BodyPartExamined", "PatientPosition", "KVP",
    "ConvolutionKernel", "TableHeight", "GantryDetectorTilt", "ReconstructionDiameter", "SliceThickness",
    "RepetitionTime", "EchoTime", "FlipAngle", "MagneticFieldStrength", "PixelSpacing", "ImageType",
    "ImageOrientationPatient", "RescaleIntercept", "RescaleType", "BitsStored", "HighBit", "Laterality",
    "PixelRepresentation", "PhotometricInterpretation", "LossyImageCompression", "DerivationDescription",
)  # fmt: skip
_OFTEN_STEADY = ("WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope")
_SMOOTH = ("XRayTubeCurrent", "Exposure", "ExposureTime", "TablePosition")
_NEAR = 0.01  # mm, to which positions are exact
_ROUNDED = 0.01  # of the distance of slices, to which positions are often rounded
_LOCATED = 0.1  # mm, to which slice locations are
_MISSING = 1.5  # times the usual distance leaves room for a slice
_MOST = 0.4  # of the gaps may be odd, or there is no usual one
_JUMP = 0.25  # of a value that changes smoothly, from one slice to the next but one
_SPREADS = 8.0  # by which a jump stands out from how such values vary


def _stored_values(series: Series) -> Found:
    """R8: stored values and what the header says of them."""
    beyond = those(series, _needs_more_bits)
    if beyond:
        yield graded(
            series, beyond, "R8", Severity.UNUSUAL, "BitsStored", "has fewer bits than the values need"
        )
    stale = those(series, _told_other_extremes)
    if stale:
        said = "or its smallest is not that of the stored values: they were changed after it was told"
        yield graded(series, stale, "R8", Severity.UNUSUAL, "LargestImagePixelValue", said)


def _places(series: Series) -> Found:
    """R10: slices follow one another at equal distances."""
    if not series.placed or len(series) < 3:
        return
    gaps = np.diff(series.heights)
    usual = float(np.median(gaps))
    element = "ImagePositionPatient"
    same = np.flatnonzero(gaps < _NEAR)
    if len(same):
        yield at(series, _both(same), "R10", Severity.UNUSUAL, element, "is that of another slice")
    odd = np.flatnonzero((np.abs(gaps - usual) > _NEAR + _ROUNDED * usual) & (gaps >= _NEAR))
    if 0 < len(odd) <= max(1, _MOST * len(gaps)):
        missing = sum(round(gap / usual) - 1 for gap in gaps[odd] if gap > _MISSING * usual)
        said = f"leaves room for {missing} missing slices" if missing else "is off the even distance"
        yield at(series, _both(odd), "R10", Severity.UNUSUAL, element, said)


def _locations(series: Series) -> Found:
    """R10: the slice location says the same as the position."""
    told = series.numbers("SliceLocation")
    if told is None or not series.placed:
        return
    # Some devices count the other way round, or from another origin; a step is a step.
    steps, gaps = np.abs(np.diff(told)), np.diff(series.heights)
    wrong = np.flatnonzero(np.abs(steps - gaps) > _LOCATED + _ROUNDED * gaps)
    if len(wrong):
        yield graded(
            series, _both(wrong), "R10", Severity.UNUSUAL, "SliceLocation", "disagrees with the position"
        )


def _instance_numbers(series: Series) -> Found:
    """R11: files are counted in the order of their places."""
    counted = series.numbers("InstanceNumber")
    if counted is None or not series.placed or len(series) < 3:
        return
    steps = np.diff(counted)
    usual, element = float(np.median(steps)), "InstanceNumber"
    same = np.flatnonzero(steps == 0)
    if len(same):
        yield at(series, _both(same), "R11", Severity.UNUSUAL, element, "is that of another slice")
    jumps = np.flatnonzero((steps != usual) & (steps != 0))
    if usual and len(jumps):
        back = bool((np.sign(steps[jumps]) != np.sign(usual)).any())
        severity = Severity.UNUSUAL if len(jumps) <= max(1, _MOST * len(steps)) else Severity.BENIGN
        said = "does not follow the slices' places" if back else "leaves out numbers"
        yield at(series, _both(jumps), "R11", severity, element, said)


def _constants(series: Series) -> Found:
    """R12 to R14: what one device writes into every file of an acquisition."""
    for keywords, severity in ((_STEADY, Severity.UNUSUAL), (_OFTEN_STEADY, Severity.BENIGN)):
        for keyword in keywords:
            odd = odd_ones(series.column(keyword))
            if odd and few(odd, series):
                yield at(series, odd, "R14", severity, keyword, "differs from the rest of the series")


def _smooth_changes(series: Series) -> Found:
    """R12: what follows the body from slice to slice, such as the current of the tube."""
    for keyword in _SMOOTH:
        values = series.numbers(keyword)
        if values is None or len(values) < 5 or not series.placed:
            continue
        middle = (values[:-2] + values[2:]) / 2
        off = np.abs(values[1:-1] - middle)
        spread = 1.4826 * float(np.median(off))
        found = np.flatnonzero((off > _SPREADS * spread) & (off > _JUMP * np.abs(middle)))
        # A jump moves its neighbours' middles too: the largest of three is the one.
        jumps = [int(n) + 1 for n in found if off[n] == off[max(n - 1, 0) : n + 2].max()]
        if few(jumps, series):
            yield at(series, jumps, "R12", Severity.UNUSUAL, keyword, "jumps where it should change smoothly")


def _needs_more_bits(one: Instance) -> bool:
    pixels, bits = one.image.pixels, one.image.bits
    if pixels.dtype.kind == "f":
        return False
    signed = pixels.dtype.kind == "i"
    lowest = -(2 ** (bits - 1)) if signed else 0
    return int(pixels.max()) >= 2 ** (bits - signed) or int(pixels.min()) < lowest


def _told_other_extremes(one: Instance) -> bool:
    told = [numbers(one.header, f"{end}ImagePixelValue") for end in ("Smallest", "Largest")]
    stored = (one.image.pixels.min(), one.image.pixels.max())
    return any(value and value[0] != real for value, real in zip(told, stored, strict=True))


def _both(gaps: np.ndarray) -> list[int]:
    """The slices on both sides of some gaps."""
    return [int(n) for gap in gaps for n in (gap, gap + 1)]


RULES: tuple[Rule, ...] = (
    _stored_values,
    _places,
    _locations,
    _instance_numbers,
    _constants,
    _smooth_changes,
)
