"""What an image shows although it has nothing to do with a forgery in it: file, size, values, history.

Where an image is forged, and where another one of its pair is, is left out, so that what an examiner
should find does not count: forged or not, the rest of an image looks alike unless the sets were made
differently. Values are those of the middle plane.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from PIL import Image as Picture
from pydicom import Dataset, dcmread
from scipy import ndimage
from scipy.fft import dctn

from intact.image import Image
from intact.io.dicom import quiet
from intact.io.formats import HEAD, sniff
from intact.residual import noise_sigma

CORNER = 4  # pixels, the side of the patches in corners and centre
SIDE = 8  # of JPEG's blocks
SHOWN = 60  # characters of a text in a file
# What writers say of themselves and of what they did; everything else of a header is the patient's.
TOLD = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "Manufacturer", "ManufacturerModelName",
    "SoftwareVersions", "ConversionType", "DerivationDescription", "ImageComments",
    "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "LossyImageCompression",
    "LossyImageCompressionMethod", "BurnedInAnnotation", "TransferSyntaxUID", "ImplementationClassUID",
    "ImplementationVersionName", "SourceApplicationEntityTitle",
)  # fmt: skip

Traits = Mapping[str, float]


def header(data: bytes) -> Traits:
    """What a file's format and header say: 1 for each thing that is there, by name.

    Args:
        data: The file, or the first one of a series.
    """
    kind = sniff(data[:HEAD])
    found = {f"format {kind or 'unknown'}"}
    if kind == "png":
        found |= _png(data)
    elif kind == "dicom":
        with quiet():
            dataset = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
        found |= _dicom(dataset, "")
        found |= _dicom(dataset.file_meta, "file meta ")
    elif kind in ("jpeg", "tiff", "gif", "bmp", "webp"):
        found |= _picture(data)
    return dict.fromkeys(sorted(found), 1.0)


def size(image: Image) -> Traits:
    """How large an image is and how its values are stored."""
    rows, columns = image.shape[-2:]
    return {
        "rows": rows,
        "columns": columns,
        "planes": image.planes,
        "bits": image.bits,
        "bytes of a value": image.pixels.itemsize,
        "colour": float(image.colour),
        "spacing": image.spacing[-1] if image.spacing else 0.0,
    }


def histogram(plane: Float[ndarray, "h w"], counted: Bool[ndarray, "h w"]) -> Traits:
    """Which values occur: how many, with which gaps, how many at the ends.

    Args:
        plane: Stored values.
        counted: Where the image is not forged.
    """
    values = np.rint(plane[counted]) if np.array_equal(plane, np.rint(plane)) else plane[counted]
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size < 2:
        return {"values": 1.0, "range": 0.0, "occupied": 1.0, "comb": 0.0, "even": 0.0, "ends": 1.0}
    span = float(distinct[-1] - distinct[0])
    whole = bool(np.array_equal(distinct, np.rint(distinct))) and span < 2**17
    bars = np.zeros(int(span) + 1 if whole else 0)
    if whole:
        bars[(distinct - distinct[0]).astype(int)] = counts
    smooth = ndimage.median_filter(bars, 5) if whole else bars
    return {
        "values": float(np.log2(distinct.size)),
        "range": float(np.log2(span)),
        "occupied": distinct.size / bars.size if whole else distinct.size / values.size,
        "comb": float(np.abs(bars - smooth).sum() / counts.sum()),
        "even": float(counts[distinct % 2 == 0].sum() / counts.sum()),
        "ends": float((counts[0] + counts[-1]) / counts.sum()),
    }


def marks(plane: Float[ndarray, "h w"]) -> Traits:
    """What lies in the corners and the centre, forged or not: burnt-in marks, or always the same place."""
    rows, columns = plane.shape
    tall, wide = min(CORNER, rows), min(CORNER, columns)
    places = {
        "top left": (0, 0),
        "top right": (0, columns - wide),
        "bottom left": (rows - tall, 0),
        "bottom right": (rows - tall, columns - wide),
        "centre": ((rows - tall) // 2, (columns - wide) // 2),
    }
    found: dict[str, float] = {}
    for name, (top, left) in places.items():
        patch = plane[top : top + tall, left : left + wide]
        found |= {f"{name}, mean": float(patch.mean()), f"{name}, spread": float(patch.std())}
    return found


def history(plane: Float[ndarray, "h w"], counted: Bool[ndarray, "h w"]) -> Traits:
    """Traces of JPEG and of smoothing where the image is not forged.

    Args:
        plane: Stored values.
        counted: Where the image is not forged.
    """
    shown = plane[counted]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 0.0)
    if high <= low:
        return {"zeros on the JPEG grid": 0.0, "zeros beside it": 0.0, "noise": 0.0}
    # JPEG has 256 levels; deeper images go through it by their range.
    grey = plane if low >= 0 and high <= 255 else (plane - low) * (255.0 / (high - low))
    on, beside = (_zeros(grey, counted, shift) for shift in (0, SIDE // 2))
    return {
        "zeros on the JPEG grid": on - beside,
        "zeros beside it": beside,
        "noise": noise_sigma(plane, counted) / (high - low),
    }


def _zeros(grey: Float[ndarray, "h w"], counted: Bool[ndarray, "h w"], shift: int) -> float:
    """Share of the cosine coefficients that round to zero, in blocks on a grid that begins at a shift."""

    def blocks(values: ndarray) -> ndarray:
        rows, columns = ((n - shift) // SIDE * SIDE for n in values.shape)
        part = values[shift : shift + rows, shift : shift + columns]
        return part.reshape(rows // SIDE, SIDE, columns // SIDE, SIDE).swapaxes(1, 2)

    inside = blocks(counted).all(axis=(2, 3))
    chosen = blocks(grey)[inside]
    chosen = chosen[np.ptp(chosen, axis=(1, 2)) > 0]  # air tells nothing
    if not len(chosen):
        return 0.0
    return float((np.abs(dctn(chosen, axes=(1, 2), norm="ortho")) < 0.5).mean())


def _png(data: bytes) -> set[str]:
    found, at, first = set(), 8, True
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        name, body = kind.decode("latin-1"), data[at + 8 : at + 8 + length]
        found.add(f"PNG chunk {name}")
        if name == "IHDR":
            found.add(f"PNG depth {body[8]}, colours {body[9]}, interlace {body[12]}")
        if name in ("tEXt", "iTXt", "zTXt", "pHYs", "gAMA"):
            found.add(f"PNG {name} {_shown(body)}")
        if name == "IDAT" and first:
            found.add(f"PNG deflate header {body[:2].hex()}")
            first = False
        at += 12 + length
    return found


def _dicom(dataset: Dataset, prefix: str) -> set[str]:
    found = set()
    for element in dataset:
        name = element.keyword or str(element.tag)
        found.add(f"{prefix}{name}")
        if name in TOLD:
            found.add(f"{prefix}{name} {_shown(str(element.value).encode())}")
    return found


def _picture(data: bytes) -> set[str]:
    with Picture.open(io.BytesIO(data)) as picture:
        found = {f"mode {picture.mode}"}
        found |= {f"{name} {_shown(str(value).encode())}" for name, value in picture.info.items()}
        for table in getattr(picture, "quantization", {}).items():
            found.add(f"quantisation table {_shown(str(table).encode())}")
        for tag, value in getattr(picture, "tag_v2", {}).items():
            text = isinstance(value, str)
            found.add(f"TIFF tag {tag} {_shown(value.encode())}" if text else f"TIFF tag {tag}")
    return found


def _shown(text: bytes) -> str:
    """A text, short enough to be told; long ones by their digest."""
    if len(text) > SHOWN:
        return hashlib.sha256(text).hexdigest()[:12]
    return text.decode("latin-1").replace("\0", " ")
