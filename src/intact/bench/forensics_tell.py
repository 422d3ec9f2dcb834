"""What `intact bench forensics` leaves behind: tables for programs, text and a page for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from intact.bench.forensics_leaks import AUDITS, CHANCE, Audit
from intact.bench.forensics_measure import THRESHOLD
from intact.bench.forensics_summary import BASELINE, RESAMPLES, Examined
from intact.bench.tables import table
from intact.forensics import LEARNED, METHODS
from intact.forge.cases import Case
from intact.forge.folds import FOLDS, leave_one_operator_out
from intact.io.atomic import put
from intact.metrics.tampering import SMALL_SHARE
from intact.report.forensics import Told, cell, columns_of, title_of, write_page
from intact.report.words import plural, rate
from intact.rows import Row, write_rows


def tell(
    out: Path,
    run: Row,
    cases: Sequence[Case],
    folds: Int[ndarray, "n"],
    audited: Sequence[Audit],
    examined: Sequence[Examined],
    rows: Sequence[Row],
) -> list[Row]:
    """Write all files of a benchmark.

    Returns:
        Method, case and reason, where a case could not be examined.

    Raises:
        OutputError: Results cannot be written.
    """
    failed = [
        {"method": one.method, "case": row["path"], "reason": row["error"]}
        for one in examined
        for row in one.findings
        if row.get("error") is not None
    ]
    write_rows(out / "results.csv", rows)
    write_rows(out / "scores.csv", _scores(cases, folds, examined))
    splits = _splits(cases, folds)
    write_rows(out / "splits.csv", splits)
    told = Told(
        run=run,
        rows=list(rows),
        audits=[one.row() for one in audited],
        splits=splits,
        failed=failed,
        methods=[
            {"name": name, "kind": kind.kind, "source": kind.source, "fields": fields}
            for name, fields in run["methods"].items()
            for kind in [LEARNED[fields["taught"]] if "taught" in fields else METHODS[name]]
        ],
        protocol=protocol(run["alpha"]),
        abstentions=_abstentions(examined),
    )
    put(out / "results.md", markdown(told).encode("utf-8", "replace"))
    write_page(out, told)
    put(out / "run.json", (json.dumps(run, indent=1, default=str) + "\n").encode())
    return failed


def markdown(told: Told) -> str:
    """The tables as text."""
    run = told.run
    parts = [
        "# Comparison of examiners",
        f"{run['started']}, Intact {run['intact']}, {run['cases']} cases, seed {run['seed']}, false-alarm "
        f"rate {rate(run['alpha'])}.",
    ]
    for (kind, value), rows in told.slices().items():
        head = columns_of(rows)
        body = [[row["method"], *(cell(row, name) for name in head)] for row in rows]
        parts += [f"## {title_of(kind, value, rows[0])}", table(["method", *head], body)]
    head = list(told.audits[0])
    parts += [
        "## Audit for leaks",
        table(head, [[_short(row[name]) for name in head] for row in told.audits]),
    ]
    if told.failed:
        body = [[row["method"], row["case"], row["reason"]] for row in told.failed]
        parts += ["## Not examined", table(["method", "case", "why"], body)]
    parts += ["## Protocol", *(f"**{title}.** {words}" for title, words in told.protocol)]
    return "\n\n".join(parts) + "\n"


def protocol(alpha: float) -> list[tuple[str, str]]:
    """Titles, and what there is to say below each."""
    return [
        (
            "Cases",
            "Where images were forged here, genuine and forged ones went through the same reading, "
            "rounding, processing and writing, and every genuine image stands beside its own forgeries. "
            "Sizes come from bins of area share. Nothing is resized before it is examined.",
        ),
        (
            "Leaks",
            f"Before anything was measured, classifiers that see only {', '.join(AUDITS)} tried to tell "
            "each operator's images from genuine ones, on patients that they had not learned from. Where "
            "a forgery is, is hidden from them, corners and centre apart. Had one been above chance (at "
            f"{100 * CHANCE:g} % over all of them), the run would have been refused. "
            "With half a dozen patients or fewer such an audit can hardly refuse anything.",
        ),
        (
            "Images",
            "AUROC is the chance that a forged image scores above a genuine one, AP average precision; "
            "guessing reaches 0.5 and the share of forged images. TPR at FPR 1 % is read off the judged "
            f"images themselves. Brackets hold 95 % intervals from {RESAMPLES:,} resamples of patients. "
            "Where an examiner abstains or fails, the image counts as not detected and stands below all "
            "others; the share answered is beside it.",
        ),
        (
            "Decisions",
            f"An image is called forged where the examiner's p-value is at most {100 * alpha:g} %. "
            "Examiners that have none are compared with genuine images of other patients; where these "
            "are too few, nothing is decided. False alarms per 1,000 genuine images have exact "
            "(Clopper-Pearson) intervals.",
        ),
        (
            "Places",
            f"F1, IoU and MCC are those of the map cut at {THRESHOLD:g}, the same for every map: the mean "
            "over forged images, each patient weighing the same, and pooled over all their pixels. F1 of "
            "all that is marked (above 0) stands beside. F1-best takes the threshold that suits each "
            f'image best, found by looking at the truth: it flatters, and "{BASELINE}" is the line to '
            "beat. Copied sources count nowhere, or as forged in the columns with source. Genuine images "
            "do not enter F1; their falsely marked area is told apart, and the share of images in which "
            f"it exceeds {100 * SMALL_SHARE:g} %.",
        ),
        (
            "Operators and patients",
            f"splits.csv divides the patients into at most {FOLDS} folds, for examiners that are trained: "
            "each operator in turn is left out of what they learn from, and no patient is on both sides. "
            "Examiners that learned from nothing have tables of this kind already; of those that were "
            "taught, their models say with which operators, and these cases were not among their lessons "
            "unless somebody gave them.",
        ),
        (
            "Cost",
            "Seconds are the median processor time of one image on one core, reading not included.",
        ),
    ]


def _scores(cases: Sequence[Case], folds: Int[ndarray, "n"], examined: Sequence[Examined]) -> list[Row]:
    rows = []
    numbers = np.unique([case.group for case in cases], return_inverse=True)[1].tolist()
    for one in examined:
        for case, fold, patient, row in zip(cases, folds.tolist(), numbers, one.findings, strict=True):
            fixed = (row.get("pixels") or {}).get("target", {}).get("fixed")
            rows.append(
                {
                    "method": one.method,
                    "case": case.name,
                    "label": "forged" if case.forged else "genuine",
                    "operator": case.operator,
                    "processing": case.processing,
                    "patient": patient,
                    "fold": fold,
                    "share": row.get("share"),
                    "score": row.get("score"),
                    "p": row.get("p_value"),
                    "abstained": row.get("abstained", ""),
                    "error": row.get("error"),
                    **dict(zip(("tp", "fp", "fn", "tn"), fixed or [None] * 4, strict=True)),
                    "seconds": row.get("seconds"),
                    "explanation": row.get("explanation", ""),
                }
            )
    return rows


def _splits(cases: Sequence[Case], folds: Int[ndarray, "n"]) -> list[Row]:
    """Which cases each split learns from and judges, counted; the cases' folds are in scores.csv."""
    forged = np.array([case.forged for case in cases])
    groups = np.array([case.group for case in cases])
    return [
        {
            "fold": split.fold,
            "left_out": split.operator,
            "train_patients": len(set(groups[split.train].tolist())),
            "train_genuine": int((split.train & ~forged).sum()),
            "train_forged": int((split.train & forged).sum()),
            "test_patients": len(set(groups[split.test].tolist())),
            "test_genuine": int((split.test & ~forged).sum()),
            "test_forged": int((split.test & forged).sum()),
        }
        for split in leave_one_operator_out(cases, folds)
    ]


def _abstentions(examined: Sequence[Examined]) -> list[Row]:
    """How often each method abstained, with each reason."""
    found: dict[tuple[str, str], int] = {}
    for one in examined:
        for row in one.findings:
            if row.get("abstained"):
                key = (one.method, row["abstained"])
                found[key] = found.get(key, 0) + 1
    return [
        {"method": method, "why": why, "images": f"{count} {plural(count, 'image')}"}
        for (method, why), count in sorted(found.items(), key=lambda item: -item[1])
    ]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
