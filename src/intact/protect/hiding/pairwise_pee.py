"""Pairwise prediction-error expansion: the errors of two diagonal neighbours are mapped together.

Two single expansions turn the errors (0, 0) into four pairs; this map takes three and leaves out
(1, 1), the dearest. Such a pair carries one of three digits. (1, 1), which is thereby free, may
stay or become (2, 2): so a pair that cost two shifts carries a bit.

Ou, Li, Zhao, Ni, Shi, "Pairwise prediction-error expansion for efficient reversible data hiding",
IEEE Trans. Image Processing 22(12), 2013, the map of figure 3.

Differs from the paper: surroundings are judged by more pixels, and pairs are sorted by them, where
the paper takes a threshold; digits are made of blocks of 19 bits, so that 12 of them, which could
hold 19.02, hold 19; a mean is rounded down to the lowest value, so that black stays predicted as
black; and a pair that could leave the range stays as it is, without a map of where these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.hiding.base import Bits, Carried, Hiding, Mask, Span, Values
from intact.protect.hiding.rhombus import CROSS, DOT, FIELDS, as_key, roughness

Ints = NDArray[Any]
Flags = Bool[ndarray, "k"]

TRITS, BITS = 12, 19  # 3**12 = 531,441 is hardly more than 2**19 = 524,288
HELD = np.array([(3**n).bit_length() - 1 for n in range(TRITS)])  # bits in fewer trits


@dataclass(frozen=True)
class Pairs:
    """The usable pairs of one colour, smoothest surroundings first.

    Args:
        at: Positions in raster order, [2,n].
        predictions: Of both pixels, from pixels of the other colour, [2,n].
    """

    at: NDArray[np.intp]
    predictions: Ints

    def first(self, n: int) -> Pairs:
        """The smoothest `n`."""
        return Pairs(self.at[:, :n], self.predictions[:, :n])


@dataclass(frozen=True)
class PairwisePEE(Hiding):
    """Maps pairs of errors so that small ones carry bits, in smooth surroundings first."""

    source: ClassVar[str] = "Ou et al., IEEE TIP 22(12), 2013"
    fields: ClassVar[dict[str, int]] = FIELDS  # here, how many pairs of each colour were visited

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        values, crosses = cover.copy(), pairs_of(cover, usable, CROSS, span)
        first = capacity_of(values, crosses, span)
        _visit(values, crosses, np.random.default_rng(0).integers(0, 2, first, np.uint8), first, span)
        second = capacity_of(values, pairs_of(values, usable, DOT, span), span)
        # What the dots hold depends a little on the bits in the crosses.
        return max(0, first + second - int(4 * np.sqrt(second)) - 1)

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        crosses = pairs_of(cover, usable, CROSS, span)
        most = capacity_of(cover, crosses, span)
        first = min(most, bits.size - bits.size // 2)
        while True:
            values = cover.copy()
            n_crosses, taken, cross_flags = _visit(values, crosses, bits, first, span)
            dots = pairs_of(values, usable, DOT, span)
            rest = bits[taken:]
            lacking = rest.size - capacity_of(values, dots, span)
            if lacking <= 0:
                n_dots, _, dot_flags = _visit(values, dots, rest, rest.size, span)
                visited = {"crosses": n_crosses, "dots": n_dots}
                return Carried(values, visited, np.concatenate([cross_flags, dot_flags]))
            if first == most:
                return None
            first = min(most, first + lacking)

    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Flags,
        span: Span,
    ) -> tuple[Values, Bits]:
        values = marked.copy()
        found: list[Bits] = []
        for colour, visited in ((DOT, fields["dots"]), (CROSS, fields["crosses"])):
            pairs = pairs_of(values, usable, colour, span)
            if visited > pairs.at[0].size:
                raise ValueError(f"{visited} pairs were visited and only {pairs.at[0].size} are usable")
            bits, used = _undo(values, pairs.first(visited), flags, span)
            flags = flags[: flags.size - used]
            found.insert(0, bits)
        return values, np.concatenate(found)[:length]


def pairs_of(values: Values, usable: Mask, colour: int, span: Span) -> Pairs:
    """Each cross with the next one down to the right, each dot with the next one down to the left."""
    width = values.shape[1]
    first = np.zeros_like(usable)
    first[1:-2:2, 1:-2:2] = colour == CROSS
    first[1:-2:2, 2:-1:2] |= colour == DOT
    at = np.flatnonzero(first)
    at = np.stack([at, at + width + (1 if colour == CROSS else -1)])
    at = at[:, _both(usable.ravel()[at])]
    flat = values.ravel()
    total = flat[at - width] + flat[at + width] + flat[at - 1] + flat[at + 1]
    # Rounded up, so that the bins -1 and 0 lie around the mean, which is worth half a decibel. But
    # below one, where black is frequent, -1 would be black itself and could not grow.
    predictions = np.where(total < 4 * span.low + 4, span.low, -(-total >> 2))
    first_rough, second_rough = roughness(values, colour).ravel()[at]
    order = np.argsort(as_key(first_rough + second_rough), kind="stable")
    return Pairs(at[:, order], predictions[:, order])


def grow(sizes: Ints, digits: Ints) -> Ints:
    """The sizes of pairs of errors, of the same signs, after they took up a digit each.

    Args:
        sizes: 0 for the errors 0 and -1, 1 for 1 and -2, and so on, [2,n].
        digits: 0 to 2 where `carried_by` says trit, 0 or 1 where it says bit, else 0, [n].
    """
    trit, bit = carried_by(sizes)
    shifted = (sizes > 0) & ~_both(sizes == 1)
    by_trit = trit & (digits == [[1], [2]])
    by_bit = bit & (digits == 1) & (sizes == np.minimum(*sizes))
    return sizes + (shifted | by_trit | by_bit)


def shrink(grown: Ints) -> tuple[Ints, Ints]:
    """The inverse of `grow`: sizes and digits."""
    sizes = np.where(_both(grown == 1), grown, np.maximum(grown - 1, 0))
    trit, bit = carried_by(sizes)
    digits = np.where(trit, grown[0] + 2 * grown[1], (np.minimum(*grown) - np.minimum(*sizes)) * bit)
    return sizes, digits


def carried_by(sizes: Ints) -> tuple[Bool[ndarray, "n"], Bool[ndarray, "n"]]:
    """Which pairs carry a trit, and which a bit."""
    trit = _both(sizes == 0)
    bit = ((np.minimum(*sizes) == 0) | _both(sizes == 1)) & ~trit
    return trit, bit


def capacity_of(values: Values, pairs: Pairs, span: Span) -> int:
    """Bits that the pairs of one colour hold."""
    trit, bit, _ = _survey(values.ravel()[pairs.at], pairs.predictions, span)
    return int(np.count_nonzero(bit) + held(np.count_nonzero(trit)))


def _visit(values: Values, pairs: Pairs, bits: Bits, count: int, span: Span) -> tuple[int, int, Flags]:
    """Write the first `count` bits, which fit, into pairs; one more where the last pair has space for it.

    Returns:
        How many pairs were visited, how many bits these took, and one flag for each of those that
        the decoder could not tell apart: whether it was left alone.
    """
    if not count:
        return 0, 0, np.zeros(0, bool)
    trit, bit, changed = _survey(values.ravel()[pairs.at], pairs.predictions, span)
    filled = np.cumsum(bit) + held(np.cumsum(trit))
    n = int(np.searchsorted(filled, count)) + 1
    trit, bit, changed, visited = trit[:n], bit[:n], changed[:n], pairs.first(n)
    taken, by_bit = int(filled[n - 1]), int(np.count_nonzero(bit))
    stream = np.zeros(taken, np.uint8)
    stream[: bits.size] = bits[:taken]
    digits = np.zeros(n, np.int64)
    digits[trit] = to_trits(stream[: taken - by_bit], int(np.count_nonzero(trit)))
    digits[bit] = stream[taken - by_bit :]
    x, predictions = values.ravel()[visited.at], visited.predictions
    e = x - predictions
    marked = np.where(changed, predictions + _signed(grow(_size(e), digits), e), x)
    values.ravel()[visited.at] = marked
    return n, taken, ~changed[_ambiguous(marked, predictions, span)]


def _undo(values: Values, pairs: Pairs, flags: Flags, span: Span) -> tuple[Bits, int]:
    """Undo `_visit` in place: the bits, and how many of the last `flags` were used."""
    marked, predictions = values.ravel()[pairs.at], pairs.predictions
    e = marked - predictions
    sizes, digits = shrink(_size(e))
    x = predictions + _signed(sizes, e)
    _, _, changed = _survey(x, predictions, span)
    ambiguous = _ambiguous(marked, predictions, span)
    used = int(np.count_nonzero(ambiguous))
    if used > flags.size:
        raise ValueError(f"{used} flags are needed and {flags.size} are there")
    changed[ambiguous] = ~flags[flags.size - used :]
    values.ravel()[pairs.at] = np.where(changed, x, marked)
    trit, bit = carried_by(sizes)
    bits = [from_trits(digits[trit & changed]), digits[bit & changed].astype(np.uint8)]
    return np.concatenate(bits), used


def _survey(
    x: Ints, predictions: Ints, span: Span
) -> tuple[Bool[ndarray, "n"], Bool[ndarray, "n"], Bool[ndarray, "n"]]:
    """Which pairs carry a trit, which a bit, and which may be changed at all.

    A pixel moves away from its prediction by at most one: a pair with no space for that is left alone.
    """
    e = x - predictions
    changed = _both(span.holds(x) & span.holds(x + np.where(e < 0, -1, 1)))
    trit, bit = carried_by(_size(e))
    return trit & changed, bit & changed, changed


def _ambiguous(marked: Ints, predictions: Ints, span: Span) -> Bool[ndarray, "n"]:
    """Where a marked pair could be one that was changed as well as one that was left alone."""
    e = marked - predictions
    sizes, _ = shrink(_size(e))
    _, _, changeable = _survey(marked, predictions, span)
    _, _, could_be_changed = _survey(predictions + _signed(sizes, e), predictions, span)
    return ~changeable & could_be_changed


def _both(conditions: Bool[ndarray, "2 n"]) -> Bool[ndarray, "n"]:
    """Where both pixels of a pair meet a condition; `all(axis=0)`, but far quicker."""
    met: Bool[ndarray, "n"] = conditions[0] & conditions[1]
    return met


def _size(e: Ints) -> Ints:
    """0 for the errors 0 and -1, 1 for 1 and -2, and so on."""
    return np.where(e < 0, -1 - e, e)


def _signed(sizes: Ints, e: Ints) -> Ints:
    """The errors of these sizes that lie on the same side as `e`."""
    return np.where(e < 0, -1 - sizes, sizes)


def held(trits: Any) -> Any:
    """How many bits so many trits hold."""
    return BITS * (trits // TRITS) + HELD[trits % TRITS]


def to_trits(bits: Bits, count: int) -> Ints:
    """As many bits as `count` trits hold, in blocks; the first of a block count least."""
    blocks = -(-count // TRITS)
    padded = np.zeros(blocks * BITS, np.int64)
    padded[: bits.size] = bits
    numbers = padded.reshape(-1, BITS) @ 2 ** np.arange(BITS)
    return (numbers[:, None] // 3 ** np.arange(TRITS) % 3).ravel()[:count]


def from_trits(trits: Ints) -> Bits:
    """The inverse of `to_trits`.

    Raises:
        ValueError: No bits give these trits.
    """
    blocks = -(-trits.size // TRITS)
    padded = np.zeros(blocks * TRITS, np.int64)
    padded[: trits.size] = trits
    numbers = padded.reshape(-1, TRITS) @ 3 ** np.arange(TRITS)
    bits = (numbers[:, None] >> np.arange(BITS) & 1).astype(np.uint8).ravel()
    count = int(held(trits.size))
    if (numbers >> BITS).any() or bits[count:].any():
        raise ValueError("digits that no bits give")
    return bits[:count]
