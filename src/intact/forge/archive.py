"""Forge whole folders: files of the original's format, the truth about each, a picture, a record.

One image after the other gets the next of the kinds that were asked for. Files are worked on in
processes that may die; rows go to `findings.jsonl` as images are done, so a run that was stopped
goes on with the same call.
"""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import dcmread, dcmwrite

from intact import progress
from intact._version import __version__
from intact.configure import configure
from intact.engine import local
from intact.errors import InputError, UsageError
from intact.findings import Findings, Row
from intact.forge import FORGED, KINDS, SERIES_KINDS, SOURCE, Forgery
from intact.image import Image
from intact.io import Rejected, Unit, index, read_dicom, read_unit, stems, write, write_dicom
from intact.io.atomic import put
from intact.io.dicom import quiet
from intact.model import batched
from intact.report.overlay import draw_overlay
from intact.segment import REGIONS, known_region

BATCH = 4  # images per unit of work
TIMEOUT = 600.0  # seconds that one image may take
DONORS = 8  # images that are tried before a splice is given up
ALL_KINDS: dict[str, type[Any]] = {**KINDS, **SERIES_KINDS}
GENUINE_FOLDER = "good"  # of untouched images, as folders of normal images are called
COLOURS = np.array([[0, 0, 0], [230, 159, 0], [86, 180, 233], [204, 121, 167]], np.uint8)  # of the labels
SAME = {name: name for name in ("paths", "kinds", "fields", "donors", "region", "seed")}


@dataclass(frozen=True)
class Forged:
    """What a run came to.

    Args:
        out: Folder with images/, labels/, pictures/, findings.jsonl and run.json.
        run: What run.json holds.
    """

    out: Path
    run: dict[str, Any]

    @property
    def errors(self) -> int:
        """Files that could not be forged."""
        return int(self.run["counts"]["errors"])


@dataclass(frozen=True)
class Task:
    """One image, what is done to it, and the images that foreign parts may come from."""

    entry: Unit | Rejected
    kind: str
    seed: int
    donors: tuple[Unit, ...] = ()

    @property
    def name(self) -> str:
        """Of the image."""
        return self.entry.name


@dataclass
class Worker:
    """Forges one image after the other, in whichever process."""

    fields: Mapping[str, Any]
    out: str
    stems: Mapping[str, str]
    region: str = ""
    threads: int = 0

    def __call__(self, tasks: Sequence[Task]) -> list[Row]:
        """The row of each."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return [self._one(task) for task in tasks]

    def lost(self, task: Task, reason: str) -> Row:
        """The row of a file that cannot be forged."""
        return {"path": task.name, "kind": task.kind, "file": None, "error": reason}

    def _one(self, task: Task) -> Row:
        if isinstance(task.entry, Rejected):
            return self.lost(task, task.entry.reason)
        try:
            if task.kind in SERIES_KINDS:
                return self._series(task.entry, task)
            image = read_unit(task.entry)
            forgery = self._forged(image, task)
            return self._written(forgery, image, task.entry, task)
        except InputError as error:
            return self.lost(task, error.reason)
        except UsageError as error:  # a palette, say, or no room for what was asked
            return self.lost(task, str(error))

    def _series(self, unit: Unit, task: Task) -> Row:
        """Edit the files of a series; what is touched are files, so there are no labels."""
        if unit.format != "dicom" or len(unit.sources) < 2:
            raise UsageError(f"{task.kind} takes a DICOM series of several files")
        with quiet():
            slices = [dcmread(io.BytesIO(source.read())) for source in unit.sources]
            forgery = configure(SERIES_KINDS, task.kind, self.fields).forge(slices, seed=task.seed)
            folder = Path(self.out) / "images" / task.kind / self.stems[unit.name]
            folder.mkdir(parents=True, exist_ok=True)
            for number, one in enumerate(forgery.slices):
                stream = io.BytesIO()
                dcmwrite(stream, one)
                put(folder / f"{number + 1:04d}.dcm", stream.getvalue())
        file = str(folder.relative_to(self.out))
        return {
            "path": unit.name,
            **forgery.record,
            "file": file,
            "labels": None,
            "picture": None,
            "error": None,
        }

    def _forged(self, image: Image, task: Task) -> Forgery:
        forger = configure(KINDS, task.kind, self.fields)
        within = REGIONS[self.region](image) if self.region else None
        if not forger.needs_donor:
            return forger.forge(image, seed=task.seed, within=within)
        why = "there is no other image to take a part from"
        for unit in task.donors:
            try:
                donor = read_unit(unit)
                if donor.identity.patient and donor.identity.patient == image.identity.patient:
                    why = f"{unit.name} is of the same patient"
                    continue
                return forger.forge(image, seed=task.seed, donor=donor, within=within)
            except (InputError, UsageError) as error:
                why = str(error)
        raise UsageError(f"no donor fits, of {len(task.donors)} that were tried: {why}")

    def _written(self, forgery: Forgery, image: Image, unit: Unit, task: Task) -> Row:
        out, stem = Path(self.out), self.stems[unit.name]
        folder = out / "images" / (GENUINE_FOLDER if task.kind == "untouched" else task.kind)
        folder.mkdir(parents=True, exist_ok=True)
        file = _write_image(forgery.image, unit, folder, stem)
        labels = _write_labels(forgery, out / "labels", stem)
        masks = {"forged": forgery.labels == FORGED, "copied from": forgery.labels == SOURCE}
        shown = {label: mask for label, mask in masks.items() if mask.any()}
        picture = draw_overlay(forgery.image, shown, out / "pictures" / f"{stem}.png")
        return {
            "path": unit.name,
            "study": image.identity.study,
            "series": image.identity.series,
            "instance": image.identity.instance,
            **forgery.record,
            "region": self.region,
            "kind": task.kind,
            "file": str(file.relative_to(out)),
            "labels": str(labels.relative_to(out)),
            "picture": str(picture.relative_to(out)),
            "error": None,
        }


def forge_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    kinds: Sequence[str],
    *,
    fields: Mapping[str, Any] | None = None,
    donors: Sequence[str | Path] = (),
    region: str = "",
    seed: int = 0,
    workers: int | None = None,
) -> Forged:
    """Forge every image of some folders.

    Args:
        paths: Files, folders or zip archives.
        out: Folder for the results. If it holds the beginning of the same run, that is continued.
        kinds: Keys of `KINDS` and `SERIES_KINDS`; images get them in turn.
        fields: Of the kinds; each must have them.
        donors: Where foreign parts come from; by default from the other images of `paths`.
        region: Where regions are forged, such as "lungs": a key of `segment.REGIONS`; by default anywhere
            in the body.
        seed: Decides everything that is left open, together with an image's place in the order.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: Unknown kind or field, `out` holds another run, or there are no files.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    out, fields = Path(out), dict(fields or {})
    if not kinds:
        raise UsageError(f"name a kind of forgery: {', '.join(ALL_KINDS)}")
    for kind in kinds:
        configure(ALL_KINDS, kind, fields)
    if region:
        known_region(region)
    own = out.resolve()
    entries = index([Path(path) for path in paths], skip=lambda path: path.resolve() == own)
    if not entries:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no files to forge")
    tasks = _tasks(entries, kinds, index([Path(path) for path in donors]) if donors else entries, seed)
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if workers is None else workers, -(-len(tasks) // BATCH))
    worker = Worker(fields, str(out), stems(entries), region, max(1, cores // workers) if workers else 0)
    started = time.monotonic()
    with Findings(out, _describe(paths, kinds, fields, donors, region, seed), same=SAME) as findings:
        for folder in ("images", "labels", "pictures"):
            (out / folder).mkdir(exist_ok=True)
        done = findings.resume([task.name for task in tasks])
        for rows in local.run(
            worker, batched(tasks[done:], BATCH), worker.lost, workers=workers, timeout=TIMEOUT
        ):
            findings.append(rows)
            done += len(rows)
            progress.report("forging", done, len(tasks))
        run = findings.finish(seconds=time.monotonic() - started, counts=_count(findings.rows()))
    return Forged(out, run)


def _tasks(
    entries: Sequence[Unit | Rejected], kinds: Sequence[str], others: Sequence[Unit | Rejected], seed: int
) -> list[Task]:
    """What is done to each image: the kinds in turn, each with a seed of its own."""
    units = [entry for entry in others if isinstance(entry, Unit)]
    tasks = []
    for number, entry in enumerate(entries):
        kind = kinds[number % len(kinds)]
        own = np.random.SeedSequence([seed, number])
        chosen: list[Unit] = []
        if kind in KINDS and KINDS[kind].needs_donor:
            order = np.random.default_rng(own).permutation(len(units))
            chosen = [units[at] for at in order if units[at].name != entry.name][:DONORS]
        tasks.append(Task(entry, kind, int(own.generate_state(1)[0]), tuple(chosen)))
    return tasks


def _write_image(image: Image, unit: Unit, folder: Path, stem: str) -> Path:
    """Write a forged image as a file of the original's format, as far as that keeps every value."""
    if unit.format == "dicom" and len(unit.sources) > 1:
        return _write_slices(image, unit, folder / stem)
    if unit.format == "dicom":
        return write_dicom(image, folder / f"{stem}.dcm")
    if unit.format == "nifti":
        return write(image, folder / f"{stem}.nii.gz")
    if unit.format != "tiff":
        try:
            return write(image, folder / f"{stem}.png")
        except UsageError:  # floats, several pages
            pass
    return write(image, folder / f"{stem}.tif")


def _write_slices(volume: Image, unit: Unit, folder: Path) -> Path:
    """Write a volume slice by slice, each with the header that its file had: only pixels change."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(unit.sources):
        own = read_dicom(source.read(), name=source.name)
        plane = replace(own, pixels=volume.pixels[number], made=volume.made)
        write_dicom(plane, folder / f"{number + 1:04d}.dcm")
    return folder


def _write_labels(forgery: Forgery, folder: Path, stem: str) -> Path:
    """Write the labels: an indexed PNG of four colours, or .nii.gz for what has several planes."""
    image, labels = forgery.image, forgery.labels
    if labels.ndim == 2:
        picture = Image(labels, photometric="PALETTE COLOR", palette=COLOURS, spacing=image.spacing)
        return write(picture, folder / f"{stem}.png")
    return write(Image(labels, spacing=image.spacing, affine=image.affine), folder / f"{stem}.nii.gz")


def _describe(
    paths: Sequence[str | Path],
    kinds: Sequence[str],
    fields: Mapping[str, Any],
    donors: Sequence[str | Path],
    region: str,
    seed: int,
) -> dict[str, Any]:
    """The run record, as far as it is known before the first image."""
    return {
        "intact": __version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "paths": [str(path) for path in paths],
        "kinds": list(kinds),
        "fields": dict(fields),
        "donors": [str(path) for path in donors],
        "region": region,
        "seed": seed,
        "complete": False,
    }


def _count(rows: Iterator[Row]) -> dict[str, int]:
    counts = Counter("errors" if row["error"] is not None else row["kind"] for row in rows)
    return {"errors": 0, **counts}
