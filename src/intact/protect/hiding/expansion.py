"""Prediction-error expansion: how an error carries a bit, and what happens at the ends of the range.

A rule stretches the errors e = x - prediction so that some of them gain a free lowest bit. A pixel
that its rule might push out of range is left alone. The decoder recognises most of these by
themselves, since a changed pixel could not look as they do; one flag is kept for each of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.hiding.base import Bits, Span

Ints = NDArray[Any]  # [n]


class Rule(Protocol):
    """How errors are stretched: injective, and moving each by an amount that its bit does not decide."""

    def carries(self, e: Ints) -> Bool[ndarray, "n"]:
        """Which errors carry a bit."""

    def stretch(self, e: Ints) -> Ints:
        """The stretched errors, with 0 for the bit of those that carry one."""

    def shrink(self, stretched: Ints) -> tuple[Ints, Bool[ndarray, "n"], UInt8[ndarray, "n"]]:
        """The errors, which of them carried a bit, and that bit (0 elsewhere)."""

    def rounded(self, quarters: Ints, span: Span) -> Ints:
        """The whole number next to a fourth of `quarters` that suits the bins."""


@dataclass(frozen=True)
class TwoSided:
    """Errors from -T to T - 1 are doubled, larger ones move outwards by T.

    Source: Thodi and Rodriguez 2007, histogram shifting of prediction errors.
    """

    threshold: int

    def carries(self, e: Ints) -> Bool[ndarray, "n"]:
        """Errors from -T to T - 1."""
        inner: Bool[ndarray, "n"] = (e >= -self.threshold) & (e < self.threshold)
        return inner

    def stretch(self, e: Ints) -> Ints:
        """2 e inside, e + T above, e - T below."""
        return e + np.clip(e, -self.threshold, self.threshold)

    def shrink(self, stretched: Ints) -> tuple[Ints, Bool[ndarray, "n"], UInt8[ndarray, "n"]]:
        """The inverse of `stretch`."""
        t = self.threshold
        carried = (stretched >= -2 * t) & (stretched < 2 * t)
        e = np.where(carried, stretched >> 1, stretched - np.where(stretched < 0, -t, t))
        return e, carried, (stretched & carried).astype(np.uint8)

    def rounded(self, quarters: Ints, span: Span) -> Ints:
        """Up, so that the bins -1 and 0 lie around it; but black stays black, where -1 cannot grow."""
        return np.where(quarters < 4 * span.low + 4, span.low, -(-quarters >> 2))


@dataclass(frozen=True)
class OneSided:
    """Errors of 0 carry a bit upwards, positive ones move up by one, negative ones stay."""

    def carries(self, e: Ints) -> Bool[ndarray, "n"]:
        """Errors of 0."""
        zero: Bool[ndarray, "n"] = e == 0
        return zero

    def stretch(self, e: Ints) -> Ints:
        """Positive errors plus one."""
        return e + (e > 0)

    def shrink(self, stretched: Ints) -> tuple[Ints, Bool[ndarray, "n"], UInt8[ndarray, "n"]]:
        """The inverse of `stretch`."""
        carried = (stretched == 0) | (stretched == 1)
        return stretched - (stretched > 0), carried, (stretched & carried).astype(np.uint8)

    def rounded(self, quarters: Ints, span: Span) -> Ints:
        """Down, as an error of 0 is most frequent then."""
        return quarters >> 2


def safe(e: Ints, prediction: Ints, rule: Rule, span: Span) -> Bool[ndarray, "n"]:
    """Whether a pixel stays in range whatever bit it carries."""
    lowest = prediction + rule.stretch(e)
    inside: Bool[ndarray, "n"] = (lowest >= span.low) & (lowest + rule.carries(e) <= span.high)
    return inside


def expand(
    x: Ints, prediction: Ints, rule: Rule, bits: Bits, span: Span
) -> tuple[Ints, Bool[ndarray, "k"]] | None:
    """Carry `bits` in the pixels `x`, in their order.

    Returns:
        The marked pixels up to the one that carries the last bit, and the flags of those that the
        decoder could not tell apart; or None when the bits do not fit.
    """
    e = x - prediction
    changed = safe(e, prediction, rule, span)
    carrier = changed & rule.carries(e)
    filled = np.cumsum(carrier)
    if not bits.size:
        return x[:0], np.zeros(0, bool)
    if not x.size or filled[-1] < bits.size:
        return None
    n = int(np.searchsorted(filled, bits.size)) + 1
    x, e, prediction, changed, carrier = x[:n], e[:n], prediction[:n], changed[:n], carrier[:n]
    stretched = rule.stretch(e)
    stretched[carrier] += bits
    marked = np.where(changed, prediction + stretched, x)
    return marked, ~changed[_ambiguous(marked, prediction, rule, span)]


def collapse(
    marked: Ints, prediction: Ints, rule: Rule, flags: Bool[ndarray, "k"], span: Span
) -> tuple[Ints, Bits, int]:
    """The inverse of `expand`: the pixels, their bits, and how many of the last `flags` were used.

    Raises:
        ValueError: The flags do not fit the pixels.
    """
    e, carried, bit = rule.shrink(marked - prediction)
    x = prediction + e
    left_alone = ~_could_be_changed(x, e, prediction, rule, span)
    ambiguous = _ambiguous(marked, prediction, rule, span)
    used = int(np.count_nonzero(ambiguous))
    if used > flags.size:
        raise ValueError(f"{used} flags are needed and {flags.size} are there")
    left_alone[ambiguous] = flags[flags.size - used :]
    return np.where(left_alone, marked, x), bit[carried & ~left_alone], used


def _could_be_changed(x: Ints, e: Ints, prediction: Ints, rule: Rule, span: Span) -> Bool[ndarray, "n"]:
    """Whether the encoder would have changed a pixel `x`."""
    return span.holds(x) & safe(e, prediction, rule, span)


def _ambiguous(marked: Ints, prediction: Ints, rule: Rule, span: Span) -> Bool[ndarray, "n"]:
    """Where a marked pixel could be one that was changed as well as one that was left alone."""
    at_the_end = np.zeros(marked.shape, bool)
    alone = ~safe(marked - prediction, prediction, rule, span)
    if alone.any():
        e, _, _ = rule.shrink(marked[alone] - prediction[alone])
        at_the_end[alone] = _could_be_changed(prediction[alone] + e, e, prediction[alone], rule, span)
    return at_the_end
