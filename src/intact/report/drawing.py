"""The pictures of the report's cards: planes, heat maps and outlines, read again from the files.

All cards share the page's budget of bytes. An image that does not fit its share is shown smaller,
a volume with fewer planes around the finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from intact.image import Image, Window
from intact.report.cards import Box, Card, Finding, Plane
from intact.report.explanations import explain
from intact.report.pictures import HeatScale, heat_png, image_png, scale_bar
from intact.report.statements import GRAVE

Read = Callable[[str], Image]

PLANES = 24  # of a volume, at most
EXPLAINED = 60  # cards whose regions have others beside them, the most suspicious
_SIDES = (512, 384, 256)  # longest side of a 2-D image in pixels: the first that fits the budget
_VOLUME_SIDE = 256
_PAGE_BYTES = 20_000_000
_CARD_BYTES = (100_000, 900_000)  # least and most for the pictures of one card


@dataclass(frozen=True)
class _Heat:
    scores: NDArray[np.float32]  # [planes, H, W]
    scale: HeatScale


def draw_cards(
    images: list[list[Finding]], out: Path, *, read: Read, scales: Mapping[str, HeatScale]
) -> Iterator[Card]:
    """Draw the card of each image; an image that cannot be drawn gets a card that says why.

    Args:
        images: Rows of each image, as `flagged_images` gives them.
        out: Folder of the run, which the rows' `map` paths start from.
        read: Gives the image of a path again; whatever it raises becomes a line in the card.
        scales: Heat scale of each detector by name; a detector without one draws no heat.
    """
    least, most = _CARD_BYTES
    budget = min(most, max(least, _PAGE_BYTES // max(1, len(images))))
    for number, rows in enumerate(images):
        card = Card(rows=rows)
        try:
            image = read(card.first["path"])
            _measure(card, image)
            heats = [_read_heat(card, row, image, out, scales) for row in card.flagged]
            draw = _draw_plane if image.planes == 1 else _draw_volume
            draw(card, image, heats, budget)
            if number < EXPLAINED:
                card.explanations = explain(card, image, out, read)
        except Exception as problem:  # whatever a decoder raises costs this picture, not the report
            card.problems.append(f"The image could not be shown: {problem}")
        yield card


def _measure(card: Card, image: Image) -> None:
    rows, columns = image.shape[-2:]
    row_mm, column_mm = image.spacing[-2:] if image.spacing else (1.0, 1.0)
    card.planes_total = image.planes
    card.width, card.height = columns * column_mm, rows * row_mm
    card.coarse = max(rows, columns) < min(_SIDES)
    card.bar = scale_bar(card.width) if image.spacing else None


def _draw_plane(card: Card, image: Image, heats: list[_Heat | None], budget: int) -> None:
    """Embed a 2-D image at the largest size that fits the budget, else at the smallest."""
    for side in _SIDES:
        plane = _plane(card, image, 0, heats, side=side, window=None)
        if _bytes(plane) <= budget:
            break
    card.planes = [plane]


def _draw_volume(card: Card, image: Image, heats: list[_Heat | None], budget: int) -> None:
    """Embed planes from the finding outwards until the budget is spent."""
    centre = _centre(card, heats, image.planes)
    first = max(0, min(centre - PLANES // 2, image.planes - PLANES))
    shown = range(first, min(first + PLANES, image.planes))
    window = common_window([image.plane(index) for index in shown])
    for index in sorted(shown, key=lambda index: abs(index - centre)):
        plane = _plane(card, image, index, heats, side=_VOLUME_SIDE, window=window)
        budget -= _bytes(plane)
        if budget < 0 and card.planes:
            break
        card.planes.append(plane)
    card.planes.sort(key=lambda plane: plane.index)
    card.start = [plane.index for plane in card.planes].index(centre)


def _read_heat(
    card: Card, row: Finding, image: Image, out: Path, scales: Mapping[str, HeatScale]
) -> _Heat | None:
    """The row's score map; None, with a word in the card, where it cannot be shown."""
    name = row["detector"]
    if row["map"] is None:
        return None
    if name not in scales:
        card.problems.append(f"No heat map of {name}: the model states no scale for its colours.")
        return None
    path = out / row["map"]
    try:
        scores = tifffile.imread(path) if path.suffix == ".tif" else _read_nifti(path)
    except Exception as problem:  # as above: it costs this heat map only
        card.problems.append(f"The heat map of {name} could not be read: {problem}")
        return None
    if scores.shape != image.shape:
        card.problems.append(
            f"The heat map of {name} has the shape {scores.shape}, the image {image.shape}: "
            "they do not belong together, so the map is not shown."
        )
        return None
    scores = scores.astype(np.float32, copy=False).reshape(-1, *scores.shape[-2:])
    return _Heat(scores, scales[name])


def _read_nifti(path: Path) -> NDArray[np.float32]:
    return np.asarray(Nifti1Image.from_filename(path).dataobj, dtype=np.float32).T


def _centre(card: Card, heats: list[_Heat | None], planes: int) -> int:
    """The plane of the first finding or region, else of the hottest pixel, else the middle one."""
    heavy = [e for row in card.rows for e in row.get("evidence") or () if e["severity"] in GRAVE]
    if where := next((each["planes"] for each in heavy if each["planes"]), None):
        return min(int(where[0]), planes - 1)
    if card.regions:
        return min(int(card.regions[0][2]["plane"]), planes - 1)
    heat = next((heat for heat in heats if heat is not None), None)
    if heat is None:
        return planes // 2
    return int(np.nan_to_num(heat.scores, nan=-np.inf).max(axis=(1, 2)).argmax())


def common_window(planes: list[Image]) -> Window | None:
    """One window for all planes, so that brightness does not jump; None if the file has its own."""
    first = planes[0]
    if first.windows or first.voi is not None or first.colour or first.palette is not None:
        return None
    values = np.concatenate([plane.physical()[~plane.padding_mask()] for plane in planes])
    if not values.size:
        return None
    low, high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
    return Window(center=(low + high) / 2, width=max(high - low, 1e-6), function="LINEAR_EXACT")


def _plane(
    card: Card,
    image: Image,
    index: int,
    heats: list[_Heat | None],
    *,
    side: int,
    window: Window | None,
) -> Plane:
    return Plane(
        index=index,
        position=_position(image, index),
        picture=image_png(image.plane(index).display(window), side=side),
        heats=tuple(heat_png(h.scores[index], h.scale, side=side) if h else "" for h in heats),
        boxes=tuple(_boxes(card, index, image.shape[-2:])),
    )


def _boxes(card: Card, index: int, shape: tuple[int, ...]) -> Iterator[Box]:
    height, width = shape
    for number, heat, region in card.regions:
        if region["plane"] == index:
            top, left, bottom, right = region["box"]
            yield Box(
                number,
                heat,
                left=100 * left / width,
                top=100 * top / height,
                width=100 * (right - left) / width,
                height=100 * (bottom - top) / height,
            )


def _position(image: Image, index: int) -> str:
    """Where a plane lies, counted from 1 as viewers do; empty for a 2-D image."""
    if image.planes == 1:
        return ""
    words = f"Plane {index + 1} of {image.planes}"
    if image.spacing and len(image.spacing) == len(image.shape) == 3:
        words += f", {index * image.spacing[0]:.1f} mm from the first"
    return words


def _bytes(plane: Plane) -> int:
    return len(plane.picture) + sum(len(heat) for heat in plane.heats)
