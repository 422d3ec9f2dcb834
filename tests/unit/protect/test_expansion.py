"""Rules of expansion against tables made by hand, and the ends of the range by exhaustion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.protect.hiding.base import Span
from intact.protect.hiding.expansion import OneSided, TwoSided, collapse, expand, safe

SMALL = Span(0, 15)
RULES = [TwoSided(1), TwoSided(2), TwoSided(4), OneSided()]
each_rule = pytest.mark.parametrize("rule", RULES, ids=str)


def by_hand(rule, e):
    """Where an error goes, one place for each bit it can carry."""
    if isinstance(rule, OneSided):
        return [0, 1] if e == 0 else [e + 1] if e > 0 else [e]
    t = rule.threshold
    if -t <= e <= t - 1:
        return [2 * e, 2 * e + 1]
    return [e + t] if e >= t else [e - t]


def carried(rule, x, prediction, bits, span=SMALL):
    """What `expand` makes of pixels that may come in any order."""
    return expand(np.array(x), np.array(prediction), rule, np.array(bits, np.uint8), span)


@each_rule
def test_each_error_goes_where_the_paper_sends_it(rule):
    e = np.arange(-20, 21)
    low, carries = rule.stretch(e), rule.carries(e)
    for error, lowest, two in zip(e, low, carries, strict=True):
        assert by_hand(rule, error) == list(range(lowest, lowest + 1 + two))


@each_rule
def test_shrinking_is_the_inverse_of_stretching(rule):
    for error in range(-20, 21):
        for bit, place in enumerate(by_hand(rule, error)):
            e, had_bit, found = rule.shrink(np.array([place]))
            assert (e[0], had_bit[0], found[0]) == (error, len(by_hand(rule, error)) == 2, bit)


@each_rule
def test_no_place_is_taken_twice(rule):
    places = [place for e in range(-20, 21) for place in by_hand(rule, e)]
    assert len(set(places)) == len(places)


@each_rule
def test_one_sided_pixels_never_get_darker_and_two_sided_ones_move_away(rule):
    e = np.arange(-20, 21)
    moved = rule.stretch(e) - e
    assert (moved >= 0).all() if isinstance(rule, OneSided) else (moved * (2 * e + 1) >= 0).all()


@each_rule
def test_every_pixel_near_the_ends_comes_back_and_flags_are_as_few_as_can_be(rule):
    """A flag is due where, and only where, two pixels with one prediction can end in one value."""
    for prediction in range(16):
        ends = {}
        for x in range(16):
            e = np.array([x - prediction])
            changed = bool(safe(e, np.array([prediction]), rule, SMALL)[0])
            assert changed == all(0 <= prediction + place <= 15 for place in by_hand(rule, e[0]))
            for place in by_hand(rule, e[0]) if changed else [e[0]]:
                ends.setdefault(prediction + int(place), []).append((x, changed))
        for origins in ends.values():
            assert len(origins) <= 2
            for x, changed in origins:
                if not changed or len(by_hand(rule, x - prediction)) == 1:
                    bits, filler = [1], [(8, 8)]  # it carries nothing: the next pixel has to
                else:
                    bits, filler = [ends_with_one(rule, x, prediction, ends, origins)], []
                pixels = [(x, prediction), *filler]
                marked, flags = carried(rule, *zip(*pixels, strict=True), bits)
                assert flags.size == (len(origins) == 2)
                assert (flags == (not changed)).all()
                back, found, used = collapse(marked, np.array([p for _, p in pixels]), rule, flags, SMALL)
                assert (back.tolist(), found.tolist(), used) == ([p for p, _ in pixels], bits, flags.size)


def ends_with_one(rule, x, prediction, ends, origins):
    """The bit with which `x` ends in the value that `origins` share."""
    value = next(value for value, found in ends.items() if found is origins)
    return by_hand(rule, x - prediction).index(value - prediction)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RULES), st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([3, 15, 255]))
def test_rows_of_pixels_come_back(rule, seed, share, high):
    rng, span = np.random.default_rng(seed), Span(0, high)
    prediction = rng.integers(0, high, 300, endpoint=True)
    x = np.clip(prediction + rng.integers(-6, 7, 300), 0, high)
    e = x - prediction
    most = int(np.count_nonzero(rule.carries(e) & safe(e, prediction, rule, span)))
    bits = rng.integers(0, 2, round(share * most), np.uint8)
    before = x.copy()
    marked, flags = expand(x, prediction, rule, bits, span)
    np.testing.assert_array_equal(x, before)
    assert span.holds(marked).all()
    others = np.array([True, False, True])  # of pixels that were written before
    back, found, used = collapse(
        marked, prediction[: marked.size], rule, np.concatenate([others, flags]), span
    )
    np.testing.assert_array_equal(back, x[: marked.size])
    np.testing.assert_array_equal(found, bits, strict=True)
    assert used == flags.size
    assert expand(x, prediction, rule, np.zeros(most + 1, np.uint8), span) is None


@each_rule
def test_the_last_pixel_is_the_one_with_the_last_bit(rule):
    marked, _ = carried(rule, [8] * 10, [8] * 10, [1, 0, 1])
    assert marked.size == 3
    marked, flags = carried(rule, [8] * 10, [8] * 10, [])
    assert marked.size == flags.size == 0


def test_no_pixels_hold_no_bits():
    assert carried(TwoSided(1), [], [], [1]) is None


def test_too_few_flags_are_refused():
    marked, flags = carried(TwoSided(1), [14, 15, 14, 8], [13, 13, 14, 8], [1, 1])
    assert flags.size
    with pytest.raises(ValueError, match="flags are needed"):
        collapse(marked, np.array([13, 13, 14, 8]), TwoSided(1), flags[1:], SMALL)
