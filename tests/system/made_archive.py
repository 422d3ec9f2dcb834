"""Small images of one kind, written as PNG and DICOM files: what a user would fit on and screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Raster
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SIDE = 48


def plane(seed: int, *, lesion: bool = False, noise: float = 6.0) -> np.ndarray:
    """A round head, uint8 [SIDE,SIDE], the same for the same seed; the lesion is bright."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    tall, wide = rng.uniform(0.7, 0.8, 2)
    radius = np.hypot(y / tall, x / wide)
    head = 90.0 * (radius < 1) + 70.0 * ((radius > 0.88) & (radius < 1))
    head += rng.normal(0, noise, head.shape) * (radius < 1)
    return np.clip(np.where(mask(y, x), 250.0, head) if lesion else head, 0, 255).astype(np.uint8)


def mask(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where the lesion is, in coordinates from -1 to 1."""
    return np.hypot(y - 0.2, x + 0.1) < 0.3


def lesion_mask() -> np.ndarray:
    """The lesion of `plane` as an 8-bit mask."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    return mask(y, x).astype(np.uint8) * np.uint8(255)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Raster.fromarray(pixels).save(path)
    return path


def data_set(pixels: np.ndarray, **elements: Any) -> Dataset:
    """An MR data set; an element given as None is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = MRImageStorage
    made.Modality = "MR"
    made.PatientID = "HOSPITAL-4711"
    made.PatientName = "Mustermann^Erika"
    for level in ("Study", "Series", "SOP"):
        # Drawn from the pixels, so that the same archive has the same bytes.
        uid = generate_uid(entropy_srcs=[level, pixels.tobytes().hex()])
        setattr(made, f"{level}InstanceUID", uid)
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    made.PixelSpacing = [1.0, 1.0]
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def write_dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, data_set(pixels, **elements), enforce_file_format=True)
    return path


def write_series(folder: Path, planes: list[np.ndarray], **elements: Any) -> Path:
    """One DICOM file per plane, 3 mm apart."""
    for k, pixels in enumerate(planes):
        write_dicom(
            folder / f"{k:03d}.dcm",
            pixels,
            SeriesInstanceUID="1.2.840.99.7",
            ImagePositionPatient=[0.0, 0.0, 3.0 * k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            InstanceNumber=k + 1,
            **elements,
        )
    return folder


def write_normals(folder: Path, *, png: int, dicom: int, first_seed: int = 0) -> Path:
    """Normal images; every DICOM image is a patient of its own."""
    for k in range(png):
        write_png(folder / "png" / f"{k:03d}.png", plane(first_seed + k))
    for k in range(dicom):
        patient = f"HOSPITAL-{k:04d}"
        pixels = plane(first_seed + png + k)
        write_dicom(folder / "dicom" / f"{k:03d}.dcm", pixels, PatientID=patient)
    return folder
