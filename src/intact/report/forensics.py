"""The page of a benchmark of examiners: one self-contained file, made from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact.io.atomic import put
from intact.report.page import render
from intact.report.words import DASH, interval, number, plural, rate

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Told:
    """What there is to tell of a benchmark of examiners, as plain data.

    Args:
        run: When, where, with what.
        rows: A row per slice of the cases and method; the baseline last.
        audits: What classifiers that must fail came to.
        splits: Counts of each split for trained examiners.
        failed: Cases that a method could not examine, and why.
        methods: Name, kind, source and fields of each.
        protocol: Titles and what there is to say below each.
        abstentions: How many images a method gave no answer on, for each reason.
    """

    run: Row
    rows: list[Row]
    audits: list[Row]
    splits: list[Row]
    failed: list[Row]
    methods: list[Row]
    protocol: list[tuple[str, str]]
    abstentions: list[Row]

    def slices(self) -> dict[tuple[str, str], list[Row]]:
        """The rows of each slice, its kind and value as key."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row["slice"], row["value"]), []).append(row)
        return found


def write_page(out: Path, told: Told) -> Path:
    """Write `out/index.html`.

    Raises:
        OutputError: It cannot be written; an older page stays.
    """
    tables = [
        (title_of(kind, value, rows[0]), columns_of(rows), rows)
        for (kind, value), rows in told.slices().items()
    ]
    page = render(
        "forensics.html",
        "report.css",
        "bench.css",
        run=told.run,
        tables=tables,
        audits=told.audits,
        splits=told.splits,
        failed=told.failed,
        methods=told.methods,
        protocol=told.protocol,
        abstentions=told.abstentions,
        cell=cell,
        first=told.rows[0],
    )
    return put(out / "index.html", page.encode("utf-8", "replace"))


def title_of(kind: str, value: str, row: Row) -> str:
    """Heading of a slice."""
    names = {
        "all": "All images",
        "operator": f"Forged by {value}",
        "area": f"Forged area {value} of the image",
        "processing": "No processing afterwards" if value == "none" else f"Processed afterwards: {value}",
    }
    patients = f"{row['patients']} {plural(row['patients'], 'patient')}"
    return f"{names[kind]}: {row['forged']} forged, {row['genuine']} genuine, {patients}"


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Titles of the columns that some row of a table fills."""
    return [name for name, fill in COLUMNS.items() if any(fill(row) != DASH for row in rows)]


def cell(row: Row, column: str) -> str:
    """A cell as text."""
    return COLUMNS[column](row)


def _spread(name: str) -> Callable[[Row], str]:
    return lambda row: interval([row.get(f"{name}{end}") for end in ("", "_low", "_high")])


def _share(name: str) -> Callable[[Row], str]:
    return lambda row: rate(row.get(name))


def _number(name: str) -> Callable[[Row], str]:
    return lambda row: DASH if row.get(name) is None else f"{row[name]:.3f}"


def _seconds(row: Row) -> str:
    return number(row.get("seconds"))


def _alarms(row: Row) -> str:
    if row.get("false_alarms_per_1000") is None:
        return DASH
    value, low, high = (row[f"false_alarms_per_1000{end}"] for end in ("", "_low", "_high"))
    return f"{value:.3g} ({low:.3g}–{high:.3g})"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "AUROC (95 %)": _spread("auroc"),
    "AP (95 %)": _spread("average_precision"),
    "TPR at FPR 1 % (95 %)": _spread("tpr_at_fpr_1"),
    "answered": _share("answered"),
    "called forged (95 %)": _spread("sensitivity"),
    "false alarms per 1,000 (95 %)": _alarms,
    "decided by": lambda row: row.get("decided_by") or DASH,
    "F1 (95 %)": _spread("f1"),
    "IoU": _number("iou"),
    "MCC": _number("mcc"),
    "F1 pooled": _number("f1_pooled"),
    "F1 of all marked": _number("f1_any"),
    "F1-best (oracle)": _number("f1_best"),
    "pixel AUROC": _number("pixel_auroc"),
    "F1 with source (95 %)": _spread("f1_with_source"),
    "IoU with source": _number("iou_with_source"),
    "F1-best with source (oracle)": _number("f1_best_with_source"),
    "genuine area marked": _share("false_area"),
    "genuine images marked": _share("false_area_above"),
    "failed": lambda row: str(row["errors"]) if row.get("errors") else DASH,
    "seconds": _seconds,
}
