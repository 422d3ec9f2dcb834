"""What every reversible data hiding scheme shares: its contract, and where it keeps its side information.

A scheme changes pixels by small amounts to carry bits and can undo that exactly. What the decoder
must know (thresholds, where the payload stops, which pixels were left alone at the ends of the
range) stands in the lowest bits of the first pixels of the mask, in raster order; the bits that
were there before travel in front of the payload. So the image alone, with the mask, is enough.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import CapacityError, UnsealableError
from intact.protect.coding import pack, unpack

Pixels = Integer[ndarray, "h w"]
Values = NDArray[Any]  # the pixels as signed integers wide enough to calculate with, [h,w]
Bits = UInt8[ndarray, "n"]  # of 0 and 1
Mask = Bool[ndarray, "h w"]

COUNT = 28  # width in bits of a number of pixels or of payload bits
# What each pass notes for the decoder, and in how many bits; the fields of the scheme follow.
COMMON = {"more": 1, "depth": 5, "length": COUNT, "flags": 24}
SLACK = 64  # bits by which coded flags may outgrow what a first round foresaw; `capacity` adds an eighth


class DamagedError(ValueError):
    """What is hidden makes no sense: the pixels were changed, or nothing was hidden this way."""


class Span(NamedTuple):
    """The values that a pixel can take, both ends included."""

    low: int
    high: int

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values are inside."""
        inside: NDArray[np.bool_] = (values >= self.low) & (values <= self.high)
        return inside


@dataclass(frozen=True)
class Carried:
    """What a scheme did to carry bits.

    Args:
        values: The changed pixels.
        fields: What the decoder must know, by the names in `Hiding.fields`.
        flags: For each pixel where the decoder could not tell whether it was left alone: whether
            it was. In any order that the decoder can follow.
    """

    values: Values
    fields: dict[str, int]
    flags: Bool[ndarray, "k"] = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True)
class Hiding(ABC):
    """Reversible data hiding in one plane of integers of up to 32 bits.

    A scheme implements `_room`, `_carry` and `_recover`. Their `usable` mask leaves out the pixels
    that hold side information; these keep their values, so that predictions may read them.

    Args:
        passes: How often the scheme may be applied over its own result to gain capacity.
    """

    passes: int = 1

    source: ClassVar[str]  # the paper
    fields: ClassVar[dict[str, int]]  # what the decoder must know: name and width in bits

    @final
    def capacity(self, pixels: Pixels, mask: Mask | None = None, *, depth: int = 0) -> int:
        """Bits that one pass accepts for certain; a few more may fit.

        Args:
            pixels: Integers [h,w].
            mask: True where pixels may be changed; by default everywhere.
            depth: Bits that a value can use, such as 12; by default those of the dtype.

        Raises:
            UnsealableError: Floating point, more than 32 bits, or values beyond `depth`.
        """
        depth, values = _checked(pixels, depth)
        return self._capacity(values, _places(pixels, mask), span_of(pixels.dtype, depth))

    @final
    def embed(self, pixels: Pixels, bits: Bits, mask: Mask | None = None, *, depth: int = 0) -> Pixels:
        """Hide bits.

        Args:
            pixels: Integers [h,w]; left as they are.
            bits: 0 and 1, uint8 [n].
            mask: True where pixels may be changed; the rest stays bit for bit.
            depth: Bits that a value can use; marked values stay in that range.

        Returns:
            The marked pixels, of the same dtype.

        Raises:
            CapacityError: They do not fit, not even in all passes.
            UnsealableError: Floating point, more than 32 bits, or values beyond `depth`.
        """
        depth, values = _checked(pixels, depth)
        places, span = _places(pixels, mask), span_of(pixels.dtype, depth)
        hidden = 0
        for number in range(self.passes):
            if (marked := self._pass(values, places, bits[hidden:], depth, span, number > 0)) is not None:
                return marked.astype(pixels.dtype)
            if self.passes == 1:
                room = self._quick_room(values, places, span)
                break
            room = self._capacity(values, places, span)
            filled = self._pass(values, places, bits[hidden : hidden + room], depth, span, number > 0)
            if not room or filled is None:
                break
            values, hidden = filled, hidden + room
        raise CapacityError(
            "the image",
            bits.size,
            max(0, min(hidden or room, bits.size - 1)),  # an estimate may be a little high
            "hide less, or allow more passes, a larger mask or a larger threshold",
        )

    @final
    def extract(self, marked: Pixels, mask: Mask | None = None) -> tuple[Pixels, Bits]:
        """Take the bits out and give the original pixels back.

        Args:
            marked: What `embed` returned.
            mask: The mask given to `embed`.

        Raises:
            DamagedError: The pixels were changed since, or nothing was hidden with this scheme and mask.
        """
        _, values = _checked(marked, 0)
        places = _places(marked, mask)
        found: list[Bits] = []
        more = True
        try:
            while more:
                values, bits, more = self._undo_pass(values, places, marked.dtype)
                found.insert(0, bits)
        except (ValueError, IndexError) as error:
            raise DamagedError(f"nothing sound is hidden here: {error}") from error
        return values.astype(marked.dtype), np.concatenate(found)

    @abstractmethod
    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        """About how many bits `_carry` can carry, never more than it can."""

    @abstractmethod
    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        """Carry bits by changing usable pixels only, or None when they do not fit."""

    @abstractmethod
    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Bool[ndarray, "k"],
        span: Span,
    ) -> tuple[Values, Bits]:
        """Undo `_carry`: the cover, and the `length` bits.

        Raises:
            ValueError: The marked values cannot have come from `_carry`.
        """

    def _estimate(self, cover: Values, usable: Mask, span: Span) -> int:
        """About how many bits fit, for an error message; quicker than `_room` where that is slow."""
        return self._room(cover, usable, span)

    @property
    def _widths(self) -> dict[str, int]:
        return COMMON | self.fields

    def _capacity(self, values: Values, places: NDArray[np.intp], span: Span) -> int:
        """What fits besides the side information, of which the coded flags are known only by trying."""
        fixed, coded = sum(self._widths.values()), SLACK
        while places.size > fixed + coded:
            cover, usable = _reserve(values, places[: fixed + coded], places)
            room = self._room(cover, usable, span) - fixed - coded
            if room <= 0:
                return 0
            trial = np.random.default_rng(0).integers(0, 2, room + fixed + coded, np.uint8)
            carried = self._carry(cover, usable, trial, span)
            size = 8 * len(pack(carried.flags)) if carried and carried.flags.size else 0
            if carried and size + size // 8 + SLACK <= coded:
                return room
            coded = max(size + size // 8, coded) + SLACK
        return 0

    def _quick_room(self, values: Values, places: NDArray[np.intp], span: Span) -> int:
        """About what `_capacity` says, without trying."""
        fixed = sum(self._widths.values())
        cover, usable = _reserve(values, places[:fixed], places)
        return max(0, self._estimate(cover, usable, span) - fixed)

    def _pass(
        self, values: Values, places: NDArray[np.intp], bits: Bits, depth: int, span: Span, more: bool
    ) -> Values | None:
        """Hide bits once, or None when they do not fit."""
        # Space for a few coded flags from the start mostly spares a second round.
        fixed, coded = sum(self._widths.values()), SLACK
        while places.size > fixed + coded:
            reserved = places[: fixed + coded]
            cover, usable = _reserve(values, reserved, places)
            lowest = (values.ravel()[reserved] & 1).astype(np.uint8)
            carried = self._carry(cover, usable, _whitened(np.concatenate([lowest, bits])), span)
            if carried is None:
                return None
            flags = pack(carried.flags)
            if 8 * len(flags) <= coded:
                notes = {"more": int(more), "depth": depth - 1, "length": bits.size, "flags": coded}
                header = to_bits(notes | carried.fields, self._widths)
                side = np.concatenate([header, np.unpackbits(np.frombuffer(flags, np.uint8))])
                carried.values.ravel()[reserved[: side.size]] |= side
                return carried.values
            coded = 8 * len(flags) + SLACK  # other pixels are reserved then, so the flags differ
        return None

    def _undo_pass(
        self, values: Values, places: NDArray[np.intp], dtype: np.dtype[Any]
    ) -> tuple[Values, Bits, bool]:
        """The pixels before the last pass, the bits it hid, and whether another pass came before."""
        fixed = sum(self._widths.values())
        if places.size < fixed:
            raise ValueError("the mask is smaller than the side information")
        notes = from_bits((values.ravel()[places[:fixed]] & 1).astype(np.uint8), self._widths)
        reserved = places[: fixed + notes["flags"]]
        if max(reserved.size, notes["length"]) > places.size * 32 or notes["flags"] % 8:
            raise ValueError("lengths beyond the image")
        depth = notes["depth"] + 1
        if depth > 8 * dtype.itemsize or not span_of(dtype, depth).holds(values).all():
            raise ValueError(f"values that do not fit into {depth} bits")
        coded = np.packbits((values.ravel()[reserved[fixed:]] & 1).astype(np.uint8)).tobytes()
        flags = unpack(coded).astype(bool).ravel()
        marked, usable = _reserve(values, reserved, places)
        span = span_of(dtype, depth)
        length = reserved.size + notes["length"]
        cover, bits = self._recover(marked, usable, length, notes, flags, span)
        if bits.size != length or not span.holds(cover).all():
            raise ValueError("the bits or the pixels do not come out as they went in")
        bits = _whitened(bits)
        cover.ravel()[reserved] |= bits[: reserved.size]
        return cover, bits[reserved.size :], bool(notes["more"])


def span_of(dtype: np.dtype[Any], depth: int) -> Span:
    """The values that `depth` bits can store: from zero, or around zero in signed dtypes."""
    if dtype.kind == "i":
        return Span(-(2 ** (depth - 1)), 2 ** (depth - 1) - 1)
    return Span(0, 2**depth - 1)


def to_bits(numbers: dict[str, int], widths: dict[str, int]) -> Bits:
    """Numbers as bits, most significant first, in the order of `widths`."""
    text = "".join(f"{numbers[name]:0{width}b}" for name, width in widths.items())
    if len(text) != sum(widths.values()):
        raise ValueError(f"{numbers} do not fit into {widths}")
    return np.frombuffer(text.encode(), np.uint8) & 1


def from_bits(bits: Bits, widths: dict[str, int]) -> dict[str, int]:
    """The inverse of `to_bits`."""
    text, at, numbers = (bits + ord("0")).tobytes().decode(), 0, {}
    for name, width in widths.items():
        numbers[name] = int(text[at : at + width], 2)
        at += width
    return numbers


def _checked(pixels: Pixels, depth: int) -> tuple[int, Values]:
    """The depth, and the pixels as integers that cannot overflow in what schemes calculate."""
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 4:
        raise UnsealableError(
            "the image", f"has {pixels.dtype} pixels; bits can be hidden in integers of up to 32 bits"
        )
    if pixels.ndim != 2:
        raise ValueError(f"hiding takes one plane [h,w], not shape {pixels.shape}")
    depth = depth or 8 * pixels.dtype.itemsize
    span = span_of(pixels.dtype, depth)
    if pixels.size and not (span.low <= int(pixels.min()) and int(pixels.max()) <= span.high):
        raise UnsealableError(
            "the image",
            f"has values from {pixels.min()} to {pixels.max()}, outside the {span.low} to {span.high} that "
            f"{depth} bits can store",
        )
    return depth, pixels.astype(np.int32 if pixels.dtype.itemsize <= 2 else np.int64)


def _places(pixels: Pixels, mask: Mask | None) -> NDArray[np.intp]:
    """Where pixels may be changed, as positions in raster order."""
    if mask is None:
        return np.arange(pixels.size)
    if mask.shape != pixels.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the pixels {pixels.shape}")
    return np.flatnonzero(mask)


def _reserve(
    values: Values, reserved: NDArray[np.intp], places: NDArray[np.intp]
) -> tuple[Values, NDArray[np.bool_]]:
    """A copy of the pixels with the lowest bits at `reserved` cleared, and where it may be changed."""
    cover = values.copy()
    cover.ravel()[reserved] &= ~1
    usable = np.zeros(values.size, bool)
    usable[places[len(reserved) :]] = True
    return cover, usable.reshape(values.shape)


def _whitened(bits: Bits) -> Bits:
    """Bits that look random, and the inverse.

    A scheme with two layers holds less on the second one when the first took up only ones, such as
    the lowest bits of an image of one odd value. `capacity` counts on chance.
    """
    noise = hashlib.shake_256(b"intact hiding").digest(-(-bits.size // 8))
    return bits ^ np.unpackbits(np.frombuffer(noise, np.uint8), count=bits.size)
