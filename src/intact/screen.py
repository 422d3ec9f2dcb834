"""Screen: the main job, as a story of named steps.

Find the images, read and score them in worker processes, append one row per image and detector
to `findings.jsonl`, then measure against the truth where it is known, and write the report. The
findings are always the first rows of the whole run, so a run that was stopped at any moment goes
on with the same command.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from intact import progress
from intact._version import __version__
from intact.engine import local
from intact.ensemble import Ensemble, load_model
from intact.errors import InputError, MisfitWarning, UsageError
from intact.examiner_desk import ACQUISITION, FORENSICS, tell
from intact.examiner_model import ExaminerModel
from intact.explain.reference import Reference
from intact.explain.variants import marks_of
from intact.findings import Findings, Row
from intact.forensics import METHODS
from intact.forensics.slices.recycled import Archive, Description, describe
from intact.genuine import learn_genuine
from intact.io import Unit, index, read_unit
from intact.model import Model
from intact.screener import Entry, Screener
from intact.store import is_written

BATCH = 16  # files per unit of work
TIMEOUT = 300.0  # seconds that one image may take,
VOLUME_TIMEOUT = 3600.0  # and a volume, whose planes are examined one by one
LOOK_AHEAD = 3  # images read before the run to see whether they suit the models
GROUND_TRUTH = "ground_truth"
REFERENCE = "reference"  # of a run: what its normal images look like
GENUINE = "genuine.json"  # of a run: scores of the genuine images that it compared with


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        out: Folder with findings.jsonl, run.json, report.html and maps/.
        run: What run.json holds.
    """

    out: Path
    run: dict[str, Any]

    @property
    def flagged(self) -> int:
        """Images that at least one detector flagged."""
        return int(self.run["counts"]["flagged"])

    @property
    def errors(self) -> int:
        """Files and series that could not be screened."""
        return int(self.run["counts"]["errors"])


def screen(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    models: Sequence[str | Path] = (),
    alpha: float = 0.05,
    forensics: bool = True,
    genuine: Sequence[str | Path] = (),
    recorded: str | Path | None = None,
    reference: Sequence[str | Path] = (),
    variants: str | Path | None = None,
    labels: Literal["folder"] | None = None,
    identify: bool = False,
    workers: int | None = None,
) -> Outcome:
    """Screen images and write findings and a report.

    Warns with `MisfitWarning` before it starts when images are not of a model's kind.

    Args:
        paths: Files, folders or zip archives.
        out: Folder for the results. If it holds the beginning of the same run, that is continued.
        models: Model folders from `intact.fit`, and taught examiners from `intact.teach`; without one of
            the former no anomalies are looked for.
        alpha: False-alarm rate: the share of normal images that may be flagged by each model, and of
            genuine ones by all examiners of pixels together.
        forensics: Examine every image for tampering, too.
        genuine: Images known to be genuine, made by the same devices and programs: some examiners can
            only compare. Or the genuine.json that an earlier run wrote.
        recorded: A ledger of pixel digests (`intact.forensics.ledger`) to compare with.
        reference: Normal images of the same kind: the report shows, for each flagged region, those of
            their regions that look most like it. Up to 200 are looked at.
        variants: Marks of normal variants (`intact.explain.Variants`): what they let pass is not
            flagged, but listed.
        labels: "folder" takes the truth from folder names: "good" is normal, the rest is not;
            masks are looked for in ground_truth/.
        identify: Put patient IDs into findings and report.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: `out` holds another run, a path does not exist, two models share a name.
        ModelError: A model cannot be loaded.
        TooFewNormalsError: A model has too few held-out normals for `alpha`.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    out = Path(out)
    if variants:
        marks_of(variants)  # so that a wrong folder is told now, not in the workers
    if (genuine or recorded) and not forensics:
        raise UsageError(
            "genuine images and records are for forensics, which was left out: give one or the other"
        )
    if recorded and not Path(recorded).is_file():
        raise UsageError(f"{recorded}: there is no such file; `intact record` writes one")
    taught = [str(folder) for folder in models if ExaminerModel.is_one(folder)]
    models = [folder for folder in models if str(folder) not in taught]
    loaded = _load_models(models, alpha)
    if (reference or variants) and not models:
        raise UsageError("normal images to explain by and marks of variants need a --model that flags images")
    examiners = _load_examiners(taught, forensics)
    entries = _find(paths, out, labels)
    _warn_of_misfits(loaded, entries)
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if workers is None else workers, sum(1 for _ in _batches(entries)))
    screener = Screener(
        [str(folder) for folder in models],
        alpha,
        str(out),
        labelled=labels is not None,
        identify=identify,
        forensics=forensics,
        taught=tuple(taught),
        genuine=str(out / GENUINE) if genuine else "",
        recorded=str(recorded or ""),
        reference=str(out / REFERENCE) if reference else "",
        variants=str(variants or ""),
        threads=max(1, cores // workers) if workers else 0,
    )
    started = time.monotonic()
    run = _describe(paths, loaded, alpha, labels, identify) | {
        "forensics": forensics,
        "examiners": [one.describe() for one in examiners],
        "genuine": [str(path) for path in genuine],
        "recorded": str(recorded or ""),
        "reference": [str(path) for path in reference],
        "variants": str(variants or ""),
    }
    with Findings(out, run, rows_per_entry=len(screener.detectors)) as findings:
        if genuine:
            for note in learn_genuine(genuine, out / GENUINE, alpha, workers=workers):
                warnings.warn(note, MisfitWarning, stacklevel=2)
        if reference:
            for note in _learn_reference(reference, out / REFERENCE):
                warnings.warn(note, MisfitWarning, stacklevel=2)
        rest = entries[findings.resume([entry.name for entry in entries]) :]
        done = len(entries) - len(rest)
        archive = _archive(entries[:done], entries, workers) if forensics else None
        for told in local.run(
            screener,
            _batches(rest),
            screener.failed,
            workers=workers,
            timeout=_allowed,
        ):
            for one in told:
                if archive is not None:
                    tell(one.rows[-1], archive.examine(one.slices))
                findings.append(one.rows)
            done += len(told)
            progress.report("screening", done, len(entries))
        run = findings.finish(
            seconds=time.monotonic() - started,
            counts=_count(findings.rows()),
            labels=_measure(findings, entries, alpha, paths) if labels else None,
        )
    _report(out, entries, reference, identify)
    return Outcome(out, run)


def _load_models(folders: Sequence[str | Path], alpha: float) -> list[Model | Ensemble]:
    if not 0.0 < alpha < 1.0:
        raise UsageError(f"alpha is {alpha:g}; a false-alarm rate lies between 0 and 1, such as 0.05")
    models = [load_model(folder) for folder in folders]
    names = Counter(model.card.name for model in models)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(f"two models are named {twice[0]!r}: rename one folder, names tell their rows apart")
    for model in models:
        model.calibration.require(alpha)
    return models


def _load_examiners(folders: Sequence[str], forensics: bool) -> list[ExaminerModel]:
    if folders and not forensics:
        raise UsageError(f"{folders[0]} is a taught examiner, but forensics was left out: give one of both")
    models = [ExaminerModel.load(folder) for folder in folders]
    names = Counter([*METHODS, *(model.card.name for model in models)])
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(f"two examiners are named {twice[0]!r}: rename the folder, names tell them apart")
    return models


def _find(paths: Sequence[str | Path], out: Path, labels: str | None) -> list[Entry]:
    own = out.resolve()

    def skip(path: Path) -> bool:
        return path.resolve() == own or (labels is not None and path.name == GROUND_TRUTH)

    entries = index([Path(path) for path in paths], skip=skip)
    if not entries:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no files to screen")
    return entries


def _warn_of_misfits(models: Sequence[Model | Ensemble], entries: Sequence[Entry]) -> None:
    """Look at a few images before hours go into the wrong model; each image's row says it again."""
    units = [entry for entry in entries if isinstance(entry, Unit)] if models else []
    doubts: dict[str, str] = {}
    for unit in units[:: max(1, len(units) // LOOK_AHEAD)][:LOOK_AHEAD]:
        try:
            image = read_unit(unit)
        except InputError:
            continue  # its row will say why
        for model in models:
            for doubt in model.misfit(image):
                doubts.setdefault(f"model {model.card.name}: {doubt}", unit.name)
    for doubt, name in doubts.items():
        warnings.warn(f"{doubt} (seen in {name})", MisfitWarning, stacklevel=3)


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Single files together, a volume alone: a batch is read whole into memory."""
    waiting: list[Entry] = []
    for entry in entries:
        if _large(entry):
            if waiting:
                yield waiting
                waiting = []
            yield [entry]
        else:
            waiting.append(entry)
            if len(waiting) == BATCH:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def _archive(done: Sequence[Entry], entries: Sequence[Entry], workers: int) -> Archive:
    """What slices look like that were screened before the run was stopped; they are read again for that."""
    units = {entry.name: entry for entry in entries if isinstance(entry, Unit)}
    archive = Archive(load=lambda name: read_unit(units[name]))
    again = local.run(_describe_slices, _batches(done), lambda *_: [], workers=workers, timeout=_allowed)
    for described in (one for batch in again for one in batch):
        archive.remember(described)
    return archive


def _describe_slices(entries: Sequence[Entry]) -> list[list[Description]]:
    described: list[list[Description]] = []
    for entry in entries:
        described.append([])
        if isinstance(entry, Unit):
            with suppress(InputError):
                described[-1] = describe(read_unit(entry), entry.name)
    return described


def _large(entry: Entry) -> bool:
    return isinstance(entry, Unit) and (len(entry.sources) > 1 or entry.format == "nifti")


def _allowed(entry: Entry) -> float:
    """Seconds."""
    return VOLUME_TIMEOUT if _large(entry) else TIMEOUT


def _describe(
    paths: Sequence[str | Path],
    models: Sequence[Model | Ensemble],
    alpha: float,
    labels: str | None,
    identify: bool,
) -> dict[str, Any]:
    """The run record, as far as it is known before the first image."""
    return {
        "intact": __version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "paths": [str(path) for path in paths],
        "alpha": alpha,
        "labelled": labels,
        "identify": identify,
        "models": [model.describe() for model in models],
        "device": "cpu",
        "versions": _versions(),
        "complete": False,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "numpy", "pydicom", "nibabel", "pillow")
    }


def _count(rows: Iterator[Row]) -> dict[str, int]:
    images: set[str] = set()
    flagged: set[str] = set()
    silenced: set[str] = set()
    manipulated: set[str] = set()
    errors: set[str] = set()
    warned: set[str] = set()
    files: dict[str, int] = {}
    for row in rows:
        files[row["path"]] = row["files"]
        (errors if row["error"] else images).add(row["path"])
        if row["flagged"]:
            flagged.add(row["path"])
            if row["family"] == FORENSICS:
                manipulated.add(row["path"])
        if row["silenced"]:
            silenced.add(row["path"])
        if row["warnings"]:
            warned.add(row["path"])
    return {
        "images": len(images),
        "flagged": len(flagged),
        "manipulated": len(manipulated),
        "silenced": len(silenced - flagged),
        "errors": len(errors),
        "warnings": len(warned),
        "files": sum(files.values()),
    }


def _measure(
    findings: Findings, entries: Sequence[Entry], alpha: float, paths: Sequence[str | Path]
) -> dict[str, Any]:
    from intact.evaluate import evaluate_findings, find_masks

    masks = find_masks([entry for entry in entries if isinstance(entry, Unit)], map(Path, paths))
    # Labels tell normal from ill; whether an image is genuine is another question.
    rows = [row for row in findings.rows() if row["family"] not in (ACQUISITION, FORENSICS)]
    return evaluate_findings(rows, masks, findings.out, alpha)


def _learn_reference(normals: Sequence[str | Path], folder: Path) -> list[str]:
    """Keep what normal images look like in the folder of the run; what an earlier try kept stays."""
    if is_written(folder):
        return []
    learned, rejected = Reference.learn(normals)
    learned.save(folder)
    return [f"{left.name}: not looked up in: {left.reason}" for left in rejected]


def _report(out: Path, entries: Sequence[Entry], reference: Sequence[str | Path], identify: bool) -> None:
    from intact.report import write_report

    normals = index([Path(path) for path in reference]) if reference else []
    units = {entry.name: entry for entry in [*normals, *entries] if isinstance(entry, Unit)}
    progress.report("writing the report", 0, 1)
    # A normal image is often beside several regions; volumes are large, so few are kept.
    read = lru_cache(maxsize=4)(lambda name: read_unit(units[name]))
    write_report(out, read=read, identify=identify)
    progress.report("writing the report", 1, 1)
