"""A picture of an image and what was found in it: each mask outlined, tinted and measured.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which stay apart without colour
vision too; the ones that show best on grey come first.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from intact.errors import UsageError
from intact.image import Image, Window
from intact.io.atomic import put
from intact.report.drawing import common_window

Mask = Bool[ndarray, "h w"]
Masks = Bool[ndarray, "masks planes h w"]
Layer = UInt8[ndarray, "h w 4"]  # red, green, blue, alpha
Colour = tuple[int, int, int]

PLANES = 12  # of a volume, at most
_COLUMNS = 4  # of a contact sheet, at most
_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)
_TINT = 50  # of 255; more would hide what is inside
_RIM = (10, 12, 16, 170)
_GROUND = (18, 20, 24)  # between the planes and behind the legend
_INK = (232, 234, 237)
_FINE = 2  # outlines are drawn so many times larger and then reduced, so that they are smooth
_GAP = 6  # pixels between planes


def draw_overlay(
    image: Image, masks: Mapping[str, Bool[ndarray, "..."]], path: str | Path, *, side: int = 1024
) -> Path:
    """Draw the image with its masks as a PNG file.

    A volume becomes a sheet of up to 12 planes, spread over those that hold any of a mask; the plane
    where each mask is largest is among them. Planes are numbered from 1. Pixels are drawn with their
    physical proportions, and planes that know their place as radiologists hang them: the patient's
    left on the right, the front or the head up.

    Args:
        image: A plane, a volume, or a file of several frames.
        masks: One mask for each label, of the image's shape; they may overlap or be empty.
        path: The file.
        side: Longest side of the plane in pixels, or of two planes of a sheet.

    Raises:
        UsageError: A mask has another shape.
        OutputError: The file cannot be written.
    """
    for label, mask in masks.items():
        if mask.shape != image.shape:
            raise UsageError(f"the mask {label!r} has shape {mask.shape} and its image {image.shape}")
    stacked = np.array([*masks.values()], bool).reshape(len(masks), image.planes, *image.shape[-2:])
    chosen = _chosen(stacked)
    window = common_window([image.plane(index) for index in chosen])
    size = _size(image, side if image.planes == 1 else side // 2)
    tiles = [_tile(image, index, stacked[:, index], size, window) for index in chosen]
    sheet = tiles[0] if image.planes == 1 else _sheet(tiles, chosen, image.planes)
    tags = [
        _tag(_colour(index), label, *_amount(image, mask), font=max(14, min(28, sheet.width // 40)))
        for index, (label, mask) in enumerate(masks.items())
    ]
    target = io.BytesIO()
    _with_legend(sheet, tags).save(target, "PNG", compress_level=6)
    return put(path, target.getvalue())


def _chosen(stacked: Masks) -> list[int]:
    """Which planes to show, in order."""
    areas = stacked.sum(axis=(2, 3))
    planes = areas.shape[1]
    chosen = {int(area.argmax()) for area in areas if area.any()}
    held = np.flatnonzero(areas.any(axis=0)) if areas.any() else np.arange(planes)
    rest = [int(plane) for plane in held if plane not in chosen]
    room = min(PLANES - len(chosen), len(rest))
    if room > 0:
        middles = (np.arange(room) + 0.5) * len(rest) / room  # of equal parts: the ends show little
        chosen |= {rest[int(middle)] for middle in middles}
    return sorted(chosen)[:PLANES]


def _size(image: Image, side: int) -> tuple[int, int]:
    """Width and height of a plane in pixels, in its physical proportions."""
    (rows, columns), (row, column) = image.shape[-2:], image.spacing[-2:] if image.spacing else (1.0, 1.0)
    scale = side / max(rows * row, columns * column)
    return max(1, round(columns * column * scale)), max(1, round(rows * row * scale))


def _tile(
    image: Image, index: int, masks: Bool[ndarray, "masks h w"], size: tuple[int, int], window: Window | None
) -> Pillow.Image:
    """One plane with its outlines."""
    shown = Pillow.fromarray(image.plane(index).display(window)).convert("RGB")
    shown = shown.resize(size, Pillow.Resampling.BICUBIC)
    fine = (size[0] * _FINE, size[1] * _FINE)
    layer = Pillow.fromarray(_outlined([_scaled(mask, fine) for mask in masks], fine))
    layer = layer.resize(size, Pillow.Resampling.BOX)
    shown.paste(layer, mask=layer)
    return _hung(shown, image)


def _scaled(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask of another size: smooth when it is much enlarged, else so that no part of it gets lost."""
    picture = Pillow.fromarray(mask.astype(np.float32))
    smooth = size[0] >= 2 * picture.width and size[1] >= 2 * picture.height
    how, least = (Pillow.Resampling.BILINEAR, 0.5) if smooth else (Pillow.Resampling.BOX, 0.0)
    scaled: Mask = np.asarray(picture.resize(size, how)) > least
    return scaled


def _outlined(masks: Sequence[Mask], size: tuple[int, int]) -> Layer:
    """Tints, over them the dark rims, over them the outlines; smaller masks over larger ones."""
    layer = np.zeros((size[1], size[0], 4), np.uint8)
    order = sorted((k for k in range(len(masks)) if masks[k].any()), key=lambda k: -int(masks[k].sum()))
    line = max(2 * _FINE, max(size) // 400)
    square = np.ones((3, 3), bool)
    for k in order:
        layer[masks[k]] = (*_colour(k), _TINT)
    for k in order:
        layer[ndimage.binary_dilation(masks[k], square, iterations=_FINE) & ~masks[k]] = _RIM
    for k in order:
        layer[masks[k] & ~ndimage.binary_erosion(masks[k], square, iterations=line)] = (*_colour(k), 255)
    return layer


def _colour(index: int) -> Colour:
    """The colours in turn, and lighter ones once they are used up."""
    colour = _COLOURS[index % len(_COLOURS)]
    if index % (2 * len(_COLOURS)) < len(_COLOURS):
        return colour
    red, green, blue = ((value + 255) // 2 for value in colour)
    return red, green, blue


def _hung(picture: Pillow.Image, image: Image) -> Pillow.Image:
    """Mirror a plane so that the patient's left or back is on the right, and the back or feet below."""
    if image.affine is None:
        return picture
    across, down = image.affine[:3, 0], image.affine[:3, 1]
    if across[np.abs(across).argmax()] < 0:
        picture = picture.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    axis = int(np.abs(down).argmax())
    if (down[axis] > 0) == (axis == 2):
        picture = picture.transpose(Pillow.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _sheet(tiles: Sequence[Pillow.Image], planes: Sequence[int], total: int) -> Pillow.Image:
    """The planes side by side, each with its number."""
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].size
    sheet = Pillow.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), _GROUND)
    font = ImageFont.load_default(max(12, max(width, height) // 24))
    for place, (tile, plane) in enumerate(zip(tiles, planes, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * (width + _GAP), row * (height + _GAP)
        sheet.paste(tile, (left, top))
        words = f"{plane + 1} / {total}"
        ImageDraw.Draw(sheet).text(
            (left + 6, top + 4), words, _INK, font, stroke_width=2, stroke_fill=_GROUND
        )
    return sheet


def _amount(image: Image, mask: Bool[ndarray, "..."]) -> tuple[str, str]:
    """How large a mask is, and the power of its unit: ("1,234 mm", "2")."""
    count, axes = int(np.count_nonzero(mask)), len(image.shape)
    if not count:
        return "none", ""
    if image.spacing is None or len(image.spacing) != axes or axes > 3:
        return f"{count:,} {'px' if axes == 2 else 'voxels'}", ""
    size = count * float(np.prod(image.spacing))
    return f"{size:,.0f} mm" if size >= 100 else f"{size:.3g} mm", str(axes)


def _tag(colour: Colour, label: str, amount: str, power: str, *, font: int) -> Pillow.Image:
    """A line of the legend: a square of the colour, the label, how large the mask is."""
    words, plain, raised = (
        f"{label}  {amount}",
        ImageFont.load_default(font),
        ImageFont.load_default(font * 2 // 3),
    )
    left = 1.6 * font
    right = left + plain.getlength(words)
    tag = Pillow.new("RGB", (round(right + raised.getlength(power) + 1.5 * font), round(1.7 * font)), _GROUND)
    draw = ImageDraw.Draw(tag)
    middle = tag.height / 2
    draw.rectangle((0, middle - font / 2, font, middle + font / 2), colour)
    draw.text((left, middle), words, _INK, plain, anchor="lm")
    draw.text((right, middle - 0.2 * font), power, _INK, raised, anchor="lm")  # the default font has no ²
    return tag


def _with_legend(picture: Pillow.Image, tags: Sequence[Pillow.Image]) -> Pillow.Image:
    """The picture over a strip that holds the tags, in as many rows as they take."""
    if not tags:
        return picture
    high = tags[0].height
    left, top = high // 2, picture.height + high // 4
    places: list[tuple[int, int]] = []
    for tag in tags:
        if places and left + tag.width > picture.width:
            left, top = high // 2, top + high
        places.append((left, top))
        left += tag.width
    full = Pillow.new("RGB", (picture.width, top + high + high // 4), _GROUND)
    full.paste(picture, (0, 0))
    for tag, place in zip(tags, places, strict=True):
        full.paste(tag, place)
    return full
