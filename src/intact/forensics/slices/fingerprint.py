"""A fingerprint of a slice that survives windows, shifts and mirrors, and is found again among millions.

After Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010: the signs of
the lowest cosine coefficients of a small copy. Here of the ranks of its values, so that no window
matters, and of the body alone, so that no shift does; the first 64 tell anatomy apart, the next 192
patients. The mirror image has the same coefficients but for the signs of the odd ones, so it needs no
fingerprint of its own.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt64
from numpy import ndarray
from scipy.fft import dctn
from scipy.stats import rankdata

SIDE = 64  # pixels of the small copy
BITS, WORDS = 256, 4
SMALLEST = 48  # pixels of a body's side
FEWEST_LEVELS = 16  # grey values of the small copy; drawings and masks have fewer
FULL = 0.02  # of a row or column is above the threshold where it belongs to the body
TURNS = ("", "mirrored left to right", "mirrored top to bottom", "turned by 180 degrees")

Box = tuple[slice, slice]

_ORDER = sorted(np.ndindex(SIDE, SIDE), key=lambda at: (sum(at), at))[1 : BITS + 1]
_ROWS, _COLUMNS = np.array(_ORDER).T


def body(plane: Float[ndarray, "h w"]) -> Box | None:
    """The box around what is brighter than the background; None where it is small or nothing stands out."""
    low, high = np.percentile(plane[::4, ::4], (0.5, 99.5))
    if not high > low:
        return None
    grey = np.clip((plane - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    above = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1].astype(bool)
    box = _extent(above.mean(axis=1)), _extent(above.mean(axis=0))
    return box if min(part.stop - part.start for part in box) >= SMALLEST else None


def fingerprint(inside: Float[ndarray, "h w"]) -> UInt64[ndarray, "4"] | None:
    """The fingerprint of a body.

    Args:
        inside: The plane within its `body` box.

    Returns:
        256 bits; None for drawings and masks.
    """
    small = cv2.resize(inside, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if len(np.unique(small)) < FEWEST_LEVELS:
        return None
    ranks = rankdata(small).reshape(small.shape)
    return _packed(dctn(ranks)[_ROWS, _COLUMNS] > 0)


def turned(bits: UInt64[ndarray, "4"]) -> UInt64[ndarray, "4 4"]:
    """The fingerprints of a body upright, mirrored left to right, top to bottom, and both: see `TURNS`."""
    return bits ^ _FLIPS


def turn(plane: Float[ndarray, "h w"], how: int) -> Float[ndarray, "h w"]:
    """A plane turned in the way of that number in `TURNS`."""
    return np.ascontiguousarray(plane[:: -1 if how & 2 else 1, :: -1 if how & 1 else 1])


def _packed(signs: ndarray) -> UInt64[ndarray, "4"]:
    return np.packbits(signs).view(np.uint64)


def _extent(share: Float[ndarray, "n"]) -> slice:
    full = np.flatnonzero(share > FULL)
    return slice(int(full[0]), int(full[-1]) + 1) if len(full) else slice(0, 0)


_ACROSS, _DOWN = _packed(_COLUMNS % 2 == 1), _packed(_ROWS % 2 == 1)
_FLIPS = np.stack([_packed(np.zeros(BITS, bool)), _ACROSS, _DOWN, _ACROSS ^ _DOWN])
