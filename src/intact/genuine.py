"""Learn how genuine images score with the examiners that can only compare."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from intact import progress
from intact.engine import local
from intact.errors import InputError, TooFewNormalsError, UsageError
from intact.examiner_desk import scores_of
from intact.forensics.decision import Genuine, Told
from intact.io import Rejected, Unit, index, read_unit
from intact.io.atomic import put

TIMEOUT = 3600.0  # seconds that one image may take
Told_or_why = tuple[str, Told] | str


@dataclass(frozen=True)
class _Step:
    """What a worker does with one genuine image: its group and scores, or why there are none."""

    threads: int

    def __call__(self, units: Sequence[Unit]) -> list[Told_or_why]:
        if self.threads:
            cv2.setNumThreads(self.threads)
        return [self._one(unit) for unit in units]

    def failed(self, unit: Unit, reason: str) -> Told_or_why:
        return f"{unit.name}: {reason}"

    def _one(self, unit: Unit) -> Told_or_why:
        try:
            return scores_of(read_unit(unit))
        except InputError as error:
            return str(error)


def learn_genuine(
    paths: Sequence[str | Path], target: Path, alpha: float, *, workers: int | None = None
) -> list[str]:
    """Score genuine images and keep the scores in a file; what is there already stays.

    Args:
        paths: Files, folders or archives of genuine images; or one such file of an earlier run.
        target: genuine.json of the run.
        alpha: The rate of false alarms that there must be enough images for.
        workers: Processes; by default one per core.

    Returns:
        What the user should know: files that could not be read, groups that are too small.

    Raises:
        UsageError: There are no images.
        TooFewNormalsError: No group has enough of them.
    """
    notes: list[str] = []
    if not target.exists():
        given = [Path(path) for path in paths]
        kept = len(given) == 1 and given[0].suffix == ".json"
        genuine = Genuine.load(given[0]) if kept else _scored(given, notes, workers)
        put(target, genuine.as_json().encode())
    genuine = Genuine.load(target)
    small = genuine.check(alpha)
    if len(small) == len(genuine.groups):
        raise TooFewNormalsError("; ".join(small))
    return notes + small


def _scored(paths: Sequence[Path], notes: list[str], workers: int | None) -> Genuine:
    entries = index(paths)
    units = [entry for entry in entries if isinstance(entry, Unit)]
    if not units:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no genuine images")
    notes += [f"{entry.name}: {entry.reason}" for entry in entries if isinstance(entry, Rejected)]
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if workers is None else workers, len(units))
    step = _Step(threads=max(1, cores // workers) if workers else 0)

    def told() -> Iterator[tuple[str, Told]]:
        batches = ([unit] for unit in units)
        work = local.run(step, batches, step.failed, workers=workers, timeout=TIMEOUT)
        for done, (one,) in enumerate(work, start=1):
            progress.report("examining genuine images", done, len(units))
            if isinstance(one, str):
                notes.append(one)
            else:
                yield one

    return Genuine.of(told())
