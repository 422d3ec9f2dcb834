"""Prediction-error expansion with the median edge detector against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from intact.protect.hiding.base import Span, span_of
from intact.protect.hiding.pee import PEE, _diagonals, _predictions

BYTE = Span(0, 255)


def everywhere(values):
    return np.ones(values.shape, bool)


def some_bits(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def smooth(shape=(40, 43), noise=1.5, centre=100, seed=3, span=BYTE):
    y, x = np.indices(shape) - np.array(shape).reshape(2, 1, 1) // 2
    rough = np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(np.round(centre + 0.4 * x - 0.3 * y + rough), *span).astype(np.int64)


def predict_slowly(values, y, x):
    """The rule of LOCO-I, with the neighbours on the other side."""
    right, below, corner = (int(values[y + r, x + c]) for r, c in ((0, 1), (1, 0), (1, 1)))
    if corner >= max(right, below):
        return min(right, below)
    if corner <= min(right, below):
        return max(right, below)
    return right + below - corner


def order_slowly(usable):
    h, w = usable.shape
    inner = [(y, x) for y in range(h - 1) for x in range(w - 1) if usable[y, x]]
    return sorted(inner, key=lambda place: (sum(place), place))


def embed_slowly(values, usable, threshold, bits, span):
    """Pixel by pixel: expand errors from -T to T - 1, shift the others, leave what might overflow."""
    marked, left = values.copy(), bits.tolist()
    for y, x in order_slowly(usable):
        if not left:
            break
        prediction = predict_slowly(values, y, x)  # from pixels that come later
        e = int(values[y, x]) - prediction
        if -threshold <= e < threshold:
            new = [prediction + 2 * e, prediction + 2 * e + 1]
        else:
            new = [prediction + e + (threshold if e > 0 else -threshold)]
        if span.low <= min(new) and max(new) <= span.high:
            marked[y, x] = new[left.pop(0)] if len(new) == 2 else new[0]
    return marked


def carry(values, bits, usable=None, span=BYTE):
    return PEE()._carry(values, everywhere(values) if usable is None else usable, bits, span)


def recover(carried, n, usable=None, span=BYTE):
    usable = everywhere(carried.values) if usable is None else usable
    return PEE()._recover(carried.values, usable, n, carried.fields, carried.flags, span)


@pytest.mark.parametrize(
    "right, below, corner, prediction",
    [(10, 20, 25, 10), (10, 20, 5, 20), (10, 20, 12, 18), (10, 20, 20, 10), (10, 20, 10, 20), (7, 7, 7, 7)],
)
def test_the_median_edge_detector_by_hand(right, below, corner, prediction):
    values = np.array([[0, right], [below, corner]])
    assert _predictions(values, np.array([0])) == prediction == predict_slowly(values, 0, 0)


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 2), (3, 3), (3, 8), (8, 3), (7, 7)])
def test_diagonals_and_predictions_are_those_of_a_slow_loop(shape):
    rng = np.random.default_rng(8)
    values, usable = rng.integers(0, 256, shape), rng.random(shape) < 0.8
    at, starts = _diagonals(usable)
    places = [divmod(int(position), shape[1]) for position in at]
    assert places == order_slowly(usable)
    assert _predictions(values, at).tolist() == [predict_slowly(values, y, x) for y, x in places]
    numbers = [sum(place) for place in places]
    assert starts.tolist() == [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]]


@pytest.mark.parametrize("noise, centre", [(0.4, 100), (3, 100), (3, 2), (3, 252)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_the_pixels_are_those_of_a_slow_loop(noise, centre, share):
    values = smooth(noise=noise, centre=centre)
    usable = np.random.default_rng(0).random(values.shape) < 0.9
    bits = some_bits(round(share * PEE()._room(values, usable, BYTE)))
    carried = carry(values, bits, usable)
    expected = embed_slowly(values, usable, carried.fields["threshold"], bits, BYTE)
    np.testing.assert_array_equal(carried.values, expected)


@settings(max_examples=200, deadline=None)
@given(
    values=arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(-8, 7)),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_small_images_near_both_ends_come_back(values, share, seed):
    span = Span(-8, 7)
    usable = np.random.default_rng(seed).random(values.shape) < 0.9
    bits = some_bits(round(share * PEE()._room(values, usable, span)), seed)
    carried = carry(values, bits, usable, span)
    assert span.holds(carried.values).all()
    restored, found = recover(carried, bits.size, usable, span)
    np.testing.assert_array_equal(restored, values)
    np.testing.assert_array_equal(found, bits)


def test_the_threshold_is_the_smallest_that_holds_the_bits():
    values = smooth(noise=3)
    at, _ = _diagonals(everywhere(values))
    e = values.ravel()[at] - _predictions(values, at)
    for threshold in (1, 2, 5):
        holds = np.count_nonzero((e >= -threshold) & (e < threshold))
        assert carry(values, some_bits(holds)).fields["threshold"] == threshold
        assert carry(values, some_bits(holds + 1)).fields["threshold"] == threshold + 1


@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("end", ["low", "high"])
def test_pixels_at_the_ends_are_told_apart_by_flags(end, bit):
    """A pixel that was left alone may look like one that was moved onto the same value."""
    values = smooth(noise=4, centre=1 if end == "low" else 254)
    bits = np.full(600, bit, np.uint8)
    carried = carry(values, bits)
    assert carried.flags.any() and not carried.flags.all()
    restored, found = recover(carried, bits.size)
    np.testing.assert_array_equal(restored, values)
    np.testing.assert_array_equal(found, bits)


def test_missing_flags_are_refused():
    carried = carry(smooth(noise=4, centre=1), some_bits(600))
    with pytest.raises(ValueError, match="flags"):
        PEE()._recover(
            carried.values, everywhere(carried.values), 600, carried.fields, carried.flags[:1] | True, BYTE
        )


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.int16, 12), (np.uint16, 16), (np.int32, 32)])
def test_room_is_carried_whatever_the_bits(dtype, depth):
    span = span_of(np.dtype(dtype), depth)
    for centre in (span.low + 2, (span.low + span.high) // 2, span.high - 2):
        values = smooth(noise=5, centre=centre, span=span)
        room = PEE()._room(values, everywhere(values), span)
        assert room > 100
        for bits in (np.zeros(room, np.uint8), np.ones(room, np.uint8), some_bits(room)):
            carried = carry(values, bits, span=span)
            assert span.holds(carried.values).all()
            restored, found = recover(carried, room, span=span)
            np.testing.assert_array_equal(restored, values)
            np.testing.assert_array_equal(found, bits)


def test_threshold_one_costs_less_than_one_grey_level():
    values = smooth(noise=0.7).astype(np.uint8)
    bits = some_bits(300)
    marked = PEE().embed(values, bits)
    error = marked.astype(float) - values
    assert np.abs(error).max() == 1
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= 48.13


def test_the_last_row_and_column_carry_nothing():
    values = smooth(noise=0.4)
    marked = carry(values, some_bits(PEE()._room(values, everywhere(values), BYTE))).values
    np.testing.assert_array_equal(marked[-1], values[-1])
    np.testing.assert_array_equal(marked[:, -1], values[:, -1])
    assert PEE().capacity(np.full((1, 500), 7, np.uint8)) == 0
