"""Histogram shifting against a slow loop, and the mistakes that descriptions of it invite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from intact.protect.hiding.base import Span
from intact.protect.hiding.histogram_shifting import DENSE, HistogramShifting

BYTE, SMALL = Span(0, 255), Span(-8, 7)


def everywhere(values):
    return np.ones(values.shape, bool)


def some_bits(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def bell(shape=(96, 96), centre=100.0, seed=0):
    """Values around a centre."""
    return np.round(np.random.default_rng(seed).normal(centre, 6, shape)).astype(np.uint8)


def carry(values, bits, usable=None, span=BYTE):
    """What the scheme does, without side information: the pixels, peak, zero and flags."""
    values = np.array(values, np.int32)
    carried = HistogramShifting()._carry(values, everywhere(values) if usable is None else usable, bits, span)
    assert carried is not None
    return carried.values, carried.fields["peak"] + span.low, carried.fields["zero"] + span.low, carried.flags


def shift_slowly(values, usable, peak, zero, bits):
    """Section II of the paper, pixel by pixel, for a peak and a zero."""
    marked, left, step = values.copy(), bits.tolist(), 1 if zero > peak else -1
    for y, x in np.ndindex(values.shape):
        if not left:
            break
        if not usable[y, x]:
            continue
        if values[y, x] == peak:
            marked[y, x] += step * left.pop(0)
        elif min(peak, zero) < values[y, x] < max(peak, zero):
            marked[y, x] += step
    return marked


@settings(max_examples=150, deadline=None)
@given(
    values=arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-5, 4)),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_the_pixels_are_those_of_a_slow_loop(values, share, seed):
    usable = np.random.default_rng(seed).random(values.shape) < 0.8
    room = HistogramShifting()._room(values, usable, SMALL)
    if not room:
        return
    bits = some_bits(round(share * room), seed)
    marked, peak, zero, flags = carry(values, bits, usable, SMALL)
    np.testing.assert_array_equal(marked, shift_slowly(values, usable, peak, zero, bits))
    assert not flags.size


def test_a_row_worked_by_hand():
    # 4 is the peak. Below it, 3 is empty; above it, two values would have to move to 7.
    row = [[4, 5, 4, 1, 6, 4, 4, 5]]
    marked, peak, zero, _ = carry(row, np.array([1, 0, 1], np.uint8))
    assert (peak, zero) == (4, 3)
    assert marked.tolist() == [[3, 5, 4, 1, 6, 3, 4, 5]]


@pytest.mark.parametrize(
    "row, n, pair",
    [
        ([0, 0, 0, 1, 1, 2, 3], 3, (0, 4)),  # nothing is below 0
        ([255, 255, 255, 254, 253], 3, (255, 252)),  # nor above 255
        ([5, 5, 5, 6, 6, 6, 6, 7, 8, 9], 3, (5, 4)),  # 5 holds three bits and moves nobody
        ([5] * 3 + [6] * 9 + [7] * 4 + [8, 9], 4, (6, 4)),  # 7 moves two pixels, 6 three, but for 9 bits
        ([5, 5, 5, 6, 6, 6, 6, 7, 8, 9], 4, (6, 4)),  # four need 6, and three 5s move rather than 7, 8, 9
    ],
)
def test_the_pair_holds_the_bits_and_moves_the_fewest_pixels(row, n, pair):
    _, peak, zero, _ = carry([row], some_bits(n))
    assert (peak, zero) == pair


def test_all_shifted_values_come_back_not_only_the_one_beside_the_peak():
    """Equation 18 of NROI-AdvGAN brings back a + 1 only; whatever is larger stays one too high."""
    values, bits = bell(), some_bits(500)
    marked, peak, zero, _ = carry(values, bits)
    step = np.sign(zero - peak)
    as_printed = np.where(marked == peak + step, peak, marked)
    assert np.count_nonzero(as_printed != values) > 1000
    assert set(np.unique(marked - values)) == {0, step}
    fields = {"peak": peak, "zero": zero}
    restored, found = HistogramShifting()._recover(
        marked, everywhere(marked), bits.size, fields, np.zeros(0, bool), BYTE
    )
    np.testing.assert_array_equal(restored, values)
    np.testing.assert_array_equal(found, bits)


@pytest.mark.parametrize("saturated", [0, 255])
def test_saturated_pixels_survive(saturated):
    """Equation 16 of NROI-AdvGAN adds 1 to every value above the peak, also to 255."""
    values = bell(centre=saturated, seed=2)
    values = np.where(np.abs(values.astype(int) - saturated) > 127, saturated, values).astype(np.uint8)
    assert np.count_nonzero(values == saturated) > 1000
    bits = some_bits(HistogramShifting().capacity(values))
    marked = HistogramShifting().embed(values, bits)
    assert np.abs(marked.astype(int) - values).max() == 1
    restored, found = HistogramShifting().extract(marked)
    np.testing.assert_array_equal(restored, values)
    np.testing.assert_array_equal(found, bits)


def full():
    """An image in which all 256 values occur."""
    rng = np.random.default_rng(4)
    values = np.where(rng.random((96, 96)) < 0.5, 50, rng.integers(0, 256, (96, 96)))
    values.ravel()[-256:] = np.arange(256)
    return values.astype(np.uint8)


@pytest.mark.parametrize("bit", [0, 1])
def test_where_no_value_is_empty_flags_tell_the_zeros_pixels(bit):
    values = full()
    marked, peak, zero, flags = carry(values, np.full(4000, bit, np.uint8))
    assert peak == 50 and flags.any()
    before = values[marked == zero]
    np.testing.assert_array_equal(flags, before[: flags.size] == zero)
    bits = np.full(HistogramShifting().capacity(values), bit, np.uint8)
    restored, found = HistogramShifting().extract(HistogramShifting().embed(values, bits))
    np.testing.assert_array_equal(restored, values)
    np.testing.assert_array_equal(found, bits)


def test_two_values_that_are_all_there_are_hold_nothing():
    bilevel = np.random.default_rng(0).integers(0, 2, (40, 40)).astype(np.uint8)
    assert HistogramShifting().capacity(bilevel, depth=1) == 0
    assert HistogramShifting()._room(bilevel.astype(np.int32), everywhere(bilevel), Span(0, 1)) == 0
    assert HistogramShifting().capacity(bilevel) > 500


@pytest.mark.parametrize("high", [DENSE - 1, DENSE])
def test_counting_and_sorting_make_the_same_histogram(high):
    values, bits = bell().astype(np.int64), some_bits(100)
    usable = everywhere(values)
    counted = HistogramShifting()._carry(values, usable, bits, BYTE)
    carried = HistogramShifting()._carry(values, usable, bits, Span(0, high))
    assert carried.fields == counted.fields
    np.testing.assert_array_equal(carried.values, counted.values)


def test_one_pass_costs_less_than_one_grey_level():
    values = bell()
    bits = some_bits(HistogramShifting().capacity(values))
    error = HistogramShifting().embed(values, bits).astype(float) - values
    assert 10 * np.log10(255**2 / np.mean(error**2)) >= 48.13  # the paper's lower bound


def test_a_pass_holds_the_peak_less_its_side_information():
    values = bell()
    peak = np.bincount(values.ravel()).max()
    side = sum(HistogramShifting()._widths.values())
    assert peak - 2 * side <= HistogramShifting().capacity(values) <= peak - side
