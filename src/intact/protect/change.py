"""A change of planes in few bytes: what has to travel in a seal so that the change can be undone.

Attacks that count their payload change squares of pixels alike; then one level for each square is
enough.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from intact.protect.coding import pack, unpack

TILES = (16, 8, 4, 2, 1)  # sides of squares to try, in pixels

Change = Int32[ndarray, "p h w"]


def pack_change(change: Change) -> bytes:
    """Code a change; empty where nothing changes."""
    if not change.any():
        return b""
    for tile in TILES:
        levels = change[:, ::tile, ::tile]
        if np.array_equal(_spread(levels, tile, change.shape), change):
            break
    return bytes([tile]) + pack(levels)


def unpack_change(code: bytes, shape: tuple[int, int, int]) -> Change:
    """The change of planes of a shape.

    Raises:
        ValueError: The code is damaged, or of planes of another shape.
    """
    if not code:
        return np.zeros(shape, np.int32)
    levels = unpack(code[1:])
    if code[0] not in TILES or levels.shape != (shape[0], *(-(-side // code[0]) for side in shape[1:])):
        raise ValueError(f"the change is of other planes than these of shape {shape}")
    return _spread(levels, code[0], shape)


def _spread(levels: Change, tile: int, shape: tuple[int, ...]) -> Change:
    """The level of each square for all of its pixels; squares at the far edges may be cut."""
    return levels.repeat(tile, axis=1).repeat(tile, axis=2)[:, : shape[1], : shape[2]]
