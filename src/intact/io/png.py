"""PNG at every depth, both ways.

Pillow decodes 16-bit colour to 8 bits, and writes none. So its decoder is asked twice, once for
the high bytes and once for the low ones, and writing is done here: one filter, four chunks.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from intact.errors import UsageError
from intact.image import MADE, Image

_GREY, _RGB, _INDEX = 0, 2, 3  # colour types, PNG specification 11.2.2
_UP = 2  # filter type: difference to the row above, PNG specification 9.2


def png_samples(picture: ImageFile, data: bytes) -> tuple[NDArray[Any], int]:
    """Stored samples of a PNG file, alpha included.

    Args:
        picture: The file as Pillow opened it, not yet decoded.
        data: The file.

    Returns:
        [H,W] or [H,W,samples], uint8 or uint16, and the bits of one sample as the file has them.
    """
    rawmode = str(picture.tile[0].args)  # Pillow's name for the layout, "L;4" or "RGB;16B"
    if rawmode.endswith(";16B") and not rawmode.startswith("I"):
        return _sixteen(data, rawmode.partition(";")[0]), 16
    samples = np.asarray(picture)
    if rawmode == "1":
        return samples.astype(np.uint8), 1
    depth = int(rawmode.partition(";")[2].rstrip("B") or 8)
    if rawmode in ("L;2", "L;4"):
        samples = samples // (255 // (2**depth - 1))  # Pillow stretches these to 0..255
    return samples.astype(np.uint16 if depth == 16 else np.uint8), depth


def encode_png(image: Image) -> bytes:
    """A PNG file that holds every stored value.

    Raises:
        UsageError: PNG has no place for these values or for what they mean.
    """
    pixels, kind = _fitting(image)
    depth = 8 * pixels.itemsize
    if kind != _RGB and depth == 8 and image.bits in (1, 2, 4) and pixels.max() < 2**image.bits:
        depth = image.bits
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if image.made:
        chunks.append(_chunk(b"tEXt", f"Comment\0{MADE}{image.made}".encode("latin-1", "replace")))
    if kind == _INDEX and image.palette is not None:
        chunks.append(_chunk(b"PLTE", image.palette[:256].astype(np.uint8).tobytes()))
    chunks.append(_chunk(b"IDAT", zlib.compress(_filtered(_packed(pixels, depth)), 6)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _sixteen(data: bytes, colours: str) -> NDArray[np.uint16]:
    if colours == "LA":
        # Two bytes of grey and two of alpha take the room of four 8-bit samples.
        pairs = _decode(data, "RGBA").astype(np.uint16)
        return (pairs[..., 0::2] << 8 | pairs[..., 1::2]).astype(np.uint16)
    high, low = (_decode(data, f"{colours};16{order}").astype(np.uint16) for order in "BL")
    return (high << 8 | low).astype(np.uint16)


def _decode(data: bytes, rawmode: str) -> NDArray[np.uint8]:
    with Pillow.open(io.BytesIO(data)) as picture:
        picture.tile = [picture.tile[0]._replace(args=rawmode)]
        return np.asarray(picture)


def _fitting(image: Image) -> tuple[NDArray[Any], int]:
    pixels = image.pixels
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"PNG holds unsigned 8-bit or 16-bit values, this image has {pixels.dtype}; "
            "write .tif, .npy or .dcm, or an 8-bit picture of it from display()"
        )
    if len(image.shape) != 2:
        raise UsageError(
            f"PNG holds one plane, this image has shape {image.shape}; "
            "write .tif, .npy or .nii.gz, or its planes one by one"
        )
    if image.photometric == "RGB":
        return pixels, _RGB
    if image.photometric == "PALETTE COLOR" and image.palette is not None:
        if image.palette.dtype != np.uint8 or image.palette_first or pixels.dtype != np.uint8:
            raise UsageError(
                f"PNG holds palettes of 8-bit colours from index 0, this one has "
                f"{image.palette.dtype} from index {image.palette_first}; write .tif or .dcm"
            )
        return pixels, _INDEX
    if image.photometric != "MONOCHROME2":
        raise UsageError(
            f"PNG cannot say that its values are {image.photometric}, a viewer would show them "
            "wrongly; write .tif or .dcm, or an 8-bit picture of it from display()"
        )
    return pixels, _GREY


def _packed(pixels: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Rows of bytes, [H, bytes per row]."""
    rows = pixels.reshape(len(pixels), -1)
    if depth == 16:
        return rows.astype(">u2").view(np.uint8)
    if depth == 8:
        return rows
    bits = np.unpackbits(rows[..., None], axis=-1)[..., 8 - depth :]
    return np.packbits(bits.reshape(len(rows), -1), axis=-1)


def _filtered(rows: NDArray[np.uint8]) -> bytes:
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    kind = np.full((len(rows), 1), _UP, np.uint8)
    return np.hstack([kind, rows - above]).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
