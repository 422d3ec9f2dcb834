"""Prediction-error expansion: the error of a pixel against its neighbours is doubled.

A pixel is predicted from the ones to the right of it, below it, and below to the right. The encoder
goes right and down, so that these still are the original ones; the decoder comes back the other
way. The pixels of one diagonal do not need each other: each diagonal is done at once.

Thodi and Rodriguez, "Expansion embedding techniques for reversible watermarking", IEEE TIP 16(3),
2007: the variant with histogram shifting and flags.

Differs from the paper: pixels are visited diagonal by diagonal, not row by row, and until the last
bit is in; flags are kept only for pixels where the decoder cannot tell by itself, and where they
become many, a larger threshold is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.protect.hiding.base import COUNT, SLACK, Bits, Carried, Hiding, Mask, Span, Values
from intact.protect.hiding.expansion import Ints, TwoSided, collapse, expand, safe

FLAGS = 4  # bits to be carried for each bit of the flags, at least


@dataclass(frozen=True)
class PEE(Hiding):
    """Expands errors of the median edge detector, with the smallest threshold at which the bits fit."""

    source: ClassVar[str] = "Thodi and Rodriguez, IEEE TIP 16(3), 2007"
    fields: ClassVar[dict[str, int]] = {"threshold": 32, "visited": COUNT}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        at, _ = _diagonals(usable)
        x, prediction = cover.ravel()[at], _predictions(cover, at)
        needed = _needed_thresholds(x - prediction, prediction, span)
        room, net = 0, 0.0
        # Larger thresholds carry more, but leave more pixels alone, which takes flags.
        for power in range(int(needed.max(initial=0)).bit_length() + 1):
            carriers = int(np.count_nonzero(needed <= 2**power))
            flags = _flag_bits(x, prediction, TwoSided(2**power), carriers, span)
            if carriers - flags > net:
                room, net = carriers, carriers - flags
        return room

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        at, _ = _diagonals(usable)
        x, prediction = cover.ravel()[at], _predictions(cover, at)
        needed = _needed_thresholds(x - prediction, prediction, span)
        if needed.size < bits.size:
            return None
        threshold, marked, flags = _expand(x, prediction, needed, bits, span)
        values = cover.copy()
        values.ravel()[at[: marked.size]] = marked
        told = flags if flags.any() else flags[:0]  # none say the same as none that is true
        return Carried(values, {"threshold": threshold, "visited": marked.size}, told)

    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Bool[ndarray, "k"],
        span: Span,
    ) -> tuple[Values, Bits]:
        if not 0 < fields["threshold"] <= span.high - span.low:
            raise ValueError(f"a threshold of {fields['threshold']}")
        rule, values = TwoSided(fields["threshold"]), marked.copy()
        at, starts = _diagonals(usable)
        flags = flags if flags.any() else np.zeros(at.size, bool)
        found = [np.zeros(0, np.uint8)]
        for diagonal in reversed(np.split(at[: fields["visited"]], starts[starts < fields["visited"]])):
            bits, flags = _recover_diagonal(values, diagonal, rule, flags, span)
            found.insert(0, bits)
        return values, np.concatenate(found)


def _recover_diagonal(
    values: Values, at: NDArray[np.intp], rule: TwoSided, flags: Bool[ndarray, "k"], span: Span
) -> tuple[Bits, Bool[ndarray, "k"]]:
    """Bring the pixels of a diagonal back in `values`; their bits, and the flags that remain."""
    marked, prediction = values.ravel()[at], _predictions(values, at)
    stretched = marked - prediction
    if safe(stretched, prediction, rule, span).all():  # then none was left alone
        e, carried, bits = rule.shrink(stretched)
        values.ravel()[at] = prediction + e
        return bits[carried], flags
    x, bits, used = collapse(marked, prediction, rule, flags, span)
    values.ravel()[at] = x
    return bits, flags[: flags.size - used]


def _expand(
    x: Ints, prediction: Ints, needed: Ints, bits: Bits, span: Span
) -> tuple[int, Ints, Bool[ndarray, "k"]]:
    """Carry bits, which fit: the threshold, the marked pixels, and their flags.

    The smallest threshold visits the most pixels. Where that takes many flags, its doubles are tried.
    """
    threshold = int(np.partition(needed, bits.size - 1)[bits.size - 1]) if bits.size else 1
    tried: list[tuple[int, Ints, Bool[ndarray, "k"]]] = []
    while not tried or threshold <= needed.max():
        expanded = expand(x, prediction, TwoSided(threshold), bits, span)
        assert expanded is not None
        marked, flags = expanded
        tried.append((threshold, marked, flags))
        if FLAGS * _coded_bits(flags) <= bits.size:
            return tried[-1]
        threshold *= 2
    return min(tried, key=lambda result: _coded_bits(result[2]))


def _coded_bits(flags: Bool[ndarray, "k"]) -> float:
    """About how many bits flags take once they are coded; none if none is true."""
    _, counts = np.unique(flags, return_counts=True)
    return SLACK + float(counts @ np.log2(flags.size / counts)) if flags.any() else 0


def _flag_bits(x: Ints, prediction: Ints, rule: TwoSided, n: int, span: Span) -> float:
    """About how many bits the flags take beside `n` bits."""
    if safe(x - prediction, prediction, rule, span).all():
        return 0
    bits = np.random.default_rng(0).integers(0, 2, n, np.uint8)
    expanded = expand(x, prediction, rule, bits, span)
    assert expanded is not None
    return _coded_bits(expanded[1])


def _diagonals(usable: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the usable pixels, diagonal by diagonal, and where each but the first one starts.

    Pixels of the last row and the last column lack neighbours and are left out.
    """
    rows, columns = np.nonzero(usable[:-1, :-1])
    number = rows + columns
    order = np.argsort(number.astype(np.uint16) if number.max(initial=0) < 2**16 else number, kind="stable")
    at = rows[order] * usable.shape[1] + columns[order]
    return at, np.flatnonzero(np.diff(number[order])) + 1


def _predictions(values: Values, at: NDArray[np.intp]) -> Ints:
    """The median edge detector of JPEG-LS, seen from the other end of the image.

    Source: Weinberger, Seroussi, Sapiro, "The LOCO-I lossless image compression algorithm", IEEE
    TIP 9(8), 2000.
    """
    flat, width = values.ravel(), values.shape[1]
    right, below, corner = flat[at + 1], flat[at + width], flat[at + width + 1]
    return np.clip(right + below - corner, np.minimum(right, below), np.maximum(right, below))


def _needed_thresholds(e: Ints, prediction: Ints, span: Span) -> Ints:
    """For each error that can be doubled in range, the smallest threshold at which it is."""
    doubled = prediction + 2 * e
    e = e[span.holds(doubled) & span.holds(doubled + 1)]
    return np.maximum(e, ~e) + 1
