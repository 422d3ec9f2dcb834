"""Segment whole folders: masks on each image's own grid, pictures, measures, and a row for each.

Files are worked on in processes that may die. Rows go to `findings.jsonl` as images are done, so a
run that was stopped goes on with the same call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from intact import progress
from intact._version import __version__
from intact.engine import local
from intact.errors import InputError, UsageError
from intact.findings import Findings, Row
from intact.image import Image
from intact.io import Rejected, Unit, index, read_unit, stems
from intact.metrics.segmentation import compare
from intact.model import batched
from intact.report.overlay import draw_overlay
from intact.segment.by import By
from intact.segment.learn import means
from intact.segment.mask_files import Format, write_masks
from intact.segment.morphology import Mask
from intact.segment.pairs import by_stem, read_mask

BATCH = 4  # images per unit of work
TIMEOUT = 600.0  # seconds that one image may take
SAME = {"paths": "paths", "by": "method, regions, model or seed", "format": "format", "truth": "truth"}


@dataclass(frozen=True)
class Segmented:
    """What a run came to.

    Args:
        out: Folder with masks/, overlays/, findings.jsonl and run.json.
        run: What run.json holds.
    """

    out: Path
    run: dict[str, Any]

    @property
    def errors(self) -> int:
        """Files that could not be segmented."""
        return int(self.run["counts"]["errors"])


@dataclass
class Worker:
    """Segments one image after the other, in whichever process.

    Args:
        by: What segments.
        out: Folder of the run.
        format: "own" writes DICOM segmentations for DICOM, .nii.gz for NIfTI, PNG for pictures.
        stems: What the files of each image are called.
        truth: For each label the true masks by the image's stem.
        threads: Threads to compute with; 0 leaves the process as it is.
    """

    by: By
    out: str
    format: Format
    stems: Mapping[str, str]
    truth: Mapping[str, Mapping[str, Path]]
    threads: int = 0
    _segment: Callable[[Image], dict[str, Mask]] | None = field(default=None, repr=False)

    def __call__(self, entries: Sequence[Unit | Rejected]) -> list[Row]:
        """The row of each."""
        if self._segment is None:
            if self.threads:
                torch.set_num_threads(self.threads)
            self._segment = self.by.segmenter()
        return [self._one(entry) for entry in entries]

    def lost(self, entry: Unit | Rejected, reason: str) -> Row:
        """The row of a file that cannot be segmented."""
        return {
            "path": entry.name,
            "masks": {},
            "overlay": None,
            "metrics": {},
            "seconds": None,
            "error": reason,
        }

    def _one(self, entry: Unit | Rejected) -> Row:
        if isinstance(entry, Rejected):
            return self.lost(entry, entry.reason)
        try:
            image = read_unit(entry)
            started = time.perf_counter()
            masks = self._segment(image)  # type: ignore[misc]
            seconds = time.perf_counter() - started
            metrics = self._measured(entry, image, masks)
            folder = Path(self.out) / "masks"
            files, doubts = write_masks(
                masks, image, entry, folder, self.stems[entry.name], self.format, self.by
            )
        except InputError as error:
            return self.lost(entry, error.reason)
        except UsageError as error:  # a time series, say, or a plane for a network of volumes
            return self.lost(entry, str(error))
        picture = Path(self.out) / "overlays" / f"{self.stems[entry.name]}.png"
        overlay = draw_overlay(image, masks, picture)
        return {
            "path": entry.name,
            "study": image.identity.study,
            "series": image.identity.series,
            "instance": image.identity.instance,
            "modality": image.modality,
            "shape": list(image.shape),
            "spacing": list(image.spacing) if image.spacing else None,
            "masks": {
                label: _measures(mask, image) | {"file": f"masks/{files[label]}"}
                for label, mask in masks.items()
            },
            "overlay": str(overlay.relative_to(self.out)),
            "metrics": metrics,
            "seconds": seconds,
            "warnings": [*image.notes, *doubts],
            "error": None,
        }

    def _measured(self, unit: Unit, image: Image, masks: Mapping[str, Mask]) -> dict[str, Any]:
        found = {}
        for label, known in self.truth.items():
            if unit.stem in known:
                row = compare(masks[label], read_mask(known[unit.stem], image), image.spacing)
                found[label] = {name: None if np.isnan(value) else value for name, value in row.items()}
        return found


def segment_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    by: By,
    *,
    format: Format = "own",  # noqa: A002 - the word users know
    truth: Mapping[str, str | Path] | None = None,
    workers: int | None = None,
) -> Segmented:
    """Segment every image of some folders; write masks, pictures and measures.

    Args:
        paths: Files, folders or zip archives.
        out: Folder for the results. If it holds the beginning of the same run, that is continued.
        by: What segments.
        format: Of the masks: "own" is the image's (DICOM segmentation, NIfTI, PNG).
        truth: For each label a folder of true masks, called like the images: measured against.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: Unknown method, field or label, `out` holds another run, or there are no files.
        ModelError: The model cannot be loaded.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    out = Path(out)
    by.segmenter()
    if unknown := set(truth or {}) - set(by.labels):
        raise UsageError(f"there is no label {min(unknown)!r}; choose one of {', '.join(by.labels)}")
    known = {label: by_stem(Path(folder)) for label, folder in (truth or {}).items()}
    own = out.resolve()
    entries = index([Path(path) for path in paths], skip=lambda path: path.resolve() == own)
    if not entries:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no files to segment")
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if workers is None else workers, -(-len(entries) // BATCH))
    threads = max(1, cores // workers) if workers else 0
    worker = Worker(by, str(out), format, stems(entries), known, threads)
    started = time.monotonic()
    with Findings(out, _describe(paths, by, format, truth or {}), same=SAME) as findings:
        for folder in ("masks", "overlays"):
            (out / folder).mkdir(exist_ok=True)
        done = findings.resume([entry.name for entry in entries])
        batches = batched(entries[done:], BATCH)
        for rows in local.run(worker, batches, worker.lost, workers=workers, timeout=TIMEOUT):
            findings.append(rows)
            done += len(rows)
            progress.report("segmenting", done, len(entries))
        run = findings.finish(
            seconds=time.monotonic() - started,
            counts=_count(findings.rows()),
            metrics=_metrics(list(findings.rows()), by.labels),
        )
    return Segmented(out, run)


def _describe(
    paths: Sequence[str | Path], by: By, form: Format, truth: Mapping[str, str | Path]
) -> dict[str, Any]:
    """The run record, as far as it is known before the first image."""
    return {
        "intact": __version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "paths": [str(path) for path in paths],
        "by": asdict(by) | {"fields": dict(by.fields)},
        "format": form,
        "truth": {label: str(folder) for label, folder in truth.items()},
        "complete": False,
    }


def _measures(mask: Mask, image: Image) -> dict[str, Any]:
    """How large what was found is: voxels, and mm2 of a plane or ml of a volume where they are known."""
    voxels = int(np.count_nonzero(mask))
    known = image.spacing is not None and len(image.spacing) == mask.ndim
    size = voxels * float(np.prod(image.spacing)) if known else None  # type: ignore[arg-type]
    return {
        "voxels": voxels,
        "area_mm2": size if mask.ndim == 2 else None,
        "volume_ml": size / 1000 if size is not None and mask.ndim == 3 else None,
    }


def _count(rows: Iterator[Row]) -> dict[str, int]:
    errors = [row["error"] is not None for row in rows]
    return {"images": len(errors) - sum(errors), "errors": sum(errors)}


def _metrics(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, Any]:
    """For each label and metric the mean over patients, and its 95 % interval."""
    found = {}
    for label in labels:
        own = [row for row in rows if label in row["metrics"]]
        if own:
            measured = [
                {k: np.nan if v is None else v for k, v in row["metrics"][label].items()} for row in own
            ]
            found[label] = means(measured, [row["study"] or row["path"] for row in own])
    return found
