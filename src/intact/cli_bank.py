"""The commands for memory banks: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_shared import (
    DONE,
    EXIT_CODES,
    UNREADABLE,
    AsJson,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
)
from intact.errors import UsageError

if TYPE_CHECKING:  # it takes a second
    from intact.bank import Bank

SHOWN = 10  # images that gave the most patches

bank_app = typer.Typer(
    no_args_is_help=True,
    help="Keep a memory of normal images that grows night by night and forgets a patient exactly.",
    epilog=EXIT_CODES,
)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the bank.")]


@bank_app.command("add", epilog=EXIT_CODES)
def bank_add(
    folder: Folder,
    normals: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Files, folders or zips: normal images only.")
    ],
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of patchcore, for a new bank only."),
    ] = None,
    calibrate: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9, help="Share of the patients held out for p-values: 0.25 if new."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides all chance: 0 if new.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add normal images; a bank that is not there is made, of a kind that suits these images.

    Images that are in it already are passed over, so tonight's folder may hold yesterday's, too. A
    run that was stopped goes on with the same command.
    Example: `intact bank add bank/ tonight/`, then `intact screen new/ --model bank/model -o out`
    """
    from intact.bank import Bank, is_bank

    asked, notes = parsed_fields(fields or []), list[str]()
    with showing_progress():
        if is_bank(folder):
            bank = Bank(folder)
            _check_same(bank, asked, calibrate, seed)
        else:
            bank, notes = Bank.create(
                folder,
                normals,
                fields=asked,
                calibrate=0.25 if calibrate is None else calibrate,
                seed=seed or 0,
            )
        with bank:
            done, counts = bank.add(normals), bank.counts()
    for note in notes:
        say(note)
    say_left_out(done.rejected)
    if as_json:
        added = {"added": done.added, "known": done.known, "rejected": len(done.rejected)}
        print(json.dumps(added | counts))
    else:
        print(f"{folder}: {done.added} images added, {done.known} were there already; {_said(counts)}")
    raise typer.Exit(UNREADABLE if done.rejected else DONE)


@bank_app.command("forget", epilog=EXIT_CODES)
def bank_forget(
    folder: Folder,
    patient: Annotated[
        str,
        typer.Argument(help="Patient ID; study UID where there is none; or an image's digest or name."),
    ],
    as_json: AsJson = False,
) -> None:
    """Remove a patient: the bank and its model are then what they would be had he never been there.

    Example: `intact bank forget bank/ 4711`
    """
    from intact.bank import Bank

    with showing_progress(), Bank(folder) as bank:
        removed, counts = bank.forget(patient), bank.counts()
    if not removed:  # the name is not repeated: messages end up in logs
        raise UsageError(f"{folder} holds no image of that patient or name: see `intact bank show`")
    if as_json:
        print(json.dumps({"removed": removed} | counts))
    else:
        print(f"{folder}: {removed} images forgotten; {_said(counts)}")


@bank_app.command("show", epilog=EXIT_CODES)
def bank_show(folder: Folder, as_json: AsJson = False) -> None:
    """Show what the bank's model remembers, and from which images; with --json every patch.

    Example: `intact bank show bank/`
    """
    from intact.bank import Bank

    with showing_progress(), Bank(folder) as bank:
        counts = bank.counts()
        entries = bank.entries() if counts["remembered"] else []
    if as_json:
        print(json.dumps(counts | {"entries": [dataclasses.asdict(entry) for entry in entries]}))
        return
    gave = Counter((entry.image, entry.digest) for entry in entries)
    print(f"{folder}: {_said(counts)}\n{len(entries)} patches remembered, of {len(gave)} images")
    table = Table("image", "digest", "patches", box=SIMPLE_HEAD)
    for (image, digest), patches in gave.most_common(SHOWN):
        table.add_row(image, digest[:16], str(patches))
    Console().print(table)


def _check_same(bank: Bank, fields: dict[str, Any], calibrate: float | None, seed: int | None) -> None:
    """Refuse settings other than those that the bank was made with; the same command may come again."""
    have = bank.settings.fields | {"calibrate": bank.settings.calibrate}
    asked = fields | {"calibrate": calibrate, "seed": seed}
    for name, value in asked.items():
        if value is not None and have.get(name) != value:
            bank.close()
            raise UsageError(
                f"{bank.folder} was made with {name}={have.get(name)!r}, which is fixed: leave it out, "
                "or make another bank"
            )


def _said(counts: dict[str, int]) -> str:
    return (
        f"{counts['remembered']} images are remembered and {counts['held_out']} held out, of "
        f"{counts['patients']} patients; p-values down to {1 / (counts['judged'] + 1):.2g}"
    )
