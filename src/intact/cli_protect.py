"""The commands that protect, restore and verify: convert arguments, call the library, print."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from intact.cli_shared import (
    DONE,
    FLAGGED,
    UNREADABLE,
    AsJson,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
    warnings_said,
)
from intact.errors import UsageError

Paths = Annotated[list[Path], typer.Argument(help="Files or folders: DICOM, NIfTI, PNG, TIFF, ...")]
KeyFile = Annotated[Path, typer.Option("--key", metavar="FILE", help="Secret key from `intact key new`.")]
Method = Annotated[
    str, typer.Option(help="How they are changed: see `intact methods`, or a model from `fit --against`.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a parameter of the method, as epsilon=4."),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        help="What to keep bit for bit: body, head, lungs; a mask (not zero); or a folder of masks."
    ),
]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes; one per core by default.")]


class Carrier(StrEnum):
    """Where a seal stands."""

    PIXELS = "pixels"
    ENVELOPE = "envelope"


def protect(
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    key: KeyFile,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FOLDER=]MODEL",
            help="A classifier that is to misread the images, from `intact fit --classes`; may be repeated. "
            "With FOLDER=, for the images below that folder of the input alone.",
        ),
    ] = None,
    method: Method = "tiles",
    fields: Fields = None,
    seal_only: Annotated[
        bool, typer.Option("--seal-only", help="Seal, without a change against networks.")
    ] = False,
    to: Annotated[
        list[Path] | None,
        typer.Option(metavar="PUBLIC", help="Public key of someone who may restore; may be repeated."),
    ] = None,
    keep: Keep = None,
    localise: Annotated[
        bool, typer.Option("--localise", help="Let `verify` show which blocks were altered.")
    ] = False,
    carrier: Annotated[
        Carrier, typer.Option(help="'envelope' leaves pixels alone: for tiny or floating-point images.")
    ] = Carrier.PIXELS,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Make chosen classifiers misread images that people read as before, and seal them.

    A key holder can verify sealed images and restore them byte for byte. A run that was stopped goes
    on with the same command; a ledger in OUT holds every event.
    Example: `intact protect archive/ -o out --key hospital.key --against classifier --keep lungs`, or
    `--seal-only` in place of `--against classifier`
    """
    from intact.protect import Against, load_key, load_public, seal_archive

    if seal_only == bool(against):
        raise UsageError("give --against MODEL, a classifier that is to misread the images, or --seal-only")
    asked = None
    if against:
        models = tuple(_model_of(text) for text in against)
        asked = Against(models, method, tuple(parsed_fields(fields or []).items()))
    with showing_progress(), warnings_said():
        outcome = seal_archive(
            paths,
            output,
            load_key(key),
            recipients=[load_public(path) for path in to or []],
            keep=keep,
            against=asked,
            localise=localise,
            carrier=carrier.value,
            workers=workers,
        )
    _print_outcome(outcome, "sealed", as_json, _coverage(outcome, keep) if asked else "")


def restore(
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the originals.")],
    key: KeyFile,
    accept_header: Annotated[
        bool,
        typer.Option(
            "--accept-header",
            help="Restore although something else than the pixels changed, as archives rewrite headers.",
        ),
    ] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Give sealed files back as they were, byte for byte; what does not match its digest is not written.

    Example: `intact restore sealed/ -o originals --key hospital.key`
    """
    from intact.protect import load_key, restore_archive

    with showing_progress(), warnings_said():
        outcome = restore_archive(paths, output, load_key(key), accept_header=accept_header, workers=workers)
    _print_outcome(outcome, "restored", as_json)


def verify(
    paths: Paths,
    key: KeyFile,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Folder for a report with pictures."),
    ] = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether sealed files were changed since, and what: pixels, header, stored with loss, ...

    Example: `intact verify sealed/ --key hospital.key -o verified`
    """
    from intact.protect import load_key, verify_archive

    with showing_progress(), warnings_said():
        verified = verify_archive(paths, load_key(key), output, workers=workers)
    if as_json:
        print(json.dumps(verified.rows))
    else:
        for row in verified.rows:
            if row["state"] != "sound":
                print(_printable(f"{row['state']}: {row['path']}: {row['reason']}{_blocks(row)}"))
        print(f"{len(verified.rows)} files: " + _counted(verified.counts))
        if verified.report:
            print(f"report: {verified.report}")
    raise typer.Exit(DONE if verified.sound else FLAGGED)


def learn(
    images: list[Path],
    output: Path,
    against: list[Path],
    method: str,
    fields: list[str],
    keep: str,
    held_out: float,
    seed: int,
    as_json: bool,
) -> None:
    """Learn to make classifiers misread images, save the model and end the command."""
    from intact.classify import load
    from intact.protect import learn_attack

    with showing_progress():
        learned = learn_attack(
            images,
            [load(folder)[0] for folder in against],
            method=method,
            fields=parsed_fields(fields),
            keep=keep,
            held_out=held_out,
            seed=seed,
        )
        learned.save(output)
    say_left_out(learned.rejected)
    card = learned.card
    if as_json:
        print(json.dumps(dataclasses.asdict(card) | {"rejected": len(learned.rejected)}))
    else:
        print(
            f"{output}: {card.method} learned from {card.images} images; of {card.held_out} of other "
            f"patients {card.misread:.0%} are misread"
        )
    raise typer.Exit(UNREADABLE if learned.rejected else DONE)


def _printable(text: str) -> str:
    """Where a file name is not UTF-8, Python holds lone surrogates, which cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


def _blocks(row: dict[str, Any]) -> str:
    blocks = row["blocks"]
    return f" ({blocks['altered']} of {blocks['total']} blocks altered)" if blocks else ""


def _model_of(text: str) -> tuple[str, Path]:
    """FOLDER=MODEL, or MODEL for all folders."""
    folder, _, model = text.rpartition("=")
    return folder.strip("/"), Path(model)


def _coverage(outcome: Any, keep: Path | None) -> str:
    """What a run protects against, and what not."""
    told = [f"{fooled} of {of} files by {name}" for name, (fooled, of) in outcome.misread.items()]
    region = f"{keep}: not a pixel changed" if keep else "none is kept: pixels may have changed anywhere"
    return (
        f"misread as they are saved: {', '.join(told) or 'none'}\n"
        f"region: {region}\n"
        "covered: these classifiers, and to a lesser degree others like them, shown the files as they are; "
        "restoring with the key, byte for byte\n"
        "not covered: people, who see what they saw; networks of another kind, or taught on protected "
        "images; images cropped to the region, resized, filtered or stored with loss; secrecy"
    )


def _print_outcome(outcome: Any, did: str, as_json: bool, coverage: str = "") -> None:
    counts, refused = outcome.counts, outcome.refused
    if as_json:
        failed = [{"path": one.name, "state": one.state, "reason": one.reason} for one in refused]
        told = {"counts": counts, "refused": failed, "head": outcome.head, "misread": outcome.misread}
        print(json.dumps(told))
    else:
        for one in outcome.results:
            if one.reason:
                say(f"{one.state}: {one.name}: {one.reason}")
        earlier = f", {counts['kept']} by an earlier run" if counts["kept"] else ""
        print(
            f"{counts['done']} files {did}{earlier}, {len(refused)} refused: {outcome.out}\n"
            f"ledger: {outcome.events} events, head {outcome.head}"
        )
        if coverage:
            print(coverage)
    raise typer.Exit(UNREADABLE if refused else DONE)


def _counted(counts: Any) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())
