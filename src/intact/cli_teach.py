"""`intact teach`: examiners that learn what forgeries look like."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from intact.cli_shared import DONE, UNREADABLE, AsJson, parsed_fields, say, showing_progress


def teach(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="GENUINE...",
            help="Files, folders or zips: genuine images, which are forged here; or one pack of cases.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="Folder for the examiner.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A learned examiner, see `intact methods`; by default backbone. Several are fused, and may "
            "be examiners that need no lessons, too."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="How images are forged, see `intact methods`; may be repeated. By default copy_move, "
            "splice, remove, inject and erase."
        ),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What some images, forged or not, go through afterwards; may be repeated. By default "
            "jpeg=85, noise=0.5 and scale=0.9.",
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="Take so many genuine images; 0 takes all.")] = 0,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a hyper-parameter; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the split, the forgeries and all chance.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Teach an examiner what forgeries look like, from genuine images or a pack of cases.

    A fifth of the patients is held out: their genuine images calibrate its p-values, and with their
    forgeries they tell how well it does. Give the model to `intact screen --model`.
    Examples: `intact teach genuine/ -o examiner`,
    `intact teach genuine/ -o examiner --kind copy_move --kind splice --set steps=300`,
    `intact teach genuine/ -o fused --method backbone --method patchmatch`
    """
    from intact.store import check_place
    from intact.teach import AFTER, KINDS
    from intact.teach import teach as teach_examiner

    check_place(output)
    methods = method or ["backbone"]
    members = {"members": tuple(methods)} if len(methods) > 1 else {}
    with showing_progress():
        taught = teach_examiner(
            paths,
            method="fusion" if members else methods[0],
            fields=members | parsed_fields(fields or []),
            kinds=kind or KINDS,
            after=AFTER if after is None else after,
            images=images,
            seed=seed,
        )
        taught.model.save(output)
    for name, why in taught.left_out.items():
        say(f"left out: {name}: {why}")
    card = taught.model.card
    if as_json:
        print(json.dumps(dataclasses.asdict(card) | {"left_out": len(taught.left_out)}))
    else:
        print(
            f"{output}: {card.method} learned from {card.genuine} genuine and {card.forged} forged images "
            f"({', '.join(card.operators)}); on patients it never saw:"
        )
        print(f"  AUROC of images   {_span(card.auroc)}")
        print(f"  F1 of pixels      {_span(card.f1) if card.f1 else 'not known, there are no masks'}")
        smallest = 1 / (card.calibrated + 1)
        print(f"  calibrated on {card.calibrated} genuine images; p-values down to {smallest:.2g}")
    raise typer.Exit(UNREADABLE if taught.left_out else DONE)


def _span(triple: tuple[float, ...]) -> str:
    value, low, high = triple
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
