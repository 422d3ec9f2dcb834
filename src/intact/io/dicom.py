"""Reading DICOM: one file becomes one `Image`, whatever its transfer syntax and its gaps.

Read leniently, say what was assumed: attributes that are missing but can be inferred get the
value that the standard or nearly every device uses, and a note names the element.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from intact.errors import InputError, NotAnImageError, UnreadableError
from intact.image import Identity, Image
from intact.io.codecs import COLOURS, GREYS, PIXELS, decode
from intact.io.elements import integer, tag, text
from intact.io.geometry import locate
from intact.io.meaning import read_made, read_padding, read_palette, read_scale, read_voi, read_windows
from intact.io.source import EMPTY, Source


def read_dicom(source: str | Path | bytes, *, name: str = "") -> Image:
    """Read one DICOM file.

    Args:
        source: The file, or its bytes.
        name: How errors and the image's identity call it; by default the path.

    Returns:
        Stored values [H,W] or [frames,H,W], [...,3] in colour; `header` is the data set without
        its pixel data, with the transfer syntax of the file in `header.file_meta`.

    Raises:
        UnreadableError: Damaged, truncated, too large, or of an unknown transfer syntax.
        NotAnImageError: Sound, but without pixels (report, plan, structure set).
    """
    if isinstance(source, bytes):
        data, name = source, name or "DICOM data"
    else:
        data, name = Source(Path(source)).read(), name or str(source)
    if not data:
        raise UnreadableError(name, EMPTY)
    try:
        return _read(data, name)
    except InputError:
        raise
    except Exception as error:  # damaged headers make pydicom raise almost anything
        raise UnreadableError(
            name, f"its DICOM header is damaged ({type(error).__name__}: {error})"
        ) from error


def without_pixels(dataset: Dataset, name: str) -> InputError:
    """The error for a data set that has no pixel data: what it is, or that it ends too early."""
    meta = getattr(dataset, "file_meta", Dataset())
    uid = UID(text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"))
    kind = uid.name if uid else ""
    if "Rows" in dataset or "Image" in kind:
        return UnreadableError(
            name,
            f"ends before its pixel data ({kind or 'unknown class'}); it is truncated, so fetch it again",
        )
    modality = text(dataset, "Modality")
    what = " ".join(part for part in (kind, f"({modality})" if modality else "") if part)
    return NotAnImageError(name, f"is a DICOM file without pixels: {what or 'it names no class'}")


@contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Collect pydicom's warnings instead of showing them."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield heard


def _read(data: bytes, name: str) -> Image:
    notes: list[str] = []
    with quiet() as heard:
        dataset = dcmread(io.BytesIO(data), force=True)
        if not any(keyword in dataset for keyword in PIXELS):
            raise without_pixels(dataset, name)
        _name_syntax(dataset, notes)
        _complete(dataset, name, notes)
        frames = integer(dataset, "NumberOfFrames", name, 1)
        heard.clear()
        pixels, photometric = decode(dataset, name, notes)
        notes += [str(w.message) for w in heard if "excess padding" not in str(w.message)]
        palette, first = None, 0
        if photometric == "PALETTE COLOR":
            palette, first = read_palette(dataset, notes)
            photometric = "MONOCHROME2" if palette is None else photometric
        spacing, affine = locate(dataset, frames, notes)
        image = Image(
            pixels,
            photometric=photometric,
            spacing=spacing,
            affine=affine,
            modality=text(dataset, "Modality"),
            bits=integer(dataset, "BitsStored", name, 0) if pixels.dtype.kind in "iu" else 0,
            scale=read_scale(dataset, frames, notes),
            windows=read_windows(dataset, frames, notes),
            voi=read_voi(dataset, notes),
            padding=read_padding(dataset),
            palette=palette,
            palette_first=first,
            identity=_identity(dataset, name),
            header=dataset,
            made=read_made(dataset),
            notes=tuple(dict.fromkeys(notes)),
        )
    for keyword in PIXELS:
        if keyword in dataset:
            del dataset[keyword]  # held once, decoded
    return image


def _identity(dataset: Dataset, name: str) -> Identity:
    return Identity(
        path=name,
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        instance=text(dataset, "SOPInstanceUID"),
        patient=text(dataset, "PatientID"),
    )


def _name_syntax(dataset: Dataset, notes: list[str]) -> None:
    """Fill in a missing Transfer Syntax UID by how the data set turned out to be encoded."""
    if text(dataset.file_meta, "TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    syntax = ImplicitVRLittleEndian if implicit else explicit
    dataset.file_meta.TransferSyntaxUID = syntax
    notes.append(f"{tag('TransferSyntaxUID')} is missing; {syntax.name} was assumed")


def _complete(dataset: Dataset, name: str, notes: list[str]) -> None:
    """Check what lays the pixels out, and fill in what can be inferred."""
    for keyword in ("Rows", "Columns"):
        if integer(dataset, keyword, name) < 1:
            raise UnreadableError(name, f"{tag(keyword)} is {dataset[keyword].value}: no pixels")
    if integer(dataset, "NumberOfFrames", name, 1) < 1:
        notes.append(f"{tag('NumberOfFrames')} is {dataset.NumberOfFrames}; 1 was assumed")
        dataset.NumberOfFrames = 1
    samples = _assume(dataset, "SamplesPerPixel", 1, name, notes)
    if samples not in (1, 3):
        raise UnreadableError(name, f"{tag('SamplesPerPixel')} is {samples}; images have 1 or 3")
    if not text(dataset, "PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
        notes.append(
            f"{tag('PhotometricInterpretation')} is missing; {dataset.PhotometricInterpretation} was assumed"
        )
    meaning = text(dataset, "PhotometricInterpretation")
    if meaning not in (GREYS if samples == 1 else COLOURS):
        raise UnreadableError(
            name,
            f"{tag('PhotometricInterpretation')} is {meaning} with {samples} samples per pixel, "
            "which is no known kind of image; correct the header or convert the file",
        )
    if samples == 3:
        _assume(dataset, "PlanarConfiguration", 0, name, notes)
    if "PixelData" not in dataset:
        dataset.BitsAllocated = 32 if "FloatPixelData" in dataset else 64
        return
    if not dataset.PixelData:
        raise UnreadableError(name, f"{tag('PixelData')} is empty")
    bits = _assume(dataset, "BitsAllocated", _guess_bits(dataset), name, notes)
    if bits not in (1, 8, 16, 32, 64):
        raise UnreadableError(
            name,
            f"{tag('BitsAllocated')} is {bits}; 1, 8, 16, 32 or 64 can be read, so repack the pixels first",
        )
    stored = _assume(dataset, "BitsStored", bits, name, notes)
    if not 1 <= stored <= bits:
        raise UnreadableError(name, f"{tag('BitsStored')} is {stored} of {bits} allocated")
    _assume(dataset, "PixelRepresentation", 0, name, notes)


def _assume(dataset: Dataset, keyword: str, value: int | None, name: str, notes: list[str]) -> int:
    """The element's value; when it is missing, set it to `value` and note that."""
    found = integer(dataset, keyword, name, -1)
    if found != -1:
        return found
    if value is None:
        raise UnreadableError(
            name,
            f"{tag(keyword)} is missing and the length of the pixel data "
            "does not tell it; the pixels cannot be laid out",
        )
    setattr(dataset, keyword, value)
    notes.append(f"{tag(keyword)} is missing; {value} was assumed")
    return value


def _guess_bits(dataset: Dataset) -> int | None:
    """Bits of a sample, from the length of uncompressed pixel data."""
    values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    values *= int(dataset.get("NumberOfFrames") or 1)
    bits = {values + values % 2: 8, 2 * values: 16}
    return bits.get(len(dataset.PixelData))
