"""What a DICOM Segmentation has to know of the images that its masks were drawn on.

highdicom copies from its source images whatever they hold, and gives up where real files leave
something out. So it is shown stand-ins instead, which hold what the standard requires (types 1 and 2
of the Patient and General Study modules, PS3.3 C.7.1.1 and C.7.2.1), the places of the planes, and
nothing else. They pose as secondary captures, which need no more than that and may have a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage as SeveralFrames
from pydicom.uid import SecondaryCaptureImageStorage as OneFrame
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from intact.errors import UsageError
from intact.io.elements import group, integer, numbers, tag, text
from intact.io.geometry import normal, plane_orientation, plane_position

_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_TEXTS = ("PatientID", "PatientSex", "StudyID", "AccessionNumber")
_NAMES = ("PatientName", "ReferringPhysicianName")
_TIMES: dict[str, type[DA] | type[TM]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_SAME_PLACE = 1e-3  # mm; planes closer than this along their normal are at one place
_ELSE = "write the masks as .nii.gz or .png"


@dataclass(frozen=True, eq=False)
class _Places:
    """Where planes lie in the patient, in mm."""

    orientation: Float[ndarray, "6"]
    positions: Float[ndarray, "planes 3"]
    spacing: list[float]  # rows, columns
    thickness: float


def frames_of(header: Dataset, name: str) -> int:
    """How many planes a file holds."""
    return max(1, integer(header, "NumberOfFrames", name, 1))


def stand_ins(headers: Sequence[Dataset], name: str) -> list[Dataset]:
    """Describe source images to highdicom.

    Args:
        headers: Of the files of one image, in the order of its planes.
        name: The image, for errors.

    Returns:
        One data set for each file. A single plane that does not say where it is has no place.

    Raises:
        UsageError: A segmentation cannot refer to them: they lack identifiers, belong to several
            studies, or are several planes without a place, at one place, or turned against each other.
    """
    frames = frames_of(headers[0], name)
    places = _places(headers, frames, name)
    sources = [_identified(header, name) for header in headers]
    if len({source.StudyInstanceUID for source in sources}) > 1:
        raise UsageError(f"{name}: its files belong to several studies, and a segmentation to one; {_ELSE}")
    if places is None:
        return sources
    space = text(headers[0], "FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[sources[0].SeriesInstanceUID]  # the same for every segmentation of the series
    )
    for source in sources:
        source.FrameOfReferenceUID = space
    if frames > 1:
        _place_frames(sources[0], places)
        return sources
    for source, position in zip(sources, places.positions, strict=True):
        _measure(source, places)
        source.ImageOrientationPatient = _decimals(places.orientation)
        source.ImagePositionPatient = _decimals(position)
    return sources


def _identified(header: Dataset, name: str) -> Dataset:
    """Whose image it is, and which one."""
    missing = [tag(keyword) for keyword in _UIDS if not text(header, keyword)]
    if missing:
        raise UsageError(
            f"{name}: has no {' and no '.join(missing)}, so no DICOM segmentation can refer to it; {_ELSE}"
        )
    known = Dataset()
    for keyword in (*_UIDS, *_TEXTS):
        setattr(known, keyword, text(header, keyword))
    for keyword in _NAMES:
        value = header.get(keyword) or ""
        setattr(known, keyword, str(value[0] if isinstance(value, MultiValue) else value))
    for keyword, kind in _TIMES.items():
        setattr(known, keyword, _valid(kind, text(header, keyword)))
    if known.PatientSex not in ("M", "F", "O"):
        known.PatientSex = ""
    if issuer := text(header, "IssuerOfPatientID"):
        known.IssuerOfPatientID = issuer  # without it another patient may have the same ID
    if text(header, "LossyImageCompression") == "01":
        for keyword in _LOSSY:
            if keyword in header:
                known[keyword] = header[keyword]
    known.SOPClassUID = OneFrame
    known.Rows, known.Columns = header.Rows, header.Columns
    return known


def _valid(kind: type[DA] | type[TM], value: str) -> str:
    try:
        kind(value)
    except ValueError:
        return ""
    return value


def _places(headers: Sequence[Dataset], frames: int, name: str) -> _Places | None:
    """Where the planes lie; None for a single one that does not say."""
    first, planes = headers[0], len(headers) * frames
    measures = group(first, 0, "PixelMeasuresSequence") or first
    orientation, spacing = plane_orientation(first), numbers(measures, "PixelSpacing")
    found = (plane_position(header, frame) for header in headers for frame in range(frames))
    positions = np.array([position for position in found if position is not None])
    if orientation is None or len(positions) < planes or len(spacing) != 2 or min(spacing) <= 0:
        if planes > 1:
            raise UsageError(
                f"{name}: its {planes} planes do not say where they are in the patient, and a DICOM "
                f"segmentation of several planes needs that; {_ELSE}"
            )
        return None
    thickness = [value for value in numbers(measures, "SliceThickness") if value > 0]
    if planes > 1:
        _check_parallel(first, frames, orientation, name)
        gap = _gap(positions @ normal(orientation), name)
        thickness = thickness or [gap]
    # highdicom writes a plane of unknown thickness, but cannot read it.
    return _Places(orientation, positions, spacing, thickness[0]) if thickness else None


def _check_parallel(header: Dataset, frames: int, orientation: Float[ndarray, "6"], name: str) -> None:
    """Refuse a file whose frames are turned against each other."""
    groups = [group(header, frame, "PlaneOrientationSequence") for frame in range(frames)]
    turned = [numbers(one, "ImageOrientationPatient") for one in groups if one is not None]
    if not all(np.allclose(one, orientation, atol=1e-3) for one in turned):
        raise UsageError(f"{name}: its frames are not parallel, so they form no volume; {_ELSE}")


def _gap(heights: Float[ndarray, "planes"], name: str) -> float:
    """Mean distance of the planes in mm, at least two of them."""
    gaps = np.diff(np.sort(heights))
    if gaps.min() < _SAME_PLACE:
        raise UsageError(
            f"{name}: some of its {len(heights)} planes are at one place, such as time points or echoes, "
            f"and one DICOM segmentation cannot tell their masks apart; {_ELSE}"
        )
    return float(gaps.mean())


def _place_frames(source: Dataset, places: _Places) -> None:
    """Say where the frames of one file lie, as enhanced objects do."""
    source.SOPClassUID = SeveralFrames
    source.NumberOfFrames = len(places.positions)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    _measure(measures, places)
    plane.ImageOrientationPatient = _decimals(places.orientation)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    frames = []
    for position in places.positions:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = _decimals(position)
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    source.SharedFunctionalGroupsSequence, source.PerFrameFunctionalGroupsSequence = [shared], frames


def _measure(measures: Dataset, places: _Places) -> None:
    measures.PixelSpacing = _decimals(places.spacing)
    [measures.SliceThickness] = _decimals([places.thickness])


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]  # at most 16 characters each
