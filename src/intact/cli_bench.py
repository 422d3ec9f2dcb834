"""The commands that measure on one's own images: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_protect import Fields, Keep, Method, Paths
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

bench_app = typer.Typer(
    no_args_is_help=True, help="Measure how well things work on your own images.", epilog=EXIT_CODES
)


@bench_app.command("protect", epilog=EXIT_CODES)
def bench(
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    against: Annotated[
        list[str],
        typer.Option(metavar="MODEL", help="A classifier that is to misread them; may be repeated."),
    ],
    unseen: Annotated[
        list[Path] | None,
        typer.Option(metavar="MODEL", help="A classifier that the attack does not know; may be repeated."),
    ] = None,
    method: Method = "tiles",
    fields: Fields = None,
    keep: Keep = None,
    images: Annotated[int, typer.Option(min=1, help="How many to try, evenly over the files.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Protect some images, treat them as a thief might, and see which classifiers still misread them.

    OUT gets `trials.csv`, `quality.json` and `gallery.png`.
    Example: `intact bench protect images/ -o trial --against classifier --unseen other --keep lungs`
    """
    from intact.protect import Against
    from intact.protect.bench import bench_protect

    models = tuple(("", Path(text)) for text in against)
    asked = Against(models, method, tuple(parsed_fields(fields or []).items()))
    with showing_progress(), warnings_said():
        benched = bench_protect(paths, output, asked, unseen=unseen or [], keep=keep, images=images)
    for name, reason in benched.refused:
        say(f"left out {name}: {reason}")
    if as_json:
        print(json.dumps(dataclasses.asdict(benched)))
    else:
        _print_trials(benched)
        print(f"{output}: trials.csv, quality.json, gallery.png")
    raise typer.Exit(UNREADABLE if benched.refused else DONE)


def _print_trials(benched: Any) -> None:
    """A line for each treatment, a column for each classifier; what misleads by itself in brackets."""
    names = {row["classifier"]: row["unseen"] for row in benched.rows}
    columns = [f"{name}, unseen" if unseen else name for name, unseen in names.items()]
    table = Table("misread, as is in brackets", *columns, box=SIMPLE_HEAD)
    for treatment in dict.fromkeys(row["treatment"] for row in benched.rows):
        rows = [row for row in benched.rows if row["treatment"] == treatment]
        told = [f"{row['misread']:.0%} ({row['misread_unprotected']:.0%})" for row in rows]
        table.add_row(treatment, *told)
    Console().print(table)
    of = benched.quality
    print(
        f"PSNR {of['psnr']:.1f} dB, SSIM {of['ssim']:.3f}, {of['changed']:.1%} of the pixels changed, "
        f"{of['region_pixels_changed']:.0f} in the region; {of['exact']:.0%} restored byte for byte"
    )
