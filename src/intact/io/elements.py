"""Reading DICOM elements that real files write wrongly: missing, empty, of the wrong type."""

from __future__ import annotations

import math
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword

from intact.errors import UnreadableError


def tag(keyword: str) -> str:
    """How messages name an element: "Rows (0028,0010)"."""
    number = tag_for_keyword(keyword) or 0
    return f"{dictionary_description(number)} ({number >> 16:04X},{number & 0xFFFF:04X})"


def integer(dataset: Dataset, keyword: str, name: str, default: int | None = None) -> int:
    """One whole number.

    Raises:
        UnreadableError: Not a number, or missing without a `default`.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            if default is not None:
                return default
            raise UnreadableError(name, f"{tag(keyword)} is missing; the pixels cannot be laid out")
        return int(value)
    except (TypeError, ValueError) as error:
        raise UnreadableError(name, f"{tag(keyword)} is not a number ({error})") from error


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values as finite floats; empty when missing or when any of them is not a number."""
    try:
        value: Any = dataset.get(keyword)
        values = [] if value in (None, "") else value if _many(value) else [value]
        found = [float(v) for v in values]
    except (TypeError, ValueError):
        return []
    return found if all(math.isfinite(v) for v in found) else []


def text(dataset: Dataset, keyword: str) -> str:
    """One string, stripped; empty when missing."""
    value = dataset.get(keyword)
    if _many(value):
        value = value[0] if len(value) else ""
    return "" if value is None else str(value).strip()


def item(dataset: Dataset | None, keyword: str, index: int = 0) -> Dataset | None:
    """Item `index` of a sequence, or None."""
    sequence = None if dataset is None else dataset.get(keyword)
    return sequence[index] if sequence and index < len(sequence) else None


def group(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The functional group of one frame: its own, else the one that all frames share."""
    own = item(item(dataset, "PerFrameFunctionalGroupsSequence", frame), keyword)
    return own or item(item(dataset, "SharedFunctionalGroupsSequence"), keyword)


def _many(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
