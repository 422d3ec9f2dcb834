"""One-sided prediction-error expansion: errors of zero grow, so a flat background carries bits.

The rhombus and the order are those of sorted prediction-error expansion (Sachnev et al. 2009); the
bins are half of them: an error of 0 becomes 0 or 1, larger ones move up, negative ones stay. Pixels
thus only get brighter, which is what a background of zeros allows, and a bit costs half as much.
Where that does not do, as with a background at the upper end, the image is taken upside down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from intact.protect.hiding import rhombus
from intact.protect.hiding.base import Bits, Carried, Hiding, Mask, Span, Values
from intact.protect.hiding.expansion import OneSided


@dataclass(frozen=True)
class OneSidedPEE(Hiding):
    """Expands errors of zero upwards, or else downwards, in smooth surroundings first."""

    source: ClassVar[str] = "one side of Sachnev et al., IEEE TCSVT 19(7), 2009"
    fields: ClassVar[dict[str, int]] = {"down": 1, **rhombus.FIELDS}

    def _room(self, cover: Values, usable: Mask, span: Span) -> int:
        return max(rhombus.room(values, usable, OneSided(), span) for values in _both(cover, span))

    def _estimate(self, cover: Values, usable: Mask, span: Span) -> int:
        return max(_estimates(cover, usable, span))

    def _carry(self, cover: Values, usable: Mask, bits: Bits, span: Span) -> Carried | None:
        estimates = _estimates(cover, usable, span)
        for down in (1, 0) if estimates[1] > estimates[0] else (0, 1):
            if estimates[down] < rhombus.HOPELESS * bits.size:
                continue
            values = _both(cover, span)[down]
            if (carried := rhombus.carry(values, usable, OneSided(), bits, span)) is not None:
                marked = _both(carried.values, span)[down]
                return replace(carried, values=marked, fields=carried.fields | {"down": down})
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
        turned = _both(marked, span)[fields["down"]]
        values, bits = rhombus.recover(turned, usable, OneSided(), fields, flags, span)
        return _both(values, span)[fields["down"]], bits


def _estimates(cover: Values, usable: Mask, span: Span) -> tuple[int, int]:
    """What `rhombus.estimate` says of an image and of the same upside down, of both at once."""
    x, total, inner = cover[1:-1, 1:-1], rhombus.neighbours(cover), usable[1:-1, 1:-1]
    up = inner & (x == total >> 2) & (x < span.high)
    down = inner & (x == -(-total >> 2)) & (x > span.low)
    return int(np.count_nonzero(up)), int(np.count_nonzero(down))


def _both(values: Values, span: Span) -> tuple[Values, Values]:
    """An image, and the same upside down: bright for dark."""
    return values, span.low + span.high - values
