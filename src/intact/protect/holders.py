"""Holders: which blocks keep what belongs to others, far from them and evenly spread."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.blocks import Grid, Ints

TURNS = 32  # assignments to choose the farthest from


def assign(grid: Grid, blocks: Ints, rooms: Ints, random: NDArray[np.uint32]) -> Int[ndarray, "2 k"] | None:
    """Two holders for each block, far from it and from each other, or None when there are too few.

    Blocks and seats are both lined up by their place in the image and paired after turning the
    seats. The best of some keyed turns is taken.

    Args:
        grid: The blocks.
        blocks: Those that need holders.
        rooms: How often each block of the grid can hold.
        random: For the turns, [turns,2].
    """
    line = np.arange(rooms.size).reshape(grid.shape[0], -1).T.ravel()  # by place, then by plane
    mine = line[np.isin(line, blocks)]
    elsewhere = rooms.copy()
    elsewhere[blocks] = 0  # what needs holders may well be altered as a whole
    for allowed in (elsewhere, rooms):
        seats = _seats(line, allowed, 2 * mine.size)
        if seats is not None and (holders := _pair(grid, mine, seats, random)) is not None:
            return holders[:, np.argsort(mine)]
    return None


def _seats(line: Ints, rooms: Ints, count: int) -> Ints | None:
    """Blocks that can hold, as often as needed for `count` seats and no oftener; None if too few."""
    for level in range(int(rooms.max()) + 1):
        taken = np.minimum(rooms, level)
        if taken.sum() >= count:
            return np.repeat(line, taken[line])
    return None


def _pair(grid: Grid, mine: Ints, seats: Ints, random: NDArray[np.uint32]) -> Int[ndarray, "2 k"] | None:
    """Two seats for each block, of which no two are the same, or None when no turn gives that."""
    if not mine.size:
        return np.zeros((2, 0), np.int64)
    spaced = np.arange(2 * mine.size) * seats.size // (2 * mine.size)
    places = np.stack(np.unravel_index(np.arange(np.prod(grid.blocks)), grid.blocks))
    best, farthest = None, 0
    for turn, gap in random.astype(np.int64):
        first = seats[(spaced[0::2] + turn) % seats.size]
        second = seats[(np.roll(spaced[1::2], gap) + turn) % seats.size]
        a, b, c = places[:, mine], places[:, first], places[:, second]
        near = min(_apart(a, b), _apart(a, c), _apart(b, c))
        if near > farthest:
            best, farthest = np.stack([first, second]), near
    return best


def _apart(some: Ints, others: Ints) -> int:
    """Least squared distance in the plane; the same place in another plane is the last resort."""
    planes, rows, columns = some - others
    return int((4 * (rows**2 + columns**2) + (planes != 0)).min())


def ranks_of(holders: Int[ndarray, "2 k"]) -> Int[ndarray, "2 k"]:
    """How many deposits came to the same holder before."""
    flat = holders.ravel()
    order = np.argsort(flat, kind="stable")
    lined = flat[order]
    rank = np.empty_like(flat)
    rank[order] = np.arange(flat.size) - np.searchsorted(lined, lined)
    return rank.reshape(holders.shape)
