"""`intact bench forensics`: convert arguments, call the library, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_bench import bench_app
from intact.cli_bench_anomaly import by_method
from intact.cli_shared import DONE, EXIT_CODES, UNREADABLE, AsJson, say, showing_progress, warnings_said

if TYPE_CHECKING:
    from intact.bench.forensics import Benched


@bench_app.command("forensics", epilog=EXIT_CODES)
def forensics(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...|PACK",
            help="Genuine images to be forged; or, without --kind, a folder with cases.csv, or with images/ "
            "and masks/.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="How images are forged, such as copy_move or splice; may be repeated."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD", help="An examiner, see `intact methods`; may be repeated. By default all."
        ),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MODEL",
            help="An examiner from `intact teach`, taught on other patients; may be repeated. Without "
            "--method it is examined alone.",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.FIELD=VALUE",
            help="Change a parameter of a method or of a kind; may be repeated.",
        ),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROCESSING",
            help="What is done to whole images afterwards, genuine and forged: jpeg=QUALITY, noise=STRENGTH "
            "or scale=FACTOR; may be repeated, each beside the plain images.",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option(min=0, help="How many genuine images to take, evenly over the files; 0 takes all.")
    ] = 0,
    alpha: Annotated[float, typer.Option(help="False-alarm rate at which images are called forged.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Another seed, other places and sizes.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; one per core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare examiners on forgeries whose truth is known: what they find, and what they raise falsely.

    Genuine and forged images are written by the same program. First it is tried to tell them apart by
    format, size, histogram, corners and compression alone; where that works, the run is refused. OUT gets
    `index.html`, `results.md`, `results.csv`, `scores.csv`, `audit.csv` and `splits.csv`. What was
    measured is kept: the same command goes on where it stopped.
    Examples: `intact bench forensics chest/ -o tested --kind copy_move --kind splice --after jpeg=80`,
    `intact bench forensics forgeries/ -o tested --method block_dct`
    """
    from intact.bench.forensics import bench_forensics

    with showing_progress(), warnings_said():
        benched = bench_forensics(
            paths,
            output,
            kinds=kind or (),
            methods=method or (),
            models=model or (),
            fields=by_method(fields or []),
            after=after or (),
            images=images,
            alpha=alpha,
            seed=seed,
            workers=workers,
        )
    for name, reason in benched.left_out.items():
        say(f"left out {name}: {reason}")
    for row in benched.failed:
        say(f"{row['method']} could not examine {row['case']}: {row['reason']}")
    if as_json:
        print(json.dumps(benched.run | {"results": benched.rows, "failed": benched.failed}, default=str))
    else:
        _print(benched)
    raise typer.Exit(UNREADABLE if benched.left_out or benched.failed else DONE)


def _print(benched: Benched) -> None:
    from intact.report.forensics import cell, columns_of, title_of

    shown = [f"{name} (95 %)" for name in ("AUROC", "false alarms per 1,000", "F1")]
    for key in dict.fromkeys((row["slice"], row["value"]) for row in benched.rows):
        if key[0] not in ("all", "operator"):
            continue
        rows = [row for row in benched.rows if (row["slice"], row["value"]) == key]
        filled = columns_of(rows)
        columns = [name for name in (*shown, "answered") if name in filled]
        table = Table("method", title=title_of(*key, rows[0]), box=SIMPLE_HEAD, title_justify="left")
        for name in columns:
            table.add_column(
                name.replace(" (95 %)", ""), min_width=13 if "(" in name else 8
            )  # a narrow terminal must not cut numbers
        for row in rows:
            table.add_row(row["method"], *(cell(row, name).replace(" (", "\n(") for name in columns))
        Console().print(table)
    print(f"{benched.run['cases']} cases, {len(benched.failed)} examinations failed")
    print(f"page: {benched.out / 'index.html'}")
