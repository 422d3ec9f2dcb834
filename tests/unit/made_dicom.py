"""DICOM files made with pydicom alone, independent of the writer under test."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = [1, 0, 0, 0, 1, 0]


def data_set(pixels: np.ndarray, **elements: Any) -> Dataset:
    """An MR data set around `pixels`; an element given as None is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = MRImageStorage
    made.SOPInstanceUID = generate_uid()
    made.StudyInstanceUID = "1.2.3"
    made.SeriesInstanceUID = "1.2.3.4"
    made.Modality = "MR"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelSpacing = [0.8, 0.7]
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def encoded(made: Dataset, *, plain: bool = False) -> bytes:
    """The file; `plain` leaves out the preamble and the meta information."""
    stream = io.BytesIO()
    if plain:
        del made.file_meta
        dcmwrite(stream, made, implicit_vr=True, little_endian=True, enforce_file_format=False)
    else:
        dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def slices(count: int, *, gap: float = 2.5, **elements: Any) -> list[Dataset]:
    """Axial slices from the feet up; slice k holds the value k everywhere."""
    return [
        data_set(
            np.full((4, 6), index, np.uint16),
            ImagePositionPatient=[-10.0, -20.0, gap * index],
            ImageOrientationPatient=AXIAL,
            InstanceNumber=index + 1,
            **elements,
        )
        for index in range(count)
    ]


def save(made: list[Dataset], folder: Path, order: list[int] | None = None) -> list[Path]:
    """Write one file per data set; `order` gives each its place in the order of names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, one in zip(order or range(len(made)), made, strict=True):
        path = folder / f"{place:03d}"
        path.write_bytes(encoded(one))
        paths.append(path)
    return paths
