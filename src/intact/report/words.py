"""Numbers, times and sizes as the report writes them; each is a filter of the page's template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

DASH = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"


def p_text(p: float | None) -> str:
    """A p-value with two significant digits."""
    return DASH if p is None else f"{p:#.2g}"


def number(value: float | None) -> str:
    """A score with four significant digits."""
    return DASH if value is None else f"{value:.4g}"


def rate(value: float | None) -> str:
    """A share as a percentage, never parted from its sign."""
    return DASH if value is None else f"{100 * value:.3g}{NO_BREAK}%"


def count(value: int) -> str:
    """A count with its thousands parted."""
    return f"{value:,}"


def expected(value: float) -> str:
    """An expected count, with a decimal while it is small."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def plural(value: int, noun: str) -> str:
    """The noun as it follows that number."""
    return noun if value == 1 else f"{noun}s"


def interval(triple: Sequence[float | None] | None, *, percent: bool = False) -> str:
    """A value and its 95 % interval: `0.93 (0.88–0.97)`."""
    if triple is None or triple[0] is None:
        return DASH
    factor, digits = (100, 1) if percent else (1, 3)
    value, *limits = (f"{factor * v:.{digits}f}" for v in triple if v is not None)
    unit = f"{NO_BREAK}%" if percent else ""
    return f"{value}{unit} ({'–'.join(limits)})" if limits else value + unit


def when(moment: str | None) -> str:
    """An ISO time to the minute, as it stands, without moving it between time zones."""
    if not moment:
        return DASH
    parsed = datetime.fromisoformat(moment)
    return f"{parsed:%Y-%m-%d %H:%M} {parsed:%Z}".strip()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever a person would say."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def grid(row: Mapping[str, Any]) -> str:
    """Size of an image: planes, rows and columns, and the spacing where it is known."""
    size = " × ".join(str(length) for length in row["shape"] or ())
    if not row["spacing"]:
        return size or DASH
    spacing = [f"{distance:.3g}" for distance in row["spacing"]]
    same = len(set(spacing)) == 1
    return f"{size}, {spacing[0] if same else ' × '.join(spacing)} mm"


def extent(region: Mapping[str, Any]) -> str:
    """Height and width of a region, in mm or (spacing unknown) in pixels."""
    if region["extent_mm"] is None:
        top, left, bottom, right = region["box"]
        return f"{bottom - top} × {right - left} px"
    height, width = region["extent_mm"]
    return f"{height:.1f} × {width:.1f} mm"


def area(region: Mapping[str, Any]) -> str:
    """Area of a region, in mm² or (spacing unknown) in pixels."""
    if region["area_mm2"] is None:
        return f"{region['area_px']} px"
    return f"{region['area_mm2']:.3g} mm²" if region["area_mm2"] < 100 else f"{region['area_mm2']:.0f} mm²"


FILTERS = {
    "p": p_text,
    "number": number,
    "rate": rate,
    "count": count,
    "expected": expected,
    "plural": plural,
    "interval": interval,
    "when": when,
    "duration": duration,
    "grid": grid,
    "extent": extent,
    "area": area,
}
