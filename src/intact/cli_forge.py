"""`intact forge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from intact.cli_shared import DONE, UNREADABLE, AsJson, parsed_fields, showing_progress, warnings_said


def forge(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips: DICOM, NIfTI, PNG, TIFF, ...")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    kind: Annotated[
        list[str],
        typer.Option(
            help="What is done, such as copy_move, splice or remove: see `intact methods`. May be repeated; "
            "images then get the kinds in turn. `untouched` writes an image anew and changes nothing."
        ),
    ],
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a parameter; may be repeated."),
    ] = None,
    donors: Annotated[
        list[Path] | None,
        typer.Option(help="Images that foreign parts come from; by default the others of PATHS."),
    ] = None,
    region: Annotated[
        str, typer.Option(help="Forge in it alone: lungs, head, body or field_of_view; by default the body.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Another seed, other places and sizes.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; one per core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make forgeries whose truth is known, to test and train what shall find them.

    Files keep their format and depth, and every forged file says of itself that it was made. labels/
    tells what is forged (1), what was copied (2) and what is a soft border (3); pictures/ shows it;
    findings.jsonl holds how each was made. A run that was stopped goes on with the same command.
    Examples: `intact forge chest/ -o forged --kind copy_move --set rotation=30`,
    `intact forge ct/ -o forged --kind untouched --kind inject --kind splice --donors other/`
    """
    from intact.forge.archive import forge_archive

    with showing_progress(), warnings_said():
        done = forge_archive(
            paths,
            output,
            kind,
            fields=parsed_fields(fields or []),
            donors=donors or (),
            region=region,
            seed=seed,
            workers=workers,
        )
    counts = dict(done.run["counts"])
    if as_json:
        print(json.dumps(done.run))
    else:
        errors = counts.pop("errors")
        made = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(
            f"{made or 'nothing'}; {errors} could not be forged, {done.run['seconds']:.1f} s\n"
            f"images: {output / 'images'}, pictures: {output / 'pictures'}"
        )
    raise typer.Exit(UNREADABLE if done.errors else DONE)
