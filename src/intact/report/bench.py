"""The page of a benchmark of detectors: one self-contained file, made from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from intact.io.atomic import put
from intact.report.bench_figures import Mark, Panel, Point, forest, scatter
from intact.report.page import render
from intact.report.reported import DOI, REPORTED, SETS, SOURCE
from intact.report.words import DASH, rate

REAL = "real"
PANELS = 5  # kinds side by side in one drawing, at most

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What there is to tell of a benchmark, as plain data.

    Args:
        run: When, where, with what.
        packs: Name and number of test images of each.
        entrants: Each method, its source and its fields.
        summaries: A row per pack, kind and method, seeds together.
        differences: Those of differences.csv.
        failed: What could not be measured, and why.
        protocol: Titles and what there is to say below each.
    """

    run: Row
    packs: list[Row]
    entrants: list[Row]
    summaries: list[Row]
    differences: list[Row]
    failed: list[Row]
    protocol: list[tuple[str, str]]


@dataclass(frozen=True)
class _Section:
    """A pack on the page."""

    pack: Row
    forests: list[Markup]
    costs: list[Markup]
    tables: list[tuple[str, list[Row]]]  # the main kind first
    matrix: list[tuple[str, list[Row | None]]]  # per method, its difference for each kind
    counts: Counter[str]  # of methods that are better, worse or open on the main kind
    alarmed: int  # methods with more false alarms than chance allows
    kinds: list[str]
    places: bool  # whether there are numbers of localisation


def write_comparison(out: Path, found: Comparison) -> Path:
    """Write `out/index.html`.

    Raises:
        OutputError: It cannot be written; an older page stays.
    """
    here = {entrant["method"] for entrant in found.entrants}
    page = render(
        "bench.html",
        "report.css",
        "bench.css",
        run=found.run,
        sections=[_section(found, pack) for pack in found.packs],
        entrants=found.entrants,
        failed=found.failed,
        real=sum(row["verdict"] == REAL for row in found.differences),
        compared=len(found.differences),
        protocol=found.protocol,
        reported=[(key in here, row) for key, row in REPORTED.items()],
        sets=SETS,
        source=SOURCE,
        doi=DOI,
        difference=difference,
        alarms=alarms,
        state_of=state_of,
    )
    return put(out / "index.html", page.encode("utf-8", "replace"))


def kinds_of(summaries: Sequence[Row], pack: str) -> list[str]:
    """The kinds of finding in a pack; all of them together come last."""
    return list(dict.fromkeys(row["kind"] for row in summaries if row["pack"] == pack))


def in_order(summaries: Sequence[Row], pack: str, kind: str) -> list[Row]:
    """The methods on a kind, in the order of their AUROC over all kinds of the pack."""
    main = kinds_of(summaries, pack)[-1]
    own = [row for row in summaries if row["pack"] == pack]
    place = {row["method"]: -row["auroc"] for row in own if row["kind"] == main}
    return sorted((row for row in own if row["kind"] == kind), key=lambda row: place[row["method"]])


def difference(row: Row) -> str:
    """A difference and its interval, with signs."""
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})".replace("-", "−")


def state_of(row: Row) -> str:
    """What a difference says of the method: "better", "worse" or "open"."""
    if row["verdict"] != REAL:
        return "open"
    return "better" if row["difference"] > 0 else "worse"


def alarms(row: Row) -> tuple[str, str]:
    """The false-alarm rate, and what is to be said of it."""
    if "false_alarm_rate" not in row:
        return DASH, f"{row['calibrated_on']} held-out normals are too few"
    broken, seeds = row["more_alarms"], len(row["seeds"])
    remark = "too many" + (f" with {broken} of {seeds} seeds" if seeds > 1 else "") if broken else ""
    return rate(row["false_alarm_rate"]), remark


def _section(found: Comparison, pack: Row) -> _Section:
    name = pack["name"]
    kinds = kinds_of(found.summaries, name)
    tables = [(kind, in_order(found.summaries, name, kind)) for kind in kinds]
    if not tables:
        return _Section(pack, [], [], [], [], Counter(), 0, [], places=False)
    verdicts = {(row["kind"], row["method"]): row for row in found.differences if row["pack"] == name}
    main = tables[-1][1]
    panels = [_panel(kind, rows, verdicts, found.run["reference"]) for kind, rows in tables]
    return _Section(
        pack,
        [Markup(forest(name, panels[at : at + PANELS])) for at in range(0, len(panels), PANELS)],  # noqa: S704
        [Markup(drawing) for drawing in _costs(main, found.run["reference"])],  # noqa: S704
        tables[-1:] + tables[:-1],
        [
            (row["method"], [verdicts.get((kind, row["method"])) for kind in kinds])
            for row in main
            if any((kind, row["method"]) in verdicts for kind in kinds)
        ],
        Counter(state_of(row) for (kind, _), row in verdicts.items() if kind == kinds[-1]),
        sum(row.get("more_alarms", 0) > 0 for row in main),
        kinds,
        places=any("aupro" in row for _, rows in tables for row in rows),
    )


def _panel(kind: str, rows: Sequence[Row], verdicts: dict[tuple[str, str], Row], reference: str) -> Panel:
    marks = []
    for row in rows:
        against = verdicts.get((kind, row["method"]))
        state = "reference" if row["method"] == reference else "open"
        if against is not None:
            state = state_of(against)
        ends = (row["auroc_low"], row["auroc_high"])
        marks.append(Mark(row["method"], row["auroc"], ends, (row["auroc_least"], row["auroc_most"]), state))
    return Panel(f"{kind} ({rows[0]['n']})", marks)


def _costs(rows: Sequence[Row], reference: str) -> list[str]:
    axes = (("fit_s", "Seconds to fit"), ("images_per_s", "Images per second, prepared and scored"))
    return [
        scatter(
            title,
            [Point(row["method"], row[name], row["auroc"], row["method"] == reference) for row in rows],
        )
        for name, title in axes
    ]
