"""What the page says about one flagged image, as plain data for the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from intact.report.statements import Statement, statements

Finding = Mapping[str, Any]  # one row of findings.jsonl

REGIONS = 12  # per card, at most


@dataclass(frozen=True)
class Box:
    """Outline of a region, in percent of the picture's width and height."""

    number: int
    heat: int  # which of the card's heat maps it belongs to
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Plane:
    """One embedded plane: the picture, and per flagged detector its heat ("" where all is cold)."""

    index: int
    position: str
    picture: str
    heats: tuple[str, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, and what it shows."""

    picture: str
    caption: str
    hint: str = ""  # the full name of what it is of


@dataclass(frozen=True)
class Explanation:
    """What is beside a region: itself, its normal twin, and what normal looks like in others."""

    number: int
    thumbnails: tuple[Thumbnail, ...]


@dataclass
class Card:
    """A flagged image and everything the page says about it."""

    rows: list[Finding]  # of every detector, lowest p first; the first one was flagged
    planes: list[Plane] = field(default_factory=list)
    start: int = 0  # which of `planes` is shown first
    planes_total: int = 1
    width: float = 1.0  # of the picture, in mm or (spacing unknown) in pixels
    height: float = 1.0
    coarse: bool = False  # small enough that its pixels should stay visible when enlarged
    bar: tuple[int, float] | None = None  # length in mm, share of the width
    explanations: list[Explanation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def first(self) -> Finding:
        """The row that ranks the card."""
        return self.rows[0]

    @property
    def flagged(self) -> list[Finding]:
        """The rows whose detectors flagged the image; heat maps follow this order."""
        return [row for row in self.rows if row["flagged"]]

    @property
    def regions(self) -> list[tuple[int, int, Mapping[str, Any]]]:
        """(number on the page, heat map, region) of the regions shown."""
        all_of_them = [(heat, r) for heat, row in enumerate(self.flagged) for r in row["regions"]]
        return [(n, heat, r) for n, (heat, r) in enumerate(all_of_them[:REGIONS], start=1)]

    @property
    def regions_left_out(self) -> int:
        """How many regions the findings hold beyond those shown."""
        return sum(len(row["regions"]) for row in self.flagged) - len(self.regions)

    @property
    def statements(self) -> dict[str, list[Statement]]:
        """What the rows mean, under their headings."""
        return statements(self.rows)

    @property
    def warnings(self) -> list[str]:
        """Each different warning of the rows once, then what went wrong with the pictures."""
        return list(dict.fromkeys([w for row in self.rows for w in row["warnings"]] + self.problems))


def image_key(row: Finding) -> tuple[str, str, str]:
    """What tells one image of a run from another; its rows differ in the detector only."""
    return row["path"], row.get("series") or "", row.get("instance") or ""


def by_p_value(row: Finding) -> tuple[bool, bool, float, float]:
    """Sorting key: flagged first, impossible headers before all, lowest p-value, then the highest score."""
    p, score = row["p_value"], row["score"]
    impossible = any(told["severity"] == "impossible" for told in row.get("evidence") or ())
    return not row["flagged"], not impossible, 2.0 if p is None else p, 0.0 if score is None else -score


def silenced_rows(rows: Iterable[Finding]) -> list[Finding]:
    """The rows that would have been flagged but for marks of normal variants, the lowest p first."""
    return sorted((row for row in rows if row["silenced"]), key=by_p_value)


def flagged_images(rows: Iterable[Finding]) -> list[list[Finding]]:
    """The rows of each image that a detector flagged, the most suspicious image first."""
    images: dict[tuple[str, str, str], list[Finding]] = {}
    for row in rows:
        images.setdefault(image_key(row), []).append(row)
    ranked = [sorted(rows, key=by_p_value) for rows in images.values()]
    return sorted((rows for rows in ranked if rows[0]["flagged"]), key=lambda rows: by_p_value(rows[0]))
