"""A new DICOM instance around pixels that came from elsewhere.

Source: DICOM PS3.3 A.3 (CT), A.4 (MR), A.8 (secondary capture), A.26 (digital X-ray). Type 1
attributes hold what the image knows, or a neutral value where the standard allows one; type 2
attributes that nobody knows are present and empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from intact.errors import UsageError
from intact.image import Image, Scale
from intact.io.meaning import MADE_CREATOR, MADE_ELEMENT, MADE_GROUP

_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
}
_EMPTY = (
    "PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
    "ReferringPhysicianName SeriesNumber Manufacturer"
)
_EMPTY_BY_CLASS = {
    "CT": "KVP AcquisitionNumber SliceThickness PositionReferenceIndicator",
    "MR": "ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime SliceThickness "
    "PositionReferenceIndicator",
    "DX": "AcquisitionNumber AcquisitionDeviceProcessingDescription BodyPartExamined "
    "DetectorType PatientOrientation ViewPosition",
    "SC": "PatientOrientation",
}


def new_dataset(image: Image) -> Dataset:
    """A data set for one plane [H,W] or [H,W,3], complete but for its pixel data.

    Raises:
        UsageError: DICOM cannot hold these values, or the image is a volume.
    """
    _check(image)
    kind = _kind(image)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = _CLASSES.get(kind, SecondaryCaptureImageStorage)
    identity = image.identity
    dataset.PatientID = identity.patient or "ANONYMOUS"
    dataset.PatientName = identity.patient or "ANONYMOUS"
    dataset.StudyInstanceUID = identity.study or generate_uid()
    dataset.SeriesInstanceUID = identity.series or generate_uid()
    dataset.SOPInstanceUID = identity.instance or generate_uid()
    dataset.Modality = image.modality or "OT"
    dataset.InstanceNumber = 1
    for keyword in f"{_EMPTY} {_EMPTY_BY_CLASS[kind]}".split():
        setattr(dataset, keyword, None)
    _describe_pixels(dataset, image, kind)
    describe_scale(dataset, image.scale)
    if image.windows:
        dataset.WindowCenter = [_decimal(window.center) for window in image.windows]
        dataset.WindowWidth = [_decimal(window.width) for window in image.windows]
        if image.windows[0].function != "LINEAR":
            dataset.VOILUTFunction = image.windows[0].function
    if image.padding is not None:
        dataset.PixelPaddingValue, limit = (int(v) for v in image.padding)
        if limit != dataset.PixelPaddingValue:
            dataset.PixelPaddingRangeLimit = limit
    _describe_class(dataset, image, kind)
    place_plane(dataset, image, 0)
    return dataset


def describe_scale(dataset: Dataset, scale: Scale) -> None:
    """Write slope and intercept where they differ from what the data set says or implies."""
    slope, intercept = float(scale.slope), float(scale.intercept)
    if slope == float(dataset.get("RescaleSlope") or 1.0) and intercept == float(
        dataset.get("RescaleIntercept") or 0.0
    ):
        return
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(slope), _decimal(intercept)
    if scale.unit or "RescaleType" not in dataset:
        dataset.RescaleType = scale.unit or "US"


def mark_made(dataset: Dataset, made: str) -> None:
    """Say in a data set that a program made its content: Synthetic Data, and by what in a private element."""
    dataset.SyntheticData = "YES"
    dataset.private_block(MADE_GROUP, MADE_CREATOR, create=True).add_new(MADE_ELEMENT, "LO", made[:64])


def place_plane(dataset: Dataset, image: Image, index: int) -> None:
    """Write spacing, orientation and position of plane `index` of an image, as far as known."""
    if image.spacing:
        dataset.PixelSpacing = [_decimal(s) for s in image.spacing[-2:]]
    if image.affine is None:
        return
    columns, rows = (_unit(image.affine[:3, axis]) for axis in (0, 1))
    if abs(columns @ rows) > 1e-3:
        raise UsageError(
            f"rows and columns meet at {np.degrees(np.arccos(columns @ rows)):.2f} degrees, and "
            "DICOM planes need right angles; resample the image onto a straight grid first"
        )
    position = image.affine @ [0.0, 0.0, float(index), 1.0]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*columns, *rows)]
    dataset.ImagePositionPatient = [_decimal(v) for v in position[:3]]
    if len(image.shape) > 2:
        gap = abs(float(np.cross(columns, rows) @ image.affine[:3, 2]))
        dataset.SpacingBetweenSlices = dataset.SliceThickness = _decimal(gap)
        dataset.InstanceNumber = index + 1
        if "SliceLocation" in dataset:
            dataset.SliceLocation = _decimal(float(np.cross(columns, rows) @ position[:3]))


def _check(image: Image) -> None:
    if len(image.shape) != 2:
        raise UsageError(
            f"one new DICOM file holds one plane, this image has shape {image.shape}; "
            "write it with write_series, or as .nii.gz"
        )
    if image.pixels.dtype not in (np.uint8, np.int8, np.uint16, np.int16):
        raise UsageError(
            f"a new DICOM image holds 8-bit or 16-bit integers, this one has "
            f"{image.pixels.dtype}; write .nii.gz, .tif or .npy"
        )
    if image.scale.table is not None or np.ndim(image.scale.slope) or np.ndim(image.scale.intercept):
        raise UsageError(
            "a new DICOM plane holds one slope and intercept; this image has a "
            "look-up table or one of them for each plane"
        )


def _kind(image: Image) -> str:
    """The class whose required attributes the image can fill."""
    grey = image.photometric in ("MONOCHROME1", "MONOCHROME2")
    wide = image.pixels.itemsize == 2
    if image.modality in ("CT", "MR") and grey and wide and image.affine is not None:
        return image.modality if image.spacing else "SC"
    if image.modality == "DX" and grey and image.spacing and image.pixels.dtype.kind == "u":
        return "DX"
    return "SC"


def _describe_pixels(dataset: Dataset, image: Image, kind: str) -> None:
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel = 3 if image.colour else 1
    dataset.PhotometricInterpretation = image.photometric
    if image.colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * image.pixels.itemsize
    dataset.PixelRepresentation = int(image.pixels.dtype.kind == "i")
    dataset.BitsStored = stored_bits(image, at_least=12 if kind in ("CT", "MR") else 1)
    dataset.HighBit = dataset.BitsStored - 1
    if image.palette is not None:
        _describe_palette(dataset, image.palette, image.palette_first)


def stored_bits(image: Image, *, at_least: int = 1) -> int:
    """Bits Stored: what the image says, or more where its values need more."""
    return min(max(image.bits, needed_bits(image.pixels), at_least), 8 * image.pixels.itemsize)


def needed_bits(pixels: NDArray[Any]) -> int:
    """The fewest bits that hold every value, a sign included where the type has one."""
    low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + (pixels.dtype.kind == "i")


def _describe_palette(dataset: Dataset, palette: NDArray[Any], first: int) -> None:
    bits = 8 * palette.itemsize
    if len(palette) % 2:  # an odd number of bytes cannot be told from an even one
        palette = np.vstack([palette, np.zeros_like(palette[:1])])
    for colour, values in zip(("Red", "Green", "Blue"), palette.T, strict=True):
        descriptor = [len(values) % 65536, first, bits]
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
        setattr(
            dataset,
            f"{colour}PaletteColorLookupTableData",
            values.astype(f"<u{palette.itemsize}").tobytes(),
        )


def _describe_class(dataset: Dataset, image: Image, kind: str) -> None:
    if image.affine is not None:
        dataset.FrameOfReferenceUID = generate_uid()
    if kind == "SC":
        dataset.ConversionType = "WSD"  # workstation
        return
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL" if kind == "CT" else "OTHER"]
    if kind == "CT":
        dataset.RescaleSlope = dataset.get("RescaleSlope", "1")
        dataset.RescaleIntercept = dataset.get("RescaleIntercept", "0")
    elif kind == "MR":
        dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"  # research mode
    elif kind == "DX":
        _describe_x_ray(dataset, image)


def _describe_x_ray(dataset: Dataset, image: Image) -> None:
    inverted = image.photometric == "MONOCHROME1"
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleSlope = dataset.get("RescaleSlope", "1")
    dataset.RescaleIntercept = dataset.get("RescaleIntercept", "0")
    dataset.RescaleType = dataset.get("RescaleType", "US")
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageLaterality = "U"  # unpaired
    dataset.AnatomicRegionSequence = []
    dataset.AcquisitionContextSequence = []
    if image.spacing:
        dataset.ImagerPixelSpacing = [_decimal(s) for s in image.spacing]
    if not image.windows:
        dataset.WindowCenter = 2 ** (dataset.BitsStored - 1)
        dataset.WindowWidth = 2**dataset.BitsStored


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def _decimal(value: float) -> DSfloat:
    return DSfloat(float(value), auto_format=True)  # at most 16 characters
