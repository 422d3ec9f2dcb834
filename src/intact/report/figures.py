"""The report's figures: ROC curves, scores by kind, p-values; pure functions to SVG strings.

Colours are the page's CSS variables with a fallback, so a figure follows light and dark mode and
still renders when it is saved on its own. Coordinates are in SVG user units (one CSS pixel).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from intact.metrics.detection import operating_points

NORMAL = "good"  # the label of a normal image

_WIDTH, _PLOT_HEIGHT = 360.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 12.0, 38.0
_ROW = 28.0  # least height of one kind in the score figure
_NAMES = 104.0  # room for the names of the kinds
_LINE = 16.0  # height of one line of a legend
_KINDS = ("#2f6db5", "#c2571a", "#3f8f5b", "#8a4fa3", "#b0344d", "#7a6a1f")
_GREY = "var(--quiet, #7b8794)"
_INK = "var(--ink, #1d2733)"
_LINES = "var(--line, #d5dbe1)"


@dataclass(frozen=True)
class _Axes:
    """A linear mapping from data to SVG units, with the frame that shows it."""

    x_low: float
    x_high: float
    y_high: float
    height: float = _PLOT_HEIGHT
    left: float = _LEFT

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return self.left + share * (_WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - value / self.y_high * (self.bottom - _TOP)

    @property
    def bottom(self) -> float:
        return self.height - _BOTTOM

    def frame(self, x_title: str, y_title: str = "") -> str:
        """Ticks and titles; horizontal grid lines where there is a vertical axis."""
        parts = []
        for tick in _ticks(self.x_low, self.x_high):
            x = self.x(tick)
            parts.append(_line(x, self.bottom, x, self.bottom + 4, _GREY))
            parts.append(_text(x, self.bottom + 16, f"{tick:g}", anchor="middle", colour=_GREY))
        if y_title:
            for tick in _ticks(0.0, self.y_high):
                parts.append(_line(self.left, self.y(tick), _WIDTH - _RIGHT, self.y(tick), _LINES))
                label = f"{tick:g}"
                parts.append(_text(self.left - 6, self.y(tick) + 4, label, anchor="end", colour=_GREY))
            middle = (self.bottom + _TOP) / 2
            turn = f' transform="rotate(-90 11 {middle:.1f})"'
            parts.append(_text(11, middle, y_title, anchor="middle", extra=turn))
        parts.append(_line(self.left, self.bottom, _WIDTH - _RIGHT, self.bottom, _GREY))
        centre = (self.left + _WIDTH - _RIGHT) / 2
        parts.append(_text(centre, self.height - 5, x_title, anchor="middle"))
        return "".join(parts)


def roc(normal: Sequence[float], kinds: Mapping[str, Sequence[float]]) -> str:
    """ROC curves: each kind of abnormal image against the normal ones.

    Args:
        normal: Scores of the normal images.
        kinds: Scores of the images of each kind; larger is more suspicious.

    Returns:
        An `<svg>` element; empty when there is nothing to compare.
    """
    curves = [(name, scores) for name, scores in kinds.items() if len(scores)]
    if not len(normal) or not curves:
        return ""
    axes = _Axes(0.0, 1.0, 1.0)
    chance = _line(axes.x(0), axes.y(0), axes.x(1), axes.y(1), _GREY, 'stroke-dasharray="3 3"')
    parts = [axes.frame("False alarm rate", "Detection rate"), chance]
    for place, (_, scores) in enumerate(curves):
        abnormal = np.repeat((False, True), (len(normal), len(scores)))
        false, true = operating_points(np.concatenate([normal, scores]), abnormal)
        rates = zip(false / false[-1], true / true[-1], strict=True)
        points = " ".join(f"{axes.x(f):.1f},{axes.y(t):.1f}" for f, t in rates)
        style = f'stroke="{_colour(place)}" stroke-width="1.8"{_dash(place)}'
        parts.append(f'<polyline points="{points}" fill="none" {style}/>')
    legend = _legend([(name, _colour(place)) for place, (name, _) in enumerate(curves)])
    lines = math.ceil(len(curves) / 2)
    parts.append(f'<g transform="translate(0 {_PLOT_HEIGHT + 4:g})">{legend}</g>')
    return _svg("ROC curve of each kind", _PLOT_HEIGHT + 8 + _LINE * lines, parts)


def score_histogram(kinds: Mapping[str, Sequence[float]], *, threshold: float | None) -> str:
    """One row of bars per kind over a common score axis; each row is scaled to its own peak.

    Args:
        kinds: Scores of the images of each kind, drawn from top to bottom.
        threshold: Score from which images were flagged, or None when no single score decides.
    """
    rows = [(name, np.asarray(scores, np.float64)) for name, scores in kinds.items() if len(scores)]
    if not rows:
        return ""
    everything = np.concatenate([scores for _, scores in rows])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.02 * (high - low) or 0.5
    row_height = max((_PLOT_HEIGHT - _TOP - _BOTTOM) / len(rows), _ROW)
    height = _TOP + row_height * len(rows) + _BOTTOM
    axes = _Axes(low - margin, high + margin, 1.0, height=height, left=_NAMES)
    edges = np.linspace(axes.x_low, axes.x_high, 49)
    parts = [axes.frame("Score")]
    colours = iter(_colour(place) for place in range(len(rows)))
    for place, (name, scores) in enumerate(rows):
        floor = _TOP + row_height * (place + 1)
        counts, _ = np.histogram(scores, edges)
        colour = _GREY if name == NORMAL or len(rows) == 1 else next(colours)
        parts.append(_line(_NAMES, floor, _WIDTH - _RIGHT, floor, _LINES))
        for count, start, end in zip(counts, edges, edges[1:], strict=False):
            peak = floor - (row_height - 6) * count / counts.max()
            parts.append(_bar(axes.x(start), peak, axes.x(end), floor, colour))
        parts.append(_text(_NAMES - 8, floor - 14, _short(name, 15), anchor="end"))
        parts.append(_text(_NAMES - 8, floor - 2, f"{len(scores)}", anchor="end", colour=_GREY))
    if threshold is not None:
        x = axes.x(threshold)
        parts.append(_line(x, _TOP - 8, x, axes.bottom, _INK, 'stroke-dasharray="4 3"'))
    return _svg("Scores by kind", axes.height, parts)


def p_histogram(groups: Mapping[str, Sequence[float]], *, alpha: float, expected_of: str) -> str:
    """Stacked histogram of p-values beside the flat line that normal images should follow.

    Args:
        groups: p-values of each group; the first lies at the bottom of the bars.
        alpha: The false-alarm rate at which images were flagged.
        expected_of: The group that the flat line counts, or "all".
    """
    filled = [(name, np.asarray(p, np.float64)) for name, p in groups.items() if len(p)]
    if not filled:
        return ""
    edges = np.linspace(0.0, 1.0, 21)
    counts = [np.histogram(p, edges)[0] for _, p in filled]
    of = [p for name, p in filled if expected_of in ("all", name)]
    expected = sum(len(p) for p in of) / (len(edges) - 1)
    axes = _Axes(0.0, 1.0, max(float(np.sum(counts, axis=0).max()), expected) * 1.05)
    parts = [axes.frame("p-value", "Images")]
    base = np.zeros(len(edges) - 1)
    for place, height in enumerate(counts):
        colour = _GREY if place == 0 else _colour(0)
        for start, end, low, high in zip(edges, edges[1:], base, base + height, strict=False):
            parts.append(_bar(axes.x(start), axes.y(high), axes.x(end), axes.y(low), colour))
        base = base + height
    flat, edge = axes.y(expected), axes.x(alpha)
    dashes = 'stroke-dasharray="4 3"'
    parts.append(_line(_LEFT, flat, _WIDTH - _RIGHT, flat, _INK, dashes))
    parts.append(_line(edge, _TOP - 6, edge, axes.bottom, _INK))
    parts.append(_text(edge + 5, _TOP + 2, f"flagged up to {alpha:g}"))
    names = [(name, _GREY if place == 0 else _colour(0)) for place, (name, _) in enumerate(filled)]
    legend = _legend([*names, ("expected if normal", "")])
    parts.append(f'<g transform="translate(0 {_PLOT_HEIGHT + 4:g})">{legend}</g>')
    lines = math.ceil((len(names) + 1) / 2)
    return _svg("Distribution of p-values", _PLOT_HEIGHT + 8 + _LINE * lines, parts)


def _ticks(low: float, high: float) -> list[float]:
    """At most six round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(count * step, 12) for count in range(first, last + 1)]


def _colour(place: int) -> str:
    place %= len(_KINDS)
    return f"var(--kind-{place}, {_KINDS[place]})"


def _dash(place: int) -> str:
    """Kinds beyond the colours repeat them with dashes."""
    return ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 2"')[place // len(_KINDS) % 3]


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    """Two columns of names behind a swatch; an empty colour stands for the dashed line."""
    parts = []
    for place, (name, colour) in enumerate(entries):
        x, y = _LEFT + 156 * (place % 2), _LINE * (place // 2) + 10
        if colour:
            parts.append(f'<rect x="{x:g}" y="{y - 7:g}" width="14" height="6" fill="{colour}"/>')
        else:
            parts.append(_line(x, y - 4, x + 14, y - 4, _INK, 'stroke-dasharray="4 3"'))
        parts.append(_text(x + 20, y, _short(name, 22)))
    return "".join(parts)


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _bar(left: float, top: float, right: float, bottom: float, colour: str) -> str:
    if bottom - top <= 0:
        return ""
    size = f'width="{right - left - 1:.1f}" height="{bottom - top:.1f}"'
    return f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" {size} fill="{colour}"/>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, extra: str = "") -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{colour}" {extra}/>'


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", colour: str = _INK, extra: str = ""
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}'
    return f"<text {place}>{escape(words)}</text>"


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'viewBox="0 0 {_WIDTH:g} {height:g}" role="img" font-size="11"'
    space = 'xmlns="http://www.w3.org/2000/svg"'
    return f"<svg {space} {head}><title>{escape(title)}</title>{''.join(parts)}</svg>"
