"""Pictures of what was altered in a sealed image: the plane, its altered blocks, their reduced copies.

Colours are told apart without colour vision too: altered is a filled orange area, unknown is striped
blue, a reduced copy has a cyan outline only. A dark rim keeps all of them visible on bright images.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from intact.errors import OutputError
from intact.image import Image
from intact.io.atomic import put
from intact.report.drawing import common_window
from intact.report.words import plural, rate

SIDE = 512  # pixels, longest side of a picture

# Indices of the overlay's palette.
_CLEAR, _RIM, _TINT, _EDGE, _STRIPE, _COPY = range(6)
_COLOURS = np.array(  # red, green, blue, alpha
    [
        [0, 0, 0, 0],
        [10, 12, 16, 190],
        [255, 138, 0, 84],
        [255, 150, 20, 255],
        [86, 190, 255, 255],
        [63, 208, 224, 255],  # --outline of report.css
    ],
    np.uint8,
)
_LOST = (24, 27, 32)  # behind the stripes where an altered block has no copy
_SMALL = 12  # pixels of the picture: smaller altered areas get a frame, so that they are found
_FRAMES = 12  # at most; more would hide the image
_GAP = 8  # pixels between an area and its frame

Masks = Bool[ndarray, "p h w"]
Mask = Bool[ndarray, "h w"]


def draw_damage(
    image: Image,
    altered: Masks,
    unknown: Masks | None,
    recovered: Image | None,
    known: Masks | None,
    folder: Path,
    stem: str,
) -> dict[str, Any]:
    """Draw the plane with the most altered pixels.

    Args:
        image: As it is now.
        altered: Pixels of altered blocks, plane by plane; the channels of a colour image one after
            the other.
        unknown: Pixels of blocks of which nothing is known.
        recovered: The image with copies in place of altered blocks.
        known: Pixels of `recovered` that come from copies.
        folder: Where the PNG files go; made if need be.
        stem: What their names begin with.

    Returns:
        `plane`: its index. `image`, `damage`, `recovered`: paths from the parent of `folder` on, the
        last one None where no copy is left. `note`: which plane it is and where it was altered, in
        words. `wide`: width of the picture over its height, in mm where the spacing is known.

    Raises:
        OutputError: The files could not be written.
    """
    damage, doubt = _of_planes(altered, image), _of_planes(unknown, image)
    plane = max(range(image.planes), key=lambda k: (damage[k].sum(), doubt[k].sum()))
    copies = _copies(image, altered, unknown, known)[plane]
    now, then = image.plane(plane), recovered.plane(plane) if recovered and copies.any() else None
    window = common_window([now, then] if then else [now])
    size = _size(now.shape)
    pictures = {"image": _png(_resized(now.display(window), size))}
    pictures["damage"] = _overlay_png(_overlay(_scaled(damage[plane], size), _scaled(doubt[plane], size)))
    if then:
        masks = (_scaled(mask, size) for mask in (damage[plane], doubt[plane], copies))
        pictures["recovered"] = _png(_with_copies(_resized(then.display(window), size), *masks))
    return {
        "plane": plane,
        "recovered": None,
        **_written(pictures, folder, stem),
        "note": _note(damage, plane, copies),
        "wide": _wide(now),
    }


def _of_planes(masks: Masks | None, image: Image) -> Bool[ndarray, "planes h w"]:
    """Any of the channels of each plane."""
    height, width = image.shape[-2:]
    if masks is None:
        return np.zeros((image.planes, height, width), bool)
    return np.asarray(masks.reshape(image.planes, -1, height, width).any(axis=1))


def _copies(
    image: Image, altered: Masks, unknown: Masks | None, known: Masks | None
) -> Bool[ndarray, "planes h w"]:
    """Where a plane shows copies and nothing else that was altered, in any channel."""
    if known is None:
        return _of_planes(None, image)
    doubtful = altered if unknown is None else altered | unknown
    return _of_planes(known, image) & ~_of_planes(doubtful & ~known, image)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of a picture: reduced to `SIDE`, or enlarged by a whole number."""
    height, width = shape
    if max(shape) <= SIDE:
        times = SIDE // max(shape)
        return width * times, height * times
    return max(1, round(width * SIDE / max(shape))), max(1, round(height * SIDE / max(shape)))


def _resized(shown: UInt8[ndarray, "..."], size: tuple[int, int]) -> UInt8[ndarray, "..."]:
    """A plane of another size: single pixels stay visible when it is enlarged."""
    picture = Pillow.fromarray(shown)
    how = Pillow.Resampling.NEAREST if size[0] > picture.width else Pillow.Resampling.LANCZOS
    return np.asarray(picture.resize(size, how))


def _scaled(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask of another size; a pixel that holds any of it belongs to it, so that no block is lost."""
    picture = Pillow.fromarray(mask.astype(np.float32)).resize(size, Pillow.Resampling.BOX)
    covered: Mask = np.asarray(picture) > 0.0
    return covered


def _overlay(altered: Mask, unknown: Mask) -> UInt8[ndarray, "h w"]:
    """What lies over the image, as indices of the palette."""
    frames = _frames(altered)
    drawn = np.full(altered.shape, _CLEAR, np.uint8)
    drawn[_rim(altered | unknown | frames)] = _RIM
    drawn[_stripes(unknown)] = _STRIPE
    drawn[altered] = _TINT
    drawn[_edge(altered) | frames] = _EDGE
    return drawn


def _with_copies(
    shown: UInt8[ndarray, "..."], altered: Mask, unknown: Mask, copies: Mask
) -> UInt8[ndarray, "h w 3"]:
    """The recovered plane: copies outlined, and what has no copy covered, lest it be taken for one."""
    picture = np.array(Pillow.fromarray(shown).convert("RGB"))
    lost, frames = altered & ~copies, _frames(copies)
    picture[lost] = _LOST
    for mask, colour in (
        (_rim(copies | frames), _RIM),
        (_stripes(unknown & ~copies), _STRIPE),
        (_stripes(lost), _EDGE),
        (_edge(copies) | frames, _COPY),
    ):
        picture[mask] = _COLOURS[colour, :3]
    return picture


def _edge(mask: Mask, width: int = 2) -> Mask:
    """The pixels inside its border."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3), bool), iterations=width)


def _rim(mask: Mask) -> Mask:
    """The pixels just outside its border."""
    return ndimage.binary_dilation(mask, np.ones((3, 3), bool)) & ~mask


def _stripes(mask: Mask) -> Mask:
    """Diagonal stripes inside, and the border."""
    row, column = np.indices(mask.shape)
    return mask & (((row + column) % 10 < 3) | _edge(mask, 1))


def _frames(altered: Mask) -> Mask:
    """Rectangles around areas too small to be noticed, unless there are many of them."""
    frames = np.zeros(altered.shape, bool)
    areas, count = ndimage.label(altered)
    if count > _FRAMES:
        return frames
    for rows, columns in ndimage.find_objects(areas):
        if max(rows.stop - rows.start, columns.stop - columns.start) < _SMALL:
            around = np.zeros_like(frames)
            around[_widened(rows), _widened(columns)] = True
            frames |= _edge(around)
    return frames


def _widened(span: slice) -> slice:
    return slice(max(0, span.start - _GAP - 2), span.stop + _GAP + 2)


def _overlay_png(drawn: UInt8[ndarray, "h w"]) -> bytes:
    picture = Pillow.fromarray(drawn)
    picture.putpalette(_COLOURS[:, :3].tobytes())
    target = io.BytesIO()
    picture.save(target, "PNG", transparency=_COLOURS[:, 3].tobytes(), optimize=True)
    return target.getvalue()


def _png(shown: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Pillow.fromarray(shown).save(target, "PNG", compress_level=6)
    return target.getvalue()


def _written(pictures: dict[str, bytes], folder: Path, stem: str) -> dict[str, str]:
    """Write the files and tell their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another place") from error
    paths = {name: put(folder / f"{stem}-{name}.png", data) for name, data in pictures.items()}
    return {name: path.relative_to(folder.parent).as_posix() for name, path in paths.items()}


def _note(damage: Bool[ndarray, "planes h w"], plane: int, copies: Mask) -> str:
    """Which plane is shown, where it was altered, and how much of that has a copy."""
    planes, altered, words = len(damage), damage[plane], []
    if planes > 1:
        others = int(np.count_nonzero(damage.any(axis=(1, 2)))) - bool(altered.any())
        also = f"; {others} other {plural(others, 'plane')} {'was' if others == 1 else 'were'} altered too"
        which = "the one altered most" + also if others else "the only one altered"
        words.append(f"Plane {plane + 1} of {planes}, {which}.")
    if altered.any():
        rows, columns = (np.flatnonzero(altered.any(axis=axis)) for axis in (1, 0))
        words.append(
            f"Altered between rows {rows[0]} and {rows[-1]}, columns {columns[0]} and {columns[-1]}, "
            "counted from 0."
        )
        lost = 1.0 - np.count_nonzero(altered & copies) / np.count_nonzero(altered)
        if lost == 1.0:
            words.append("No copy of the altered blocks is left.")
        elif lost:
            words.append(f"{rate(lost)} of the altered area has no copy left.")
    return " ".join(words)


def _wide(plane: Image) -> float:
    row, column = plane.spacing[-2:] if plane.spacing else (1.0, 1.0)
    height, width = plane.shape
    return width * column / (height * row)
