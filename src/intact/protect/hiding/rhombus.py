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
        predictions: Mean of the four neighbours, rounded as the rule likes it.
        complexity: Roughness of the surroundings, ascending, uint16.
    """

    at: NDArray[np.intp]
    predictions: NDArray[Any]
    complexity: NDArray[np.uint16]


def room(cover: Values, usable: Mask, rule: Rule, span: Span) -> int:
    """Bits that `carry` can surely carry; what the dots hold depends a little on the crosses' bits."""
    values, crosses = cover.copy(), layer(cover, usable, CROSS, rule, span)
    first = _carriers(values, crosses, rule, span)
    trial = np.random.default_rng(0).integers(0, 2, first, np.uint8)
    _visit(values, crosses, rule, trial, span)
    second = _carriers(values, layer(values, usable, DOT, rule, span), rule, span)
    return max(0, first + second - int(4 * np.sqrt(second)) - 1)


def estimate(cover: Values, usable: Mask, rule: Rule, span: Span) -> int:
    """About how many bits `carry` can carry, as if the bits on crosses did not disturb the dots."""
    predictions = predict(cover, rule, span)
    e = cover[1:-1, 1:-1] - predictions
    carriers = rule.carries(e) & usable[1:-1, 1:-1]
    return int(np.count_nonzero(safe(e[carriers], predictions[carriers], rule, span)))


def carry(cover: Values, usable: Mask, rule: Rule, bits: Bits, span: Span) -> Carried | None:
    """Carry bits on the crosses, then on the dots; None when they do not fit.

    Slow to find that out where many bits are lacking: ask `estimate` first.
    """
    crosses = layer(cover, usable, CROSS, rule, span)
    most = _carriers(cover, crosses, rule, span)
    first = min(most, bits.size - bits.size // 2)
    while True:
        values = cover.copy()
        n_crosses, cross_flags = _visit(values, crosses, rule, bits[:first], span)
        dots = layer(values, usable, DOT, rule, span)
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
        pixels = layer(values, usable, colour, rule, span)
        if visited > pixels.at.size:
            raise ValueError(f"{visited} pixels were visited and only {pixels.at.size} are usable")
        at, predictions = pixels.at[:visited], pixels.predictions[:visited]
        x, bits, used = collapse(values.ravel()[at], predictions, rule, flags, span)
        values.ravel()[at] = x
        flags = flags[: flags.size - used]
        found.insert(0, bits)
    return values, np.concatenate(found)


def layer(values: Values, usable: Mask, colour: int, rule: Rule, span: Span) -> Layer:
    """The pixels of one colour; those at the border, which lack a neighbour, are left out."""
    inner = np.zeros(usable[1:-1, 1:-1].shape, bool)
    for row in (0, 1):
        columns = slice((row + colour) % 2, None, 2)
        inner[row::2, columns] = usable[1:-1, 1:-1][row::2, columns]
    at = np.flatnonzero(inner)
    complexity = as_key(roughness(values, colour)[1:-1, 1:-1].ravel()[at])
    order = np.argsort(complexity, kind="stable")
    at = at[order]
    rows, columns_ = np.divmod(at, values.shape[1] - 2)
    predictions = predict(values, rule, span).ravel()[at]
    return Layer((rows + 1) * values.shape[1] + columns_ + 1, predictions, complexity[order])


def as_key(roughness: NDArray[Any]) -> NDArray[np.uint16]:
    """To sort by: 16-bit keys are sorted by radix, several times faster than by comparison."""
    return np.minimum(roughness, 2**16 - 1).astype(np.uint16)


def predict(values: Values, rule: Rule, span: Span) -> Values:
    """Mean of the four neighbours of each pixel that is not at the border, [h-2,w-2]."""
    return rule.rounded(neighbours(values), span)


def neighbours(values: Values) -> Values:
    """Sum of the four neighbours of each pixel that is not at the border, [h-2,w-2]."""
    total: Values = values[:-2, 1:-1] + values[2:, 1:-1]
    total += values[1:-1, :-2]
    total += values[1:-1, 2:]
    return total


def roughness(values: Values, colour: int) -> Values:
    """Sum of the 16 diagonal differences between pixels of the other colour within 5x5, [h,w]."""
    falling, rising = np.abs(values[1:, 1:] - values[:-1, :-1]), np.abs(values[1:, :-1] - values[:-1, 1:])
    steps = np.zeros((values.shape[0] + 3, values.shape[1] + 3), values.dtype)
    inner = steps[2:-2, 2:-2]
    for row in (0, 1):
        for column in (0, 1):
            some = rising if (row + column) % 2 == colour else falling
            inner[row::2, column::2] = some[row::2, column::2]
    steps = steps[:-1] + steps[1:]
    steps = steps[:-2] + steps[2:]
    steps = steps[:, :-1] + steps[:, 1:]
    total: Values = steps[:, :-2] + steps[:, 2:]
    return total


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
