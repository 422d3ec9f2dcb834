"""From pixel counts of cases to numbers: how well maps show what is forged, and what they mark falsely.

Counts are kept by case and by what counts as forged: "target", what was pasted, or "both", what was
pasted and where it was copied from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.bench.measures import spread_out
from intact.findings import Row as Finding
from intact.forge.cases import Case
from intact.metrics.resampling import interval
from intact.metrics.tampering import Confusion, PixelScores, false_area
from intact.rows import Row

RESAMPLES = 1000
MODES = {"target": "", "both": "_with_source"}  # and what its columns end in

Counts = Mapping[str, Mapping[str, Any]]  # of a case, by mode
Pixels = Mapping[str, Counts]  # by case


def places(pixels: Pixels, cases: Sequence[Case]) -> Row:
    """Columns of a table for some cases.

    Forged images alone enter F1, IoU and MCC: each patient's are averaged first, then all patients;
    "pooled" counts the pixels of all images together.

    Args:
        pixels: Of the cases to be told about.
        cases: Of the whole pack, for their patients.
    """
    patients = {case.name: case.group for case in cases}
    row: Row = {}
    for mode, suffix in MODES.items():
        own = {name: of[mode] for name, of in pixels.items() if mode in of}
        fixed = {name: Confusion(*of["fixed"]) for name, of in own.items()}
        forged = [name for name, one in fixed.items() if not one.authentic]
        if forged:
            owners = [patients[name] for name in forged]
            found = _of_forged([own[name] for name in forged], owners)
            row |= {f"{name.replace('@', suffix)}": value for name, value in found.items()}
    area = false_area({name: PixelScores(Confusion(*of["target"]["fixed"])) for name, of in pixels.items()})
    if area.images:
        row |= {"false_area": area.mean, "false_area_95": area.percentile_95, "false_area_above": area.above}
    return row


def _of_forged(counts: Sequence[Mapping[str, Any]], owners: Sequence[str]) -> Row:
    """Columns; `@` stands where the mode is named."""
    fixed = [Confusion(*of["fixed"]) for of in counts]
    each = per_patient([one.f1 for one in fixed], owners)
    drawn = np.random.default_rng(0).integers(each.size, size=(RESAMPLES, each.size))
    row = spread_out("f1@", interval(float(each.mean()), each[drawn].mean(axis=1)))
    means = {
        "iou@": [one.iou for one in fixed],
        "mcc@": [one.mcc for one in fixed],
        "f1_any@": [Confusion(*of["any"]).f1 for of in counts],
        "f1_best@": [of["best_f1"] for of in counts],
        "pixel_auroc@": [of["auroc"] for of in counts],
    }
    row |= {name: float(per_patient(values, owners).mean()) for name, values in means.items()}
    pooled = sum(fixed, Confusion(0, 0, 0, 0))
    return row | {f"{name}_pooled@": getattr(pooled, name) for name in ("f1", "iou", "mcc")}


def per_patient(values: Sequence[float], owners: Sequence[str]) -> Float[ndarray, "patients"]:
    """The mean of each patient's images, so that many of one patient weigh no more than one of another."""
    names, owner = np.unique(owners, return_inverse=True)
    sums = np.bincount(owner, np.array(values, float), minlength=names.size)
    _, first = np.unique(owners, return_index=True)
    return (sums / np.bincount(owner))[np.argsort(np.argsort(first))]


def known_truths(findings: Sequence[Sequence[Finding]]) -> Pixels:
    """How many pixels are forged in each case, as any method that could examine it tells."""
    return {row["path"]: row["pixels"] for own in findings for row in own if row.get("pixels")}


def filled(findings: Sequence[Finding], truths: Pixels) -> Pixels:
    """Pixel counts by case; where a method failed, those of an empty map."""
    found = {}
    for row in findings:
        if (name := row["path"]) in truths:
            found[name] = row.get("pixels") or constant(truths[name], called=False)
    return found


def constant(counts: Counts, *, called: bool) -> Counts:
    """Pixel counts of a map that calls everything forged, or nothing."""
    found = {}
    for mode, of in counts.items():
        tp, fp, fn, tn = of["fixed"]
        same = [tp + fn, fp + tn, 0, 0] if called else [0, 0, tp + fn, fp + tn]
        chance = 0.5 if tp + fn else math.nan
        found[mode] = dict(of) | {"fixed": same, "any": same, "best_f1": of["all_forged_f1"], "auroc": chance}
    return found
