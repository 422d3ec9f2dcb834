"""`intact fit --classes`: learn to tell classes of images apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import typer

from intact.cli_shared import DONE, UNREADABLE, parsed_fields, say_left_out, showing_progress
from intact.errors import UsageError


def learn(
    folders: list[Path],
    output: Path,
    network: str,
    fields: list[str],
    held_out: float,
    seed: int,
    as_json: bool,
) -> None:
    """Learn to classify, save the model and end the command."""
    from intact.classify import learn as learn_model

    classes = {folder.resolve().name: folder for folder in folders}
    if len(classes) < len(folders):
        raise UsageError("two of the folders have the same name, and a class is called like its folder")
    chosen = {"network": network} if network else {}
    with showing_progress():
        learned = learn_model(classes, fields=chosen | parsed_fields(fields), held_out=held_out, seed=seed)
        learned.save(output)
    say_left_out(learned.rejected)
    card = learned.card
    if as_json:
        print(json.dumps(dataclasses.asdict(card) | {"rejected": len(learned.rejected)}))
    else:
        print(
            f"{output}: {learned.classifier.network} learned {', '.join(card.classes)} from "
            f"{sum(card.images)} images; of {sum(card.held_out)} of other patients it tells right:"
        )
        for name, (share, low, high) in ({"all": card.accuracy} | card.recalls).items():
            print(f"  {name:<16} {share:.3f} ({low:.3f} to {high:.3f})")
    raise typer.Exit(UNREADABLE if learned.rejected else DONE)
