"""Histogram shifting: the pixels of one frequent value carry the bits.

Between the frequent value, the peak, and an empty one, the zero, every pixel moves by one towards
the zero. The value beside the peak is then free: a pixel of the peak that goes there carries a 1,
one that stays a 0.

Ni, Shi, Ansari, Su, "Reversible data hiding", IEEE TCSVT 16(3), 2006.

Differs from the paper: of all pairs of peak and zero that hold the bits, the one is taken that
moves the fewest pixels for a bit, not the highest peak; what follows the last bit stays as it was;
where no value is empty, the pixels of the zero are told by flags, not by their coordinates;
several pairs are several passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.hiding.base import SLACK, Bits, Carried, Hiding, Mask, Span, Values

VALUE = 32  # width in bits of a value, as its distance from the lowest one
DENSE = 2**16  # how many values a histogram may have before sorting makes it faster than counting
AT_RISK = 4 * SLACK  # bits that fewer flags may take beyond more flags, since short codes are not the best
RAREST = 4  # how many of the rarest values are tried as the zero where none is empty


@dataclass(frozen=True)
class Pairs:
    """Pairs of a peak and a zero, one per element.

    Args:
        peak: The value whose pixels carry.
        zero: The value towards which the others move.
        room: Pixels of the peak.
        shifted: Pixels between the two.
    """

    peak: NDArray[Any]
    zero: NDArray[Any]
    room: NDArray[Any]
    shifted: NDArray[Any]

    def only(self, some: Bool[ndarray, "n"]) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.peak[some], self.zero[some], self.room[some], self.shifted[some])


@dataclass(frozen=True)
class HistogramShifting(Hiding):
    """Shifts the values between a peak of the histogram and an empty value."""

    source: ClassVar[str] = "Ni et al., IEEE TCSVT 16(3), 2006"
    fields: ClassVar[dict[str, int]] = {"peak": VALUE, "zero": VALUE}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        x = cover[usable]
        pairs = _pairs(x, span)
        collided = np.isin(x, pairs.zero[:1]).any()  # then no value is empty, and this is the only pair
        return max(0, int(pairs.room.max(initial=0)) - AT_RISK * int(collided))

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        x = cover[usable]
        pairs = _pairs(x, span)
        if not pairs.peak.size or pairs.room.max() < bits.size:
            return None
        peak, zero = _cheapest(pairs, bits.size)
        values = cover.copy()
        values[usable], flags = _shift(x, peak, zero, bits)
        return Carried(values, {"peak": peak - span.low, "zero": zero - span.low}, flags)

    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Bool[ndarray, "k"],
        span: Span,
    ) -> tuple[Values, Bits]:
        values = marked.copy()
        peak, zero = fields["peak"] + span.low, fields["zero"] + span.low
        values[usable], bits = _shift_back(marked[usable], peak, zero, length, flags)
        return values, bits


def _shift(x: NDArray[Any], peak: int, zero: int, bits: Bits) -> tuple[NDArray[Any], Bool[ndarray, "k"]]:
    """Carry bits, which fit: the pixels, and which of those that look like the zero were that before."""
    step = 1 if zero > peak else -1
    carriers = np.flatnonzero(x == peak)[: bits.size]
    end = int(carriers[-1]) + 1 if bits.size else 0
    marked = x.copy()
    marked[:end] += step * _between(x[:end], peak, zero)
    marked[carriers] += step * bits.astype(x.dtype)
    flags = x[:end][marked[:end] == zero] == zero
    return marked, flags if flags.any() else flags[:0]


def _shift_back(
    marked: NDArray[Any], peak: int, zero: int, length: int, flags: Bool[ndarray, "k"]
) -> tuple[NDArray[Any], Bits]:
    """The inverse of `_shift`.

    Raises:
        ValueError: Too few pixels can have carried a bit, or the flags do not fit.
    """
    step = 1 if zero > peak else -1
    carriers = np.flatnonzero((marked == peak) | (marked == peak + step))[:length]
    if carriers.size < length:
        raise ValueError(f"{length} bits were hidden and {carriers.size} pixels can carry one")
    end = int(carriers[-1]) + 1 if length else 0
    moved = _between(marked[:end], peak, zero + step)
    if flags.any():
        moved[marked[:end] == zero] = ~flags
    x = marked.copy()
    x[:end] -= step * moved
    return x, (marked[carriers] != peak).astype(np.uint8)


def _between(x: NDArray[Any], one: int, other: int) -> Bool[ndarray, "n"]:
    """Which pixels lie between two values, the ends not included."""
    inside: Bool[ndarray, "n"] = (x > min(one, other)) & (x < max(one, other))
    return inside


def _cheapest(pairs: Pairs, n: int) -> tuple[int, int]:
    """The peak and the zero that hold `n` bits and move the fewest pixels for each."""
    holding = pairs.only(pairs.room >= n)
    best = int(np.argmin(holding.shifted / holding.room))
    return int(holding.peak[best]), int(holding.zero[best])


def _pairs(x: NDArray[Any], span: Span) -> Pairs:
    """For each value that occurs, the nearest empty value on both sides."""
    values, counts = _histogram(x, span)
    if values.size == span.high - span.low + 1:
        return _rarest(values, counts)
    # Values that follow each other form a run; next to its ends are the empty ones.
    starts, ends = np.ones((2, values.size), bool)
    starts[1:] = ends[:-1] = np.diff(values) > 1
    run = np.cumsum(starts) - 1
    first, last = np.flatnonzero(starts)[run], np.flatnonzero(ends)[run]
    below = np.cumsum(counts) - counts
    shifted = below - below[first], below[last] + counts[last] - below - counts
    zero = np.concatenate([values[first] - 1, values[last] + 1])
    pairs = Pairs(np.tile(values, 2), zero, np.tile(counts, 2), np.concatenate(shifted))
    return pairs.only(span.holds(zero))


def _rarest(values: NDArray[Any], counts: NDArray[Any]) -> Pairs:
    """Where all values occur, one pair, with a rare value as the zero: the pair that pays best.

    The two are not next to each other: so what collides with the zero, and with it the number of
    the flags, does not depend on the bits. Among two values there is no such pair.
    """
    found = []
    for zero in np.argsort(counts, kind="stable")[:RAREST]:
        apart = np.where(np.abs(np.arange(values.size) - zero) > 1, counts, 0)
        peak = int(np.argmax(apart))
        collided = counts[zero + np.sign(peak - zero)]
        if apart[peak]:
            found.append((int(counts[peak] - counts[zero] - collided), peak, int(zero)))
    best = [max(found)[1:]] if found else []
    peaks, zeros = np.array(best, int).reshape(-1, 2).T
    shifted = [counts[min(pair) + 1 : max(pair)].sum() for pair in best]
    return Pairs(values[peaks], values[zeros], counts[peaks], np.array(shifted, int))


def _histogram(x: NDArray[Any], span: Span) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values that occur, ascending, and how often."""
    if span.high - span.low < DENSE:
        counts = np.bincount(x - span.low)
        occurring = np.flatnonzero(counts)
        return occurring + span.low, counts[occurring]
    values, counts = np.unique(x, return_counts=True)
    return values, counts
