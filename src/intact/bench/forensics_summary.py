"""From rows of cases to tables: per operator, area share and processing, all methods beside a baseline.

Abstentions, and images on which an examiner failed, count as not detected: their score is below every
other and their map is empty. Forged images of a slice are judged against the genuine ones that were
processed alike. Slices by operator and by area hold images without processing.

An image is called forged where the examiner's own p-value is at most alpha. An examiner without
p-values is compared with the genuine images of other folds of patients, whose number decides how small
its p-values can be; where they are too few for alpha, nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intact import progress
from intact.bench.forensics_cases import PLAIN, Case
from intact.bench.forensics_make import BINS, bin_of
from intact.bench.measures import spread_out
from intact.bench.resampling import aurocs, average_precisions, draw, interval
from intact.bench.rows import Row
from intact.findings import Row as Finding
from intact.metrics import (
    auroc,
    average_precision,
    binomial_interval,
    bootstrap,
    sensitivity_at_specificity,
)
from intact.metrics.decisions import false_alarms_per_1000
from intact.metrics.tampering import Confusion, PixelScores, false_area
from intact.scores import normals_needed

RESAMPLES = 1000
SPECIFICITY = 0.99
ALL = "all"
BASELINE = "all forged"  # the row of calling every pixel of every image forged
SLICES = ("all", "operator", "area", "processing")
OWN, COMPARED = "its p-value", "genuine images"

Pixels = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by case and by what counts as forged


@dataclass(frozen=True, eq=False)
class Examined:
    """What one method said of the cases of a pack.

    Args:
        method: The name it entered under.
        findings: A row per case, in the order of the cases.
    """

    method: str
    findings: Sequence[Finding]

    def silent(self) -> Bool[ndarray, "n"]:
        """Where it abstained or failed."""
        return np.array([row.get("score") is None for row in self.findings])

    def scores(self) -> Float[ndarray, "n"]:
        """Scores; of silent cases, one below all others."""
        silent = self.silent()
        values = np.array(
            [0.0 if quiet else row["score"] for quiet, row in zip(silent, self.findings, strict=True)]
        )
        values[silent] = values.min(initial=0.0) - 1.0
        return values

    def shares(self) -> Float[ndarray, "n"]:
        """Forged share of each case's area; NaN where it failed."""
        return np.array([row.get("share", math.nan) for row in self.findings])


def summarise(
    cases: Sequence[Case], folds: Int[ndarray, "n"], examined: Sequence[Examined], alpha: float
) -> list[Row]:
    """Rows of results.csv: each slice of the cases, each method, and the baseline last.

    Args:
        cases: Of a pack.
        folds: Of their patients.
        examined: What each method said.
        alpha: False-alarm rate.
    """
    rows = []
    shares = np.nanmax(np.stack([one.shares() for one in examined]), axis=0)
    flags = [called(one, cases, folds, alpha) for one in examined]
    truths = _truths(examined)
    tasks = list(slices(cases, shares))
    for kind, value, members in progress.track(tasks, "summing up", len(tasks)):
        for one, (flagged, how) in zip(examined, flags, strict=True):
            rows.append({"slice": kind, "value": value, "method": one.method}
                        | _row(cases, one, members, flagged, how, alpha)
                        | _places(_filled(cases, one, members, truths), cases))  # fmt: skip
        rows.append({"slice": kind, "value": value, "method": BASELINE} | _baseline(cases, truths, members))
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def slices(
    cases: Sequence[Case], shares: Float[ndarray, "n"]
) -> Iterator[tuple[str, str, Bool[ndarray, "n"]]]:
    """Kind and name of each slice, and its cases: those of its forgeries and the genuine ones beside."""
    forged = np.array([case.forged for case in cases])
    plain = np.array([case.processing == PLAIN for case in cases])
    operator = np.array([case.operator for case in cases])
    processing = np.array([case.processing for case in cases])
    masked = np.array([case.mask is not None for case in cases])
    if not (plain & forged).any():  # a pack may hold processed images alone
        plain = np.ones(len(cases), bool)
    yield ALL, "", plain
    for name in sorted(set(operator[plain & forged].tolist())):
        yield "operator", name, plain & (~forged | (operator == name))
    bins = np.array([bin_of(share) if share == share else "" for share in shares.tolist()])
    for name in (bin_of(high / 2 if high < 1 else 1.0) for high in BINS):
        own = masked & (bins == name)
        if (plain & own).any():
            yield "area", name, plain & (~forged | own)
    names = list(dict.fromkeys(processing.tolist()))
    for name in sorted(names, key=lambda one: (one != PLAIN, names.index(one))):
        if len(names) > 1:
            yield "processing", name, processing == name


def called(
    one: Examined, cases: Sequence[Case], folds: Int[ndarray, "n"], alpha: float
) -> tuple[Bool[ndarray, "n"], str]:
    """Which cases are called forged, and by what; the second is empty where nothing can be decided."""
    silent = one.silent()
    own = [row.get("p_value") for row in one.findings]
    if all(quiet or p is not None for quiet, p in zip(silent, own, strict=True)):
        return np.array([p is not None and p <= alpha for p in own]) & ~silent, OWN
    scores, genuine = one.scores(), np.array([not case.forged for case in cases])
    processing = np.array([case.processing for case in cases])
    flagged = np.zeros(len(cases), bool)
    for name in set(processing.tolist()):
        for fold in np.unique(folds):
            judged = (folds == fold) & (processing == name)
            known = scores[genuine & (processing == name) & (folds != fold)]
            if known.size < normals_needed(alpha):
                return np.zeros(len(cases), bool), ""
            p = (1 + (known[None] >= scores[judged, None]).sum(axis=1)) / (known.size + 1)
            flagged[judged] = p <= alpha
    return flagged & ~silent, COMPARED


def _row(
    cases: Sequence[Case],
    one: Examined,
    members: Bool[ndarray, "n"],
    flagged: Bool[ndarray, "n"],
    how: str,
    alpha: float,
) -> Row:
    truth = np.array([case.forged for case in cases])[members]
    groups = np.unique([case.group for case in cases], return_inverse=True)[1][members]
    silent = one.silent()[members]
    findings = [row for row, member in zip(one.findings, members, strict=True) if member]
    row: Row = _numbers(truth, groups)
    row |= _ranked(one.scores()[members], truth, groups)
    row |= {
        "answered": 1.0 - float(silent.mean()),
        "answered_forged": 1.0 - float(silent[truth].mean()) if truth.any() else math.nan,
        "errors": sum(finding.get("error") is not None for finding in findings),
    }
    spoken = ~silent
    if 0 < truth[spoken].sum() < spoken.sum():
        row["auroc_answered"] = auroc(one.scores()[members][spoken], truth[spoken])
    row["decided_by"] = how
    if how:
        called_now = flagged[members]
        row |= {"alpha": alpha, "alarms": int(called_now[~truth].sum())}
        row |= spread_out("sensitivity", binomial_interval(int(called_now[truth].sum()), int(truth.sum())))
        if (~truth).any():
            alarms = false_alarms_per_1000(row["alarms"], int((~truth).sum()))
            row |= spread_out("false_alarms_per_1000", alarms)
    seconds = [finding["seconds"] for finding in findings if "seconds" in finding]
    row["seconds"] = float(np.median(seconds)) if seconds else math.nan
    return row


def _numbers(truth: Bool[ndarray, "n"], groups: Int[ndarray, "n"]) -> Row:
    return {
        "forged": int(truth.sum()),
        "genuine": int((~truth).sum()),
        "patients": len(np.unique(groups)),
    }


def _ranked(scores: Float[ndarray, "n"], truth: Bool[ndarray, "n"], groups: Int[ndarray, "n"]) -> Row:
    if not 0 < truth.sum() < truth.size:
        return {}
    counts = draw(groups, truth, RESAMPLES)
    row = spread_out("auroc", interval(auroc(scores, truth), aurocs(scores, truth, counts)))
    resampled = average_precisions(scores, truth, counts)
    row |= spread_out("average_precision", interval(average_precision(scores, truth), resampled))

    def found(scores: ndarray, truth: ndarray) -> float:
        return sensitivity_at_specificity(scores, truth, SPECIFICITY)

    at = bootstrap(found, scores, truth, groups=groups, strata=truth, resamples=RESAMPLES)
    return row | spread_out("tpr_at_fpr_1", at)


def _baseline(cases: Sequence[Case], truths: Pixels, members: Bool[ndarray, "n"]) -> Row:
    """Everything called forged: what any method has to beat."""
    truth = np.array([case.forged for case in cases])[members]
    groups = np.unique([case.group for case in cases], return_inverse=True)[1][members]
    row = _numbers(truth, groups) | _ranked(np.zeros(truth.size), truth, groups)
    own = {case.name: truths[case.name] for case in _members(cases, members) if case.name in truths}
    called = {
        name: {mode: _constant(of, called=True) for mode, of in one.items()} for name, one in own.items()
    }
    return row | _places(called, cases)


def _truths(examined: Sequence[Examined]) -> Pixels:
    """How many pixels are forged in each case, as any method that could examine it tells."""
    return {row["path"]: row["pixels"] for one in examined for row in one.findings if row.get("pixels")}


def _filled(cases: Sequence[Case], one: Examined, members: Bool[ndarray, "n"], truths: Pixels) -> Pixels:
    """Pixel counts of the members by name; where a method failed, those of an empty map."""
    found = {}
    for case, row, member in zip(cases, one.findings, members, strict=True):
        if member and case.name in truths:
            empty = {mode: _constant(of, called=False) for mode, of in truths[case.name].items()}
            found[case.name] = row.get("pixels") or empty
    return found


def _constant(of: Mapping[str, Any], *, called: bool) -> dict[str, Any]:
    """Pixel counts of a map that calls everything forged, or nothing."""
    tp, fp, fn, tn = of["fixed"]
    counts = [tp + fn, fp + tn, 0, 0] if called else [0, 0, tp + fn, fp + tn]
    forged = tp + fn > 0
    chance = {"best_f1": of["all_forged_f1"], "auroc": 0.5 if forged else None}
    return dict(of) | {"fixed": counts, "any": counts} | chance


def _members(cases: Sequence[Case], members: Bool[ndarray, "n"]) -> list[Case]:
    return [case for case, member in zip(cases, members, strict=True) if member]


def _places(pixels: Pixels, cases: Sequence[Case]) -> Row:
    """How well maps show what is forged, and how much of genuine images they mark."""
    patients = {case.name: case.group for case in cases}
    row: Row = {}
    for mode, suffix in (("target", ""), ("both", "_with_source")):
        own = {name: of[mode] for name, of in pixels.items() if mode in of}
        fixed = {name: Confusion(*of["fixed"]) for name, of in own.items()}
        forged = [name for name, one in fixed.items() if not one.authentic]
        if not forged:
            continue
        owners = [patients[name] for name in forged]

        def mean(values: Sequence[float | None], owners: Sequence[str] = owners) -> float:
            return float(np.mean(_per_patient(values, owners)))

        each = _per_patient([fixed[name].f1 for name in forged], owners)
        row |= spread_out(f"f1{suffix}", bootstrap(_mean, each, resamples=RESAMPLES))
        row |= {f"{of}{suffix}": mean([getattr(fixed[name], of) for name in forged]) for of in ("iou", "mcc")}
        pooled = sum((fixed[name] for name in forged), Confusion(0, 0, 0, 0))
        row |= {f"{of}_pooled{suffix}": getattr(pooled, of) for of in ("f1", "iou", "mcc")}
        row[f"f1_any{suffix}"] = mean([Confusion(*own[name]["any"]).f1 for name in forged])
        row[f"f1_best{suffix}"] = mean([own[name]["best_f1"] for name in forged])
        row[f"pixel_auroc{suffix}"] = mean([own[name]["auroc"] for name in forged])
    genuine = {
        name: PixelScores(Confusion(*of["target"]["fixed"])) for name, of in pixels.items() if "target" in of
    }
    area = false_area(genuine)
    if area.images:
        row |= {"false_area": area.mean, "false_area_95": area.percentile_95, "false_area_above": area.above}
    return row


def _per_patient(values: Sequence[float | None], owners: Sequence[str]) -> Float[ndarray, "patients"]:
    """The mean of each patient's images, so that many of one patient weigh no more than one of another."""
    known = np.array([math.nan if value is None else value for value in values])
    return np.array([known[[owner == one for owner in owners]].mean() for one in dict.fromkeys(owners)])


def _mean(values: Float[ndarray, "n"]) -> float:
    return float(np.mean(values))
