"""DICOM files as examiners see them: what is stored, by whom it was written, in which order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pydicom import Dataset

from intact.image import Image
from intact.io.dicom import read_dicom
from intact.io.elements import numbers, text
from intact.io.geometry import normal, plane_orientation, plane_position
from intact.io.meaning import MADE_GROUP
from intact.io.source import Source

MAJORITY = 0.6  # of the files have to agree before the others are odd
FEWEST = 3  # files, for a majority


@dataclass(frozen=True, eq=False)
class Instance:
    """One DICOM file.

    Args:
        name: Of the file.
        image: Stored values; its header is the data set without pixel data.
    """

    name: str
    image: Image

    @property
    def header(self) -> Dataset:
        """The data set, without pixel data; with file meta information."""
        header: Dataset = self.image.header
        return header

    @property
    def meta(self) -> Dataset:
        """File meta information; empty where the file has none."""
        meta: Dataset = getattr(self.header, "file_meta", None) or Dataset()
        return meta

    @property
    def preamble(self) -> bytes:
        """The first 128 bytes."""
        return getattr(self.header, "preamble", None) or b""

    def values(self, keyword: str) -> list[str]:
        """The values of an element as text; none where it is missing or empty.

        Directions are rounded: devices compute them anew for each slice.
        """
        value: Any = self.header.get(keyword)
        if value is None or value == "":
            return []
        many = hasattr(value, "__len__") and not isinstance(value, str | bytes)
        found = list(value) if many else [value]
        if keyword == "ImageOrientationPatient":
            return [f"{float(one):.3f}" for one in found]
        return [str(one).strip() for one in found]

    def text(self, keyword: str) -> str:
        """All values of an element as one text; empty where it is missing."""
        return "\\".join(self.values(keyword))

    @cached_property
    def structure(self) -> str:
        """A digest of which elements there are, and of what type: the handwriting of a program."""
        elements = ((element.tag, element.VR) for element in self.header if element.tag.group != MADE_GROUP)
        return hashlib.sha256(repr([(int(tag), vr) for tag, vr in elements]).encode()).hexdigest()


class Series:
    """The files of one series, ordered along the normal of their planes where they have one.

    Args:
        instances: At least one.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        heights = [_height(instance) for instance in instances]
        self.placed = len(instances) > 1 and all(height is not None for height in heights)
        order = np.argsort(heights, kind="stable") if self.placed else range(len(instances))  # type: ignore[arg-type]
        self.instances = tuple(instances[int(at)] for at in order)
        self.heights: Float[ndarray, "n"] = np.array(
            [heights[int(at)] for at in order] if self.placed else [], float
        )

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all files."""
        return tuple(instance.name for instance in self.instances)

    def column(self, keyword: str) -> list[str]:
        """An element of each file, as text."""
        return [instance.text(keyword) for instance in self.instances]

    def numbers(self, keyword: str) -> Float[ndarray, "n"] | None:
        """A number of each file; None where not every file has one."""
        found = [numbers(instance.header, keyword) for instance in self.instances]
        return np.array([values[0] for values in found]) if all(found) else None


def read_series(sources: Sequence[Source]) -> Series:
    """Read the files of a series.

    Raises:
        InputError: A file cannot be read; the error names it.
    """
    return Series([Instance(source.name, read_dicom(source.read(), name=source.name)) for source in sources])


def odd_ones(values: Sequence[Hashable]) -> list[int] | None:
    """Which of the values are not what most are.

    Returns:
        Their places; empty where all agree, None where there is no majority to agree with.
    """
    if len(set(values)) == 1:
        return []
    usual, count = Counter(values).most_common(1)[0]
    if len(values) < FEWEST or count < MAJORITY * len(values):
        return None
    return [place for place, value in enumerate(values) if value != usual]


def _height(instance: Instance) -> float | None:
    orientation, position = plane_orientation(instance.header), plane_position(instance.header)
    if orientation is None or position is None or text(instance.header, "NumberOfFrames") not in ("", "1"):
        return None
    return float(normal(orientation) @ position)
