"""Which pixels of a sealed image do what: the same for who seals and who opens.

The header has its strip, the region to keep stays as it is, blocks have slots for tags where changes
are to be localised, and the payload goes into the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.coding import pack, unpack
from intact.protect.header import LARGEST, Header, Planes
from intact.protect.keys import derive
from intact.protect.watermark import Layout, layout

COPIES = 3  # of the header where changes are to be localised: one may be hit
LEVELS = ((4, 6), (3, 6), (2, 6), (1, 6), (0, 0))  # reduced copies: samples along a side, bits of each
FACTS = struct.Struct(">BBqq")  # samples, bits, least and largest value of a copy
CELL = 8  # side of the squares in which the region to keep is stored


@dataclass(frozen=True)
class Plan:
    """Which pixels do what in the planes that hold a seal.

    Args:
        header: With its tail complete.
        strips: Positions of the header, [copies, bits].
        free: Where the payload may go, [k,h,w].
        blocks: The watermark's layout, if blocks carry tags.
        low: Least value that a reduced copy can hold.
        high: Largest.
    """

    header: Header
    strips: NDArray[np.intp]
    free: Bool[ndarray, "k h w"]
    blocks: Layout | None = None
    low: int = 0
    high: int = 0

    @property
    def reserved(self) -> NDArray[np.intp]:
        """Positions of all pixels whose lowest bits are displaced."""
        slots = [self.blocks.slots] if self.blocks else []
        return np.concatenate([self.strips.ravel(), *slots])


def plans(
    planes: Planes, content: bytes, header: Header, keep: Bool[ndarray, "h w"] | None
) -> Iterator[Plan]:
    """The ways to lay the seal out, best first."""
    cells = b"" if keep is None else pack(_cells(keep).astype(np.uint8))
    if not header.localise:
        levels = [b""]
    else:
        low, high = int(planes.min()), int(planes.max())
        levels = [FACTS.pack(samples, bits, low, high) for samples, bits in LEVELS]
    for facts in levels:
        if (plan := plan_for(shape_of(planes), content, replace(header, tail=cells + facts))) is not None:
            yield plan


def plan_for(shape: tuple[int, int, int], content: bytes, header: Header) -> Plan | None:
    """Lay a seal out as its header says, the same for writer and reader; None where there is no room."""
    if max(header.planes, len(header.tail)) > LARGEST:
        return None
    facts = header.tail[len(header.tail) - FACTS.size :] if header.localise else b""
    cells = header.tail[: len(header.tail) - len(facts)]
    kept = _from_cells(unpack(cells).astype(bool), shape[1:]) if cells else np.zeros(shape[1:], bool)
    free = np.broadcast_to(~kept, shape).copy()
    strips = _strips(free, 8 * len(header.to_bytes()), COPIES if header.localise else 1)
    if strips is None:
        return None
    free.ravel()[strips] = False
    if not header.localise:
        return Plan(header, strips, free)
    samples, bits, low, high = FACTS.unpack(facts)
    if (samples, bits) not in LEVELS:
        raise ValueError(f"reduced copies of {samples} x {samples} samples of {bits} bits are never made")
    region = np.broadcast_to(kept, shape) if cells else None
    blocks = layout(shape, free, region, derive(content, "blocks", 32), samples, bits)
    if blocks is None:
        return None
    free.ravel()[blocks.slots] = False
    return Plan(header, strips, free, blocks, low, high)


def localising_plan(planes: Planes, header: Header, content: bytes) -> Plan | None:
    """How a found seal that localises is laid out; None where it does not or makes no sense."""
    if not (header.sound and header.localise and header.fits(content) and header.planes == len(planes)):
        return None
    try:
        return plan_for(shape_of(planes), content, header)
    except (ValueError, struct.error):
        return None


def _strips(free: Bool[ndarray, "k h w"], size: int, copies: int) -> NDArray[np.intp] | None:
    """Positions of the header: runs of free pixels from the start of a row, else of a column."""
    if (strips := _runs(free, size, copies)) is not None:
        return strips
    columns = np.swapaxes(free, 1, 2)
    strips = _runs(columns, size, copies)
    places = np.swapaxes(np.arange(free.size).reshape(free.shape), 1, 2)
    return None if strips is None else places.ravel()[strips]


def _runs(free: Bool[ndarray, "k h w"], size: int, copies: int) -> NDArray[np.intp] | None:
    """Positions of runs from the start of a row, far from each other."""
    ends = np.cumsum(np.concatenate([[0], free.ravel()]))
    starts = np.arange(0, free.size - size + 1, free.shape[2])
    starts = starts[ends[starts + size] - ends[starts] == size]
    if not starts.size:
        return None
    chosen = [starts[0]]
    for k in range(1, copies):
        wanted = starts[0] + k * (starts[-1] - starts[0]) // (copies - 1)
        apart = starts[np.abs(starts[:, None] - np.array(chosen)).min(axis=1) >= size]
        if apart.size:
            chosen.append(apart[np.argmin(np.abs(apart - wanted))])
    return np.array(chosen)[:, None] + np.arange(size)


def _cells(keep: Bool[ndarray, "h w"]) -> Bool[ndarray, "a b"]:
    """The cells of 8 x 8 pixels that a region touches."""
    h, w = (-(-n // CELL) for n in keep.shape)
    whole = np.zeros((h * CELL, w * CELL), bool)
    whole[: keep.shape[0], : keep.shape[1]] = keep
    return np.logical_or.reduce(whole.reshape(h, CELL, w, CELL), axis=(1, 3))


def _from_cells(cells: Bool[ndarray, "a b"], shape: tuple[int, ...]) -> Bool[ndarray, "h w"]:
    if cells.shape != tuple(-(-n // CELL) for n in shape):
        raise ValueError("the region to keep is that of another image")
    return cells.repeat(CELL, axis=0).repeat(CELL, axis=1)[: shape[0], : shape[1]]


def shape_of(planes: NDArray[Any]) -> tuple[int, int, int]:
    """Planes, height and width."""
    p, h, w = planes.shape
    return p, h, w
