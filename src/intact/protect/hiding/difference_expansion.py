"""Difference expansion: the difference of two neighbours is doubled, and its lowest bit is free.

A pair (x, y) becomes its mean l = floor((x + y) / 2) and its difference h = x - y. It is expandable
where 2 h + b stays in range whatever the bit b, and changeable where that holds for the lowest bit
of h. The decoder reads the lowest bits of all changeable pairs: first a map that tells which pairs
were expanded, then what the other ones held before, then the payload.

Tian, "Reversible data embedding using a difference expansion", IEEE TCSVT 13(8), 2003.

Differs from the paper: pairs are visited until the last bit is in, with the threshold that costs
least for a bit. The map, which takes most of the room there, tells only of pairs that may look
expanded and may look not, and is coded not by JBIG2 but in contexts: the size of the changed
difference, and how much the means around differ, which stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.context_coding import CONTEXTS, decode_flags, encode_flags
from intact.protect.hiding.base import COUNT, SLACK, Bits, Carried, Hiding, Mask, Span, Values

SIZES: Final = 4  # classes of differences that may be expanded or not: a doubling of the threshold
ROUGH: Final = CONTEXTS // SIZES  # classes of places


@dataclass(frozen=True)
class Pairs:
    """The changeable pairs in raster order, one per element.

    Args:
        at: Positions of the left pixels in raster order.
        mean: l, which stays.
        h: The differences.
        largest: Up to this size of the difference both pixels are in range.
        roughness: How much the means of the eight pairs around differ from this one's.
    """

    at: NDArray[np.intp]
    mean: NDArray[Any]
    h: NDArray[Any]
    largest: NDArray[Any]
    roughness: NDArray[Any]

    @property
    def expandable(self) -> Bool[ndarray, "n"]:
        """Which may be doubled."""
        fits: Bool[ndarray, "n"] = _farthest(self.h) <= self.largest
        return fits

    def first(self, n: int) -> Pairs:
        """The first `n` of them."""
        return Pairs(self.at[:n], self.mean[:n], self.h[:n], self.largest[:n], self.roughness[:n])


@dataclass(frozen=True)
class DifferenceExpansion(Hiding):
    """Expands the small differences of pixels that stand side by side."""

    source: ClassVar[str] = "Tian, IEEE TCSVT 13(8), 2003"
    fields: ClassVar[dict[str, int]] = {"threshold": 32, "visited": COUNT, "map": COUNT}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        pairs = _changeable(cover, usable, span)
        thresholds, free, told, _ = _prospects(pairs)
        threshold = int(thresholds[np.argmax(free - told)])
        expanded = _expanded(pairs, threshold)
        return max(0, int(np.count_nonzero(_free(pairs, expanded))) - _map(pairs, expanded, threshold).size)

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        pairs = _changeable(cover, usable, span)
        for threshold, told in _cheapest_first(pairs, bits.size):
            expanded = _expanded(pairs, threshold)
            visited, coded = _visit(pairs, expanded, threshold, bits.size, told / pairs.h.size)
            h, expanded = pairs.h[:visited], expanded[:visited]
            held = ~_free(pairs.first(visited), expanded)
            stream = np.concatenate([coded, (h[held] & 1).astype(np.uint8), bits])
            if stream.size <= visited:
                changed = np.where(expanded, 2 * h, h & ~1)
                changed[: stream.size] |= stream
                fields = {"threshold": threshold, "visited": visited, "map": coded.size}
                return Carried(_with(changed, pairs, cover), fields)
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
        pairs = _changeable(marked, usable, span).first(fields["visited"])
        stream, half = (pairs.h & 1).astype(np.uint8), pairs.h >> 1
        coded, stream = stream[: fields["map"]], stream[fields["map"] :]
        expanded, told = _looks(half, pairs, fields["threshold"])
        if coded.size:
            contexts = _contexts(half[told], pairs.roughness[told], fields["threshold"])
            expanded[told] = decode_flags(np.packbits(coded).tobytes(), contexts)
        # A small difference that was not expanded was 1 or -2, since 0 and -1 always are.
        lowest = (half == 0).astype(np.uint8)
        held = ~expanded & (_size(half) > 0)
        count = int(np.count_nonzero(held))
        lowest[held] = stream[:count]
        h = np.where(expanded, half, 2 * half | lowest)
        return _with(h, pairs, marked), stream[count : count + length]


def _changeable(values: Values, usable: Mask, span: Span) -> Pairs:
    """The pairs of an even column and the next one whose differences may change their lowest bit."""
    width = values.shape[1] // 2 * 2
    means = (values[:, :width:2] + values[:, 1:width:2]) >> 1
    largest = np.minimum(2 * (span.high - means), 2 * (means - span.low) + 1)
    h = values[:, :width:2] - values[:, 1:width:2]
    changeable = usable[:, :width:2] & usable[:, 1:width:2] & (_farthest(h >> 1) <= largest)
    row, column = np.nonzero(changeable)
    at = row * values.shape[1] + 2 * column
    return Pairs(at, *(found[changeable] for found in (means, h, largest, _roughness(means))))


def _roughness(means: Values) -> Values:
    """How much the eight neighbours differ, in sum; beyond the border the last ones are repeated."""
    height, width = means.shape
    if not means.size:
        return means
    around = np.pad(means, 1, mode="edge")
    shifted = (around[r : r + height, c : c + width] for r in range(3) for c in range(3))
    return np.sum([np.abs(other - means) for other in shifted], axis=0)


def _with(h: NDArray[Any], pairs: Pairs, values: Values) -> Values:
    """The pixels with other differences in the first pairs."""
    changed = values.copy()
    at, mean = pairs.at[: h.size], pairs.mean[: h.size]
    changed.ravel()[at] = mean + ((h + 1) >> 1)
    changed.ravel()[at + 1] = mean - (h >> 1)
    return changed


def _farthest(h: NDArray[Any]) -> NDArray[Any]:
    """The larger of |2 h| and |2 h + 1|."""
    return np.maximum(-2 * h, 2 * h + 1)


def _size(h: NDArray[Any]) -> NDArray[Any]:
    """The one of h and -h - 1 that is not negative: both differences cost the same to expand."""
    return np.maximum(h, ~h)


def _expanded(pairs: Pairs, threshold: int) -> Bool[ndarray, "n"]:
    """Which pairs are: all that can be, with differences up to the threshold."""
    small: Bool[ndarray, "n"] = pairs.expandable & (_size(pairs.h) <= threshold)
    return small


def _free(pairs: Pairs, expanded: Bool[ndarray, "n"]) -> Bool[ndarray, "n"]:
    """Which pairs leave their lowest bit to the map and the payload."""
    return expanded | (_size(pairs.h) >> 1 == 0)


def _looks(half: NDArray[Any], pairs: Pairs, threshold: int) -> tuple[Bool[ndarray, "n"], Bool[ndarray, "n"]]:
    """Which pairs may be expanded as they look without the lowest bit, and which of them also may not be."""
    may = (_size(half) <= threshold) & (_farthest(half) <= pairs.largest)
    # Had it not been expanded, it was 2 half or 2 half + 1, and would be if either of both could not.
    must = (2 * _size(half) < threshold) & (np.maximum(-4 * half, 4 * half + 3) <= pairs.largest)
    return may, may & ~must


def _contexts(half: NDArray[Any], roughness: NDArray[Any], threshold: int) -> UInt8[ndarray, "k"]:
    """In which context each pair is told of: how large it is, and how rough its place."""
    steps = _ladder(threshold)
    below = steps.size - 1 - np.searchsorted(steps, _size(half))
    classes = np.minimum(below // 2, SIZES - 1) * ROUGH + _ranks(roughness)
    return classes.astype(np.uint8)


def _ranks(values: NDArray[Any]) -> NDArray[np.intp]:
    """The number of each value's class, where `ROUGH` classes hold about as many each."""
    if not values.size:
        return np.zeros(0, np.intp)
    borders = values.size * np.arange(1, ROUGH) // ROUGH
    return np.searchsorted(np.partition(values, borders)[borders], values, side="right")


def _map(pairs: Pairs, expanded: Bool[ndarray, "n"], threshold: int) -> Bits:
    """Which of the pairs that may be expanded or not are, coded as bits; no bits where all are."""
    half = np.where(expanded, pairs.h, pairs.h >> 1)
    _, told = _looks(half, pairs, threshold)
    if expanded[told].all():
        return np.zeros(0, np.uint8)
    coded = encode_flags(expanded[told], _contexts(half[told], pairs.roughness[told], threshold))
    return np.unpackbits(np.frombuffer(coded, np.uint8))


def _visit(
    pairs: Pairs, expanded: Bool[ndarray, "n"], threshold: int, n: int, rate: float
) -> tuple[int, Bits]:
    """How many pairs it takes to carry `n` bits, at most all, and their map, of about `rate` bits each."""
    freed = np.cumsum(_free(pairs, expanded))
    left, wanted, tries = freed - rate * np.arange(1, freed.size + 1), n, 0
    while True:
        enough = left >= wanted
        visited = int(np.argmax(enough)) + 1 if enough.any() else left.size
        coded = _map(pairs.first(visited), expanded[:visited], threshold)
        lacking = n + coded.size - int(freed[visited - 1])
        if lacking <= 0 or visited == left.size:
            return visited, coded
        tries += 1
        wanted += tries * lacking + SLACK  # rather a few pairs too many than one more map


def _cheapest_first(pairs: Pairs, n: int) -> list[tuple[int, float]]:
    """The thresholds that should hold `n` bits, or the best one if none should, and bits of their maps."""
    if not pairs.h.size:
        return []
    thresholds, free, told, costs = _prospects(pairs)
    gains = free - told
    order = np.flatnonzero(gains >= n)
    if order.size:
        order = order[np.argsort(costs[order] / gains[order], kind="stable")]
    else:
        order = np.argmax(gains, keepdims=True)
    return [(int(thresholds[t]), float(told[t])) for t in order]


def _prospects(
    pairs: Pairs,
) -> tuple[NDArray[np.int64], NDArray[np.intp], Float[ndarray, "t"], Float[ndarray, "t"]]:
    """Thresholds, and what to expect of each when all pairs are visited.

    That is: how many lowest bits are free, about how many the map takes, and the squared error.
    """
    size = _size(pairs.h).astype(np.int64)
    thresholds = _ladder(int(size.max(initial=0)))
    steps = thresholds.size
    step, half_step = np.searchsorted(thresholds, size), np.searchsorted(thresholds, size >> 1)
    # The number of the first threshold at which something holds for a pair; `steps` for never.
    expanded = np.where(pairs.expandable, step, steps)
    free = np.where(size >> 1 == 0, 0, expanded)
    n_free = np.cumsum(np.bincount(free, minlength=steps + 1))[:steps]
    # An expanded difference moves by h + b, half of it on each pixel; another one's lowest bit is chance.
    expansion = np.bincount(expanded, (size * size + size) / 2.0, minlength=steps + 1)
    costs = np.cumsum(expansion)[:steps] + size.size / 2.0
    return thresholds, n_free, _map_sizes(pairs, expanded, half_step, steps), costs


def _map_sizes(
    pairs: Pairs, expanded: NDArray[np.intp], half_step: NDArray[np.intp], steps: int
) -> Float[ndarray, "t"]:
    """About how many bits the map takes at each threshold: the entropy of its flags in their contexts."""
    rough = _ranks(pairs.roughness)
    shape = (ROUGH, steps, steps + 1)
    cells = np.ravel_multi_index((rough, half_step, expanded), shape)
    by_half = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    # [class of roughness, size as it looks, threshold]: expanded and looking so; not expanded, looking so.
    ones = np.zeros((ROUGH, steps), np.intp)
    np.add.at(ones, (rough[expanded < steps], expanded[expanded < steps]), 1)
    zeros = by_half[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]
    looks = np.tri(steps, dtype=bool).T[None]  # not larger than the threshold
    return _entropy(np.where(looks, ones[:, :, None], 0), np.where(looks, zeros, 0)).sum(axis=(0, 1))


def _ladder(highest: int) -> NDArray[np.int64]:
    """Thresholds from 0 on, eight to each doubling, the last one not below `highest`.

    What is in a step, doubled or doubled plus 1, is in one step again from 8 on.
    """
    steps = np.array([*range(8), *((k << e) - 1 for e in range(highest.bit_length()) for k in range(9, 17))])
    return steps[: np.searchsorted(steps, highest) + 1]


def _entropy(ones: NDArray[Any], zeros: NDArray[Any]) -> Float[ndarray, "..."]:
    """Bits that so many flags take at best, where their order tells nothing."""
    total = np.maximum(ones + zeros, 1)
    terms = (count * np.log2(np.maximum(count, 1) / total) for count in (ones, zeros))
    return -sum(terms, np.zeros(1))
