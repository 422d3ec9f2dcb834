"""Teach an examiner: from genuine images, which are forged here, or a pack of cases to a model.

A fifth of the patients is never learned from. Their genuine images are what p-values are measured
against, and with their forged ones they tell how well the examiner does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact import progress
from intact.configure import configure
from intact.errors import UsageError
from intact.examiner_model import ExaminerCard, ExaminerModel
from intact.forensics import LEARNED
from intact.forensics.learned.base import LearnedExaminer, Lesson
from intact.forge.after import parse_after
from intact.forge.cases import LISTS, Case, read_cases
from intact.forge.folds import folds_of_cases
from intact.forge.pack import Asked, make_pack
from intact.io import read
from intact.metrics.detection import auroc
from intact.metrics.statistics import bootstrap
from intact.metrics.tampering import pixel_scores
from intact.scores import Calibration

KINDS = ("copy_move", "splice", "remove", "inject", "erase")
AFTER = ("jpeg=85", "noise=0.5", "scale=0.9")
MEMBERS = 2  # patients of a fold at least, as foreign parts come from another one of the same


@dataclass(frozen=True)
class Taught:
    """What teaching gave.

    Args:
        model: Ready to be asked.
        left_out: Files that could not be used, and why.
    """

    model: ExaminerModel
    left_out: dict[str, str]


@dataclass(frozen=True)
class Cases:
    """Cases as lessons, read anew each time: memory stays flat. Each image says whose it is."""

    cases: Sequence[Case]

    def __iter__(self) -> Iterator[Lesson]:
        for case in progress.track(self.cases, "reading", len(self.cases)):
            image = read(case.image)
            whose = replace(image.identity, patient=case.group)
            yield replace(image, identity=whose), case.labels(image.shape)


def teach(
    paths: Sequence[str | Path],
    *,
    method: str = "backbone",
    fields: Mapping[str, Any] | None = None,
    kinds: Sequence[str] = KINDS,
    after: Sequence[str] = AFTER,
    images: int = 0,
    seed: int = 0,
) -> Taught:
    """Teach an examiner to tell forged images from genuine ones.

    Args:
        paths: Genuine images: files, folders or zip archives; or one pack of cases, a folder with
            cases.csv or cases.json, which is taken as it is.
        method: Key in `intact.forensics.LEARNED`.
        fields: Hyper-parameters that differ from the method's defaults.
        kinds: How genuine images are forged: keys of `intact.forge.KINDS`.
        after: What happens to most images afterwards, forged or not, each to some, such as "jpeg=85":
            an examiner that never saw it takes it for forgery.
        images: How many genuine images are taken at most, evenly; 0 takes all.
        seed: Decides the split, the forgeries and everything random in the method.

    Raises:
        UsageError: Unknown method, field or kind, or too few images or patients.
        InputError: An image of a pack cannot be read.
    """
    examiner = configure(LEARNED, method, {"seed": seed, **(fields or {})})
    given = [Path(path) for path in paths]
    if len(given) == 1 and any((given[0] / name).exists() for name in LISTS):
        return _taught(method, examiner, read_cases(given[0]), seed, {})
    asked = Asked(list(dict.fromkeys(kinds)), {}, parse_after(after), images, seed, in_turn=True)
    with tempfile.TemporaryDirectory(prefix="intact-teach-") as folder:
        pack, left_out = make_pack(given, Path(folder), asked)
        return _taught(method, examiner, read_cases(pack), seed, left_out)


def _taught(
    method: str,
    examiner: LearnedExaminer,
    cases: Sequence[Case],
    seed: int,
    left_out: dict[str, str],
) -> Taught:
    fold = folds_of_cases(cases, seed, members=MEMBERS)
    if not fold.any():
        raise UsageError(
            f"{len({case.group for case in cases})} patients are too few to hold some out: give more"
        )
    learned = [case for case, part in zip(cases, fold, strict=True) if part]
    held = [case for case, part in zip(cases, fold, strict=True) if not part]
    try:
        examiner.fit(Cases(learned))
    except ValueError as error:
        raise UsageError(f"{method} cannot learn from these images: {error}") from error
    scores, f1 = examined(examiner, held)
    forged, patient = np.array([case.forged for case in held]), np.array([case.group for case in held])
    known, marked = np.isfinite(scores), np.isfinite(f1)
    if not (forged & known).any() or not (~forged & known).any():
        raise UsageError("too few of the images held out can be examined: give more, or larger ones")
    genuine = np.sort(scores[~forged & known])
    ranked = bootstrap(
        auroc, scores[known], forged[known], groups=patient[known], strata=forged[known], seed=seed
    )
    found = bootstrap(_mean, f1[marked], groups=patient[marked], seed=seed) if marked.any() else None
    card = ExaminerCard(
        name="",
        method=method,
        fitted=datetime.now(UTC).isoformat(timespec="seconds"),
        genuine=sum(not case.forged for case in learned),
        forged=sum(case.forged for case in learned),
        operators=tuple(sorted({case.operator for case in learned if case.forged})),
        calibrated=len(genuine),
        auroc=(ranked.value, ranked.low, ranked.high),
        f1=(found.value, found.low, found.high) if found else (),
    )
    return Taught(ExaminerModel(examiner, Calibration(genuine), card), left_out)


def examined(
    examiner: LearnedExaminer, cases: Sequence[Case]
) -> tuple[Float[ndarray, "n"], Float[ndarray, "n"]]:
    """Of each case its score, and of forged ones with a mask the F1 of the pixels at even odds; else NaN."""
    scores, f1 = np.full(len(cases), np.nan), np.full(len(cases), np.nan)
    for at, case in enumerate(progress.track(cases, "measuring", len(cases))):
        image = read(case.image)
        evidence = examiner.examine(image)
        if evidence.abstained or evidence.map is None:
            continue
        scores[at] = evidence.score
        labels = case.labels(image.shape)
        if (labels == 1).any() and (labels == 0).any():
            f1[at] = pixel_scores(evidence.map, labels).confusion.f1
    return scores, f1


def _mean(values: Float[ndarray, "n"]) -> float:
    return float(values.mean())
