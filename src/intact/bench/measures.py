"""From the scores of test images to numbers: how well they rank, what is flagged, where they point.

`rank` and `localise` need no threshold. `decide` takes the one that normal images set: an image is
flagged when its calibrated p-value is at most alpha. The truth is only ever compared with; nothing
is chosen by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from intact.evaluate import NORMAL
from intact.metrics import (
    Interval,
    aupro,
    auroc,
    average_precision,
    binomial_interval,
    dice_at_normal_fpr,
    false_alarm_acceptance,
    partial_auroc,
    sensitivity_at_specificity,
)
from intact.metrics.resampling import aurocs, average_precisions, draw, interval
from intact.rows import Row
from intact.scores import normals_needed

ALL = "all"  # every kind of finding together
MAX_FPR = 0.1  # of the partial AUROC
SPECIFICITY = 0.95
RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Scored:
    """The test images of one measurement, n of them.

    Args:
        image: Path from the pack on.
        kind: Folder below test/: "good" for normal images.
        group: A number per patient; an image whose patient is unknown has one of its own.
        score: Larger is more suspicious.
        p: Calibrated p-value.
    """

    image: Shaped[ndarray, "n"]
    kind: Shaped[ndarray, "n"]
    group: Int[ndarray, "n"]
    score: Float[ndarray, "n"]
    p: Float[ndarray, "n"]


def by_kind(kind: Shaped[ndarray, "n"]) -> Iterator[tuple[str, Bool[ndarray, "n"]]]:
    """Each kind of finding, with True where an image is normal or of that kind; "all" comes last.

    One kind alone is not repeated as "all".
    """
    kinds = sorted(set(kind.tolist()) - {NORMAL})
    for one in kinds:
        yield one, (kind == NORMAL) | (kind == one)
    if len(kinds) > 1:
        yield ALL, np.ones(len(kind), bool)


def rank(scored: Scored) -> dict[str, Row]:
    """Per kind: how well the scores tell its images from normal ones, whatever the threshold.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    found = {}
    for kind, members in by_kind(scored.kind):
        score, group = scored.score[members], scored.group[members]
        truth = scored.kind[members] != NORMAL
        row: Row = {"n": int(truth.sum()), "normals": int((~truth).sum())}
        counts = draw(group, truth, RESAMPLES)
        row |= spread_out("auroc", interval(auroc(score, truth), aurocs(score, truth, counts)))
        resampled = average_precisions(score, truth, counts)
        row |= spread_out("average_precision", interval(average_precision(score, truth), resampled))
        row["partial_auroc"] = partial_auroc(score, truth, MAX_FPR)
        row["sensitivity_at_95"] = sensitivity_at_specificity(score, truth, SPECIFICITY)
        found[kind] = row
    return found


def decide(scored: Scored, alpha: float, calibrated_on: int) -> dict[str, Row]:
    """Per kind: what flagging at p <= alpha comes to.

    Accuracy and F1 count the images of the kind and all normal ones, as many as there are; so they
    depend on how many of each a pack holds. Empty where `calibrated_on` normals are too few for any
    p-value to reach alpha.
    """
    if calibrated_on < normals_needed(alpha):
        return {kind: {} for kind, _ in by_kind(scored.kind)}
    found = {}
    for kind, members in by_kind(scored.kind):
        abnormal, flagged = scored.kind[members] != NORMAL, scored.p[members] <= alpha
        hits, alarms = int((flagged & abnormal).sum()), int((flagged & ~abnormal).sum())
        ill, well = int(abnormal.sum()), int((~abnormal).sum())
        expected = false_alarm_acceptance(alpha, calibrated_on, well)
        found[kind] = {
            "accuracy": (hits + well - alarms) / (ill + well),
            "f1": 2 * hits / (hits + alarms + ill),
            **spread_out("flagged_rate", binomial_interval(hits, ill)),
            "false_alarms": alarms,
            **spread_out("false_alarm_rate", binomial_interval(alarms, well)),
            "expected_alarms_low": expected[0],
            "expected_alarms_high": expected[1],
        }
    return found


def localise(
    maps: Float[ndarray, "m h w"], masks: Bool[ndarray, "m h w"], kind: Shaped[ndarray, "m"]
) -> dict[str, Row]:
    """Per kind: how well heat maps point at lesions, normal images included.

    A kind without a mask is left out.
    """
    found = {}
    for name, members in by_kind(kind):
        pooled, truth = maps[members], masks[members]
        if truth.any():
            found[name] = {"aupro": aupro(pooled, truth), "dice_at_5_fpr": dice_at_normal_fpr(pooled, truth)}
    return found


def spread_out(name: str, interval: Interval) -> dict[str, float]:
    """A value and the ends of its interval as three columns."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
