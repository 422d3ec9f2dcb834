"""The original's own blocks, rearranged until they look like the adversarial example.

Yin et al., "Reversible adversarial attack based on reversible image transformation", arXiv
1911.02360, with the authors' code, edu-yinzhaoxia on GitHub; on the transformation of Hou, Zhang,
Yu, "Image camouflage by reversible image transformation", J. Vis. Commun. Image R., 2016.

Blocks are classed by their standard deviation. Each goes to a place where the adversarial example
has a block of its class, is brought to that block's mean, and turned as fits best. How to undo that
is hidden in the result, and takes about as many bits for a strong change as for a weak one.

Differs from both:

- Neither shift nor turn changes the deviation. So for the places only the limits of the classes are
  told; the decoder finds the class of each by itself, in whole numbers.
- A shift is held back so that no value leaves 0 to 255; the authors' code notes what overflows.
- Blocks have 4 pixels a side. The authors' code takes 1, which rearranges nothing: all deviations are 0,
  and what is hidden is the change itself. With 2, it does not always fit.
- Pixels beyond the last whole block stay the original's.

As in the paper, only the classes are checked: an image that was changed since may come back wrong
without an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import UsageError
from intact.protect.coding import pack, unpack
from intact.protect.hiding import SortedPEE
from intact.protect.reversible.base import Grey, Reversible, bits_of

ROUNDS = 100  # of k-means, at most
PREFIX = 4  # bytes of a code's length

Blocks = NDArray[Any]  # [n,b,b], row by row through the image
Numbers = Int64[ndarray, "n"]  # one for each block


@dataclass(frozen=True)
class RITRAE(Reversible):
    """Moves, shifts and turns blocks.

    Args:
        block: Side of a block, in pixels, 1 to 16. Smaller ones take more bits.
        classes: Of standard deviations.
        step: Grey levels of which a shift is a multiple.
        smooth: Standard deviation up to which a block is not turned.
        passes: How often bits may be hidden over bits.
    """

    block: int = 4
    classes: int = 6  # this and the next two: the authors' shift.m and MMain.m
    step: int = 8
    smooth: int = 6
    passes: int = 8

    source: ClassVar[str] = "Yin et al., arXiv 1911.02360"
    attack: ClassVar[str] = "fgsm"

    def __post_init__(self) -> None:
        if not 1 <= self.block <= 16 or min(self.classes, self.step) < 1 or self.smooth < 0:
            raise UsageError(f"{self}: take blocks of 1 to 16, classes and step from 1, smooth from 0")

    def _embed(self, original: Grey, adversarial: Grey) -> Grey:
        transformed, tables = self._transform(original, adversarial)
        return SortedPEE(passes=self.passes).embed(transformed, bits_of(_written(tables)))

    def _restore(self, marked: Grey) -> Grey:
        """The original, whose blocks go back to where they were."""
        transformed, bits = SortedPEE().extract(marked)
        return self._transform_back(transformed, _read(np.packbits(bits).tobytes()))

    def _transform(self, original: Grey, adversarial: Grey) -> tuple[Grey, list[NDArray[Any]]]:
        """The original, looking like the adversarial example, and the tables that undo that.

        These are the classes' limits, the class of each of the original's blocks, the shift of each
        place in steps, and the turn of each place that is rough.
        """
        blocks, wanted = _cut(original, self.block), _cut(adversarial, self.block)
        limits = _limits(_spread(blocks), self.classes)
        own = np.searchsorted(limits, _spread(blocks))
        there = np.empty_like(own)
        there[np.argsort(_spread(wanted), kind="stable")] = np.sort(own)
        moved = blocks[_partners(there, own)]
        shifts = self._shifts(moved, wanted)
        moved += self.step * shifts[:, None, None]
        rough = self._rough(moved)
        turns = _best_turns(moved, wanted) * rough
        grid = (original.shape[0] // self.block, original.shape[1] // self.block)
        tables = [limits, own.reshape(grid), shifts.reshape(grid), turns[rough]]
        return _put(_turned(moved, turns), original), tables

    def _transform_back(self, transformed: Grey, tables: list[NDArray[Any]]) -> Grey:
        """The inverse of `_transform`.

        Raises:
            ValueError: The tables do not fit the image.
        """
        limits, own, shifts, rough_turns = (table.ravel() for table in tables)
        moved = _cut(transformed, self.block)
        there, rough = np.searchsorted(limits, _spread(moved)), self._rough(moved)
        if rough_turns.size != np.count_nonzero(rough) or shifts.size != rough.size:
            raise ValueError("there are more or fewer shifts or turns than blocks")
        if not np.array_equal(np.sort(own), np.sort(there)):
            raise ValueError("the blocks are not of the classes that the original's were of")
        turns = np.zeros_like(there)
        turns[rough] = rough_turns
        moved = _turned(moved, -turns % 4) - self.step * shifts[:, None, None]
        if ((moved < 0) | (moved > 255)).any():
            raise ValueError("shifted back, pixels are beyond 0 to 255")
        blocks = np.empty_like(moved)
        blocks[_partners(there, own)] = moved
        return _put(blocks, transformed)

    def _shifts(self, blocks: Blocks, wanted: Blocks) -> Numbers:
        """Steps to the wanted means, fewer where a value would leave 0 to 255."""
        steps = np.rint((wanted.mean(axis=(1, 2)) - blocks.mean(axis=(1, 2))) / self.step).astype(np.int64)
        least, most = blocks.min(axis=(1, 2)), blocks.max(axis=(1, 2))
        return np.clip(steps, -(least // self.step), (255 - most) // self.step)

    def _rough(self, blocks: Blocks) -> Bool[ndarray, "n"]:
        """Which blocks are turned."""
        return _spread(blocks) > (self.smooth * self.block**2) ** 2


def _limits(spread: Numbers, classes: int) -> Numbers:
    """The greatest spread of each class but the last, by k-means of the standard deviations."""
    sizes = np.sqrt(spread)
    centres = np.linspace(0, sizes.max(initial=0), classes)
    for _ in range(ROUNDS):
        limits = (centres[1:] + centres[:-1]) / 2
        nearest = np.searchsorted(limits, sizes)
        counts = np.bincount(nearest, minlength=classes)
        means = np.bincount(nearest, sizes, classes) / np.maximum(counts, 1)
        centres = np.where(counts, means, centres)
    return np.floor(limits**2).astype(np.int64)


def _partners(there: Numbers, own: Numbers) -> Numbers:
    """For each place the block that goes there: the first of a class to its first place, and so on."""
    partners = np.empty_like(there)
    partners[np.argsort(there, kind="stable")] = np.argsort(own, kind="stable")
    return partners


def _spread(blocks: Blocks) -> Numbers:
    """The standard deviations times the pixels of a block, squared: whole numbers, for an exact decoder."""
    return blocks.shape[1] ** 2 * (blocks**2).sum(axis=(1, 2)) - blocks.sum(axis=(1, 2)) ** 2


def _best_turns(blocks: Blocks, wanted: Blocks) -> Numbers:
    """Quarter turns, 0 to 3, after which each block is closest to the wanted one."""
    errors = [((np.rot90(blocks, turn, (1, 2)) - wanted) ** 2).sum(axis=(1, 2)) for turn in range(4)]
    return np.argmin(errors, axis=0)


def _turned(blocks: Blocks, turns: Numbers) -> Blocks:
    """Each block after its quarter turns."""
    every = np.stack([np.rot90(blocks, turn, (1, 2)) for turn in range(4)])
    return every[turns, np.arange(len(blocks))]


def _cut(image: Grey, side: int) -> Blocks:
    """The whole blocks of an image."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = image[: rows * side, : columns * side].astype(np.int64)
    return whole.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _put(blocks: Blocks, image: Grey) -> Grey:
    """A copy of the image with other blocks."""
    side = blocks.shape[1]
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = blocks.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)
    changed = image.copy()
    changed[: rows * side, : columns * side] = whole
    return changed


def _written(tables: list[NDArray[Any]]) -> bytes:
    """The code of each table after the length of that code."""
    return b"".join(len(code).to_bytes(PREFIX) + code for code in map(pack, tables))


def _read(code: bytes) -> list[NDArray[Any]]:
    """The inverse of `_written`, for four tables."""
    tables = []
    for _ in range(4):
        length, code = int.from_bytes(code[:PREFIX]), code[PREFIX:]
        tables.append(unpack(code[:length]))
        code = code[length:]
    return tables
