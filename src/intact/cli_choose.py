"""`intact choose`: which method suits these images, told from normal ones alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from intact.cli_shared import (
    DONE,
    UNREADABLE,
    AsJson,
    by_method,
    parsed_fields,
    say,
    say_left_out,
    showing_progress,
)

if TYPE_CHECKING:
    from intact.choose import Trial

WIDTH = 100  # characters that the table takes


def choose(
    normals: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Files, folders or zips: normal images only.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="MODEL", help="Folder for the best model.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="To be tried; may be repeated. By default some that are quick and unlike."),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="METHOD.FIELD=VALUE", help="Change a hyper-parameter; may be repeated."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the split, the changes and all chance.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Try methods on imitated disease made of your own normal images, and keep the best one's model.

    No abnormal image is needed. A part of the normal images is held out, and changed in seven ways: nodules,
    foreign and displaced tissue, clouds, and places that are smoother, grainier or paler. The table says how
    surely each method tells these from the untouched ones (AUROC: 1 always, 0.5 never). Real disease may
    differ: where you have a few abnormal images, measure them, too (`intact screen --labels folder`).

    Example: `intact choose normals/ -o model`
    """
    from intact.choose import CANDIDATES
    from intact.choose import choose as choose_method
    from intact.store import check_place

    if output:
        check_place(output)
    with showing_progress():
        trials = choose_method(
            normals,
            methods=method or CANDIDATES,
            fields=by_method(parsed_fields(fields or [])),
            seed=seed,
        )
        best = trials[0].fit
        if output and best:
            best.model.save(output)
    for trial in trials:
        if trial.reason:
            say(f"{trial.method} failed: {trial.reason}")
    rejected = best.rejected if best else []
    say_left_out(rejected)
    if as_json:
        print(json.dumps([_plain(trial) for trial in trials]))
    else:
        console = Console()
        console.width = max(console.width, WIDTH)
        console.print(_table(trials))
        if not trials[0].flattered and any(trial.flattered for trial in trials):
            print("* learned from made lesions: imitations flatter it, so the others go first")
        print(f"{trials[0].method} does best" + (f" and is in {output}" if output else ""))
    raise typer.Exit(UNREADABLE if rejected else DONE)


def _plain(trial: Trial) -> dict[str, object]:
    mean = trial.mean if trial.auroc else None
    return {"method": trial.method, "mean": mean, "auroc": dict(trial.auroc), "seconds": trial.seconds,
            "failed": trial.reason}  # fmt: skip


def _table(trials: list[Trial]) -> Table:
    """Methods by tasks, the best first."""
    tried = [trial for trial in trials if trial.auroc]
    tasks = list(tried[0].auroc)
    table = Table(box=SIMPLE_HEAD)
    for name in ("method", "mean", *tasks, "minutes"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for trial in tried:
        values = [f"{trial.auroc.get(task, float('nan')):.2f}" for task in tasks]
        name, minutes = trial.method + " *" * trial.flattered, f"{trial.seconds / 60:.1f}"
        table.add_row(name, f"{trial.mean:.3f}", *values, minutes)
    return table
