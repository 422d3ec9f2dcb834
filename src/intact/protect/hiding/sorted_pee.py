"""Sorted prediction-error expansion on the rhombus.

Sachnev, Kim, Nam, Suresh, Shi, "Reversible watermarking algorithm using sorting and prediction",
IEEE TCSVT 19(7), 2009.

Differs from the paper: 16 differences within 5x5 decide the order, not the variance of the four
between neighbours; there is one symmetric threshold; and what is left alone at the ends of the range
is told by flags only where the decoder cannot tell by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from numpy import ndarray

from intact.protect.hiding import rhombus
from intact.protect.hiding.base import Bits, Carried, Hiding, Mask, Span, Values
from intact.protect.hiding.expansion import TwoSided


@dataclass(frozen=True)
class SortedPEE(Hiding):
    """Expands the errors of pixels in smooth surroundings first.

    Args:
        threshold: Errors from -threshold to threshold - 1 carry a bit. A power of two; 0 takes the
            smallest at which the bits fit.
    """

    threshold: int = 0

    source: ClassVar[str] = "Sachnev et al., IEEE TCSVT 19(7), 2009"
    fields: ClassVar[dict[str, int]] = {"exponent": 5, **rhombus.FIELDS}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        return max(rhombus.room(cover, usable, TwoSided(2**k), span) for k in self._exponents(span))

    def _estimate(self, cover: Values, usable: Mask, span: Span) -> int:
        return max(rhombus.estimate(cover, usable, TwoSided(2**k), span) for k in self._exponents(span))

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        for k in self._exponents(span):
            if rhombus.estimate(cover, usable, TwoSided(2**k), span) < rhombus.HOPELESS * bits.size:
                continue
            if (carried := rhombus.carry(cover, usable, TwoSided(2**k), bits, span)) is not None:
                return Carried(carried.values, carried.fields | {"exponent": k}, carried.flags)
        return None

    def _recover(
        self,
        marked: Values,
        usable: Mask,
        length: int,
        fields: dict[str, int],
        flags: Bool[ndarray, "k"],
        span: Span,
    ) -> tuple[Values, Bits]:
        return rhombus.recover(marked, usable, TwoSided(2 ** fields["exponent"]), fields, flags, span)

    def _exponents(self, span: Span) -> range:
        """Logarithms of the thresholds to try; from an eighth of the range on, capacity falls."""
        if self.threshold:
            k = self.threshold.bit_length() - 1
            return range(k, k + 1)
        return range(max(1, (span.high - span.low).bit_length() - 2))
