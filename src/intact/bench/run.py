"""One measurement in a process of its own: `python -m intact.bench.run TASK`.

A process for each measurement, because its peak memory is asked of the system, which remembers the
highest of a whole process; and because one that dies must not take the others along. Progress goes
to standard output as one JSON list per line, what goes wrong to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from intact import progress
from intact.bench.measures import Scored, localise, rank
from intact.bench.scoring import score_test_images, within
from intact.choose import read_some_of
from intact.data.cache import PlaneCache
from intact.evaluate import MASK_SIDE, NORMAL
from intact.fit import Fit, fit
from intact.imitations import score_imitations
from intact.io.atomic import put
from intact.model import Model
from intact.report.words import plural
from intact.rows import Row, write_rows
from intact.store import file_digest

MIB = 2**20
EVERY = 0.1  # seconds between two lines of progress
SCORES, RECORD = "scores.csv", "cell.json"
UNLABELLED = "unlabelled.csv"  # scores of normals that were held out, and of imitations made of them
HELD_OUT = "held out"


@dataclasses.dataclass(frozen=True)
class Task:
    """What to measure, as plain data.

    Args:
        pack: Folder of the pack.
        method: Key in `intact.anomaly.METHODS`.
        seed: Of the fit.
        fields: Those that differ from the method's defaults.
        out: Folder for what is found.
        identity: What tells this measurement from others; goes into the record as it is.
    """

    pack: str
    method: str
    seed: int
    fields: dict[str, Any]
    out: str
    identity: dict[str, Any]


def measure(task: Task) -> tuple[dict[str, Any], Scored, list[Row]]:
    """Fit on a pack's normals and score its test images.

    Returns:
        The record of the measurement, the scores, and those of what needs no label (`_unlabelled`).

    Raises:
        IntactError: The method cannot be fitted or the images cannot be scored.
        FloatingPointError: Its training diverged.
    """
    imported = peak_memory()
    pack = Path(task.pack)
    started = time.perf_counter()
    fitted = fit([pack / "train" / NORMAL], method=task.method, fields=task.fields, seed=task.seed)
    fit_s = time.perf_counter() - started
    model = fitted.model
    with PlaneCache(1, MASK_SIDE) as maps:
        tested = score_test_images(model, pack, maps)
        peak = peak_memory()
        scored = tested.scored()
        kinds = rank(scored)
        if any(mask.any() for mask in tested.masks):
            pointed = localise(maps.planes()[:, 0], np.stack(tested.masks), np.array(tested.masked_kinds))
            kinds = {kind: row | pointed.get(kind, {}) for kind, row in kinds.items()}
    rows = _unlabelled(fitted, task)
    threads = torch.get_num_threads()
    left_out = [(entry.name, entry.reason) for entry in fitted.rejected] + tested.left_out
    return (
        {
            "identity": task.identity,
            "fields": model.detector.fields(),
            "notes": fitted.notes,
            "normals_fitted": model.card.normals_fitted,
            "normals_calibrated": model.card.normals_calibrated,
            "left_out": [(within(pack, name), reason) for name, reason in left_out],
            "fit_s": fit_s,
            "score_s": tested.seconds,
            "images_per_s": len(scored.score) / tested.seconds,
            "peak_mib": peak / MIB,
            "imported_mib": imported / MIB,
            "model_mib": _size_on_disk(model) / MIB,
            "device": f"{_device(model)}, {threads} {plural(threads, 'thread')}",
            "python": platform.python_version(),
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "kinds": kinds,
        },
        scored,
        rows,
    )


def _unlabelled(fitted: Fit, task: Task) -> list[Row]:
    """Scores of held-out normals, and of imitations of disease made of some of them.

    A detector that was calibrated in turns has learned from all normals in the end, so it is fitted
    once more, without a part.
    """
    normals = [Path(task.pack) / "train" / NORMAL]
    if not fitted.model.detector.trains:
        fitted = fit(normals, method=task.method, fields=task.fields, seed=task.seed, in_turns=False)
    images = read_some_of(normals, fitted.held_out)
    by_task = {HELD_OUT: fitted.model.calibration.image} | score_imitations(fitted.model, images, task.seed)
    return [
        {"task": name, "image": number, "score": float(score)}
        for name, scores in by_task.items()
        for number, score in enumerate(scores)
        if np.isfinite(score)
    ]


def peak_memory() -> int:
    """Bytes of memory that this process has held at most.

    `ru_maxrss` is inherited on Linux: a process started by one that holds 2 GB begins with 2 GB.
    The kernel's own mark is of this process alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        mark = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(mark.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _size_on_disk(model: Model) -> int:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        return sum(path.stat().st_size for path in (Path(folder) / "model").iterdir())


def _device(model: Model) -> str:
    return str(next(iter(model.detector.state().values())).device.type)


def main(arguments: Sequence[str]) -> None:
    """Measure, and write `scores.csv` and then `cell.json`, which makes the measurement count."""
    # Whatever a library prints must not come between the lines of progress.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    latest = 0.0

    def display(what: str, done: int, total: int) -> None:
        nonlocal latest
        if done == total or time.monotonic() - latest > EVERY:
            latest = time.monotonic()
            print(json.dumps([what, done, total]), file=lines, flush=True)

    asked = json.loads(arguments[0])
    asked["fields"] = {k: tuple(v) if isinstance(v, list) else v for k, v in asked["fields"].items()}
    task = Task(**asked)
    with progress.showing(display):
        record, scored, unlabelled = measure(task)
    columns = {name: getattr(scored, name).tolist() for name in ("kind", "image", "group", "score", "p")}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    written = write_rows(Path(task.out) / SCORES, rows, exact=True)
    record["scores_sha256"] = file_digest(written)
    write_rows(Path(task.out) / UNLABELLED, unlabelled, exact=True)
    put(Path(task.out) / RECORD, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1:])
