"""Drawings of a benchmark: AUROC with its intervals, and AUROC against cost; pure functions to SVG.

Colours are the page's CSS variables with a fallback, as in `figures`. Nothing is told by colour
alone. Coordinates are in SVG user units (one CSS pixel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_GREY, _INK, _LINES = "var(--quiet, #7b8794)", "var(--ink, #1d2733)", "var(--line, #d5dbe1)"
_SHEET = "var(--sheet, #fff)"
_COLOURS = {
    "reference": _INK,
    "open": _GREY,
    "better": "var(--kind-2, #3f8f5b)",
    "worse": "var(--kind-1, #c2571a)",
}
_WIDTH = 1180.0
_NAMES = 150.0  # room for the names of methods
_VALUE = 42.0  # room for a number right of its panel
_GAP = 18.0
_ROW, _TOP, _BOTTOM = 22.0, 30.0, 26.0
_CHANCE = 0.5

_COST_WIDTH, _COST_HEIGHT = 580.0, 340.0
_LEFT, _RIGHT, _HEAD, _FOOT = 44.0, 16.0, 14.0, 40.0
_LETTER = 6.2  # width of one letter at 11 px, on average
_BOLD = 1.15  # how much wider a bold one is
_TALL = 11.0  # height of a label
_DOT = 4.0  # radius of a point

_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Mark:
    """AUROC of a method for one kind.

    Args:
        name: Of the method.
        value: Mean over seeds.
        interval: 95 % interval.
        seeds: Lowest and highest seed.
        state: "reference", "better", "worse" or "open" (not told apart).
    """

    name: str
    value: float
    interval: tuple[float, float]
    seeds: tuple[float, float]
    state: str


@dataclass(frozen=True)
class Panel:
    """One kind of finding; all panels of a drawing hold the same methods in the same order."""

    title: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Point:
    """A method's cost, above 0, and its AUROC."""

    name: str
    cost: float
    auroc: float
    reference: bool


def forest(title: str, panels: Sequence[Panel]) -> str:
    """Methods from top to bottom, kinds from left to right: dot, interval, and a bar over the seeds."""
    names = [mark.name for mark in panels[0].marks]
    ends = [end for panel in panels for mark in panel.marks for end in (*mark.interval, *mark.seeds)]
    low, high = math.floor(min(ends) * 10) / 10, 1.0
    if high - low < 0.2:
        low = high - 0.2
    height = _TOP + _ROW * len(names) + _BOTTOM
    room = (_WIDTH - _NAMES) / max(len(panels), 3)  # one panel alone need not fill the page
    parts = []
    for place, name in enumerate(names):
        y = _TOP + _ROW * (place + 0.5)
        parts.append(_line(0, y + _ROW / 2, _NAMES + room * len(panels), y + _ROW / 2, _LINES))
        bold = ' font-weight="650"' if panels[0].marks[place].state == "reference" else ""
        parts.append(_text(0, y + 4, _short(name, 23), extra=bold))
    for place, panel in enumerate(panels):
        left = _NAMES + room * place + _GAP / 2
        parts += _drawn(panel, left, left + room - _GAP - _VALUE, low, high, height)
    return _svg(f"AUROC of each method on {title}", _WIDTH, height, parts)


def scatter(title: str, points: Sequence[Point]) -> str:
    """AUROC over a cost on a logarithmic scale, each point with its name."""
    lowest, highest = (math.log10(bound(point.cost for point in points)) for bound in (min, max))
    first, last = lowest - 0.1, max(highest, lowest + 0.5) + 0.25
    low = min(math.floor(min(point.auroc for point in points) * 10) / 10, 0.8)
    bottom, right = _COST_HEIGHT - _FOOT, _COST_WIDTH - _RIGHT

    def x(cost: float) -> float:
        return _LEFT + (math.log10(cost) - first) / (last - first) * (right - _LEFT)

    def y(auroc: float) -> float:
        return bottom - (auroc - low) / (1.0 - low) * (bottom - _HEAD)

    parts = [_line(_LEFT, bottom, right, bottom, _GREY)]
    for tick in _round_costs(10**first, 10**last):
        parts.append(_line(x(tick), bottom, x(tick), bottom + 4, _GREY))
        parts.append(_text(x(tick), bottom + 16, f"{tick:,g}", anchor="middle", colour=_GREY))
    for tick in _tenths(low):
        parts.append(_line(_LEFT, y(tick), right, y(tick), _LINES))
        parts.append(_text(_LEFT - 6, y(tick) + 4, f"{tick:.1f}", anchor="end", colour=_GREY))
    parts.append(_text((_LEFT + right) / 2, _COST_HEIGHT - 6, title, anchor="middle"))
    middle = (bottom + _HEAD) / 2
    parts.append(
        _text(11, middle, "AUROC", anchor="middle", extra=f' transform="rotate(-90 11 {middle:.1f})"')
    )
    places = [(x(point.cost), y(point.auroc)) for point in points]
    taken = [(at - _DOT, up - _DOT, at + _DOT, up + _DOT) for at, up in places]
    for point, (at, up) in sorted(zip(points, places, strict=True), key=lambda pair: pair[1][1]):
        name = _short(point.name, 18)
        wide = _LETTER * len(name) * (_BOLD if point.reference else 1.0)
        box = _free(at, up, wide, (_LEFT, _HEAD, right, bottom), taken)
        taken.append(box)
        if abs((box[1] + box[3]) / 2 - up) > 2 * _TALL:  # too far to tell whose it is
            edge = box[1] if box[1] > up else box[3]
            parts.append(_line(at, up, min(max(at, box[0]), box[2]), edge, _GREY))
        fill = _INK if point.reference else "var(--accent, #22598f)"
        parts.append(f'<circle cx="{at:.1f}" cy="{up:.1f}" r="{_DOT:g}" fill="{fill}"/>')
        bold = ' font-weight="650"' if point.reference else ""
        parts.append(_text(box[0], box[3] - 2, name, extra=bold))
    return _svg(f"AUROC and {title.lower()}", _COST_WIDTH, _COST_HEIGHT, parts)


def _drawn(panel: Panel, left: float, right: float, low: float, high: float, height: float) -> Iterator[str]:
    bottom = height - _BOTTOM

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    yield _text((left + right) / 2, 14, _short(panel.title, 30), anchor="middle", extra=' font-weight="650"')
    for tick in _tenths(low):
        dashed = ' stroke-dasharray="2 3"' if math.isclose(tick, _CHANCE) else ""
        yield _line(x(tick), _TOP - 6, x(tick), bottom, _GREY if dashed else _LINES, dashed)
        if (high - low) < 0.55 or round(tick * 10) % 2 == 0:
            yield _text(x(tick), bottom + 14, f"{tick:.1f}", anchor="middle", colour=_GREY)
    for mark in panel.marks:
        if mark.state == "reference":
            yield _line(x(mark.value), _TOP - 6, x(mark.value), bottom, _INK, ' stroke-dasharray="5 3"')
    for place, mark in enumerate(panel.marks):
        y, colour = _TOP + _ROW * (place + 0.5), _COLOURS[mark.state]
        if mark.seeds[0] < mark.seeds[1]:
            width = max(x(mark.seeds[1]) - x(mark.seeds[0]), 2.0)
            size = f'width="{width:.1f}" height="9" rx="2"'
            yield f'<rect x="{x(mark.seeds[0]):.1f}" y="{y - 4.5:.1f}" {size} fill="{colour}" opacity=".28"/>'
        yield _line(x(mark.interval[0]), y, x(mark.interval[1]), y, colour, ' stroke-width="1.6"')
        inside = _SHEET if mark.state == "open" else colour
        yield _dot(mark.state, x(mark.value), y, f'fill="{inside}" stroke="{colour}" stroke-width="1.6"')
        yield _text(right + _VALUE, y + 4, f"{mark.value:.3f}", anchor="end")


def _dot(state: str, x: float, y: float, style: str) -> str:
    """Triangles point up where a method is better and down where it is worse."""
    if state in ("better", "worse"):
        tip = -4.6 if state == "better" else 4.6
        points = f"{x:.1f},{y + tip:.1f} {x - 4.4:.1f},{y - tip * 0.7:.1f} {x + 4.4:.1f},{y - tip * 0.7:.1f}"
        return f'<polygon points="{points}" {style}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" {style}/>'


def _free(x: float, y: float, width: float, within: _Box, taken: Sequence[_Box]) -> _Box:
    """Where a label can stand: beside its point, or as near above or below it as others leave room."""
    beside = [(x + 8, y - _TALL / 2), (x - 8 - width, y - _TALL / 2)]
    away = [
        (left, y - _TALL / 2 + side * step * (_TALL + 2))
        for step in (1, 2, 3, 4)
        for side in (-1, 1)
        for left in (x + 6, x - 6 - width, x - width / 2)
    ]
    boxes = [(left, top, left + width, top + _TALL) for left, top in beside + away]
    for box in boxes:
        inside = within[0] <= box[0] and box[2] <= within[2] and within[1] <= box[1] and box[3] <= within[3]
        if inside and not any(_overlap(box, other) for other in taken):
            return box
    return boxes[0]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _tenths(low: float) -> list[float]:
    return [tick / 10 for tick in range(round(low * 10), 11)]


def _round_costs(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or the powers alone where there are many."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    ticks = [factor * power for power in powers for factor in (1, 2, 5) if low <= factor * power <= high]
    return ticks if len(ticks) <= 7 else [tick for tick in ticks if tick in powers]


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, extra: str = "") -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{colour}"{extra}/>'


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", colour: str = _INK, extra: str = ""
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}'
    return f"<text {place}>{escape(words)}</text>"


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = f'viewBox="0 0 {width:g} {height:g}" role="img" font-size="11"'
    space = 'xmlns="http://www.w3.org/2000/svg"'
    return f"<svg {space} {head}><title>{escape(title)}</title>{''.join(parts)}</svg>"
