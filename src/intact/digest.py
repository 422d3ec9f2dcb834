"""One digest of what the pixels of an image are, whatever file and compression they come from."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from intact.image import Image

_KINDS = {"u": "unsigned", "i": "signed", "f": "float", "b": "unsigned"}
_WIDTHS = (1, 2, 4, 8)  # bytes


def pixel_digest(image: Image) -> str:
    """SHA-256 over rows, columns, frames, bits stored, sign, samples and photometric, then the values.

    Values are little-endian, in the fewest bytes that hold the bits stored, so that no lossless
    transcoding, byte order or wider allocation changes the digest; another value of any pixel does.

    Returns:
        64 hexadecimal digits.
    """
    rows, columns = image.shape[-2:]
    samples = 3 if image.colour else 1
    kind = _KINDS[image.pixels.dtype.kind]
    about = f"{rows} {columns} {image.planes} {image.bits} {kind} {samples} {image.photometric}"
    return hashlib.sha256(about.encode() + b"\0" + _little(image).tobytes()).hexdigest()


def _little(image: Image) -> NDArray[np.generic]:
    pixels = image.pixels.view(np.uint8) if image.pixels.dtype.kind == "b" else image.pixels
    kind, width = pixels.dtype.kind, pixels.dtype.itemsize
    if kind != "f":
        fewest = next((n for n in _WIDTHS if 8 * n >= image.bits), width)
        # Some files store values that need more bits than they say.
        if fewest < width and pixels.size:
            limits = np.iinfo(f"{kind}{fewest}")
            if pixels.min() < limits.min or pixels.max() > limits.max:
                fewest = width
        width = fewest
    return np.ascontiguousarray(pixels, np.dtype(f"<{kind}{width}"))
