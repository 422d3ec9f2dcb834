"""`Screener`: what a worker process does with one batch of files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from intact.ensemble import Ensemble, load_model
from intact.errors import InputError, UnreadableError
from intact.examiner_desk import ACQUISITION, FORENSICS, ExaminerDesk
from intact.explain.explainer import Explainer, silenced
from intact.findings import Row
from intact.forensics.instance import Instance, Series
from intact.forensics.slices.recycled import Description, describe
from intact.image import Image
from intact.io import Rejected, Unit, read_unit, write
from intact.io.series import join_planes, read_planes
from intact.model import Model, Reading, group_of
from intact.regions import find_regions
from intact.scores import Region

Entry = Unit | Rejected


@dataclass(frozen=True, eq=False)
class Opened:
    """An image that was read, and the DICOM files that it is made of."""

    unit: Unit
    image: Image
    series: Series | None


@dataclass(frozen=True)
class Screened:
    """What is told of one entry.

    Args:
        rows: One of each detector.
        slices: What its slices look like, to tell whether they come again in another study.
    """

    rows: list[Row]
    slices: list[Description] = field(default_factory=list)


@dataclass
class Screener:
    """Reads files, lets every detector and the examiners judge them, and describes in rows what they say.

    Args:
        models: Model folders, loaded on first use: this object travels to the workers.
        alpha: Images with a p-value up to this are flagged.
        out: Folder of the run; score maps go to maps/ in it.
        labelled: The folder an image was found in is its label; all maps are kept, to measure them.
        identify: Put patient IDs into the rows.
        forensics: Examine the images for tampering, too.
        taught: Folders of taught examiners, asked with the others.
        genuine: File with scores of genuine images to compare with; empty for none.
        recorded: Ledger of pixel digests to compare with; empty for none.
        reference: Folder of a `Reference` to look up normal regions in; empty for none.
        variants: Folder with marks of normal variants; empty for none.
        threads: Threads a worker may compute with; 0 leaves the process as it is.
    """

    models: list[str]
    alpha: float
    out: str
    labelled: bool
    identify: bool
    forensics: bool = True
    taught: tuple[str, ...] = ()
    genuine: str = ""
    recorded: str = ""
    reference: str = ""
    variants: str = ""
    threads: int = 0
    _loaded: list[Model | Ensemble] = field(default_factory=list, repr=False)
    _desk: ExaminerDesk | None = field(default=None, repr=False)
    _explainer: Explainer = field(default_factory=Explainer, repr=False)

    @property
    def detectors(self) -> list[str]:
        """What each image gets a row of; "read" where it is only read."""
        names = [Path(model).resolve().name for model in self.models]
        return names + [ACQUISITION, FORENSICS] * self.forensics or ["read"]

    def __call__(self, entries: Sequence[Entry]) -> list[Screened]:
        """What is told of each entry: a row of each of `detectors`, and what its slices look like."""
        opened: dict[str, Opened] = {}
        failures: dict[str, str] = {}
        for entry in entries:
            try:
                opened[entry.name] = _open(entry)
            except InputError as error:
                failures[entry.name] = error.reason
        judged = self._judge_all(list(opened.values()))
        return [
            self.failed(entry, failures[entry.name])
            if entry.name in failures
            else Screened(next(judged), self._described(opened[entry.name]))
            for entry in entries
        ]

    def failed(self, entry: Entry, reason: str) -> Screened:
        """The rows of a file that could not be read, for the given reason."""
        files = len(entry.sources) if isinstance(entry, Unit) else 1
        return Screened([{**self._blank(entry.name, files, entry.folder, detector), "error": reason}
                         for detector in self.detectors])  # fmt: skip

    def _described(self, opened: Opened) -> list[Description]:
        return describe(opened.image, opened.unit.name) if self.forensics else []

    def _judge_all(self, opened: Sequence[Opened]) -> Iterator[list[Row]]:
        self._prepare()
        images = [one.image for one in opened]
        columns: list[Iterable[Row]] = [
            map(self._judge, repeat(model), opened, model.read(images)) for model in self._loaded
        ]
        if not columns and not self._desk:
            columns.append(self._row(one, "read") for one in opened)
        detected = zip(*columns, strict=True) if columns else repeat(())
        return ([*rows, *self._examine(one)] for rows, one in zip(detected, opened, strict=False))

    def _prepare(self) -> None:
        """What is loaded once in each worker."""
        if self.threads:  # more threads than cores bring torch nearly to a halt
            torch.set_num_threads(self.threads)
            cv2.setNumThreads(self.threads)
        if self.models and not self._loaded:
            self._loaded = [load_model(folder) for folder in self.models]
            self._explainer = Explainer.open(self.reference, self.variants)
        if self.forensics and not self._desk:
            self._desk = ExaminerDesk(
                self.alpha,
                Path(self.genuine) if self.genuine else None,
                Path(self.recorded) if self.recorded else None,
                self.taught,
            )

    def _judge(self, model: Model | Ensemble, opened: Opened, reading: Reading) -> Row:
        """The row of one image and model; a flagged image gets its map and regions."""
        image = opened.image
        group = group_of(image, opened.unit.folder, model.card.group_by)
        p_value = model.p_value(reading, image, group)
        flagged = p_value <= self.alpha
        row = self._row(opened, model.card.name) | {
            "family": model.family,
            "score": reading.score,
            "p_value": p_value,
            "flagged": flagged,
            "parts": [dataclasses.asdict(part) for part in reading.parts],
        }
        row["warnings"] += model.misfit(image)
        if model.card.group_by and group not in model.calibration.groups:
            row["warnings"].append(
                f"no held-out normal image has {model.card.group_by} = {group or 'nothing'}: "
                "compared with all"
            )
        if reading.pixel and (flagged or self.labelled):
            score_map = model.map(reading, image)
            row["map"] = self._save_map(score_map, opened, model.card.name)
            if flagged:
                found = find_regions(score_map, image, model.calibration, group)
                regions = self._explainer.explain(image, found)
                row["regions"] = [dataclasses.asdict(region) for region in regions]
                row["silenced"] = silenced(regions, self.alpha)
                row["flagged"] = not row["silenced"]
                row["twin"] = self._save_twin(model, regions, opened)
        return row

    def _examine(self, opened: Opened) -> Iterator[Row]:
        """The rows of one image from all examiners; what they found has its map and regions."""
        if self._desk is None:
            return
        for name, opinion in self._desk.look(opened.image, opened.series, opened.unit.sources).items():
            row = self._row(opened, name) | opinion.columns
            if opinion.marked is not None:
                row["map"] = self._save_map(opinion.marked, opened, name)
            yield row

    def _row(self, opened: Opened, detector: str) -> Row:
        unit, image = opened.unit, opened.image
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
            "parts": [],
            "silenced": False,
            "regions": [],
            "map": None,
            "twin": None,
            "evidence": [],
            "silent": [],
            "abstained": {},
            "warnings": [],
            "error": None,
        }

    def _save_map(self, score_map: NDArray[np.float32], opened: Opened, detector: str) -> str:
        """Write a map in the image's grid; its name is the same when a run is taken up again."""
        image = opened.image
        made = Image(score_map, spacing=image.spacing, affine=image.affine)
        return self._save(made, opened, detector, ".tif" if score_map.ndim == 2 else ".nii.gz")

    def _save_twin(self, model: Model | Ensemble, regions: Sequence[Region], opened: Opened) -> Row | None:
        """Write the plane of the first region beside its normal twin, where the method makes one."""
        if not regions:
            return None
        plane = regions[0].plane
        pair = model.twin(opened.image, plane)
        if pair is None:
            return None
        return {"plane": plane, "file": self._save(Image(pair), opened, model.card.name, "-twin.png")}

    def _save(self, made: Image, opened: Opened, detector: str, suffix: str) -> str:
        digest = hashlib.sha256(opened.unit.name.encode()).hexdigest()[:16]
        name = f"maps/{digest}-{detector}{suffix}"
        (Path(self.out) / "maps").mkdir(exist_ok=True)
        write(made, Path(self.out) / name)
        return name


def _open(entry: Entry) -> Opened:
    if isinstance(entry, Rejected):
        raise InputError(entry.name, entry.reason)
    series = None
    if entry.format == "dicom":
        planes = read_planes(entry.sources)
        series = Series([Instance(s.name, plane) for s, plane in zip(entry.sources, planes, strict=True)])
        image = join_planes(planes, entry.name) if len(planes) > 1 else planes[0]
    else:
        image = read_unit(entry)
    if not np.isfinite(image.pixels).any():
        raise UnreadableError(entry.name, "every pixel is NaN or infinite: there is nothing to look at")
    return Opened(entry, image, series)
