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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from intact import progress
from intact.bench.forensics_places import constant, filled, known_truths, places
from intact.bench.measures import spread_out
from intact.findings import Row as Finding
from intact.forge.cases import PLAIN, Case
from intact.forge.pack import BINS, bin_of
from intact.metrics import (
    auroc,
    average_precision,
    binomial_interval,
    sensitivity_at_specificity,
)
from intact.metrics.decisions import false_alarms_per_1000
from intact.metrics.detection import ends_of_ties
from intact.metrics.resampling import aurocs, average_precisions, draw, interval
from intact.rows import Row
from intact.scores import normals_needed

RESAMPLES = 1000
SPECIFICITY = 0.99
ALL = "all"
BASELINE = "all forged"  # the row of calling every pixel of every image forged
SLICES = ("all", "operator", "area", "processing")
OWN, COMPARED = "its p-value", "genuine images"


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


@dataclass(frozen=True, eq=False)
class Slice:
    """Some cases of a pack, those of a table.

    Args:
        kind: One of `SLICES`.
        value: Which operator, area or processing.
        members: True for its cases.
        truth: True where one of them is forged.
        counts: How often each resample of patients holds each of them.
        patients: How many there are.
    """

    kind: str
    value: str
    members: Bool[ndarray, "n"]
    truth: Bool[ndarray, "m"]
    counts: Int[ndarray, "resamples m"]
    patients: int

    def row(self, method: str) -> Row:
        """What stands first in a row of results.csv."""
        forged = int(self.truth.sum())
        key = {"slice": self.kind, "value": self.value, "method": method}
        return key | {"forged": forged, "genuine": self.truth.size - forged, "patients": self.patients}


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
    shares = np.fmax.reduce([one.shares() for one in examined])
    flags = [called(one, cases, folds, alpha) for one in examined]
    truths = known_truths([one.findings for one in examined])
    rows = []
    tasks = list(_slices(cases, shares))
    for part in progress.track(tasks, "summing up", len(tasks)):
        names = {case.name for case, member in zip(cases, part.members, strict=True) if member}
        for one, (flagged, how) in zip(examined, flags, strict=True):
            own = [row for row in one.findings if row["path"] in names]
            row = part.row(one.method) | _ranked(one.scores()[part.members], part)
            row |= _answered(one.scores()[part.members], own, part)
            row |= _decided(flagged[part.members], how, part, alpha)
            row |= places(filled(own, truths), cases)
            seconds = [finding["seconds"] for finding in own if "seconds" in finding]
            rows.append(row | {"seconds": float(np.median(seconds)) if seconds else None})
        everything = {name: constant(of, called=True) for name, of in truths.items() if name in names}
        guess = _ranked(np.zeros(part.truth.size), part)
        rows.append(part.row(BASELINE) | guess | places(everything, cases))
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def _slices(cases: Sequence[Case], shares: Float[ndarray, "n"]) -> Iterator[Slice]:
    forged = np.array([case.forged for case in cases])
    patient = np.unique([case.group for case in cases], return_inverse=True)[1]
    for kind, value, members in slices(cases, shares):
        counts = draw(patient[members], forged[members], RESAMPLES)
        yield Slice(kind, value, members, forged[members], counts, np.unique(patient[members]).size)


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


def _ranked(scores: Float[ndarray, "m"], part: Slice) -> Row:
    truth, counts = part.truth, part.counts
    if not 0 < truth.sum() < truth.size:
        return {}
    found = sensitivity_at_specificity(scores, truth, SPECIFICITY)
    precision = average_precision(scores, truth)
    return {
        **spread_out("auroc", interval(auroc(scores, truth), aurocs(scores, truth, counts))),
        **spread_out("average_precision", interval(precision, average_precisions(scores, truth, counts))),
        **spread_out("tpr_at_fpr_1", interval(found, sensitivities(scores, truth, counts))),
    }


def sensitivities(
    scores: Float[ndarray, "n"], truth: Bool[ndarray, "n"], counts: Int[ndarray, "resamples n"]
) -> Float[ndarray, "resamples"]:
    """What `sensitivity_at_specificity` gives at 99 % for each resample: how often it holds each image."""
    order = np.argsort(-scores, kind="stable")
    last = ends_of_ties(scores[order])
    weights = counts[:, order].astype(float)
    false, true = (np.cumsum(weights * of[order], axis=1)[:, last] for of in (~truth, truth))
    allowed = false <= (1 - SPECIFICITY) * false[:, -1:] + 1e-9
    return np.asarray(np.where(allowed, true, 0).max(axis=1) / true[:, -1])


def _answered(scores: Float[ndarray, "m"], own: Sequence[Finding], part: Slice) -> Row:
    """How often there was an answer, and how well those rank."""
    spoken = np.array([row.get("score") is not None for row in own])
    row: Row = {
        "answered": float(spoken.mean()),
        "answered_forged": float(spoken[part.truth].mean()) if part.truth.any() else None,
        "errors": sum(row.get("error") is not None for row in own),
    }
    if 0 < part.truth[spoken].sum() < spoken.sum():
        row["auroc_answered"] = auroc(scores[spoken], part.truth[spoken])
    return row


def _decided(flagged: Bool[ndarray, "m"], how: str, part: Slice, alpha: float) -> Row:
    """What calling images forged comes to, where that can be decided."""
    if not how:
        return {"decided_by": ""}
    hits, alarms = int(flagged[part.truth].sum()), int(flagged[~part.truth].sum())
    row: Row = {"decided_by": how, "alpha": alpha, "alarms": alarms}
    if part.truth.any():
        row |= spread_out("sensitivity", binomial_interval(hits, int(part.truth.sum())))
    if not part.truth.all():
        row |= spread_out("false_alarms_per_1000", false_alarms_per_1000(alarms, int((~part.truth).sum())))
    return row
