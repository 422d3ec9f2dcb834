"""`Variants`: the quarantine bank of one site, with what its readers have marked as normal variants.

A mark keeps what a region looks like, where it lies and how large it is: features, no pixels, and nothing
of the patient. It stands beside models instead of in them: a model never learns from it, each mark can be
read, and released again. A later region is silenced if it looks the same, lies at the same place and
has about the same size; it stays in findings and report, under its own heading.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from intact._version import __version__
from intact.errors import ModelError, UsageError
from intact.explain.eyes import GRID, SIZE, Box, Seen
from intact.image import Image
from intact.store import is_written, load_folder, save_folder

KIND = "variants"
LIKE = 0.005  # 1 - cosine, up to which two regions look the same; measured in benchmarks/variants.py
PLACE = 0.1  # of the side of the square: how far the middles of two regions may be apart
SIZES = 2.0  # ratio of their heights, and of their widths, at most


@dataclass(frozen=True)
class Variant:
    """A mark.

    Args:
        number: By which it is released; never given twice.
        note: What the reader wrote.
        marked: ISO 8601 time.
        modality: Of the image.
        middle: (row, column) of the region's middle, as shares of the square that is looked at.
        extent: (height, width), as shares of it.
    """

    number: int
    note: str
    marked: str
    modality: str
    middle: tuple[float, float]
    extent: tuple[float, float]


class Variants:
    """Marks in a folder, which is made at the first one.

    Raises:
        UsageError: The folder holds something else.
        ModelError: It is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.entries: list[Variant] = []
        self._looks: list[Tensor] = []
        self._next = 1
        if not is_written(self.folder):
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise UsageError(
                    f"{folder} holds files, but no marks of normal variants: name another folder"
                )
            return
        tensors, manifest = load_folder(self.folder)
        if manifest.get("kind") != KIND:
            raise ModelError(f"{folder} holds no marks of normal variants: name the folder of `variant mark`")
        self.entries = [Variant(**entry) for entry in manifest["entries"]]
        self._looks, self._next = list(tensors["looks"]), manifest["next"]

    def mark(self, image: Image, seen: Seen, box: Box, note: str) -> Variant:
        """Remember a region as a normal variant, and write the folder.

        Args:
            image: Its modality counts.
            seen: The plane with the region.
            box: Of the region, in pixels of the plane.
            note: In the reader's words.
        """
        middle, extent = place_of(seen, box)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        variant = Variant(self._next, note, now, image.modality, middle, extent)
        self.entries.append(variant)
        self._looks.append(seen.look(box))
        self._next += 1
        self._save()
        return variant

    def release(self, number: int) -> Variant:
        """Forget a mark, and write the folder.

        Raises:
            UsageError: There is no such mark.
        """
        at = next((i for i, entry in enumerate(self.entries) if entry.number == number), None)
        if at is None:
            known = ", ".join(str(entry.number) for entry in self.entries) or "none"
            raise UsageError(f"{self.folder}: there is no mark {number}; there are: {known}")
        self._looks.pop(at)
        variant = self.entries.pop(at)
        self._save()
        return variant

    def like(self, image: Image, seen: Seen, box: Box) -> Variant | None:
        """The mark that a region is like, the nearest if there are several."""
        middle, extent = place_of(seen, box)
        look = seen.look(box)
        alike = [
            (1 - float(look @ known), entry)
            for known, entry in zip(self._looks, self.entries, strict=True)
            if entry.modality == image.modality and same_place(entry, middle, extent)
        ]
        distance, nearest = min(alike, key=lambda pair: pair[0], default=(2.0, None))
        return nearest if distance <= LIKE else None

    def _save(self) -> None:
        looks: Float[Tensor, "n c"] = torch.stack(self._looks) if self._looks else torch.zeros(0, 1)
        manifest = {
            "intact": __version__,
            "kind": KIND,
            "next": self._next,
            "entries": [dataclasses.asdict(entry) for entry in self.entries],
        }
        save_folder(self.folder, {"looks": looks}, manifest)


def marks_of(site: str | Path) -> Variants:
    """The marks of a site, which has some, or had.

    Raises:
        UsageError: None were ever made.
        ModelError: The folder is damaged, or holds something else.
    """
    if not is_written(site):
        raise UsageError(f"{site}: there are no marks of normal variants; `intact variant mark` makes them")
    return Variants(site)


def place_of(seen: Seen, box: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Middle and extent of a region, as shares of the square."""
    rows, columns = seen.cells(box)
    at, (top, left, bottom, right) = seen.at, box
    zoom = at.rows / at.source[0], at.columns / at.source[1]
    middle = (
        (at.top + zoom[0] * (top + bottom) / 2) / SIZE,
        (at.left + zoom[1] * (left + right) / 2) / SIZE,
    )
    return middle, ((rows.stop - rows.start) / GRID, (columns.stop - columns.start) / GRID)


def same_place(entry: Variant, middle: tuple[float, float], extent: tuple[float, float]) -> bool:
    """Whether a region with this middle and extent is where a mark's was, and about as large."""
    apart = max(abs(one - other) for one, other in zip(entry.middle, middle, strict=True))
    ratios = [one / other for one, other in zip(entry.extent, extent, strict=True)]
    return apart <= PLACE and all(1 / SIZES <= ratio <= SIZES for ratio in ratios)
