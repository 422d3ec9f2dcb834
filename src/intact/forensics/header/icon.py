"""The icon that a DICOM file may carry (PS3.3 F.7), and how much it is like the image.

A forger rarely thinks of it. It was made in some window, by averaging or by leaving pixels out, and may
have been fitted into a square: the most favourable of these is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydicom import Dataset

from intact.image import Image
from intact.io.elements import item, numbers, text
from intact.io.meaning import read_palette
from intact.residual import correlation

SMALLEST = 16  # pixels of an icon's side
BLUR = 0.8  # sigma, in pixels of the icon

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def icon_of(header: Dataset) -> Float[ndarray, "h w"] | None:
    """The grey values of a file's icon; None where it has none, or none that can be read.

    Args:
        header: A data set.
    """
    icon = item(header, "IconImageSequence")
    if icon is None or text(icon, "SamplesPerPixel") != "1":
        return None
    shape = [int(value) for keyword in ("Rows", "Columns") for value in numbers(icon, keyword)[:1]]
    bits, data = numbers(icon, "BitsAllocated")[:1], icon.get("PixelData")
    if len(shape) != 2 or min(shape) < SMALLEST or bits not in ([8.0], [16.0]) or not data:
        return None
    values = _values(data, shape, int(bits[0]) // 8, header)
    if values is None:
        return None
    if text(icon, "PhotometricInterpretation") == "PALETTE COLOR":
        palette, first = read_palette(icon, [])
        if palette is None:
            return None
        return (palette @ _LUMA)[np.clip(values - first, 0, len(palette) - 1)]
    return values.astype(np.float64)


def likeness(icon: Float[ndarray, "h w"], image: Image) -> float:
    """The correlation of an icon with its image, whatever brightness and contrast it was given.

    Returns:
        0 to 1; -1 where there is nothing to compare: several frames, or no structure.
    """
    if image.planes != 1 or not icon.std():
        return -1.0
    plane = image.plane(0)
    found = [
        abs(correlation(_calmed(part), _calmed(small)))
        for shown in _shown(plane)
        for part in _parts(icon, shown.shape)
        for small in _shrunk(shown, part.shape)
        if small.std()
    ]
    return max(found, default=-1.0)


def _calmed(values: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Without most of the noise, which another way of shrinking leaves differently."""
    return cv2.GaussianBlur(values, (0, 0), BLUR)


def _values(data: bytes, shape: list[int], width: int, header: Dataset) -> ndarray | None:
    """Stored values; None for compressed icons."""
    if isinstance(data, bytes) and len(data) in (count := shape[0] * shape[1] * width, count + count % 2):
        order = ">" if header.original_encoding[1] is False else "<"
        found = np.frombuffer(data, f"{order}u{width}", count=shape[0] * shape[1])
        return found.reshape(shape).astype(np.int64)
    return None


def _shown(plane: Image) -> Iterator[Float[ndarray, "h w"]]:
    """The image in the windows that an icon may have been made in."""
    for shown in (plane.display(), plane.physical()):
        grey = shown.astype(np.float32)
        yield grey @ _LUMA.astype(np.float32) if grey.ndim == 3 else grey


def _parts(icon: Float[ndarray, "h w"], shape: tuple[int, ...]) -> Iterator[Float[ndarray, "h2 w2"]]:
    """The icon, and the part of it that an image of such a shape fills when it keeps its proportions."""
    yield icon
    scale = min(icon.shape[0] / shape[0], icon.shape[1] / shape[1])
    size = [max(1, round(n * scale)) for n in shape]
    top, left = ((n - m) // 2 for n, m in zip(icon.shape, size, strict=True))
    yield icon[top : top + size[0], left : left + size[1]]
    yield icon[: size[0], : size[1]]


def _shrunk(shown: Float[ndarray, "h w"], shape: tuple[int, ...]) -> Iterator[Float[ndarray, "h2 w2"]]:
    """The image in an icon's size: averaged, and with pixels left out."""
    for how in (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST):
        yield cv2.resize(shown, shape[::-1], interpolation=how)
