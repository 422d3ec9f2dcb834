"""Whether stored pixels are what the header says of them: rules R7, R9, B10.

DICOM PS3.3 C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), F.7 (icon images). Files whose pixel
data are too short, or coded in another size than the header declares, are refused by the reader and do
not come here; how many bits a compressed stream has is not told.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from intact.forensics.base import Finding, Severity
from intact.forensics.header.icon import icon_of, likeness
from intact.forensics.header.rules import Found, Rule, at, few, graded, those
from intact.forensics.instance import Instance, Series, odd_ones
from intact.io.elements import numbers

_EXCESS = "bytes after the last pixel were ignored"  # how the reader notes it
_GAP = 0.05  # of the range of measured values; padding nearer to them is a value like others
_SAMPLE = 20_000  # measured pixels that tell what is usual
_ALIKE = 0.95  # correlation of an icon with its image


def _layout(series: Series) -> Found:
    """R7: what lays pixels out agrees with them, and is the same in all slices."""
    excess = those(series, lambda one: any(_EXCESS in note for note in one.image.notes))
    if excess:
        said = "declare fewer pixels than the file holds"
        yield graded(series, excess, "R7", Severity.UNUSUAL, "Rows", said)
    high = those(series, _has_another_high_bit)
    if high:
        said = "is not Bits Stored (0028,0101) less one"
        yield graded(series, high, "R7", Severity.UNUSUAL, "HighBit", said)
    odd = odd_ones([one.image.pixels.shape for one in series.instances])
    if odd and few(odd, series):
        said = "or Columns (0028,0011) or Number of Frames (0028,0008) differs from the rest of the series"
        yield at(series, odd, "R7", Severity.UNUSUAL, "Rows", said)


def _padding(series: Series) -> Found:
    """R9: what marks space outside the scan does not occur inside."""
    inside = those(series, _has_padding_inside)
    if inside:
        said = "occurs inside the body, among values far from it"
        yield _weighed(series, inside, "R9", Severity.UNUSUAL, "PixelPaddingValue", said)


def _icons(series: Series) -> Found:
    """B10: a forger rarely thinks of the icon."""
    wrong = those(series, _has_another_icon)
    if wrong:
        said = "shows another image"
        yield _weighed(series, wrong, "B10", Severity.UNUSUAL, "IconImageSequence", said)


def _weighed(
    series: Series, where: list[int], rule: str, severity: Severity, keyword: str, said: str
) -> Finding:
    """What only pixels show weighs all it can in a file that comes alone."""
    found = at if len(series) == 1 else graded
    return found(series, where, rule, severity, keyword, said)


def _has_another_high_bit(one: Instance) -> bool:
    high = numbers(one.header, "HighBit")
    return bool(high) and one.image.pixels.dtype.kind != "f" and high[0] != one.image.bits - 1


def _has_padding_inside(one: Instance) -> bool:
    image = one.image
    if image.padding is None or len(image.shape) != 2 or image.colour or image.pixels.dtype.kind == "f":
        return False
    low, high = (int(value) for value in image.padding)
    outside = (image.pixels >= low) & (image.pixels <= high)
    if not _encloses(outside) or outside.all():
        return False
    measured = image.pixels[~outside]
    gap = max(int(measured.min()) - high, low - int(measured.max()))
    usual = np.percentile(measured[:: 1 + measured.size // _SAMPLE], (0.5, 99.5))
    return gap > _GAP * (usual[1] - usual[0]) and _holes(outside)


def _encloses(outside: Bool[ndarray, "h w"]) -> bool:
    """Whether any row has space outside the scan between two measured pixels: quick, and mostly not so."""
    inside = ~outside
    first, last = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    return bool((np.where(inside.any(axis=1), last - first, 0) > inside.sum(axis=1)).any())


def _holes(outside: Bool[ndarray, "h w"]) -> bool:
    """Whether the largest region that was measured has holes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~outside).astype(np.uint8), connectivity=8)
    body = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    _, rest = cv2.connectedComponents((~body).astype(np.uint8), connectivity=4)
    rim = np.concatenate([rest[0], rest[-1], rest[:, 0], rest[:, -1]])
    return bool((outside & ~np.isin(rest, rim)).any())


def _has_another_icon(one: Instance) -> bool:
    icon = icon_of(one.header)
    return icon is not None and 0 <= likeness(icon, one.image) < _ALIKE


RULES: tuple[Rule, ...] = (_layout, _padding, _icons)
