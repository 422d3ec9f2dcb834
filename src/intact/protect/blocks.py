"""Blocks: how planes are cut into them, and the keyed tag of each.

A tag covers every bit of a block with its place, shape and type, so blocks cannot be swapped unseen,
inside an image or between images.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2s
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt8
from numpy import ndarray
from numpy.typing import NDArray

BLOCK = 16  # pixels along a side; where they do not divide the plane, blocks grow, to 31 at most
TAG = 32  # bits
PURPOSE = b"intactWM"  # eight bytes, the most that BLAKE2s takes

Planes = Integer[ndarray, "p h w"]
Mask = Bool[ndarray, "p h w"]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """How planes are cut into blocks; numbered plane by plane, in raster order.

    Args:
        shape: Planes, height, width.
    """

    shape: tuple[int, int, int]

    @cached_property
    def edges(self) -> tuple[Ints, Ints]:
        """Where rows and columns of blocks begin, and end at last."""
        return edges_of(self.shape[1]), edges_of(self.shape[2])

    @property
    def blocks(self) -> tuple[int, int, int]:
        """Planes, rows and columns of blocks."""
        return self.shape[0], self.edges[0].size - 1, self.edges[1].size - 1

    @cached_property
    def sides(self) -> Int[ndarray, "b 2"]:
        """Height and width of the blocks of one plane."""
        heights, widths = (np.diff(edges) for edges in self.edges)
        return np.stack([np.repeat(heights, widths.size), np.tile(widths, heights.size)], axis=1)

    @cached_property
    def pixels(self) -> Int[ndarray, "b s"]:
        """Positions in the plane of each block's pixels, in raster order; smaller blocks end with zeros."""
        (tops, lefts), (_, rows, columns) = (edges[:-1] for edges in self.edges), self.blocks
        widths = self.sides[:columns, 1:]
        k = np.arange(self.sides.prod(axis=1).max())
        one_row = lefts[:, None] + k // widths * self.shape[2] + k % widths
        all_rows = (tops[:, None, None] * self.shape[2] + one_row).reshape(rows * columns, -1)
        return np.where(k < self.sides.prod(axis=1)[:, None], all_rows, 0)

    def of(self, values: NDArray[Any], plane: int) -> NDArray[Any]:
        """The values of one plane by blocks, [b,s]."""
        return values[plane].reshape(-1)[self.pixels]

    def inside(self, mask: Mask) -> Bool[ndarray, "n s"]:
        """A mask by blocks, False where smaller blocks have no pixels."""
        real = np.arange(self.pixels.shape[1]) < self.sides.prod(axis=1)[:, None]
        return np.concatenate([self.of(mask, plane) & real for plane in range(self.shape[0])])

    def spread(self, chosen: Bool[ndarray, "p r c"]) -> Mask:
        """The pixels of chosen blocks."""
        rows, columns = (np.diff(edges) for edges in self.edges)
        return np.repeat(np.repeat(chosen, rows, axis=1), columns, axis=2)


def tags_of(planes: Planes, grid: Grid, blocks: Ints, key: bytes) -> UInt8[ndarray, "k 32"]:
    """Tags of some blocks, in ascending order, as bits."""
    kind = planes.dtype.newbyteorder("<")
    state = blake2s(key=key, digest_size=TAG // 8, person=PURPOSE)
    state.update(struct.pack("<3I", *grid.shape) + kind.str[1:].encode())
    found = bytearray()
    for plane, chosen in enumerate(np.split(blocks, _starts(blocks, grid))):
        number = chosen - plane * len(grid.pixels)
        sides = grid.sides[number]
        place = np.column_stack([np.full(number.size, plane), number, sides]).astype("<u4").view(np.uint8)
        pixels = planes[plane].reshape(-1)[grid.pixels[number]].astype(kind, copy=False).view(np.uint8)
        lengths = place.shape[1] + sides.prod(axis=1) * kind.itemsize
        for row, length in zip(np.hstack([place, pixels]), lengths.tolist(), strict=True):
            tag = state.copy()
            tag.update(row[:length])
            found += tag.digest()
    return np.unpackbits(np.frombuffer(found, np.uint8)).reshape(-1, TAG)


def edges_of(length: int) -> Ints:
    """Boundaries that cut a side as evenly as `np.array_split` does."""
    count = max(1, length // BLOCK)
    size, larger = divmod(length, count)
    k = np.arange(count + 1)
    return k * size + np.minimum(k, larger)


def _starts(blocks: Ints, grid: Grid) -> Ints:
    """Where each plane but the first begins among ascending blocks."""
    return np.searchsorted(blocks, np.arange(1, grid.shape[0]) * len(grid.pixels))
