"""`intact variant ...`: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_shared import EXIT_CODES, AsJson

variant_app = typer.Typer(
    no_args_is_help=True,
    help="Mark what is flagged again and again, but normal at this site; `screen --variants` lets it pass.",
    epilog=EXIT_CODES,
)
Site = Annotated[Path, typer.Argument(metavar="SITE", help="Folder with the marks; made at the first.")]


@variant_app.command(epilog=EXIT_CODES)
def mark(
    site: Site,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the `intact screen` run.")],
    image: Annotated[str, typer.Argument(help="The image, as the report names it or its end.")],
    region: Annotated[int, typer.Option(min=1, help="Number of the region in the report.")] = 1,
    note: Annotated[str, typer.Option(help="Why it is normal; no names of patients.")] = "",
    as_json: AsJson = False,
) -> None:
    """Mark a flagged region as a normal variant.

    Kept are features, place and size of the region, no pixels and nothing of the patient.
    Example: `intact variant mark site/ out/ scans/17.dcm --region 2 --note "azygos lobe"`
    """
    from intact.explain.marking import mark_region

    made = mark_region(site, run, image, region, note)
    if as_json:
        print(json.dumps(dataclasses.asdict(made)))
    else:
        print(f"{site}: mark {made.number}; screen with --variants {site} to let its like pass")


@variant_app.command("list", epilog=EXIT_CODES)
def list_marks(site: Site, as_json: AsJson = False) -> None:
    """List the marks of a site."""
    from intact.explain.variants import marks_of

    marks = marks_of(site).entries
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in marks]))
        return
    table = Table("mark", "note", "marked", "modality", "place (row, column)", "size", box=SIMPLE_HEAD)
    for entry in marks:
        place, size = (" × ".join(f"{100 * share:.0f} %" for share in pair) for pair in
                       (entry.middle, entry.extent))  # fmt: skip
        table.add_row(str(entry.number), entry.note, entry.marked, entry.modality, place, size)
    Console().print(table)


@variant_app.command(epilog=EXIT_CODES)
def release(
    site: Site, number: Annotated[int, typer.Argument(help="Of the mark.")], as_json: AsJson = False
) -> None:
    """Forget a mark: what it let pass is flagged again."""
    from intact.explain.variants import marks_of

    gone = marks_of(site).release(number)
    if as_json:
        print(json.dumps(dataclasses.asdict(gone)))
    else:
        print(f"{site}: mark {number} released")
