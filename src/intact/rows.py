"""Rows of results on disk: CSV files, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intact.errors import OutputError
from intact.io.atomic import put

Row = dict[str, Any]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], *, exact: bool = False) -> Path:
    """Write rows as CSV; the columns are those of all rows, in the order in which they first appear.

    Args:
        path: Its folder must be there.
        rows: None and a missing value become an empty cell.
        exact: Floats come back bit for bit; otherwise they have six digits.

    Raises:
        OutputError: The file cannot be written; an older one stays.
    """
    table = io.StringIO(newline="")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _text(value, exact) for name, value in row.items()})
    return put(path, table.getvalue().encode("utf-8", "surrogateescape"))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, every value as text."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def make_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another place") from error
    return folder


def _text(value: Any, exact: bool) -> Any:
    if isinstance(value, float):
        return repr(float(value)) if exact else f"{value:.6g}"
    return value
