"""Progress of long work: library code says what it does, the command line may show it.

Nothing is shown unless somebody installs a display with `showing`; so the library never prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Display = Callable[[str, int, int], None]  # (what, done, total)

_display: ContextVar[Display | None] = ContextVar("display", default=None)


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, reporting "`what`: k of `total`" after each."""
    for done, item in enumerate(items, start=1):
        yield item
        report(what, done, total)


def report(what: str, done: int, total: int) -> None:
    """Say how far `what` has come."""
    if (display := _display.get()) is not None:
        display(what, done, total)


@contextmanager
def showing(display: Display) -> Iterator[None]:
    """Send progress to `display` inside the block."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
