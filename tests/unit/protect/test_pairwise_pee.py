"""The map of pairs against the paper's table, and whole layers against a slow loop."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.protect.hiding import pairwise_pee
from intact.protect.hiding.base import Span
from intact.protect.hiding.pairwise_pee import (
    PairwisePEE,
    capacity_of,
    from_trits,
    grow,
    held,
    pairs_of,
    shrink,
    to_trits,
)
from intact.protect.hiding.rhombus import CROSS, DOT
from intact.protect.hiding.sorted_pee import SortedPEE

SPAN = Span(0, 255)


def by_hand(a, b):
    """Where the paper sends a pair of sizes, one place for each digit."""
    if (a, b) == (0, 0):
        return [(0, 0), (1, 0), (0, 1)]
    if (a, b) == (1, 1):
        return [(1, 1), (2, 2)]
    if a == 0:
        return [(0, b + 1), (1, b + 1)]
    if b == 0:
        return [(a + 1, 0), (a + 1, 1)]
    return [(a + 1, b + 1)]


def smooth(shape=(48, 51), seed=3, centre=100):
    y, x = np.indices(shape)
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    return np.round(centre + 0.4 * x - 0.3 * y + noise).astype(np.uint8)


def bits_of(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def test_each_pair_goes_where_the_paper_sends_it():
    for a, b in product(range(7), repeat=2):
        for digit, place in enumerate(by_hand(a, b)):
            sizes, digits = np.array([[a], [b]]), np.array([digit])
            grown = grow(sizes, digits)
            assert tuple(grown[:, 0]) == place
            back, found = shrink(grown)
            np.testing.assert_array_equal(back, sizes)
            np.testing.assert_array_equal(found, digits)


def test_no_place_is_taken_twice_and_none_is_left_free():
    places = [place for a, b in product(range(8), repeat=2) for place in by_hand(a, b)]
    assert len(set(places)) == len(places)
    assert set(product(range(8), repeat=2)) <= set(places)


@pytest.mark.parametrize("colour", [CROSS, DOT])
def test_pairs_share_no_pixel_and_are_predicted_from_the_other_colour(colour):
    values, usable = smooth().astype(np.int32), np.ones((48, 51), bool)
    pairs = pairs_of(values, usable, colour, SPAN)
    assert np.unique(pairs.at).size == pairs.at.size
    rows, columns = np.divmod(pairs.at, 51)
    assert ((rows + columns) % 2 == colour).all()
    for at, prediction in zip(pairs.at.ravel(), pairs.predictions.ravel(), strict=True):
        y, x = divmod(int(at), 51)
        four = [values[y - 1, x], values[y + 1, x], values[y, x - 1], values[y, x + 1]]
        assert prediction == int(np.ceil(np.mean(four)))
    changed = values.copy()
    changed.ravel()[pairs.at] += np.arange(pairs.at.size).reshape(2, -1) % 5
    again = pairs_of(changed, usable, colour, SPAN)
    np.testing.assert_array_equal(again.at, pairs.at)
    np.testing.assert_array_equal(again.predictions, pairs.predictions)


@pytest.mark.parametrize("colour", [CROSS, DOT])
def test_smooth_surroundings_come_first(colour):
    values, usable = smooth().astype(np.int32), np.ones((48, 51), bool)
    first = pairs_of(values, usable, colour, SPAN).at[0]

    def roughness(at):
        y, x = divmod(int(at), 51)
        total = 0
        for centre in ((y, x), (y + 1, x + (1 if colour == CROSS else -1))):
            near = [(i, j) for i, j in product(range(-2, 3), repeat=2) if (i + j) % 2]
            for (i, j), (k, m) in product(near, near):
                ends = [(centre[0] + i, centre[1] + j), (centre[0] + k, centre[1] + m)]
                if k == i + 1 and abs(m - j) == 1 and all(0 <= r < 48 and 0 <= c < 51 for r, c in ends):
                    total += abs(int(values[ends[0]]) - int(values[ends[1]]))
        return total

    assert (np.diff([roughness(at) for at in first]) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_trits_give_their_bits_back(count, seed):
    bits = bits_of(int(held(count)), seed)
    trits = to_trits(bits, count)
    assert trits.size == count and trits.max(initial=0) <= 2
    np.testing.assert_array_equal(from_trits(trits), bits, strict=True)


def test_trits_hold_what_can_be_held():
    for count in range(1, 13):
        assert 2 ** held(count) <= 3**count < 2 ** (held(count) + 1)
    assert held(1200) == 1900


@pytest.mark.parametrize("trits", [[2], [2] * 12, [0] * 12 + [2, 2, 2, 2]])
def test_trits_that_no_bits_give_are_refused(trits):
    with pytest.raises(ValueError, match="digits"):
        from_trits(np.array(trits))


def test_a_layer_is_what_a_slow_loop_makes():
    values, usable = smooth().astype(np.int32), np.ones((48, 51), bool)
    pairs, bits = pairs_of(values, usable, CROSS, SPAN), bits_of(150)
    marked = values.copy()
    visited, taken, flags = pairwise_pee._visit(marked, pairs, bits, 150, SPAN)
    assert taken in (150, 151) and not flags.size

    kinds, slow = [], values.copy()
    errors = [
        values.ravel()[at] - p for at, p in zip(pairs.at[:, :visited].T, pairs.predictions.T, strict=False)
    ]
    sizes = [tuple(int(e) if e >= 0 else -1 - int(e) for e in pair) for pair in errors]
    kinds = [len(by_hand(*pair)) for pair in sizes]
    assert kinds.count(2) + held(kinds.count(3)) == taken
    stream = np.append(bits, 0)[:taken]
    trits = iter(to_trits(stream[: taken - kinds.count(2)], kinds.count(3)))
    singles = iter(stream[taken - kinds.count(2) :])
    for at, pair, size, kind in zip(pairs.at[:, :visited].T, errors, sizes, kinds, strict=True):
        digit = {1: lambda: 0, 2: lambda: next(singles), 3: lambda: next(trits)}[kind]()
        steps = np.subtract(by_hand(*size)[int(digit)], size)
        slow.ravel()[at] += np.where(pair < 0, -steps, steps)
    np.testing.assert_array_equal(marked, slow)


def test_no_pixel_moves_by_more_than_one():
    pixels = smooth((96, 96))
    marked = PairwisePEE().embed(pixels, bits_of(PairwisePEE().capacity(pixels)))
    assert np.abs(marked.astype(int) - pixels).max() == 1


def test_it_costs_less_than_expanding_each_error_alone():
    pixels, bits = smooth((128, 128)), bits_of(2000)

    def loss(scheme):
        return np.square(scheme.embed(pixels, bits).astype(int) - pixels).sum()

    assert loss(PairwisePEE()) < 0.9 * loss(SortedPEE())


@pytest.mark.parametrize(("low", "high"), [(0, 3), (252, 255), (0, 255)])
def test_the_ends_of_the_range_come_back(low, high):
    rng = np.random.default_rng(4)
    ends = np.clip(np.round(rng.normal((low + high) / 2, 1.5, (80, 80))), low, high)
    pixels = np.where(rng.random((80, 80)) < 0.7, smooth((80, 80)), ends).astype(np.uint8)
    pixels[:40] = smooth((40, 80), centre=120)
    bits = bits_of(PairwisePEE().capacity(pixels))
    assert bits.size > 200
    marked = PairwisePEE().embed(pixels, bits)
    restored, found = PairwisePEE().extract(marked)
    np.testing.assert_array_equal(restored, pixels)
    np.testing.assert_array_equal(found, bits)


def test_flags_tell_pairs_that_were_left_alone_from_those_that_were_moved():
    # Beside 254, a pixel of 255 may be one that was left alone or a 254 that took up a bit.
    values, usable = np.full((60, 60), 254, np.int32), np.ones((60, 60), bool)
    values[np.random.default_rng(0).random((60, 60)) < 0.02] = 255
    scheme = PairwisePEE()
    carried = scheme._carry(values, usable, bits_of(400), SPAN)
    assert carried.flags.any() and not carried.flags.all()
    notes = carried.fields
    cover, found = scheme._recover(carried.values, usable, 400, notes, carried.flags, SPAN)
    np.testing.assert_array_equal(cover, values)
    np.testing.assert_array_equal(found, bits_of(400))
    with pytest.raises(ValueError, match="flags"):
        scheme._recover(carried.values, usable, 400, notes, carried.flags[:0], SPAN)


def test_more_pairs_than_there_are_are_refused():
    values, usable = smooth().astype(np.int32), np.ones((48, 51), bool)
    with pytest.raises(ValueError, match="pairs were visited"):
        PairwisePEE()._recover(values, usable, 1, {"crosses": 0, "dots": 9999}, np.zeros(0, bool), SPAN)


def test_black_is_predicted_as_black():
    """Zeros beside a few ones carry: rounded up, the prediction would be 1 and the error -1 stuck."""
    values, usable = np.zeros((60, 60), np.int32), np.ones((60, 60), bool)
    values[np.random.default_rng(0).random((60, 60)) < 0.1] = 1
    pairs = pairs_of(values, usable, CROSS, SPAN)
    assert capacity_of(values, pairs, SPAN) > 1.2 * pairs.at.shape[1]


def test_white_needs_no_flags():
    values, usable = smooth((60, 60)).astype(np.int32), np.ones((60, 60), bool)
    values[20:40] = 255
    carried = PairwisePEE()._carry(values, usable, bits_of(500), SPAN)
    assert not carried.flags.size
    np.testing.assert_array_equal(carried.values[22:38], 255)
    assert carried.fields["crosses"] > 20 * 18  # they are visited first, as nothing is smoother
