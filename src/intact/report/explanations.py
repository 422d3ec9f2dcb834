"""What stands beside a region in the report: itself, its normal twin, the nearest normal regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image as Pillow

from intact.image import Image
from intact.report.cards import Card, Explanation, Thumbnail
from intact.report.pictures import image_png

REGIONS = 3  # of a card that are explained, the most abnormal
SIDE = 128  # pixels of a thumbnail
AROUND = 1.0  # of the longer side of a region that is shown around it, on each side
LEAST = 1 / 6  # of the shorter side of the image: what is shown is never smaller
_FRAME = 235  # grey of the line around the region, of two pixels

Shown = UInt8[ndarray, "h w *c"]
Box = tuple[int, int, int, int]


def explain(card: Card, image: Image, out: Path, read: Callable[[str], Image]) -> list[Explanation]:
    """The explanations of a card's first regions; those without anything beside them are left out."""
    found = []
    for number, heat, region in card.regions[:REGIONS]:
        beside = [*_twins(card.flagged[heat], region, out), *_normals(region, read, card)]
        if beside:
            own = _cut(_shown(image, region["plane"]), region["box"])
            found.append(Explanation(number, (Thumbnail(own, "this image"), *beside)))
    return found


def _twins(row: Mapping[str, Any], region: Mapping[str, Any], out: Path) -> Iterator[Thumbnail]:
    """The region as the method sees it, and as it would expect it, where it rebuilt that plane."""
    twin = row["twin"]
    if twin and twin["plane"] == region["plane"]:
        with Pillow.open(out / twin["file"]) as picture:
            pair = np.asarray(picture)
        seen, normal = np.split(pair, 2, axis=1)
        yield Thumbnail(_cut(seen, region["box"]), "as it is seen")
        yield Thumbnail(_cut(normal, region["box"]), "its normal twin")


def _normals(region: Mapping[str, Any], read: Callable[[str], Image], card: Card) -> Iterator[Thumbnail]:
    for near in region["nearest"]:
        try:
            normal = read(near["path"])
        except Exception as problem:  # whatever a decoder raises costs this picture only
            card.problems.append(f"{near['path']}, a normal image, could not be shown: {problem}")
            continue
        picture = _cut(_shown(normal, near["plane"]), near["box"])
        yield Thumbnail(picture, f"normal, {near['distance']:.2f} away", near["path"])


def _shown(image: Image, plane: int) -> Shown:
    return image.plane(plane).display()


def _cut(shown: Shown, box: Box) -> str:
    """A square around a box, with the box drawn in it, as a PNG data URI."""
    top, left, bottom, right = box
    height, width = shown.shape[:2]
    half = max((0.5 + AROUND) * max(bottom - top, right - left), LEAST * min(height, width) / 2)
    side = min(round(2 * half), height, width)
    first = int(np.clip((top + bottom) / 2 - side / 2, 0, height - side))
    begin = int(np.clip((left + right) / 2 - side / 2, 0, width - side))
    square = shown[first : first + side, begin : begin + side]
    zoom = SIDE / side
    large = np.asarray(Pillow.fromarray(square).resize((SIDE, SIDE), Pillow.Resampling.BICUBIC))
    a, b = (int(np.clip((at - first) * zoom, 0, SIDE - 1)) for at in (top, bottom))
    c, d = (int(np.clip((at - begin) * zoom, 0, SIDE - 1)) for at in (left, right))
    framed = large.copy()
    framed[max(a - 1, 0) : b + 2, max(c - 1, 0) : d + 2] = _FRAME
    framed[a + 1 : b, c + 1 : d] = large[a + 1 : b, c + 1 : d]
    return image_png(framed, side=SIDE)
