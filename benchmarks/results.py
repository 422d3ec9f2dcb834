"""Rows of results: CSV files that carry where and with what they were measured, and Markdown of them."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("results")


@cache
def environment() -> dict[str, Any]:
    """Commit, versions and device of this run."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=FOLDER, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "commit": commit,
        "intact": version("intact"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "device": f"cpu, {len(os.sched_getaffinity(0))} cores",
    }


def read_rows(name: str) -> list[dict[str, str]]:
    """The rows of a result file; none when it does not exist."""
    path = FOLDER / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def replace_rows(name: str, keys: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write `rows` in place of the stored rows that agree with `keys`."""
    kept = [row for row in read_rows(name) if any(row.get(k) != str(v) for k, v in keys.items())]
    rounded = [{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    merged = [*kept, *rounded]
    columns = list(dict.fromkeys(column for row in merged for column in row))
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged)


def spread(name: str, interval: Any) -> dict[str, float]:
    """An interval as three columns."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(name: str) -> str:
    """The name of a folder, as people write it."""
    return name.replace("_", " ")


def page(*parts: str) -> str:
    """Paragraphs, headings and tables one below the other; empty ones, of what was not measured, left out."""
    return "\n\n".join(part for part in parts if part)
