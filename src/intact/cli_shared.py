"""What the commands share: exit codes, progress bars, warnings as plain lines."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intact import progress
from intact.errors import IntactWarning, UsageError

if TYPE_CHECKING:
    from intact.io import Rejected

EXIT_CODES = (
    "Exit codes: 0 done, nothing flagged; 1 done, something flagged; 2 wrong use; "
    "3 some inputs could not be read (the rest was done); "
    "4 stopped before the end (the same command goes on)."
)
DONE, FLAGGED, WRONG_USE, UNREADABLE, STOPPED = range(5)

LINE_EVERY = 30.0  # seconds between two lines of progress where there is no terminal

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


@contextmanager
def showing_progress() -> Iterator[None]:
    """Progress on stderr: a bar per kind of work, or lines now and then where there is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with progress.showing(_now_and_then()):
            yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def display(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        with progress.showing(display):
            yield


def _now_and_then() -> progress.Display:
    """A line when a kind of work begins, and then one every `LINE_EVERY` seconds."""
    begun: set[str] = set()
    latest = time.monotonic()

    def display(what: str, done: int, total: int) -> None:
        nonlocal latest
        if what not in begun or time.monotonic() - latest >= LINE_EVERY:
            begun.add(what)
            latest = time.monotonic()
            # Not by `say`: whoever reads its lines wants names and reasons.
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return display


@contextmanager
def warnings_said() -> Iterator[None]:
    """Warnings as plain lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", IntactWarning)
        warnings.showwarning = lambda message, *_: say(f"warning: {message}")
        yield


def say(text: str) -> None:
    """Print a line on stderr."""
    print(f"intact: {text}", file=sys.stderr)


def say_left_out(files: Iterable[Rejected]) -> None:
    """Name files that could not be used, and why."""
    for file in files:
        say(f"left out {file.name}: {file.reason}")


def parsed_fields(pairs: list[str]) -> dict[str, Any]:
    """`width=32` and `layers=["layer2"]`: values are JSON, anything else is text.

    Raises:
        UsageError: A pair has no equals sign.
    """
    fields: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: write it as FIELD=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        fields[name] = tuple(value) if isinstance(value, list) else value
    return fields


def by_method(fields: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Fields of several methods, given as METHOD.FIELD, by the method.

    Raises:
        UsageError: One does not say of which method.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        method, dot, own = name.partition(".")
        if not dot:
            raise UsageError(f"--set {name}: of several methods, say which one, as METHOD.{name}=VALUE")
        found.setdefault(method, {})[own] = value
    return found
