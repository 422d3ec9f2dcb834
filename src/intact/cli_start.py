"""`intact start`: learn where training should begin, so that few images of a new scanner suffice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intact.cli_shared import (
    DONE,
    UNREADABLE,
    AsJson,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
)
from intact.errors import UsageError

if TYPE_CHECKING:
    from intact.start import Start


def start(
    tasks: Annotated[
        list[Path],
        typer.Argument(
            metavar="TASKS...",
            help="Folders or zips, at least two: each holds normal images of one organ or scanner.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="START", help="Folder for the start.")],
    method: Annotated[
        str, typer.Option(help="A method that trains networks (not patchcore, say): see `intact methods`.")
    ] = "ae",
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change a hyper-parameter, here and in every fit that begins at the start; may be repeated.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often a task is drawn; more makes a better start, in more time.")
    ] = 200,
    images: Annotated[
        int,
        typer.Option(min=2, help="Images drawn of it each time: about as many as you will have to fit on."),
    ] = 10,
    inner_steps: Annotated[
        int,
        typer.Option(min=1, help="Training steps on them, before the start moves towards what they gave."),
    ] = 10,
    seed: Annotated[int, typer.Option(help="Decides the draws and all chance in the method.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn where training should begin, so that a few normal images of a new organ or scanner suffice.

    A network usually begins at random, and needs many images and steps. Here it practises beginning: a task
    is drawn, and a few of its images; a copy learns them in a few steps; and the start moves a little
    towards the copy (Reptile). In the end it lies near what every task needs. The more tasks, and the more
    like the new images they are, the better; only normal images are used.

    All tasks are prepared alike: grey, one channel, stretched between percentiles. A run that was stopped
    goes on with the same command.
    Example: `intact start heads/ chests/ knees/ -o start`, then `intact fit few_hips/ --start start -o model`
    """
    from intact.meta import learn_start

    with showing_progress():
        learned = learn_start(
            tasks,
            method=method,
            fields=parsed_fields(fields or []),
            rounds=rounds,
            images=images,
            inner_steps=inner_steps,
            seed=seed,
            out=output,
        )
    for note in learned.notes:
        say(note)
    say_left_out(learned.rejected)
    if as_json:
        print(json.dumps(learned.start.describe() | {"rejected": len(learned.rejected)}))
    else:
        print(
            f"{output}: where {method} should begin, learned in {rounds} rounds on {learned.start.told()}; "
            f"use it with `intact fit NORMALS --start {output} -o MODEL`"
        )
    raise typer.Exit(UNREADABLE if learned.rejected else DONE)


def load(folder: Path, output: Path) -> Start:
    """The start that a fit begins at.

    Raises:
        UsageError: The model would replace it.
        ModelError: It cannot be loaded.
    """
    from intact.start import Start

    if folder.resolve() == output.resolve():
        raise UsageError(f"{output} is the start itself, which the model would replace: choose another -o")
    return Start.load(folder)
