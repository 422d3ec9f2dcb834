"""What regions are compared by: maps of the shipped backbone, the same for every model.

Whatever flagged a region, its likeness to others is told by one measure, so that explanations of
different methods compare and what a site has marked outlives its models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.data.transforms import Placement, choose_preparation
from intact.filters import upsample
from intact.image import Image
from intact.model import planes_of
from intact.nets.features import FrozenFeatures

BACKBONE, LAYERS = "narrow_resnet18", ("layer2", "layer3")
SIZE, GRID = 256, 32  # sides of the square that is looked at, in pixels and in cells of its maps

Box = tuple[int, int, int, int]  # first row, first column, last row + 1, last column + 1
Cells = tuple[slice, slice]
Look = Float[Tensor, "c"]  # what a region looks like: one unit vector per layer, end to end


@dataclass(frozen=True, eq=False)
class Seen:
    """The maps of one plane.

    Args:
        maps: float32 [c, GRID, GRID], all layers.
        at: Where the plane lies in the square that was looked at.
    """

    maps: Float[Tensor, "c g g"]
    at: Placement

    def look(self, box: Box) -> Look:
        """What the region in a box of pixels looks like."""
        rows, columns = self.cells(box)
        return normalised(self.maps[:, rows, columns].mean(dim=(1, 2)))

    def cells(self, box: Box) -> Cells:
        """The cells that a box of pixels covers, one at least."""
        top, left, bottom, right = box
        rows = _span(top, bottom, self.at.rows / self.at.source[0], self.at.top)
        return rows, _span(left, right, self.at.columns / self.at.source[1], self.at.left)


def see(image: Image, planes: Sequence[int]) -> list[Seen]:
    """Maps of some planes of an image."""
    preparation = choose_preparation([image], SIZE)
    return [Seen(_maps(square), at) for square, at in planes_of(image, preparation, planes)]


@torch.no_grad()
def _maps(square: Float[Tensor, "c h w"]) -> Float[Tensor, "c g g"]:
    maps = [upsample(each[0], (GRID, GRID)) for each in _net()(square[None])]
    return torch.cat(maps)


@cache
def _net() -> FrozenFeatures:
    return FrozenFeatures(BACKBONE, LAYERS, "float32")


def normalised(means: Float[Tensor, "c ..."]) -> Float[Tensor, "c ..."]:
    """Features scaled so that the product of two is their cosine, each layer counting alike."""
    parts = means.split(tuple(_net().channels))
    return torch.cat([F.normalize(part, dim=0) for part in parts]) / math.sqrt(len(parts))


def box_of(cells: Cells, at: Placement) -> Box:
    """The pixels that cells cover, as far as they lie in the image."""
    rows, columns = (
        (
            round((part.start * SIZE / GRID - start) * source / length),
            round((part.stop * SIZE / GRID - start) * source / length),
        )
        for part, start, source, length in zip(
            cells, (at.top, at.left), at.source, (at.rows, at.columns), strict=True
        )
    )
    height, width = at.source
    top, left = min(max(rows[0], 0), height - 1), min(max(columns[0], 0), width - 1)
    return top, left, max(min(rows[1], height), top + 1), max(min(columns[1], width), left + 1)


def _span(first: int, last: int, zoom: float, start: int) -> slice:
    """Cells between two pixels of a row or column."""
    begin, end = ((start + at * zoom) * GRID / SIZE for at in (first, last))
    low = min(int(begin), GRID - 1)
    return slice(low, max(low + 1, min(GRID, math.ceil(end))))
