"""Writing DICOM: back into the header an image was read with, or as a new valid instance.

Pixels are written bit for bit, uncompressed or with a lossless codec; what was compressed is
decoded again and compared before the file is put in place.
"""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset, dcmwrite
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    ParametricMapStorage,
    RLELossless,
    UncompressedTransferSyntaxes,
    generate_uid,
)

from intact.errors import OutputError, UsageError
from intact.image import Image
from intact.io.atomic import put
from intact.io.codecs import decode
from intact.io.dicom import quiet
from intact.io.dicom_new import describe_scale, mark_made, new_dataset, place_plane, stored_bits

Compression = Literal["none", "rle", "jpeg-ls", "jpeg-2000"]

# The encoder is named: GDCM's for RLE ends the whole process on some sizes.
_CODECS: dict[str, tuple[UID, str]] = {
    "rle": (RLELossless, "pylibjpeg"),
    "jpeg-ls": (JPEGLSLossless, "pyjpegls"),
    "jpeg-2000": (JPEG2000Lossless, "pylibjpeg"),
}


def write_dicom(image: Image, path: str | Path, *, compress: Compression = "none") -> Path:
    """Write one plane or multi-frame image as one DICOM file.

    An image read from DICOM keeps every other element of its header; any other becomes a new
    instance: MR, CT or digital X-ray by its modality, else secondary capture.

    Args:
        image: [H,W] or multi-frame [D,H,W] with a multi-frame header, [...,3] in colour.
        path: The file.
        compress: A lossless codec.

    Raises:
        UsageError: DICOM, or the codec, cannot hold these values, or the image is a volume.
        OutputError: The file cannot be written.
    """
    return put(path, encode_dicom(image, compress=compress))


def encode_dicom(image: Image, *, compress: Compression = "none") -> bytes:
    """The bytes that `write_dicom` writes.

    Raises:
        UsageError: DICOM, or the codec, cannot hold these values, or the image is a volume.
    """
    with quiet():
        dataset = _kept(image) if isinstance(image.header, Dataset) else new_dataset(image)
        return _encoded(image, dataset, compress)


def write_series(volume: Image, folder: str | Path, *, compress: Compression = "none") -> list[Path]:
    """Write a volume [D,H,W] as one DICOM file per plane, "0001.dcm" and on.

    All planes share the study, series and frame of reference; each has its own instance UID,
    position and number. The header of a volume read from DICOM is kept in each.

    Returns:
        The files, in the order of the planes.

    Raises:
        UsageError: Not a volume, or DICOM cannot hold it.
        OutputError: The folder cannot be made or a file cannot be written.
    """
    if len(volume.shape) != 3:
        raise UsageError(
            f"a series is a volume [D,H,W], this image has shape {volume.shape}; "
            "write each volume of a time series by itself"
        )
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    identity = volume.identity
    shared = replace(
        volume,
        identity=replace(
            identity,
            study=identity.study or generate_uid(),
            series=identity.series or generate_uid(),
            instance="",
        ),
    )
    frame = generate_uid()
    header = volume.header
    keep = isinstance(header, Dataset) and int(header.get("NumberOfFrames") or 1) == 1
    paths = []
    for index in range(volume.planes):
        plane = shared.plane(index)
        with quiet():
            if keep:
                dataset = _kept(replace(plane, header=header))
                dataset.SOPInstanceUID = generate_uid()
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            else:
                dataset = new_dataset(replace(plane, affine=volume.affine))
                if "FrameOfReferenceUID" in dataset:
                    dataset.FrameOfReferenceUID = frame
            place_plane(dataset, volume, index)
            data = _encoded(plane, dataset, compress)
        paths.append(put(folder / f"{index + 1:04d}.dcm", data))
    return paths


def _kept(image: Image) -> Dataset:
    """A copy of the header, describing the pixels as they are now."""
    dataset: Dataset = copy.deepcopy(image.header)
    rows, columns = image.shape[-2:]
    frames = image.planes if len(image.shape) > 2 else 1
    if frames != int(dataset.get("NumberOfFrames") or 1):
        raise UsageError(
            f"an image of shape {image.shape} does not fit its DICOM header, which has "
            f"{dataset.get('NumberOfFrames') or 1} frames; write a volume with write_series"
        )
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if image.colour else 1
    dataset.PhotometricInterpretation = image.photometric
    if image.colour:
        dataset.PlanarConfiguration = 0
    if image.pixels.dtype.kind == "f":
        _check_float(image, dataset)
        dataset.BitsAllocated = 8 * image.pixels.itemsize
        return dataset
    packed = dataset.get("BitsAllocated") == 1 and image.pixels.max(initial=0) <= 1
    dataset.BitsAllocated = 1 if packed else 8 * image.pixels.itemsize
    dataset.BitsStored = 1 if packed else stored_bits(image)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(image.pixels.dtype.kind == "i")
    scalar = not np.ndim(image.scale.slope) and not np.ndim(image.scale.intercept)
    if scalar and image.scale.table is None and "DoseGridScaling" not in dataset and frames == 1:
        describe_scale(dataset, image.scale)
    return dataset


def _check_float(image: Image, dataset: Dataset) -> None:
    if dataset.get("SOPClassUID") != ParametricMapStorage or image.pixels.itemsize < 4:
        raise UsageError(
            f"{image.pixels.dtype} values have a place only in DICOM parametric maps, and this "
            f"header is of another class; write .nii.gz, .tif or .npy"
        )


def _encoded(image: Image, dataset: Dataset, compress: Compression) -> bytes:
    """The bytes of the file."""
    if compress not in get_args(Compression):
        raise UsageError(f"compress={compress!r} is not one of {', '.join(get_args(Compression))}")
    if image.made:
        mark_made(dataset, image.made)
    source = UID(dataset.file_meta.TransferSyntaxUID)
    keep = compress == "none" and source in UncompressedTransferSyntaxes
    syntax = source if keep else ExplicitVRLittleEndian
    if source == ExplicitVRBigEndian and not keep:
        _swap_words(dataset)
    dataset.file_meta.TransferSyntaxUID = syntax
    _set_pixels(dataset, image.pixels, syntax)
    if compress != "none":
        _compress(dataset, image, compress)
    stream = io.BytesIO()
    complete = "SOPClassUID" in dataset and "SOPInstanceUID" in dataset
    dcmwrite(stream, dataset, enforce_file_format=complete)
    return stream.getvalue()


def _set_pixels(dataset: Dataset, pixels: NDArray[Any], syntax: UID) -> None:
    order: Literal[">", "<"] = ">" if syntax == ExplicitVRBigEndian else "<"
    if dataset.BitsAllocated == 1:
        data = np.packbits(pixels.astype(np.uint8), bitorder="little").tobytes()
    else:
        data = pixels.astype(pixels.dtype.newbyteorder(order), copy=False).tobytes()
    keyword = "PixelData"
    if pixels.dtype.kind == "f":
        keyword = "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData"
    setattr(dataset, keyword, data + b"\0" * (len(data) % 2))
    if keyword == "PixelData":
        wide = dataset.BitsAllocated > 8 or syntax.is_implicit_VR
        dataset[keyword].VR = "OW" if wide else "OB"


def _compress(dataset: Dataset, image: Image, compress: Compression) -> None:
    """Compress in place and make sure that decoding gives every value back."""
    if dataset.BitsAllocated not in (8, 16) or image.pixels.dtype.kind == "f":
        raise UsageError(
            f"{compress} holds integers of 8 or 16 bits, this image has {image.pixels.dtype} in "
            f'{dataset.BitsAllocated} bits; use compress="none"'
        )
    if compress == "rle" and dataset.BitsAllocated == 16 and dataset.BitsStored <= 8:
        dataset.BitsStored, dataset.HighBit = 9, 8  # pydicom would encode up to 8 bits as bytes
    try:
        syntax, encoder = _CODECS[compress]
        dataset.compress(syntax, image.pixels, encoding_plugin=encoder, generate_instance_uid=False)
        decoded, _ = decode(dataset, "the compressed image", [])
        exact = np.array_equal(decoded, image.pixels)
    except Exception as error:  # each encoder refuses in its own way
        raise UsageError(
            f"{compress} cannot hold {dataset.BitsStored}-bit {image.pixels.dtype} pixels: "
            f'{" ".join(str(error).split())}; use compress="none"'
        ) from error
    if not exact:
        raise UsageError(
            f"{compress} does not give these {image.pixels.dtype} pixels of "
            f'{dataset.BitsStored} bits back exactly; use compress="none"'
        )


def _swap_words(dataset: Dataset) -> None:
    """Turn 16-bit words, which pydicom copies as they are, from big to little endian."""

    def swap(_: Dataset, element: DataElement) -> None:
        if element.VR == "OW" and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, "<u2").byteswap().tobytes()

    dataset.walk(swap)
