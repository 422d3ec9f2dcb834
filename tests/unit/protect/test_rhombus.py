"""The two colours of the rhombus against slow loops, and how bits are shared between them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.protect.hiding.base import Span, span_of
from intact.protect.hiding.expansion import OneSided, TwoSided
from intact.protect.hiding.rhombus import CROSS, DOT, carry, layer, recover, room

SPAN, RULE = Span(0, 255), TwoSided(1)
colours = pytest.mark.parametrize("colour", [CROSS, DOT])


def smooth(shape=(40, 43), seed=3, centre=100):
    y, x = np.indices(shape)
    noise = np.random.default_rng(seed).normal(0, 1.5, shape)
    return np.round(centre + 0.4 * x - 0.3 * y + noise).astype(np.int32)


def bits_of(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def everywhere(values):
    return np.ones(values.shape, bool)


def by_hand(rule, mean):
    """A bin each side of the mean, or the bin 0 at it; black is predicted as black."""
    return math.floor(mean) if isinstance(rule, OneSided) or mean < 1 else math.ceil(mean)


def roughness(values, y, x):
    """Differences along each diagonal step between pixels of the other colour, within 5x5."""
    total, (height, width) = 0, values.shape
    for i, j, side in product(range(-2, 2), range(-2, 3), (-1, 1)):
        ends = (y + i, x + j), (y + i + 1, x + j + side)
        inside = all(0 <= r < height and 0 <= c < width for r, c in ends)
        if (i + j) % 2 and abs(j + side) <= 2 and inside:
            total += abs(int(values[ends[0]]) - int(values[ends[1]]))
    return total


def neighbours(values, y, x):
    return [int(values[y - 1, x]), int(values[y + 1, x]), int(values[y, x - 1]), int(values[y, x + 1])]


@colours
@pytest.mark.parametrize("rule", [TwoSided(1), OneSided()], ids=str)
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 9), (3, 3), (3, 8), (8, 3), (7, 7), (8, 9)])
def test_a_layer_is_what_a_slow_loop_finds(colour, shape, rule):
    rng = np.random.default_rng(8)
    values, usable = rng.integers(0, 4, shape).astype(np.int32), rng.random(shape) < 0.8
    found = {}
    for y in range(1, shape[0] - 1):
        for x in range(1, shape[1] - 1):
            if usable[y, x] and (y + x) % 2 == colour:
                found[y * shape[1] + x] = by_hand(rule, np.mean(neighbours(values, y, x)))
    pixels = layer(values, usable, colour, rule, SPAN)
    assert dict(zip(pixels.at.tolist(), pixels.predictions.tolist(), strict=True)) == found


@colours
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_smooth_surroundings_come_first(colour, dtype):
    span = span_of(np.dtype(dtype), 8 * np.dtype(dtype).itemsize)
    values = smooth() - 100 + (span.low + span.high) // 2
    pixels = layer(values, everywhere(values), colour, RULE, span)
    told = [min(roughness(values, *divmod(int(at), 43)), 65535) for at in pixels.at]
    assert told == sorted(told) == pixels.complexity.tolist()


@colours
def test_a_layer_does_not_look_at_its_own_colour(colour):
    values = smooth()
    before = layer(values, everywhere(values), colour, RULE, SPAN)
    y, x = np.indices(values.shape)
    values[(y + x) % 2 == colour] = np.random.default_rng(0).integers(0, 256)
    values[(y + x) % 2 == colour] ^= 5
    after = layer(values, everywhere(values), colour, RULE, SPAN)
    np.testing.assert_array_equal(after.at, before.at)
    np.testing.assert_array_equal(after.predictions, before.predictions)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([TwoSided(1), TwoSided(4), OneSided()]),
    st.sampled_from([1, 100, 253]),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_bits_and_pixels_come_back(rule, centre, share, seed):
    values = np.clip(smooth(seed=seed, centre=centre), 0, 255)
    usable = np.random.default_rng(seed).random(values.shape) < 0.9
    bits = bits_of(round(share * room(values, usable, rule, SPAN)), seed)
    before = values.copy()
    carried = carry(values, usable, rule, bits, SPAN)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(carried.values[~usable], values[~usable])
    cover, found = recover(carried.values, usable, rule, carried.fields, carried.flags, SPAN)
    np.testing.assert_array_equal(cover, values)
    np.testing.assert_array_equal(found, bits)


@pytest.mark.parametrize("rule", [TwoSided(1), TwoSided(4), OneSided()], ids=str)
def test_what_there_is_room_for_fits_and_far_more_does_not(rule):
    values = smooth((80, 80))
    space = room(values, everywhere(values), rule, SPAN)
    assert space > 300
    for seed in range(5):
        assert carry(values, everywhere(values), rule, bits_of(space, seed), SPAN) is not None
    assert carry(values, everywhere(values), rule, bits_of(int(1.2 * space)), SPAN) is None


def test_each_colour_carries_half():
    values, rule = smooth(), TwoSided(1)
    carried = carry(values, everywhere(values), rule, bits_of(101), SPAN)
    moved = (carried.values != values).ravel()
    for colour, name in ((CROSS, "crosses"), (DOT, "dots")):
        cover = values if colour == CROSS else carried.values
        at = layer(cover, everywhere(values), colour, RULE, SPAN).at
        visited = at[: carried.fields[name]]
        assert not moved[at[carried.fields[name] :]].any()
        e = (
            values.ravel()[visited]
            - layer(cover, everywhere(values), colour, RULE, SPAN).predictions[: visited.size]
        )
        assert np.count_nonzero(rule.carries(e)) == (51 if colour == CROSS else 50)


def test_what_the_dots_cannot_carry_goes_into_the_crosses():
    values = smooth()
    y, x = np.indices(values.shape)
    usable = ((y + x) % 2 == CROSS) | (y < 8)
    dots = layer(values, usable, DOT, RULE, SPAN).at.size
    bits = bits_of(room(values, usable, TwoSided(1), SPAN))
    assert bits.size // 2 > dots
    carried = carry(values, usable, TwoSided(1), bits, SPAN)
    cover, found = recover(carried.values, usable, TwoSided(1), carried.fields, carried.flags, SPAN)
    np.testing.assert_array_equal(cover, values)
    np.testing.assert_array_equal(found, bits)


def test_no_bits_change_nothing():
    values = smooth()
    carried = carry(values, everywhere(values), TwoSided(1), bits_of(0), SPAN)
    np.testing.assert_array_equal(carried.values, values)
    assert carried.fields == {"crosses": 0, "dots": 0} and not carried.flags.size


def test_more_pixels_than_there_are_are_refused():
    values = smooth()
    with pytest.raises(ValueError, match="pixels were visited"):
        recover(
            values, everywhere(values), TwoSided(1), {"crosses": 9999, "dots": 0}, np.zeros(0, bool), SPAN
        )
