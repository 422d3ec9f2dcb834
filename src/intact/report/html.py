"""The report of a screening run: one self-contained HTML page, made from the run's own files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from intact.errors import OutputError, UsageError
from intact.report import figures
from intact.report.cards import Card, Finding, by_p_value, flagged_images, image_key, silenced_rows
from intact.report.drawing import Read, draw_cards
from intact.report.page import common_folder, read_rows, render
from intact.report.pictures import HeatScale, heat_gradient
from intact.report.problems import group_errors
from intact.report.statements import EXAMINERS
from intact.report.words import grid

CARDS = 200  # images shown as cards, at most
_MARKED = HeatScale(0.0, 2 / 3)  # of what they mark, 0 to 1
TABLE_ROWS = 50_000  # rows the table holds, at most: browsers stay quick


@dataclass(frozen=True)
class _Figures:
    """The drawings of one detector; empty where there is nothing to draw."""

    detector: str
    p_values: Markup
    scores: Markup
    roc: Markup


def write_report(out: Path, *, read: Read, identify: bool = False) -> Path:
    """Write `out/report.html` from the `run.json`, `findings.jsonl` and maps of a run.

    Args:
        out: Folder of the run.
        read: Gives the image of a path again; what it raises becomes a line in the card.
        identify: Show the patients that the findings name; otherwise they are left out.

    Returns:
        The path of the page, which replaces an earlier one only when it is complete.

    Raises:
        UsageError: `out` is not the folder of a run.
        OutputError: The page could not be written.
    """
    run = read_run(out)
    rows, torn = read_findings(out, identify=identify)
    flagged = flagged_images(rows)
    scales = {m["name"]: HeatScale(*m["map_scale"]) for m in run["models"] if m["map_scale"]}
    cards = list(
        draw_cards(flagged[:CARDS], out, read=read, scales=scales | dict.fromkeys(EXAMINERS, _MARKED))
    )
    page = render(
        "report.html",
        "report.css",
        run=run,
        torn=torn,
        tests=sum(row["p_value"] is not None for row in rows),
        examined=run.get("forensics", False),
        cards=cards,
        flagged_images=len(flagged),
        scales=scales,
        heat_gradient=heat_gradient(),
        figures=_figures(run, rows),
        table=_table(rows, cards, identify=identify),
        table_left_out=max(0, len(rows) - TABLE_ROWS),
        problems=group_errors(rows),
        silenced=silenced_rows(rows),
        root=common_folder([row["path"] for row in rows]),
        identify=identify,
    )
    return _replace(out / "report.html", page)


def read_run(out: Path) -> dict[str, Any]:
    """The record of a run.

    Raises:
        UsageError: `out` is not the folder of a run.
    """
    path = out / "run.json"
    try:
        run: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{out} holds no run.json, so it is not the folder of a screening run: "
            "name the folder that `intact screen` wrote with -o"
        ) from None
    return run


def read_findings(out: Path, *, identify: bool) -> tuple[list[dict[str, Any]], int]:
    """The rows of the run and how many lines were torn, as by a run that was killed."""
    rows, torn = read_rows(out / "findings.jsonl")
    for row in rows:
        if not identify:
            row.pop("patient", None)
        for name in ("score", "p_value"):  # JSON has no NaN, browsers refuse it
            if row[name] is not None and not math.isfinite(row[name]):
                row[name] = None
    return rows, torn


def _figures(run: Mapping[str, Any], rows: Sequence[Finding]) -> list[_Figures]:
    """The figures of each detector that scored anything, in the order of the findings."""
    by_detector: dict[str, list[Finding]] = {}
    for row in rows:
        if row["score"] is not None and row["family"] not in EXAMINERS:
            by_detector.setdefault(row["detector"], []).append(row)
    return [_draw(name, scored, run["alpha"]) for name, scored in by_detector.items()]


def _draw(detector: str, rows: Sequence[Finding], alpha: float) -> _Figures:
    labels = {row["label"] for row in rows}
    truth = labels != {None}
    kinds: dict[str, list[Finding]] = {figures.NORMAL: []} if figures.NORMAL in labels else {}
    for row in rows:
        kinds.setdefault((row["label"] or "unlabelled") if truth else "all images", []).append(row)
    scores = {kind: [row["score"] for row in of_kind] for kind, of_kind in kinds.items()}
    p_values = {
        kind: [row["p_value"] for row in of_kind if row["p_value"] is not None]
        for kind, of_kind in kinds.items()
    }
    abnormal = {kind: s for kind, s in scores.items() if kind not in (figures.NORMAL, "unlabelled")}
    roc = figures.roc(scores.get(figures.NORMAL, ()), abnormal) if truth else ""
    groups, expected_of = _normal_and_rest(p_values) if truth else (p_values, "all")
    return _Figures(
        detector,
        Markup(figures.p_histogram(groups, alpha=alpha, expected_of=expected_of)),  # noqa: S704
        Markup(figures.score_histogram(scores, threshold=_threshold(rows))),  # noqa: S704
        Markup(roc),  # noqa: S704 - the figures escape the words they are given
    )


def _normal_and_rest(p_values: Mapping[str, list[float]]) -> tuple[dict[str, list[float]], str]:
    rest = [p for kind, of_kind in p_values.items() if kind != figures.NORMAL for p in of_kind]
    return {figures.NORMAL: p_values.get(figures.NORMAL, []), "other kinds": rest}, figures.NORMAL


def _threshold(rows: Sequence[Finding]) -> float | None:
    """The lowest flagged score, if it parts the flagged from the rest (groups may not)."""
    flagged = [row["score"] for row in rows if row["flagged"]]
    rest = [row["score"] for row in rows if not row["flagged"]]
    if not flagged or (rest and max(rest) >= min(flagged)):
        return None
    return float(min(flagged))


def _table(rows: Sequence[Finding], cards: Sequence[Card], *, identify: bool) -> dict[str, Any]:
    """Columns and rows for the page's script, the lowest p-value first."""
    card_of = {image_key(card.first): number for number, card in enumerate(cards, start=1)}
    columns = [("path", "Image", "path")]
    if identify:
        columns.append(("patient", "Patient", "text"))
    columns += [("modality", "Modality", "text"), ("size", "Size", "text")]
    if any(row["label"] for row in rows):
        columns.append(("label", "Truth", "text"))
    if len({row["detector"] for row in rows if row["score"] is not None}) > 1:
        columns.append(("detector", "Detector", "text"))
    columns += [
        ("score", "Score", "number"),
        ("p_value", "p-value", "p"),
        ("flagged", "Flagged", "flag"),
        ("regions", "Regions", "count"),
        ("warnings", "Warnings", "count"),
        ("error", "Error", "text"),
    ]
    ranked = sorted(rows, key=by_p_value)[:TABLE_ROWS]
    cells = [[_cell(row, name) for name, _, _ in columns] + [card_of.get(image_key(row))] for row in ranked]
    return {"columns": columns, "rows": cells}


def _cell(row: Finding, name: str) -> Any:
    if name == "size":
        return grid(row)
    value = row.get(name)
    return len(value) if isinstance(value, list) else value


def _replace(path: Path, page: str) -> Path:
    """Write beside `path` first, so that a full disk leaves the old page alone."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(page, "utf-8")
        beside.replace(path)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise OutputError(
            f"{path} could not be written ({problem.strerror}): free some space there or "
            "allow writing to the folder, then make the report again"
        ) from problem
    return path
