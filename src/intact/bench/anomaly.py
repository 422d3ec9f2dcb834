"""`intact bench anomaly`: which detector finds what, at what cost, and which differences are real.

Every method x pack x seed is one measurement, made by the same `fit` and `Model` that users call:

- The normal images of train/good are split by patient, or by look-alike group, into those learned
  from and those that p-values are calibrated on (`intact.fit`). No test label enters any choice: no
  epoch, field, layer or threshold. An image is flagged when its calibrated p-value is at most alpha.
- Per kind of finding, and for all kinds together: AUROC and average precision with 95 % bootstrap
  intervals over patients, partial AUROC up to 10 % false alarms, sensitivity at 95 % specificity;
  accuracy, F1, share flagged and false alarms at the threshold from normals; AUPRO and Dice where
  there are masks.
- Each measurement runs in a process of its own, one after the other: seconds to fit (reading,
  learning, calibrating), images per second (preparing and scoring, not reading files), peak memory of
  the process, size of the saved model.
- The score of every test image is kept, so that each method is compared with a reference, named
  beforehand, on the same images (`intact.bench.differences`).

A measurement is kept in OUT/cells and not made again while all that it depends on is the same. One
that fails is told with its reason, the others go on, and the next run tries it again. What stands in
OUT besides is about the packs, methods and seeds of the last run, nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intact import progress
from intact.anomaly import METHODS
from intact.bench.cells import Cell, Entrant, Failed, Measured, look_up, measure
from intact.bench.packs import open_packs
from intact.bench.results import Benched, tell
from intact.configure import configure
from intact.errors import UsageError
from intact.rows import make_folder

FIRST = "patchcore"  # what `intact fit` takes by default; the reference where none is named


def bench_anomaly(
    packs: Sequence[str | Path],
    out: str | Path,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    alpha: float = 0.05,
    reference: str = "",
) -> Benched:
    """Measure methods on packs, and write results.csv, differences.csv, scores.csv, results.md, index.html.

    Args:
        packs: Folders with train/good, test/good and test/KIND, and masks in ground_truth/KIND.
        out: Folder for the results; what it holds of earlier runs is not measured again.
        methods: Keys in `intact.anomaly.METHODS`; "NAME=KEY" calls one otherwise, so that it may enter
            again with other fields. By default all of them.
        seeds: Each decides the split of the normals and all chance in the method.
        fields: Hyper-parameters that differ from the defaults, by the method's name here.
        alpha: False-alarm rate: the share of normal images that may be flagged.
        reference: The method that others are compared with; by default the first one.

    Raises:
        UsageError: A pack lacks a folder; an unknown method or field; alpha out of range; no seeds.
        OutputError: Results cannot be written; what was measured stays, the same call goes on.
    """
    started = time.monotonic()
    entrants = _entrants(methods, fields or {})
    reference = reference or entrants[0].name
    _check(entrants, seeds, alpha, reference)
    opened = open_packs([Path(pack) for pack in packs])
    out = make_folder(Path(out))
    cells = [Cell(pack, entrant, seed) for pack in opened for entrant in entrants for seed in seeds]
    found, made = _measured(cells, out)
    return tell(found, out, alpha=alpha, reference=reference, made=made, started=started)


def _entrants(methods: Sequence[str], fields: Mapping[str, Mapping[str, Any]]) -> list[Entrant]:
    asked = methods or sorted(METHODS, key=FIRST.__ne__)  # that one first, the others as they stand
    named = [(name, method or name) for name, _, method in (text.partition("=") for text in asked)]
    if stray := sorted(fields.keys() - {name for name, _ in named}):
        raise UsageError(
            f"fields are set for {stray[0]!r}, which is not measured; "
            f"measured are {', '.join(name for name, _ in named)}"
        )
    return [Entrant(name, method, dict(fields.get(name, {}))) for name, method in named]


def _check(entrants: Sequence[Entrant], seeds: Sequence[int], alpha: float, reference: str) -> None:
    """Refuse what would otherwise fail in every process."""
    names = [entrant.name for entrant in entrants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{min(twice)} enters twice: call one of them otherwise, as in NAME={min(twice)}")
    for entrant in entrants:
        configure(METHODS, entrant.method, entrant.fields)
    if reference not in names:
        raise UsageError(f"the reference {reference!r} is not measured; choose one of {', '.join(names)}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds are {list(seeds)}: give at least one, and each once")
    if not 0.0 < alpha < 1.0:
        raise UsageError(f"alpha is {alpha:g}; a false-alarm rate lies between 0 and 1, such as 0.05")


def _measured(cells: Sequence[Cell], out: Path) -> tuple[list[Measured | Failed], int]:
    """Every cell from disk or measured now, and how many were measured now."""
    found: list[Measured | Failed] = []
    made = 0
    for cell in progress.track(cells, "measurements", len(cells)):
        one: Measured | Failed | None = look_up(cell, out)
        if one is None:
            one = measure(cell, out)
            made += isinstance(one, Measured)
        found.append(one)
    return found, made
