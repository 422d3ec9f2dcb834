"""`intact record`: convert arguments, call the library, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from intact import progress
from intact.cli_shared import DONE, UNREADABLE, AsJson, say, showing_progress
from intact.errors import InputError, UsageError


def record(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips with DICOM files.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The record; made if need be, else added to."),
    ],
    as_json: AsJson = False,
) -> None:
    """Record what the pixels of DICOM series are today, so that `screen --recorded` can tell if they change.

    The record holds digests, no data of patients; keep it outside the archive, and its last digest
    elsewhere. Compressing files anew, without loss, changes nothing.
    Example: `intact record archive/ -o pixels.jsonl`
    """
    from intact.forensics.instance import read_series
    from intact.forensics.ledger import Ledger
    from intact.io import Rejected, index

    ledger = Ledger(output)
    entries = index(paths)
    recorded = left_out = 0
    head = ""
    with showing_progress():
        for done, entry in enumerate(entries, start=1):
            try:
                if isinstance(entry, Rejected):
                    raise InputError(entry.name, entry.reason)
                if entry.format != "dicom":
                    raise InputError(entry.name, "has no SOP Instance UID to be found again by: not DICOM")
                head = ledger.record(read_series(entry.sources))
                recorded += 1
            except (InputError, UsageError) as error:
                left_out += 1
                say(
                    f"left out: {entry.name}: {error}"
                    if isinstance(error, UsageError)
                    else f"left out: {error}"
                )
            progress.report("recording", done, len(entries))
    if as_json:
        print(json.dumps({"recorded": recorded, "left_out": left_out, "head": head}))
    else:
        print(f"{output}: {recorded} series recorded, {left_out} left out")
        print(f"last digest, to be kept elsewhere: {head or 'none, as nothing was recorded'}")
    raise typer.Exit(UNREADABLE if left_out else DONE)
