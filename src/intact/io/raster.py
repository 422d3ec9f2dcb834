"""PNG, TIFF, JPEG, BMP, GIF, WebP and NPY files as images at their full depth."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from intact.errors import InputError, NotAnImageError, UnreadableError, UsageError
from intact.image import Identity, Image, Photometric, made_of
from intact.io.atomic import put
from intact.io.formats import HEAD, describe, sniff
from intact.io.limits import check_size
from intact.io.png import encode_png, png_samples
from intact.io.tiff import decode_tiff, encode_tiff

_EXIF_ORIENTATION = 0x0112
_ONE_TO_ONE = 1  # value of Orientation for "first row on top, first column left"


def read_raster(data: bytes, name: str) -> Image:
    """Read a picture or an array; the format is told by the content.

    Args:
        data: The file.
        name: How errors and the image's identity call it.

    Returns:
        Pixels as stored. Alpha is dropped and CMYK becomes RGB, each with a note. A turned
        picture (EXIF orientation) is not turned back, a note says so.

    Raises:
        UnreadableError: Damaged, truncated, too large, or not decodable at full depth.
        NotAnImageError: A sound file of another kind.
    """
    kind = sniff(data[:HEAD])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "npy":
                return _read_npy(data, name)
            if kind == "tiff":
                return decode_tiff(data, name)
            if kind in ("png", "jpeg", "bmp", "gif", "webp"):
                return _read_picture(data, name)
    except InputError:
        raise
    except Pillow.DecompressionBombError as error:
        raise UnreadableError(
            name,
            f"claims more than the {2 * (Pillow.MAX_IMAGE_PIXELS or 0):,} pixels allowed for a picture: its "
            "header is damaged or hostile; if it is sound, store it as TIFF or DICOM",
        ) from error
    except Exception as error:  # decoders raise anything on damaged input
        raise UnreadableError(name, f"is a damaged {kind.upper()} file: {error}") from error
    raise NotAnImageError(name, f"is {describe(data[:HEAD])}, not a picture")


def write_raster(image: Image, path: str | Path) -> Path:
    """Write a PNG, TIFF or NPY file, by the extension, without losing a value.

    Raises:
        UsageError: The format cannot hold these values.
        OutputError: The file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        return put(path, encode_png(image))
    if suffix in (".tif", ".tiff"):
        return put(path, encode_tiff(image))
    return put(path, _encode_npy(image))


def _read_picture(data: bytes, name: str) -> Image:
    with Pillow.open(io.BytesIO(data)) as picture:
        frames = getattr(picture, "n_frames", 1)
        check_size(name, picture.width * picture.height * 8 * frames, f"a picture {picture.size}")
        notes: list[str] = []
        if frames > 1 and picture.format in ("GIF", "WEBP", "PNG"):
            notes.append(f"an animation: its {frames} frames were read as RGB planes")
            samples, bits, palette = _animation(picture, frames), 8, None
        else:
            samples, bits = _samples(picture, data, notes)
            palette = _palette(picture)
        # Asked last: Pillow looks for it behind a PNG's pixels, which it decodes unless they are.
        orientation = picture.getexif().get(_EXIF_ORIENTATION, _ONE_TO_ONE)
        if orientation != _ONE_TO_ONE:
            notes.append(f"EXIF orientation {orientation} says it should be turned; kept as stored")
        image = _image(samples, bits, palette, name, notes)
        return replace(image, made=made_of(str(picture.info.get("Comment", ""))))


def _samples(picture: ImageFile, data: bytes, notes: list[str]) -> tuple[NDArray[Any], int]:
    """Stored samples of a picture, and the bits of one."""
    if "transparency" in picture.info:
        notes.append("the transparent colour was kept as an ordinary one")
    if picture.format == "PNG":
        return png_samples(picture, data)
    if picture.mode in ("CMYK", "YCCK"):
        notes.append("CMYK was converted to RGB")
        return np.asarray(picture.convert("RGB")), 8
    return np.asarray(picture), 8


def _image(
    samples: NDArray[Any], bits: int, palette: NDArray[Any] | None, name: str, notes: list[str]
) -> Image:
    if samples.dtype == bool:
        samples, bits = samples.astype(np.uint8), 1
    if samples.ndim > 2 and samples.shape[-1] in (2, 4):
        notes.append("the alpha channel was dropped")
        samples = samples[..., 0] if samples.shape[-1] == 2 else samples[..., :3]
    photometric: Photometric = "RGB" if samples.ndim > 2 else "MONOCHROME2"
    return Image(
        np.ascontiguousarray(samples),
        photometric=photometric if palette is None else "PALETTE COLOR",
        bits=bits,
        palette=palette,
        identity=Identity(path=name),
        notes=tuple(notes),
    )


def _palette(picture: Pillow.Image) -> NDArray[np.uint8] | None:
    if picture.mode not in ("P", "PA"):
        return None
    colours = np.array(picture.getpalette("RGB"), np.uint8)
    return colours.reshape(-1, 3)


def _animation(picture: Pillow.Image, frames: int) -> NDArray[np.uint8]:
    planes = []
    for index in range(frames):
        picture.seek(index)
        planes.append(np.asarray(picture.convert("RGB")))
    return np.stack(planes)


def _read_npy(data: bytes, name: str) -> Image:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version[0] == 1 else (np.lib.format.read_array_header_2_0)
    shape, _, dtype = header(stream)
    if dtype.kind not in "buif" or dtype.hasobject:
        raise NotAnImageError(name, f"is an array of {dtype}; images hold integers or floats")
    colour = len(shape) in (3, 4) and shape[-1] == 3 and dtype in (np.uint8, np.uint16)
    if len(shape) - colour not in (2, 3):
        raise NotAnImageError(name, f"is an array of shape {shape}; images have two or three axes")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    check_size(name, expected, f"an array of shape {shape}")
    found = len(data) - stream.tell()
    if found < expected:
        raise UnreadableError(
            name,
            f"is truncated: {expected:,} bytes of values expected for shape {shape} {dtype}, {found:,} found",
        )
    pixels = np.load(io.BytesIO(data), allow_pickle=False)
    if dtype.kind == "b":
        return Image(pixels.astype(np.uint8), bits=1, identity=Identity(path=name))
    pixels = np.ascontiguousarray(pixels, dtype=dtype.newbyteorder("="))
    photometric: Photometric = "RGB" if colour else "MONOCHROME2"
    return Image(pixels, photometric=photometric, identity=Identity(path=name))


def _encode_npy(image: Image) -> bytes:
    pixels = image.pixels
    looks_rgb = pixels.ndim > 2 and pixels.shape[-1] == 3 and pixels.dtype in (np.uint8, np.uint16)
    if looks_rgb != image.colour or image.photometric not in ("RGB", "MONOCHROME2"):
        raise UsageError(
            f"NPY holds bare numbers, so {image.photometric} pixels of shape {pixels.shape} would "
            "be read back as something else; write .tif or .dcm"
        )
    if len(image.shape) > 3:
        raise UsageError(f"NPY images have two or three axes, not {image.shape}; write .nii.gz")
    if image.made:
        raise UsageError(
            "NPY has no place to say that an image was made by a program; write .png, .tif, .nii.gz or .dcm"
        )
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=False)
    return stream.getvalue()
