"""A change of planes in few bytes: what has to travel in a seal so that the change can be undone.

Attacks that count their payload change squares of pixels alike; then one level for each square is
enough.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from intact.protect.coding import pack, unpack

SIDE = struct.Struct(">H")  # of a square, in pixels

Change = Int32[ndarray, "p h w"]


def pack_change(change: Change) -> bytes:
    """Code a change; empty where nothing changes."""
    if not change.any():
        return b""
    side = _side(change)
    return SIDE.pack(side) + pack(change[:, ::side, ::side])


def unpack_change(code: bytes, shape: tuple[int, int, int]) -> Change:
    """The change of planes of a shape.

    Raises:
        ValueError: The code is damaged, or of planes of another shape.
    """
    if not code:
        return np.zeros(shape, np.int32)
    side, levels = int.from_bytes(code[: SIDE.size]), unpack(code[SIDE.size :])
    if not side or levels.shape != (shape[0], *(-(-length // side) for length in shape[1:])):
        raise ValueError(f"the change is of other planes than these of shape {shape}")
    return levels.repeat(side, axis=1).repeat(side, axis=2)[:, : shape[1], : shape[2]]


def _side(change: Change) -> int:
    """Side of the largest squares, from the first corner on, that are changed alike."""
    breaks = [np.flatnonzero(np.diff(change, axis=axis).any(axis=(0, 3 - axis))) + 1 for axis in (1, 2)]
    common = math.gcd(*map(int, np.concatenate(breaks)))  # 0 where all pixels are changed alike
    return common if 0 < common < 2**16 else 1
