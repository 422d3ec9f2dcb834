"""`Screener`: what a worker process does with one batch of files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from intact.errors import InputError, UnreadableError
from intact.findings import Row
from intact.image import Image
from intact.io import Rejected, Unit, read_unit, write
from intact.model import Model, Reading, group_of
from intact.regions import find_regions

Entry = Unit | Rejected


@dataclass
class Screener:
    """Reads files, scores them with every model, and describes what was found in rows.

    Args:
        models: Model folders, loaded on first use: this object travels to the workers.
        alpha: Images with a p-value up to this are flagged.
        out: Folder of the run; score maps go to maps/ in it.
        labelled: The folder an image was found in is its label; all maps are kept, to measure them.
        identify: Put patient IDs into the rows.
        threads: Threads a worker may compute with; 0 leaves the process as it is.
    """

    models: list[str]
    alpha: float
    out: str
    labelled: bool
    identify: bool
    threads: int = 0
    _loaded: list[Model] = field(default_factory=list, repr=False)

    def __call__(self, entries: Sequence[Entry]) -> list[list[Row]]:
        """One list of rows per entry: one row per model, or a single one without models."""
        images: dict[str, Image] = {}
        failures: dict[str, str] = {}
        for entry in entries:
            try:
                images[entry.name] = _read(entry)
            except InputError as error:
                failures[entry.name] = error.reason
        units = [entry for entry in entries if isinstance(entry, Unit) and entry.name in images]
        scored = self._score(units, [images[unit.name] for unit in units])
        return [
            self.failed(entry, failures[entry.name]) if entry.name in failures else next(scored)
            for entry in entries
        ]

    def failed(self, entry: Entry, reason: str) -> list[Row]:
        """The rows of a file that could not be read, for the given reason."""
        files = len(entry.sources) if isinstance(entry, Unit) else 1
        return [{**self._blank(entry.name, files, entry.folder, detector), "error": reason}
                for detector in [Path(m).resolve().name for m in self.models] or ["read"]]  # fmt: skip

    def _score(self, units: Sequence[Unit], images: Sequence[Image]) -> Iterator[list[Row]]:
        if not self._loaded:
            if self.threads:  # more threads than cores bring torch nearly to a halt
                torch.set_num_threads(self.threads)
            self._loaded = [Model.load(folder) for folder in self.models]
        if not self._loaded:
            return ([self._row(*pair, "read")] for pair in zip(units, images, strict=True))
        columns = [
            map(self._judge, repeat(model), units, images, model.read(images)) for model in self._loaded
        ]
        return (list(rows) for rows in zip(*columns, strict=True))

    def _judge(self, model: Model, unit: Unit, image: Image, reading: Reading) -> Row:
        """The row of one image and model; a flagged image gets its map and regions."""
        group = group_of(image, unit.folder, model.card.group_by)
        p_value = model.p_value(reading, image, group)
        flagged = p_value <= self.alpha
        row = self._row(unit, image, model.card.name) | {
            "family": model.detector.family,
            "score": reading.score,
            "p_value": p_value,
            "flagged": flagged,
        }
        row["warnings"] += model.misfit(image)
        if model.card.group_by and group not in model.calibration.groups:
            row["warnings"].append(
                f"no held-out normal image has {model.card.group_by} = {group or 'nothing'}: "
                "compared with all"
            )
        if reading.pixel and (flagged or self.labelled):
            score_map = model.map(reading, image)
            row["map"] = self._save_map(score_map, unit, image, model.card.name)
            if flagged:
                found = find_regions(score_map, image, model.calibration, group)
                row["regions"] = [dataclasses.asdict(region) for region in found]
        return row

    def _row(self, unit: Unit, image: Image, detector: str) -> Row:
        identity = image.identity
        row = self._blank(unit.name, len(unit.sources), unit.folder, detector) | {
            "study": identity.study,
            "series": identity.series,
            "instance": identity.instance,
            "modality": image.modality,
            "bits": image.bits,
            "shape": list(image.shape),
            "spacing": list(image.spacing) if image.spacing else None,
            "warnings": list(image.notes),
        }
        if image.pixels.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(image.pixels)))):
            row["warnings"].append(f"{bad} pixels are NaN or infinite; they count as outside the scan")
        return row | {"patient": identity.patient} if self.identify else row

    def _blank(self, path: str, files: int, folder: str, detector: str) -> Row:
        return {
            "path": path,
            "study": "",
            "series": "",
            "instance": "",
            "modality": "",
            "bits": None,
            "shape": None,
            "spacing": None,
            "files": files,
            "label": (folder or None) if self.labelled else None,
            "detector": detector,
            "family": "",
            "score": None,
            "p_value": None,
            "flagged": False,
            "regions": [],
            "map": None,
            "warnings": [],
            "error": None,
        }

    def _save_map(self, score_map: NDArray[np.float32], unit: Unit, image: Image, detector: str) -> str:
        """Write a map in the image's grid; its name is the same when a run is taken up again."""
        suffix = ".tif" if score_map.ndim == 2 else ".nii.gz"
        digest = hashlib.sha256(unit.name.encode()).hexdigest()[:16]
        name = f"maps/{digest}-{detector}{suffix}"
        (Path(self.out) / "maps").mkdir(exist_ok=True)
        write(Image(score_map, spacing=image.spacing, affine=image.affine), Path(self.out) / name)
        return name


def _read(entry: Entry) -> Image:
    if isinstance(entry, Rejected):
        raise InputError(entry.name, entry.reason)
    image = read_unit(entry)
    if not np.isfinite(image.pixels).any():
        raise UnreadableError(entry.name, "every pixel is NaN or infinite: there is nothing to look at")
    return image
