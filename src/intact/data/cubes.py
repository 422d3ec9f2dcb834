"""Cubes: whole volumes as a detector of volumes sees them, and maps brought back into the volume's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Where a volume went.

    Args:
        source: Its (planes, rows, columns).
        first: Corner of its box in the cube.
        sides: Of the box.
    """

    source: tuple[int, int, int]
    first: tuple[int, int, int]
    sides: tuple[int, int, int]

    @property
    def within(self) -> tuple[slice, slice, slice]:
        """The box as a part of the cube."""
        one, two, three = (slice(f, f + n) for f, n in zip(self.first, self.sides, strict=True))
        return one, two, three


def box_of(source: tuple[int, int, int], spacing: Sequence[float] | None, size: int) -> Box:
    """The largest box of the volume's proportions in mm in the middle of a cube.

    Args:
        source: Planes, rows, columns.
        spacing: Of these, in mm; what is unknown counts as 1 mm.
        size: Side of the cube.
    """
    known = (1.0, 1.0, 1.0, *(spacing or ()))[-3:]
    lengths = [n * mm for n, mm in zip(source, known, strict=True)]
    scale = size / max(lengths)
    one, two, three = (max(1, min(size, round(length * scale))) for length in lengths)
    first = (size - one) // 2, (size - two) // 2, (size - three) // 2
    return Box(source, first, (one, two, three))


def into_cube(planes: Sequence[Float[Tensor, "c h w"]], box: Box, size: int) -> Float[Tensor, "c d d d"]:
    """Planes that have the rows and columns of the box already, resampled to its planes; around it is 0."""
    x = torch.stack(list(planes), dim=1)
    flat = x.flatten(2)[None]
    depth = F.interpolate(
        flat, size=(box.sides[0], flat.shape[-1]), mode="bilinear", antialias=True, align_corners=False
    )
    cube = x.new_zeros(len(x), size, size, size)
    cube[(slice(None), *box.within)] = depth.reshape(len(x), *box.sides)
    return cube


def out_of_cube(score_map: Float[Tensor, "d d d"], box: Box) -> Float[Tensor, "planes rows columns"]:
    """A map of the cube in the grid of the volume that it was made from."""
    inner = score_map[box.within][None, None]
    return F.interpolate(inner, size=box.source, mode="trilinear", align_corners=False)[0, 0]
