"""`intact bench anomaly`: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_bench import bench_app
from intact.cli_shared import (
    DONE,
    EXIT_CODES,
    UNREADABLE,
    AsJson,
    parsed_fields,
    say,
    showing_progress,
    warnings_said,
)
from intact.errors import UsageError

if TYPE_CHECKING:
    from intact.bench.results import Benched


@bench_app.command("anomaly", epilog=EXIT_CODES)
def anomaly(
    packs: Annotated[
        list[Path],
        typer.Argument(
            metavar="PACK...",
            help="Folders with train/good, test/good and test/KIND; masks in ground_truth/KIND.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="See `intact methods`; may be repeated. NAME=METHOD calls it otherwise, to enter it twice. "
            "By default all.",
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N|LIST", help="How many, from 0 on; or a list, such as 0,7,11.")
    ] = "1",
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="METHOD.FIELD=VALUE", help="Change a hyper-parameter; may be repeated."
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="False-alarm rate: the share of normal images flagged.")
    ] = 0.05,
    reference: Annotated[
        str, typer.Option(metavar="METHOD", help="The method that others are compared with; the first one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare detectors on folders of images whose truth is known: what they find, and what it costs.

    Each method learns from train/good alone, in a process of its own; the folders in test/ only judge.
    OUT gets `index.html`, `results.md`, `results.csv`, `differences.csv` and `scores.csv`. What was
    measured is kept: the same command goes on where it stopped, and measures only what is new.
    Example: `intact bench anomaly brain/ chest/ -o compared --method patchcore --method ae --seeds 3
    --set ae.steps=2000`
    """
    from intact.bench.anomaly import bench_anomaly

    with showing_progress(), warnings_said():
        benched = bench_anomaly(
            packs,
            output,
            methods=method or (),
            seeds=_seeds(seeds),
            fields=by_method(fields or []),
            alpha=alpha,
            reference=reference,
        )
    for name, reason in benched.left_out.items():
        say(f"left out {name}: {reason}")
    for row in benched.failed:
        say(f"not measured: {row['method']} on {row['pack']}, seed {row['seed']}: {row['not_measured']}")
    if as_json:
        print(json.dumps({"made": benched.made} | dataclasses.asdict(benched.comparison)))
    else:
        _print(benched)
    raise typer.Exit(UNREADABLE if benched.left_out or benched.failed else DONE)


def _seeds(text: str) -> list[int]:
    """`3` is how many, `0,7` and `7,` are lists."""
    try:
        if "," in text:
            return [int(part) for part in text.split(",") if part.strip()]
        return list(range(int(text)))
    except ValueError:
        raise UsageError(f"--seeds {text}: write how many, such as 3, or a list, such as 0,7,11") from None


def by_method(pairs: list[str]) -> dict[str, dict[str, Any]]:
    """`ae.steps=200` belongs to ae."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in parsed_fields(pairs).items():
        method, dot, field = name.partition(".")
        if not dot:
            raise UsageError(f"--set {name}: write it as METHOD.FIELD=VALUE, such as ae.{name}=...")
        found.setdefault(method, {})[field] = value
    return found


def _print(benched: Benched) -> None:
    from intact.report.bench import alarms as told_alarms
    from intact.report.bench import in_order, kinds_of
    from intact.report.words import duration, interval

    found = benched.comparison
    verdicts = {(row["pack"], row["kind"], row["method"]): row["verdict"] for row in found.differences}
    for pack in (pack["name"] for pack in found.packs):
        table = Table("kind", "method", title=pack, box=SIMPLE_HEAD, title_justify="left")
        table.add_column("AUROC (95 %)", min_width=13)  # a narrow terminal must not cut numbers
        table.add_column(f"to {found.run['reference']}", min_width=9)
        for title in ("false alarms", "fit", "images/s"):
            table.add_column(title, justify="right")
        for kind in kinds_of(found.summaries, pack):
            for row in in_order(found.summaries, pack, kind):
                auroc = interval([row["auroc"], row["auroc_low"], row["auroc_high"]]).replace(" ", "\n")
                verdict = verdicts.get((pack, kind, row["method"]), "")
                alarms = "\n".join(filter(None, told_alarms(row)))
                costs = duration(row["fit_s"]), f"{row['images_per_s']:.3g}"
                table.add_row(kind, row["method"], auroc, verdict, alarms, *costs)
        Console().print(table)
    cells = found.run["cells"]
    print(f"{cells} measurements, {benched.made} made now, {len(found.failed)} could not be made")
    print(f"page: {benched.out / 'index.html'}")
