"""The commands for keys and ledgers: convert arguments, call the library, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from intact.cli_shared import EXIT_CODES, FLAGGED, AsJson

key_app = typer.Typer(
    no_args_is_help=True, help="Make keys, and give their public halves to others.", epilog=EXIT_CODES
)
ledger_app = typer.Typer(
    no_args_is_help=True, help="Check what was sealed, restored and refused.", epilog=EXIT_CODES
)


@key_app.command("new", epilog=EXIT_CODES)
def key_new(
    file: Annotated[Path, typer.Argument(help="The new key file; an existing one is never overwritten.")],
    note: Annotated[str, typer.Option(help="What the key is for, in the open.")] = "",
) -> None:
    """Make a secret key. Keep a copy in a safe: without it, what it sealed cannot be restored.

    Example: `intact key new hospital.key`
    """
    from intact.protect import new_key

    key = new_key(file, note)
    print(f"{file}: key {key.id}, readable by you alone; keep a copy in a safe")


@key_app.command("public", epilog=EXIT_CODES)
def key_public(
    file: Annotated[Path, typer.Argument(help="A secret key file.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PUBLIC", help="The public key file.")],
) -> None:
    """Write the public half of a key, to be given to those who seal for you (`--to`).

    Example: `intact key public hospital.key -o hospital.pub`
    """
    from intact.protect import load_key, write_public

    key = load_key(file)
    write_public(key, output)
    print(f"{output}: public key {key.id}")


@ledger_app.command("check", epilog=EXIT_CODES)
def ledger_check(
    file: Annotated[Path, typer.Argument(help="A ledger.jsonl.")],
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check also that every line was written with this key."),
    ] = None,
    head: Annotated[
        str, typer.Option(help="A head noted earlier: shows that no line was cut off since.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check every line of a ledger, offline.

    Example: `intact ledger check sealed/ledger.jsonl --key hospital.key`
    """
    from intact.protect import LedgerError, check_ledger, load_key

    try:
        checked = check_ledger(file, load_key(key) if key else None, head or None)
    except LedgerError as error:
        print(json.dumps({"sound": False, "line": error.line, "reason": error.reason}) if as_json else error)
        raise typer.Exit(FLAGGED) from None
    if as_json:
        print(
            json.dumps(
                {"sound": True, "events": checked.events, "head": checked.head, "keyed": checked.keyed}
            )
        )
    else:
        by = "its key" if checked.keyed else "its hashes alone; give --key to rule out a forged chain"
        print(f"{file}: {checked.events} events, sound by {by}\nhead: {checked.head}")
