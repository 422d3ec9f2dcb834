"""Difference expansion: the difference of two neighbours is doubled, and its lowest bit is free.

A pair (x, y) becomes its mean l = floor((x + y) / 2) and its difference h = x - y. It is expandable
where 2 h + b stays in range whatever the bit b, and changeable where that holds for the lowest bit
of h. The decoder reads the lowest bits of all changeable pairs: first a map that tells which pairs
were expanded, then what the other ones held before, then the payload.

Tian, "Reversible data embedding using a difference expansion", IEEE TCSVT 13(8), 2003.

Differs from the paper: pairs are visited until the last bit is in, with the threshold that costs
least for a bit; the map leaves out pairs whose differences are too large for an expanded one; its
coder is not JBIG2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.coding import pack, unpack
from intact.protect.hiding.base import COUNT, SLACK, Bits, Carried, Hiding, Mask, Span, Values


@dataclass(frozen=True)
class Pairs:
    """The changeable pairs in raster order, one per element.

    Args:
        at: Positions of the left pixels in raster order.
        mean: l, which stays.
        h: The differences.
        expandable: Which pairs are.
    """

    at: NDArray[np.intp]
    mean: NDArray[Any]
    h: NDArray[Any]
    expandable: Bool[ndarray, "n"]


@dataclass(frozen=True)
class Plan:
    """What is done to each pair, where differences up to a threshold are expanded.

    Args:
        expanded: Which pairs are expanded.
        mapped: Which pairs the map tells of: those that may look like an expanded one.
        free: Which pairs leave their lowest bit to the map and the payload.
    """

    expanded: Bool[ndarray, "n"]
    mapped: Bool[ndarray, "n"]
    free: Bool[ndarray, "n"]


@dataclass(frozen=True)
class DifferenceExpansion(Hiding):
    """Expands the small differences of pixels that stand side by side."""

    source: ClassVar[str] = "Tian, IEEE TCSVT 13(8), 2003"
    fields: ClassVar[dict[str, int]] = {"threshold": 32, "visited": COUNT, "map": COUNT}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        pairs = _changeable(cover, usable, span)
        thresholds, gains, _ = _prospects(pairs)
        plan = _plan(pairs, int(thresholds[np.argmax(gains)]))
        return max(0, int(np.count_nonzero(plan.free)) - _map(plan, pairs.h.size).size)

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        pairs = _changeable(cover, usable, span)
        for threshold in _cheapest_first(pairs, bits.size):
            plan = _plan(pairs, threshold)
            visited, coded = _visit(plan, bits.size)
            held = ~plan.free[:visited]
            stream = np.concatenate([coded, (pairs.h[:visited][held] & 1).astype(np.uint8), bits])
            if stream.size <= visited:
                h = np.where(plan.expanded, 2 * pairs.h, pairs.h & ~1)[:visited]
                h[: stream.size] |= stream
                fields = {"threshold": threshold, "visited": visited, "map": coded.size}
                return Carried(_with(h, pairs, cover), fields)
        return None

    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Bool[ndarray, "k"],
        span: Span,
    ) -> tuple[Values, Bits]:
        pairs = _changeable(marked, usable, span)
        visited = pairs.h[: fields["visited"]]
        stream, half = (visited & 1).astype(np.uint8), visited >> 1
        coded, stream = stream[: fields["map"]], stream[fields["map"] :]
        expanded = _size(half) <= fields["threshold"]
        if coded.size:
            expanded[expanded] = unpack(np.packbits(coded).tobytes()).ravel()
        # A small difference that was not expanded was 1 or -2, since 0 and -1 always are.
        lowest = (half == 0).astype(np.uint8)
        held = ~expanded & (_size(half) > 0)
        count = int(np.count_nonzero(held))
        lowest[held] = stream[:count]
        h = np.where(expanded, half, 2 * half | lowest)
        return _with(h, pairs, marked), stream[count : count + length]


def _changeable(values: Values, usable: Mask, span: Span) -> Pairs:
    """The pairs of an even column and the next one whose differences may change their lowest bit."""
    left = np.zeros_like(usable)
    left[:, :-1:2] = usable[:, :-1:2] & usable[:, 1::2]
    at = np.flatnonzero(left)
    x, y = values.ravel()[at], values.ravel()[at + 1]
    mean, h = (x + y) >> 1, x - y
    # Up to this size of the difference both pixels are in range.
    largest = np.minimum(2 * (span.high - mean), 2 * (mean - span.low) + 1)
    changeable = _largest(h >> 1) <= largest
    expandable = _largest(h) <= largest
    return Pairs(at[changeable], mean[changeable], h[changeable], expandable[changeable])


def _with(h: NDArray[Any], pairs: Pairs, values: Values) -> Values:
    """The pixels with other differences in the first pairs."""
    changed = values.copy()
    at, mean = pairs.at[: h.size], pairs.mean[: h.size]
    changed.ravel()[at] = mean + ((h + 1) >> 1)
    changed.ravel()[at + 1] = mean - (h >> 1)
    return changed


def _largest(h: NDArray[Any]) -> NDArray[Any]:
    """The larger of |2 h| and |2 h + 1|."""
    return np.maximum(-2 * h, 2 * h + 1)


def _size(h: NDArray[Any]) -> NDArray[Any]:
    """The one of h and -h - 1 that is not negative: both differences cost the same to expand."""
    return np.maximum(h, ~h)


def _plan(pairs: Pairs, threshold: int) -> Plan:
    size = _size(pairs.h)
    expanded = pairs.expandable & (size <= threshold)
    return Plan(expanded, size >> 1 <= threshold, expanded | (size >> 1 == 0))


def _map(plan: Plan, visited: int) -> UInt8[ndarray, "b"]:
    """Which of the visited pairs that might have been expanded were, coded as bits."""
    told = plan.expanded[:visited][plan.mapped[:visited]]
    coded = pack(told.astype(np.uint8)) if told.size else b""
    return np.unpackbits(np.frombuffer(coded, np.uint8))


def _visit(plan: Plan, n: int) -> tuple[int, UInt8[ndarray, "b"]]:
    """How many pairs it takes to carry `n` bits, at most all, and their map."""
    freed, told = np.cumsum(plan.free), np.cumsum(plan.mapped)
    rate = _entropy(np.count_nonzero(plan.expanded), np.count_nonzero(plan.mapped)) / max(1, told[-1])
    left, wanted, tries = freed - rate * told, n, 0
    while True:
        enough = left >= wanted
        visited = int(np.argmax(enough)) + 1 if enough.any() else left.size
        coded = _map(plan, visited)
        lacking = n + coded.size - int(freed[visited - 1])
        if lacking <= 0 or visited == left.size:
            return visited, coded
        tries += 1
        wanted += tries * lacking + SLACK  # rather a few pairs too many than one more map


def _cheapest_first(pairs: Pairs, n: int) -> list[int]:
    """The thresholds that should hold `n` bits; the best one if none should."""
    if not pairs.h.size:
        return []
    thresholds, gains, costs = _prospects(pairs)
    holding = np.flatnonzero(gains >= n)
    if not holding.size:
        return [int(thresholds[np.argmax(gains)])]
    order = np.argsort(costs[holding] / gains[holding], kind="stable")
    return [int(threshold) for threshold in thresholds[holding[order]]]


def _prospects(
    pairs: Pairs,
) -> tuple[NDArray[np.int64], Float[ndarray, "t"], Float[ndarray, "t"]]:
    """Thresholds, the bits that each may gain when all pairs are visited, and its squared error."""
    size = _size(pairs.h).astype(np.int64)
    thresholds = _ladder(int(size.max(initial=0)))
    steps = thresholds.size
    # The number of the first threshold at which something holds for a pair; `steps` for never.
    expanded = np.where(pairs.expandable, np.searchsorted(thresholds, size), steps)
    free = np.where(size >> 1 == 0, 0, expanded)
    mapped = np.searchsorted(thresholds, size >> 1)
    n_expanded, n_free, n_mapped = (
        np.cumsum(np.bincount(first, minlength=steps + 1))[:steps] for first in (expanded, free, mapped)
    )
    # An expanded difference moves by h + b, half of it on each pixel; another one's lowest bit is chance.
    expansion = np.bincount(expanded, (size * size + size) / 2.0, minlength=steps + 1)
    costs = np.cumsum(expansion)[:steps] + size.size / 2.0
    return thresholds, n_free - _entropy(n_expanded, n_mapped), costs


def _ladder(highest: int) -> NDArray[np.int64]:
    """Thresholds from 0 on, four to each doubling, the last one not below `highest`."""
    steps = [0, 1, 2, 3, *(k << e for e in range(highest.bit_length()) for k in (4, 5, 6, 7))]
    return np.array(steps, np.int64)


def _entropy(ones: Any, total: Any) -> Any:
    """Bits that `total` flags with so many ones take at best, where their order tells nothing."""
    p = np.clip(ones / np.maximum(total, 1), 1e-9, 1 - 1e-9)
    return -total * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
