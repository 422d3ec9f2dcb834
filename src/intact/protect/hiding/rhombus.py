"""The rhombus predictor: a pixel from its four neighbours, on the two colours of a chess board.

Pixels of one colour have neighbours of the other colour only, so a whole colour is predicted at
once and the decoder sees the same neighbours. Pixels in smooth surroundings carry first, half of
the bits on each colour where that is possible.

Source: Sachnev, Kim, Nam, Suresh, Shi, "Reversible watermarking algorithm using sorting and
prediction", IEEE TCSVT 19(7), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.hiding.base import COUNT, Bits, Carried, Mask, Span, Values
from intact.protect.hiding.expansion import Rule, collapse, expand, safe

CROSS, DOT = 0, 1  # the colours; crosses carry first
HOPELESS = 0.75  # share of the bits that must seem to fit for a try: disturbed dots may hold a sixth more
FIELDS = {"crosses": COUNT, "dots": COUNT}  # how many pixels of each colour were visited


@dataclass(frozen=True)
class Layer:
    """The usable pixels of one colour, smoothest surroundings first.

    Args:
        at: Positions in raster order.
        predictions: Floor of the mean of the four neighbours.
        complexity: Of the surroundings, ascending, uint16.
    """

    at: NDArray[np.intp]
    predictions: NDArray[Any]
    complexity: NDArray[np.uint16]


def room(cover: Values, usable: Mask, rule: Rule, span: Span) -> int:
    """Bits that `carry` can surely carry; what the dots hold depends a little on the crosses' bits."""
    values, crosses = cover.copy(), layer(cover, usable, CROSS, span)
    first = _carriers(values, crosses, rule, span)
    trial = np.random.default_rng(0).integers(0, 2, first, np.uint8)
    _visit(values, crosses, rule, trial, span)
    second = _carriers(values, layer(values, usable, DOT, span), rule, span)
    return max(0, first + second - int(4 * np.sqrt(second)) - 1)


def estimate(cover: Values, usable: Mask, rule: Rule, span: Span) -> int:
    """About how many bits `carry` can carry, as if the bits on crosses did not disturb the dots."""
    total = cover[:-2, 1:-1] + cover[2:, 1:-1] + cover[1:-1, :-2] + cover[1:-1, 2:]
    predictions = total >> 2
    e = cover[1:-1, 1:-1] - predictions
    carriers = rule.carries(e) & usable[1:-1, 1:-1]
    return int(np.count_nonzero(safe(e[carriers], predictions[carriers], rule, span)))


def carry(cover: Values, usable: Mask, rule: Rule, bits: Bits, span: Span) -> Carried | None:
    """Carry bits on the crosses, then on the dots; None when they do not fit."""
    if estimate(cover, usable, rule, span) < HOPELESS * bits.size:
        return None
    crosses = layer(cover, usable, CROSS, span)
    most = _carriers(cover, crosses, rule, span)
    first = min(most, bits.size - bits.size // 2)
    while True:
        values = cover.copy()
        n_crosses, cross_flags = _visit(values, crosses, rule, bits[:first], span)
        dots = layer(values, usable, DOT, span)
        lacking = bits.size - first - _carriers(values, dots, rule, span)
        if lacking <= 0:
            n_dots, dot_flags = _visit(values, dots, rule, bits[first:], span)
            visited = {"crosses": n_crosses, "dots": n_dots}
            return Carried(values, visited, np.concatenate([cross_flags, dot_flags]))
        if first == most:
            return None
        first = min(most, first + lacking)


def recover(
    marked: Values,
    usable: Mask,
    rule: Rule,
    fields: dict[str, int],
    flags: Bool[ndarray, "k"],
    span: Span,
) -> tuple[Values, Bits]:
    """The inverse of `carry`.

    Raises:
        ValueError: The marked values cannot have come from `carry`.
    """
    values = marked.copy()
    found: list[Bits] = []
    for colour, visited in ((DOT, fields["dots"]), (CROSS, fields["crosses"])):
        pixels = layer(values, usable, colour, span)
        if visited > pixels.at.size:
            raise ValueError(f"{visited} pixels were visited and only {pixels.at.size} are usable")
        at, predictions = pixels.at[:visited], pixels.predictions[:visited]
        x, bits, used = collapse(values.ravel()[at], predictions, rule, flags, span)
        values.ravel()[at] = x
        flags = flags[: flags.size - used]
        found.insert(0, bits)
    return values, np.concatenate(found)


def layer(values: Values, usable: Mask, colour: int, span: Span) -> Layer:
    """The pixels of one colour; those at the border, which lack a neighbour, are left out."""
    up, down, left, right = values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]
    total = up + down + left + right
    inner = np.zeros(total.shape, bool)
    for first in (0, 1):
        columns = slice((first + colour) % 2, None, 2)
        inner[first::2, columns] = usable[1:-1, 1:-1][first::2, columns]
    at = np.flatnonzero(inner)
    complexity = _complexity(values, total, at, span)
    # 16-bit keys are sorted by radix, several times faster than by comparison.
    order = np.argsort(complexity, kind="stable")
    at = at[order]
    rows, columns_ = np.divmod(at, total.shape[1])
    return Layer((rows + 1) * values.shape[1] + columns_ + 1, total.ravel()[at] >> 2, complexity[order])


def _complexity(values: Values, total: Values, at: NDArray[np.intp], span: Span) -> NDArray[np.uint16]:
    """Standard deviation of the four neighbours, scaled to use 16 bits."""
    wide = values.astype(np.int64 if values.dtype == np.int32 else np.float64)
    squares = wide * wide
    sums = squares[:-2, 1:-1] + squares[2:, 1:-1] + squares[1:-1, :-2] + squares[1:-1, 2:]
    # 16 times the variance. Where 32-bit values need floats, rounding may make it negative.
    spread = np.maximum(4 * sums.ravel()[at] - total.ravel()[at].astype(wide.dtype) ** 2, 0)
    half = (span.high - span.low + 1) / 2  # the largest standard deviation there can be
    return (np.sqrt(spread) * (65535.0 / 4.0 / half)).astype(np.uint16)


def _carriers(values: Values, pixels: Layer, rule: Rule, span: Span) -> int:
    """How many pixels of a colour carry a bit."""
    e = values.ravel()[pixels.at] - pixels.predictions
    return int(np.count_nonzero(rule.carries(e) & safe(e, pixels.predictions, rule, span)))


def _visit(
    values: Values, pixels: Layer, rule: Rule, bits: Bits, span: Span
) -> tuple[int, Bool[ndarray, "k"]]:
    """Write bits, which fit, into pixels of a colour; how many were visited, and the flags."""
    reach = 4 * bits.size + 1024  # most bits find a place early, so not all pixels are looked at
    while True:
        at = pixels.at[:reach]
        expanded = expand(values.ravel()[at], pixels.predictions[:reach], rule, bits, span)
        if expanded is not None:
            marked, flags = expanded
            values.ravel()[at[: marked.size]] = marked
            return marked.size, flags
        assert reach < pixels.at.size
        reach *= 4
