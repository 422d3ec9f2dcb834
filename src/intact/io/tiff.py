"""TIFF: 1 to 64-bit integers and floats, colour, palettes, stacks of pages.

Spacing is taken from where it means a distance in the object: ImageJ's unit, a resolution per
centimetre, or what `encode_tiff` wrote. A resolution per inch is about printing and is ignored.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from intact.errors import NotAnImageError, UnreadableError, UsageError
from intact.image import Identity, Image, Photometric
from intact.io.limits import check_size

_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "nm": 1e-6}
_CENTIMETRE = 3  # value of ResolutionUnit, TIFF 6.0 section 8
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # PhotometricInterpretation
_ONE_TO_ONE = 1  # value of Orientation for "first row on top, first column left"


def decode_tiff(data: bytes, name: str) -> Image:
    """Read a TIFF file.

    Args:
        data: The file.
        name: How errors call it.

    Raises:
        UnreadableError: A compression that no installed library decodes at full depth.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if not tiff.series:
            raise UnreadableError(name, "is a TIFF without a single page")
        series, page = tiff.series[0], tiff.series[0].keyframe
        check_size(name, series.nbytes, f"a TIFF of shape {series.shape}")
        notes: list[str] = []
        if len(tiff.series) > 1:
            notes.append(f"only the first of {len(tiff.series)} pictures of unequal size was read")
        orientation = page.tags.valueof("Orientation", _ONE_TO_ONE)
        if orientation != _ONE_TO_ONE:
            notes.append(f"Orientation tag {orientation} says it should be turned; kept as stored")
        pixels, samples = _samples(series, page, data, name)
        pixels = _without_alpha(pixels, samples, notes)
        colour = samples >= 3
        image = Image(
            _bits_as_bytes(pixels, name),
            photometric=_photometric(int(page.photometric), colour=colour, notes=notes),
            bits=int(page.bitspersample),
            palette=None if page.colormap is None else _palette(page.colormap),
            identity=Identity(path=name),
        )
        spacing = _spacing(tiff, page, len(image.shape), notes)
        made = str(tiff.shaped_metadata[0].get("made", "")) if tiff.shaped_metadata else ""
    return replace(image, spacing=spacing, made=made, notes=tuple(notes))


def encode_tiff(image: Image) -> bytes:
    """A TIFF file that holds every stored value, the palette and the spacing.

    Raises:
        UsageError: TIFF has no place for these values or for what they mean.
    """
    if image.pixels.dtype.kind not in "uif" or image.photometric == "YBR_FULL":
        raise UsageError(
            f"TIFF cannot hold {image.photometric} values of type {image.pixels.dtype} unchanged; "
            "write .npy or .dcm"
        )
    options: dict[str, Any] = {"metadata": {"axes": "TZYX"[-len(image.shape) :]}}
    if image.colour:
        options["metadata"]["axes"] += "S"
    if image.made:
        options["metadata"]["made"] = image.made
    if image.spacing:
        rows, columns = image.spacing[-2:]
        options["metadata"]["spacing_mm"] = [float(s) for s in image.spacing]
        options["resolution"] = (10.0 / columns, 10.0 / rows)
        options["resolutionunit"] = "CENTIMETER"
    if image.palette is not None:
        options["colormap"] = _colormap(image)
    stream = io.BytesIO()
    tifffile.imwrite(stream, image.pixels, photometric=_tiff_photometric(image), **options)
    return stream.getvalue()


def _samples(series: Any, page: Any, data: bytes, name: str) -> tuple[NDArray[Any], int]:
    """Pixels as [..., H, W] or [..., H, W, samples], and the number of samples."""
    try:
        pixels, axes = np.asarray(series.asarray()), str(series.axes)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        pixels, axes = _by_pillow(data, page, name), "YX" if page.samplesperpixel == 1 else "YXS"
        return pixels, pixels.shape[-1] if axes == "YXS" else 1
    colour = page.samplesperpixel > 1 and "S" in axes
    if colour:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    spatial = pixels.ndim - (1 if colour else 0)
    if spatial > 4:
        raise NotAnImageError(
            name,
            f"is a TIFF with axes {axes}, shape {series.shape}; up to "
            "four (time, planes, rows, columns) can be read; split it first",
        )
    return pixels, pixels.shape[-1] if colour else 1


def _by_pillow(data: bytes, page: Any, name: str) -> NDArray[Any]:
    """Decode LZW, JPEG and fax pages, as long as Pillow keeps every bit."""
    with Pillow.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture)
    kept = pixels.dtype == bool or 8 * pixels.itemsize >= page.bitspersample
    if not kept or getattr(picture, "n_frames", 1) > 1:
        raise UnreadableError(
            name,
            f"is a TIFF with {page.compression.name} compression of {page.bitspersample}-bit "
            "samples, which no installed library decodes in full; save it uncompressed or as "
            "deflate, or install imagecodecs",
        )
    return pixels


def _without_alpha(pixels: NDArray[Any], samples: int, notes: list[str]) -> NDArray[Any]:
    if samples in (2, 4):
        notes.append("the alpha channel was dropped")
        return pixels[..., 0] if samples == 2 else pixels[..., :3]
    return pixels


def _bits_as_bytes(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    if pixels.dtype.kind not in "buif":
        raise NotAnImageError(name, f"holds {pixels.dtype} values; save magnitude or parts apart")
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _photometric(code: int, *, colour: bool, notes: list[str]) -> Photometric:
    if colour:
        if code not in (_RGB, _YCBCR):
            notes.append(f"colour space {code} of the TIFF was taken for RGB")
        return "RGB"
    if code == _MINISWHITE:
        return "MONOCHROME1"
    return "PALETTE COLOR" if code == _PALETTE else "MONOCHROME2"


def _palette(colormap: NDArray[np.uint16]) -> NDArray[Any]:
    """RGB of each index, [n,3]; 8-bit colours where all are such, stretched to TIFF's 16 bits."""
    palette = np.ascontiguousarray(colormap.T)
    return palette if (palette % 257).any() else (palette // 257).astype(np.uint8)


def _spacing(tiff: Any, page: Any, axes: int, notes: list[str]) -> tuple[float, ...] | None:
    written = tiff.shaped_metadata and tiff.shaped_metadata[0].get("spacing_mm")
    if written:
        return tuple(float(s) for s in written)
    across = [page.tags.valueof(f"{axis}Resolution") for axis in "YX"]
    if any(not value or not value[0] or not value[1] for value in across):
        return None
    imagej = tiff.imagej_metadata or {}
    unit = _MILLIMETRES.get(str(imagej.get("unit", "")).replace("\\u00B5", "µ"))
    if unit is None:
        if imagej or page.tags.valueof("ResolutionUnit") != _CENTIMETRE:
            notes.append(
                "the TIFF's resolution has no unit of length in the object; the spacing in mm is unknown"
            )
            return None
        unit = _MILLIMETRES["cm"]
    plane = [unit * value[1] / value[0] for value in across]
    depth = [unit * float(imagej["spacing"])] if axes > 2 and "spacing" in imagej else []
    if axes > 2 and not depth:
        notes.append("the TIFF does not say how far its pages are apart; spacing is unknown")
        return None
    return tuple(s for s in (*depth, *plane) if math.isfinite(s))


def _tiff_photometric(image: Image) -> str:
    names = {"MONOCHROME1": "miniswhite", "MONOCHROME2": "minisblack", "RGB": "rgb"}
    return names.get(image.photometric, "palette")


def _colormap(image: Image) -> NDArray[np.uint16]:
    """TIFF's palette, [3, 256 or 65536]: always 16 bits and always complete."""
    palette, pixels = image.palette, image.pixels
    if palette is None or image.palette_first or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"TIFF palettes start at index 0 and take unsigned indices; this image has "
            f"{pixels.dtype} indices from {image.palette_first}; write .dcm"
        )
    if palette.dtype == np.uint8:
        palette = palette.astype(np.uint16) * 257  # 255 becomes 65535, and 8 bits can be told
    full = np.zeros((2 ** (8 * pixels.itemsize), 3), np.uint16)
    full[: len(palette)] = palette
    return full.T
