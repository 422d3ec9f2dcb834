"""`intact segment`, and `intact fit --masks`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_shared import (
    DONE,
    UNREADABLE,
    AsJson,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
    warnings_said,
)
from intact.errors import UsageError

SHOWN = ("dice", "iou", "hausdorff_95", "assd", "nsd", "sensitivity", "specificity", "pixel_accuracy")


def segment(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips: DICOM, NIfTI, PNG, TIFF, ...")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder for the results.")],
    region: Annotated[
        list[str] | None,
        typer.Option(help="body, field_of_view, head, lungs or text; may be repeated."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="A classical method for one object: see `intact methods`.")
    ] = "",
    model: Annotated[Path | None, typer.Option(help="A model from `intact fit --masks`.")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a parameter; may be repeated."),
    ] = None,
    seed: Annotated[
        str,
        typer.Option(
            metavar="[PLANE,]ROW,COLUMN",
            help="A pixel of the object, counted from 0; without one the clearest object is taken.",
        ),
    ] = "",
    truth: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=FOLDER", help="True masks to measure against; may be repeated."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="own (DICOM segmentation for DICOM, NIfTI for NIfTI, else PNG), nifti or png."
        ),
    ] = "own",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; one per core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Segment images: regions such as lungs, one object by a classical method, or what a model learned.

    Masks lie on each image's own grid, overlays show them, and findings.jsonl measures them. A run
    that was stopped goes on with the same command.
    Examples: `intact segment chest/ -o out --region lungs`,
    `intact segment head.nii.gz -o out --method graph_cut --seed 60,120,90`,
    `intact segment images/ -o out --model lung_model --truth lungs=masks/`
    """
    from intact.segment.archive import segment_archive
    from intact.segment.by import By

    if form not in ("own", "nifti", "png"):
        raise UsageError(f"--format {form}: choose one of own, nifti and png")
    by = By(
        method=method,
        fields=parsed_fields(fields or []),
        seed=_seed(seed),
        regions=tuple(region or ()),
        model=str(model or ""),
    )
    with showing_progress(), warnings_said():
        done = segment_archive(
            paths,
            output,
            by,
            format=form,  # type: ignore[arg-type]
            truth=labelled_folders(truth or [], "--truth"),
            workers=workers,
        )
    if as_json:
        print(json.dumps(done.run))
    else:
        counts = done.run["counts"]
        print(
            f"{counts['images']} images segmented, {counts['errors']} could not be read, "
            f"{done.run['seconds']:.1f} s\nmasks: {output / 'masks'}, pictures: {output / 'overlays'}"
        )
        print_metrics(done.run["metrics"])
    raise typer.Exit(UNREADABLE if done.errors else DONE)


def learn(
    images: list[Path],
    output: Path,
    masks: list[str],
    method: str,
    fields: list[str],
    held_out: float,
    seed: int,
    as_json: bool,
) -> None:
    """Learn to segment, save the model and end the command."""
    from intact.segment.learn import learn as learn_model

    with showing_progress():
        learned = learn_model(
            images,
            labelled_folders(masks, "--masks"),
            method=method,
            fields=parsed_fields(fields),
            held_out=held_out,
            seed=seed,
        )
        learned.save(output)
    for note in learned.notes:
        say(note)
    say_left_out(learned.rejected)
    if as_json:
        print(json.dumps(dataclasses.asdict(learned.card) | {"rejected": len(learned.rejected)}))
    else:
        card = learned.card
        print(
            f"{output}: {card.method} learned {', '.join(card.labels)} from {card.images} images; on "
            f"{card.held_out} of other patients:"
        )
        print_metrics(card.measured)
    raise typer.Exit(UNREADABLE if learned.rejected else DONE)


def labelled_folders(pairs: list[str], option: str) -> dict[str, Path]:
    """`lungs=masks/` as a label and its folder.

    Raises:
        UsageError: A pair has no equals sign.
    """
    found = {}
    for pair in pairs:
        label, equals, folder = pair.partition("=")
        if not equals or not label:
            raise UsageError(f"{option} {pair}: write it as LABEL=FOLDER, such as lungs=masks/")
        found[label] = Path(folder)
    return found


def print_metrics(measured: dict[str, dict[str, tuple[float | None, ...]]]) -> None:
    """A line for each label and metric: the mean over patients and its interval."""
    if not measured:
        return
    table = Table("label", "metric", "mean", "95 % interval", box=SIMPLE_HEAD)
    for label, metrics in measured.items():
        for name in SHOWN:
            table.add_row(label, _titles(name), *_span(metrics[name]))
    Console().print(table)


def _titles(name: str) -> str:
    named = {
        "dice": "Dice",
        "iou": "IoU",
        "hausdorff_95": "HD95 (mm)",
        "assd": "ASSD (mm)",
        "nsd": "NSD at 2 mm",
    }
    return named.get(name, name.replace("_", " "))


def _span(triple: tuple[Any, ...]) -> tuple[str, str]:
    value, low, high = triple
    return ("–", "") if value is None else (f"{value:.4f}", f"{low:.4f} to {high:.4f}")


def _seed(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--seed {text}: write it as ROW,COLUMN or PLANE,ROW,COLUMN") from None
