"""`intact bench forensics`: which examiner finds which forgery, how small, and with how many false alarms.

Cases are made from genuine images (`intact.forge.pack`), or come as a pack with masks. Before anything is
measured, an audit tries to tell the classes apart without looking for forgeries (`forensics_leaks`),
and refuses packs where that is possible. Then every method examines every case at its own resolution;
rows are kept in OUT/cells as they are made, so a run that was stopped goes on, and one more method
costs only its own time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intact import progress
from intact._version import __version__
from intact.bench.forensics_leaks import Audit, audit, refuse_leaks
from intact.bench.forensics_measure import Worker
from intact.bench.forensics_summary import Examined, summarise
from intact.bench.forensics_tell import tell
from intact.configure import configure
from intact.engine import local
from intact.errors import UsageError
from intact.examiner_model import ExaminerModel
from intact.findings import Findings
from intact.forensics import METHODS
from intact.forge import KINDS, SERIES_KINDS
from intact.forge.after import parse_after
from intact.forge.cases import Case, digest, read_cases
from intact.forge.folds import folds_of_cases
from intact.forge.pack import Asked, make_pack
from intact.io.atomic import put
from intact.model import batched
from intact.rows import Row, make_folder, write_rows

TIMEOUT = 600.0  # seconds that one method may take on one image
SAME = {name: name for name in ("pack", "method", "fields", "intact")}


@dataclass(frozen=True, eq=False)
class Benched:
    """What a benchmark came to.

    Args:
        out: Folder of the results.
        run: What run.json holds.
        rows: Those of results.csv.
        failed: Method, case and reason, where a method could not examine a case.
        left_out: Files that no case was made from, and why.
    """

    out: Path
    run: Row
    rows: list[Row]
    failed: list[Row]
    left_out: dict[str, str]


def bench_forensics(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    kinds: Sequence[str] = (),
    methods: Sequence[str] = (),
    models: Sequence[str | Path] = (),
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    after: Sequence[str] = (),
    images: int = 0,
    alpha: float = 0.01,
    seed: int = 0,
    workers: int | None = None,
) -> Benched:
    """Measure examiners; write tables (.csv and results.md), run.json and the page index.html.

    Args:
        paths: Genuine images that are to be forged; without `kinds`, one pack of cases.
        out: Folder for the results; what it holds of earlier runs is not measured again.
        kinds: Keys of `intact.forge.KINDS`.
        methods: Keys of `intact.forensics.METHODS`; by default all, or none where there are `models`.
        models: Folders of examiners that were taught, by `intact.teach`, on other patients' images.
        fields: Of methods and kinds that differ from the defaults, by name.
        after: Processing of whole images, such as "jpeg=85", "noise" and "scale".
        images: How many genuine images are taken at most, evenly; 0 takes all.
        alpha: False-alarm rate.
        seed: Decides all chance in forging and in splits.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: Unknown names, no cases, or classes that can be told apart without examination.
        InputError: A file of a pack cannot be read.
        OutputError: Results cannot be written; what was measured stays, the same call goes on.
    """
    out, fields = Path(out), fields or {}
    chosen = list(dict.fromkeys(methods or ([] if models else METHODS)))
    _check(chosen, kinds, fields, alpha)
    taught = _taught(models)
    make_folder(out)
    asked = Asked(list(dict.fromkeys(kinds)), fields, parse_after(after), images, seed)
    pack, left_out = _pack([Path(path) for path in paths], out, asked)
    cases, of_pack = read_cases(pack), digest(pack)
    audited = _audited(cases, of_pack, out)
    refuse_leaks(str(pack) if not kinds else ", ".join(map(str, paths)), audited)
    described = {name: _fields(name, fields) for name in chosen} | {
        name: one.described for name, one in taught.items()
    }
    askers = [Worker(name, fields.get(name, {})) for name in chosen]
    askers += [Worker(name, {}, one.folder) for name, one in taught.items()]
    examined = [_examined(one, described[one.method], cases, of_pack, out, workers) for one in askers]
    folds = folds_of_cases(cases, seed, members=2 if kinds else 1)
    rows = summarise(cases, folds, examined, alpha)
    run = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "intact": __version__,
        "paths": [str(path) for path in paths],
        "kinds": list(asked.kinds),
        "after": [one.told for one in asked.after],
        "methods": described,
        "images": images,
        "alpha": alpha,
        "seed": seed,
        "pack": of_pack,
        "cases": len(cases),
        "left_out": left_out,
    }
    failed = tell(out, run, cases, folds, audited, examined, rows)
    return Benched(out, run, rows, failed, left_out)


def _check(
    methods: Sequence[str], kinds: Sequence[str], fields: Mapping[str, Mapping[str, Any]], alpha: float
) -> None:
    """Refuse what would otherwise fail late."""
    for name in methods:
        configure(METHODS, name, fields.get(name, {}))
    for kind in kinds:
        if kind in SERIES_KINDS:
            raise UsageError(f"{kind} edits the files of a series; examiners of pixels cannot find it")
        configure(KINDS, kind, fields.get(kind, {}))
    if stray := sorted(fields.keys() - {*methods, *kinds}):
        raise UsageError(f"fields are set for {stray[0]!r}, which is neither a method nor a kind of this run")
    if not 0.0 < alpha < 1.0:
        raise UsageError(f"alpha is {alpha:g}; a false-alarm rate lies between 0 and 1, such as 0.01")


def _pack(paths: Sequence[Path], out: Path, asked: Asked) -> tuple[Path, dict[str, str]]:
    if asked.kinds:
        return make_pack(paths, out / "packs", asked)
    if len(paths) != 1 or asked.after or asked.images:
        raise UsageError(
            f"{len(paths)} paths without --kind: to have genuine images forged name a --kind, such as "
            "copy_move; a pack of cases is one folder, and is taken as it is"
        )
    return paths[0], {}


@dataclass(frozen=True)
class _Taught:
    """An examiner that was taught.

    Args:
        folder: Where it lies.
        described: What it is and what it learned from, as plain values.
    """

    folder: str
    described: dict[str, Any]


def _taught(folders: Sequence[str | Path]) -> dict[str, _Taught]:
    """Taught examiners by name.

    Raises:
        ModelError: A folder holds none.
        UsageError: Two have one name.
    """
    found: dict[str, _Taught] = {}
    for folder in folders:
        model = ExaminerModel.load(folder)
        name = model.card.name
        if name in found or name in METHODS:
            raise UsageError(f"two examiners are named {name!r}: rename the folder, names tell them apart")
        told = model.examiner.fields() | {"taught": model.card.method, "weights": model.digest}
        found[name] = _Taught(str(folder), json.loads(json.dumps(told)))
    return found


def _fields(method: str, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All fields of a method, as JSON gives them back."""
    every = dataclasses.asdict(configure(METHODS, method, fields.get(method, {})))
    found: dict[str, Any] = json.loads(json.dumps(every, default=str))
    return found


def _short(*texts: str) -> str:
    """A name that stands for some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _audited(cases: Sequence[Case], pack: str, out: Path) -> list[Audit]:
    """The audit of a pack, from an earlier run if there was one."""
    kept = make_folder(out / "cells") / f"audit-{_short(__version__, pack)}.json"
    if kept.exists():
        found = [Audit(**one) for one in json.loads(kept.read_text("utf-8"))]
    else:
        found = audit(cases)
        put(kept, json.dumps([dataclasses.asdict(one) for one in found]).encode())
    write_rows(out / "audit.csv", [one.row() for one in found])
    return found


def _examined(
    worker: Worker,
    every: Mapping[str, Any],
    cases: Sequence[Case],
    pack: str,
    out: Path,
    workers: int | None,
) -> Examined:
    """What a method says of every case; what it said before is not asked again."""
    method = worker.method
    folder = out / "cells" / f"{method}-{_short(__version__, pack, json.dumps(every))}"
    run = {
        "pack": pack,
        "method": method,
        "fields": every,
        "intact": __version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
    }
    with Findings(folder, run, same=SAME) as findings:
        done = findings.resume([case.name for case in cases])
        rest = cases[done:]
        count = min(len(os.sched_getaffinity(0)) if workers is None else workers, len(rest))
        batches = batched(rest, 1)
        for rows in local.run(worker, batches, worker.lost, workers=count, timeout=TIMEOUT):
            findings.append(rows)
            done += len(rows)
            progress.report(method, done, len(cases))
        findings.finish()
        return Examined(method, list(findings.rows()))
