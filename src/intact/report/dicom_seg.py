"""Masks as a DICOM Segmentation object on the grid of the images they were drawn on.

Source: DICOM PS3.3 A.51 (the object) and C.8.20 (its modules). highdicom builds the object. It takes
planes without a place in the patient one at a time, so masks of cine loops are refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import UID, generate_uid

from intact._version import __version__
from intact.errors import UnreadableError, UsageError
from intact.io.atomic import put
from intact.io.dicom import quiet
from intact.io.discover import Unit
from intact.io.elements import numbers, text
from intact.io.source import Source
from intact.report.seg_codes import FAMILIES, meaning
from intact.report.seg_source import frames_of, stand_ins

Mask = Bool[ndarray, "..."]  # [h,w] or [d,h,w], as the image's shape

_LONGEST = 64  # characters of a label or description (value representation LO)
_AFTER = 1000  # added to the source's series number, so that viewers list masks behind images


def write_seg(
    masks: Mapping[str, Mask],
    unit: Unit,
    path: str | Path,
    *,
    algorithm: str,
    family: str,
    guided: bool = False,
) -> Path:
    """Write the masks of one DICOM image or series as one binary DICOM Segmentation.

    Each mask becomes a segment, in the mapping's order; masks may overlap. Planes where a segment is
    empty are left out, as is usual. Where all masks are empty every plane is written: the standard
    demands at least one, and "nothing found" is a result.

    Args:
        masks: One mask for each label, of the shape of the image that `read_unit(unit)` gives.
        unit: The files of the image; their headers are read again.
        path: The file.
        algorithm: What made the masks.
        family: Its kind: "threshold", "clustering", "region", "graph", "contour" or "network".
        guided: Whether a person pointed to the object, as by a seed.

    Raises:
        UnreadableError: A file of the unit is gone or damaged.
        UsageError: The unit is no DICOM image, a mask has another shape, a label is too long, or a
            segmentation cannot refer to the image: it lacks identifiers, or has several planes
            that do not say where they are or are at one place.
        OutputError: The file cannot be written.
    """
    if unit.format != "dicom":
        raise UsageError(
            f"{unit.name}: is {unit.format}, and a DICOM segmentation refers to DICOM images; "
            "write its masks as .nii.gz or .png"
        )
    with quiet():
        headers = [_header(source) for source in unit.sources]
        stacked = _stacked(masks, headers, unit.name)
        made = _segmentation(
            stand_ins(headers, unit.name),
            stacked,
            _described(list(masks), algorithm, family, guided),
            series_number=_AFTER + max([0, *map(int, numbers(headers[0], "SeriesNumber"))]),
            series_description=f"Segmentation by {algorithm}"[:_LONGEST],
        )
        _name_class(made, UID(text(headers[0], "SOPClassUID")))
        stream = io.BytesIO()
        dcmwrite(stream, made, enforce_file_format=True)
    return put(path, stream.getvalue())


def _header(source: Source) -> Dataset:
    with source.open() as stream:
        try:
            return dcmread(stream, stop_before_pixels=True, force=True)
        except Exception as error:  # damaged headers make pydicom raise almost anything
            raise UnreadableError(source.name, f"its DICOM header is damaged: {error}") from error


def _stacked(
    masks: Mapping[str, Mask], headers: Sequence[Dataset], name: str
) -> UInt8[ndarray, "planes h w labels"]:
    """The masks as highdicom takes them."""
    planes = len(headers) * frames_of(headers[0], name)
    grid = (int(headers[0].Rows), int(headers[0].Columns))
    shape = grid if planes == 1 else (planes, *grid)
    if not masks:
        raise UsageError("there is no mask to write; give at least one, which may be empty")
    for label, mask in masks.items():
        if mask.shape != shape:
            raise UsageError(f"the mask {label!r} has shape {mask.shape} and its image {shape}")
        if not 0 < len(label) <= _LONGEST or "\\" in label:
            raise UsageError(
                f"{label!r} cannot name a segment: DICOM takes 1 to {_LONGEST} characters and no backslash"
            )
    return np.stack([mask.reshape(planes, *grid).astype(np.uint8) for mask in masks.values()], axis=-1)


def _described(labels: Sequence[str], algorithm: str, family: str, guided: bool) -> list[Any]:
    """What each segment is and what made it."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    if family not in FAMILIES:
        raise UsageError(f"{family!r} is no family of algorithms; use one of {', '.join(FAMILIES)}")
    maker = AlgorithmIdentificationSequence(algorithm, FAMILIES[family], __version__, source="Intact")
    return [
        SegmentDescription(
            number,
            label,
            *meaning(label),
            algorithm_type="SEMIAUTOMATIC" if guided else "AUTOMATIC",
            algorithm_identification=maker,
        )
        for number, label in enumerate(labels, start=1)
    ]


def _segmentation(
    sources: Sequence[Dataset],
    stacked: UInt8[ndarray, "planes h w labels"],
    described: Sequence[Any],
    **series: Any,
) -> Dataset:
    """A new instance in a new series of the same study."""
    from highdicom.seg import Segmentation

    made: Dataset = Segmentation(
        sources,
        stacked,
        "BINARY",
        described,
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Intact",
        manufacturer_model_name="Intact",
        software_versions=__version__,
        device_serial_number="none",  # the standard demands one, and software has none
        content_label="SEGMENTATION",
        specific_character_set="ISO_IR 192",  # UTF-8: labels and names in any script
        **series,
    )
    made.ContentCreatorName = None  # the standard demands the element, and no person drew the masks
    return made


def _name_class(made: Dataset, kind: UID) -> None:
    """Put the true class of the source images, which posed as another, into every reference."""
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = kind
