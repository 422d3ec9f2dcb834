"""Difference expansion against a slow loop and the example of Tian's paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from intact.protect.context_coding import encode_flags
from intact.protect.hiding.base import Span, span_of
from intact.protect.hiding.difference_expansion import DifferenceExpansion, _changeable, _with

BYTE = Span(0, 255)


def everywhere(values):
    return np.ones(values.shape, bool)


def some_bits(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def smooth(shape=(60, 64), noise=1.5, centre=100, seed=3):
    y, x = np.indices(shape)
    rough = np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(np.round(centre + 0.4 * x - 0.3 * y + rough), 0, 255).astype(np.int32)


def in_range(mean, difference, span):
    """Whether both pixels of a pair are, by the definition of the transform."""
    x, y = mean + math.floor((difference + 1) / 2), mean - math.floor(difference / 2)
    return span.low <= min(x, y) and max(x, y) <= span.high


def pairs_slowly(values, usable, span):
    """Position, mean, difference and expandability of each changeable pair, pair by pair."""
    found = []
    for y in range(values.shape[0]):
        for x in range(0, values.shape[1] - 1, 2):
            one, other = int(values[y, x]), int(values[y, x + 1])
            mean, h = math.floor((one + other) / 2), one - other
            changeable = all(in_range(mean, 2 * math.floor(h / 2) + bit, span) for bit in (0, 1))
            expandable = all(in_range(mean, 2 * h + bit, span) for bit in (0, 1))
            if usable[y, x] and usable[y, x + 1] and changeable:
                found.append((y * values.shape[1] + x, mean, h, expandable))
    return found


def roughness_slowly(values, at):
    """How much the means of the eight pairs around differ from that of the pair at this position."""
    row, column = at // values.shape[1], at % values.shape[1] // 2
    rows, columns = values.shape[0], values.shape[1] // 2

    def mean(r, c):
        r, c = min(max(r, 0), rows - 1), min(max(c, 0), columns - 1)
        return math.floor((int(values[r, 2 * c]) + int(values[r, 2 * c + 1])) / 2)

    return sum(abs(mean(row + r, column + c) - mean(row, column)) for r in (-1, 0, 1) for c in (-1, 0, 1))


def map_slowly(told, threshold):
    """The flags in four classes of size times six of roughness; nothing where all are set."""
    if all(flag for flag, _, _ in told):
        return []
    steps = [*range(8), *((k << e) - 1 for e in range(12) for k in range(9, 17))]
    order = sorted(rough for _, _, rough in told)
    borders = [order[len(order) * k // 6] for k in range(1, 6)]
    contexts = [
        min(sum(max(half, -half - 1) <= step < threshold for step in steps) // 2, 3) * 6
        + sum(rough >= border for border in borders)
        for _, half, rough in told
    ]
    code = encode_flags(np.array([flag for flag, _, _ in told], bool), np.array(contexts, np.uint8))
    return np.unpackbits(np.frombuffer(code, np.uint8)).tolist()


def embed_slowly(values, usable, bits, threshold, visited, span):
    """Sections II and III of the paper, pair by pair, for a threshold and a number of pairs."""
    marked, told, kept, differences = values.copy().ravel(), [], [], []
    pairs = pairs_slowly(values, usable, span)[:visited]

    def is_expanded(mean, h):
        return -threshold - 1 <= h <= threshold and all(in_range(mean, 2 * h + bit, span) for bit in (0, 1))

    for at, mean, h, expandable in pairs:
        expanded = is_expanded(mean, h)
        assert expandable or not expanded
        half = h if expanded else math.floor(h / 2)
        if is_expanded(mean, half) and not all(is_expanded(mean, 2 * half + bit) for bit in (0, 1)):
            told.append((expanded, half, roughness_slowly(values, at)))
        if not expanded and h not in (1, -2):
            kept.append(h % 2)
        differences.append(2 * h if expanded else 2 * math.floor(h / 2))
    coded = map_slowly(told, threshold)
    stream = [*coded, *kept, *bits.tolist()]
    stream += [0] * (len(pairs) - len(stream))
    for (at, mean, _, _), h, bit in zip(pairs, differences, stream, strict=True):
        marked[at] = mean + math.floor((h + bit + 1) / 2)
        marked[at + 1] = mean - math.floor((h + bit) / 2)
    return marked.reshape(values.shape)


def carry(values, bits, usable=None, span=BYTE):
    return DifferenceExpansion()._carry(values, everywhere(values) if usable is None else usable, bits, span)


def test_the_example_of_the_paper():
    """x = 206 and y = 201 have l = 203 and h = 5; with a 1 they become 209 and 198."""
    pairs = _changeable(np.array([[206, 201]]), np.ones((1, 2), bool), BYTE)
    assert (pairs.mean[0], pairs.h[0], pairs.expandable[0]) == (203, 5, True)
    assert _with(2 * pairs.h + 1, pairs, np.array([[206, 201]])).tolist() == [[209, 198]]


@settings(max_examples=100, deadline=None)
@given(
    values=arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(-8, 7)),
    seed=st.integers(0, 99),
)
def test_pairs_are_those_of_a_slow_loop(values, seed):
    usable = np.random.default_rng(seed).random(values.shape) < 0.8
    pairs = _changeable(values, usable, Span(-8, 7))
    found = list(
        zip(pairs.at.tolist(), pairs.mean.tolist(), pairs.h.tolist(), pairs.expandable.tolist(), strict=True)
    )
    assert found == pairs_slowly(values, usable, Span(-8, 7))


@settings(max_examples=100, deadline=None)
@given(values=arrays(np.int32, (2, 8), elements=st.integers(0, 15)), seed=st.integers(0, 99))
def test_what_is_done_to_a_pair_leaves_it_changeable(values, seed):
    """So the decoder finds the same pairs."""
    span, rng = Span(0, 15), np.random.default_rng(seed)
    pairs = _changeable(values, everywhere(values), span)
    expanded = pairs.expandable & (rng.random(pairs.h.size) < 0.5)
    h = np.where(expanded, 2 * pairs.h, pairs.h & ~1) | rng.integers(0, 2, pairs.h.size)
    marked = _with(h, pairs, values)
    assert span.holds(marked).all()
    again = _changeable(marked, everywhere(values), span)
    np.testing.assert_array_equal(again.at, pairs.at)
    np.testing.assert_array_equal(again.mean, pairs.mean)
    np.testing.assert_array_equal(again.h, h)


@pytest.mark.parametrize("noise, centre", [(0.4, 100), (1.5, 100), (4, 100), (3, 3), (3, 235)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_pixels_are_those_of_a_slow_loop(noise, centre, share):
    values = smooth(noise=noise, centre=centre)
    usable = np.random.default_rng(0).random(values.shape) < 0.95
    bits = some_bits(round(share * DifferenceExpansion()._room(values, usable, BYTE)))
    carried = carry(values, bits, usable)
    threshold, visited = carried.fields["threshold"], carried.fields["visited"]
    expected = embed_slowly(values, usable, bits, threshold, visited, BYTE)
    np.testing.assert_array_equal(carried.values, expected)
    assert bits.size > 30 and not carried.flags.size


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.int16, 12), (np.uint16, 16), (np.int32, 32)])
def test_room_is_carried_whatever_the_bits(dtype, depth):
    span = span_of(np.dtype(dtype), depth)
    for centre in (span.low + 2, (span.low + span.high) // 2, span.high - 2):
        rough = np.random.default_rng(5).normal(0, 1, (60, 64))
        values = np.clip(np.round(centre + rough), *span).astype(np.int64)
        room = DifferenceExpansion()._room(values, everywhere(values), span)
        assert room > 50
        for bits in (np.zeros(room, np.uint8), np.ones(room, np.uint8), some_bits(room)):
            carried = carry(values, bits, span=span)
            assert span.holds(carried.values).all()
            restored, found = DifferenceExpansion()._recover(
                carried.values, everywhere(values), room, carried.fields, carried.flags, span
            )
            np.testing.assert_array_equal(restored, values)
            np.testing.assert_array_equal(found, bits)


def test_few_bits_touch_few_pairs():
    values = smooth()
    few, many = (carry(values, some_bits(n)).fields["visited"] for n in (20, 200))
    assert few < many < values.size // 2


def test_pixels_without_a_partner_stay():
    values = smooth((60, 65)).astype(np.uint8)
    usable = np.random.default_rng(2).random(values.shape) < 0.9
    bits = some_bits(DifferenceExpansion().capacity(values, usable) // 2)
    carried = carry(values.astype(np.int32), bits, usable)
    alone = np.zeros_like(usable)
    alone[:, :-1:2] = ~usable[:, 1::2]
    alone[:, 1::2] = ~usable[:, :-1:2]
    alone[:, -1] = True
    np.testing.assert_array_equal(carried.values[alone], values[alone])
    assert (carried.values != values).any()


@pytest.mark.parametrize("shape", [(1, 1), (900, 1), (1, 900), (3, 3)])
def test_a_column_has_no_pairs_and_a_row_has(shape):
    values = np.full(shape, 7, np.uint8)
    assert (DifferenceExpansion().capacity(values) > 0) == (shape == (1, 900))


def test_noise_holds_nothing():
    """Its map takes more than its expandable pairs give."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert DifferenceExpansion().capacity(noise) == 0
