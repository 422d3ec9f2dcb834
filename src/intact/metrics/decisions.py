"""How well scores tell forged images from authentic ones, and whether probabilities mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import stats

from intact.metrics import detection
from intact.metrics.statistics import Interval, binomial_interval


@dataclass(frozen=True)
class ImageScores:
    """How well scores tell forged images from authentic ones; all but `false_alarms` from 0 to 1.

    Args:
        coverage: Share of the images that were not abstained from.
        auroc: Ties count one half.
        average_precision: Guessing earns the share of forged images.
        equal_error_rate: Smaller is better; guessing earns one half.
        tpr_at_fpr_1_percent: Share of forged images found while 1 % of authentic ones are flagged.
        tpr_at_fpr_01_percent: The same at 0.1 %; with fewer than 1000 authentic images none is flagged.
        sensitivity: Share of forged images found at the threshold.
        false_alarms: Per 1000 authentic images at the threshold.
    """

    coverage: float
    auroc: float
    average_precision: float
    equal_error_rate: float
    tpr_at_fpr_1_percent: float
    tpr_at_fpr_01_percent: float
    sensitivity: float
    false_alarms: Interval


def image_scores(
    scores: Float[ndarray, "n"],
    forged: Bool[ndarray, "n"],
    threshold: float,
    abstained: Bool[ndarray, "n"] | None = None,
    *,
    pessimistic: bool = False,
) -> ImageScores:
    """Judge the scores of n images.

    Args:
        scores: One finite score per image; where abstained, any value.
        forged: True where the image is forged; both classes must be present.
        threshold: At or above it an image is flagged; fixed beforehand.
        abstained: Images the detector gave no answer on; by default none.
        pessimistic: Whether abstained images count as not detected, below every score, instead of
            being left out. A table with abstentions shows both.

    Raises:
        ValueError: One class is missing among the images that count, a score is not a finite float,
            or the shapes differ.
    """
    silent = np.zeros(scores.shape, bool) if abstained is None else abstained
    _check_vectors(scores, forged, silent)
    if pessimistic:
        values, truth = np.where(silent, np.finfo(scores.dtype).min, scores), forged
    else:
        values, truth = scores[~silent], forged[~silent]
    return ImageScores(
        coverage=1.0 - float(silent.mean()),
        auroc=detection.auroc(values, truth),
        average_precision=detection.average_precision(values, truth),
        equal_error_rate=equal_error_rate(values, truth),
        tpr_at_fpr_1_percent=detection.sensitivity_at_specificity(values, truth, 0.99),
        tpr_at_fpr_01_percent=detection.sensitivity_at_specificity(values, truth, 0.999),
        sensitivity=float(np.mean(values[truth] >= threshold)),
        false_alarms=false_alarms_per_1000(int((values[~truth] >= threshold).sum()), int((~truth).sum())),
    )


def equal_error_rate(scores: Float[ndarray, "n"], forged: Bool[ndarray, "n"]) -> float:
    """Rate, 0 to 1, at which as large a share of authentic images is flagged as of forged ones missed.

    Where no threshold makes them equal, on the straight line between the neighbouring points of the ROC.

    Raises:
        ValueError: One class is missing, a score is not finite, or the shapes differ.
    """
    false, true = detection.operating_points(scores, forged)
    flagged, missed = false / false[-1], 1 - true / true[-1]
    gap = flagged - missed  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    way = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(flagged[after - 1] + way * (flagged[after] - flagged[after - 1]))


def false_alarms_per_1000(alarms: int, authentic: int) -> Interval:
    """False alarms per 1000 authentic images, with the exact two-sided 95 % interval.

    Without any alarm in n images the upper end is near 3700 / n; the rule of three, 3000 / n, is the
    end of a one-sided interval.

    Raises:
        ValueError: There is no authentic image, or the alarms are not between 0 and their number.

    Source: Clopper and Pearson, Biometrika 26(4), 1934.
    """
    share = binomial_interval(alarms, authentic)
    return Interval(1000 * share.value, 1000 * share.low, 1000 * share.high)


def brier_score(probabilities: Float[ndarray, "n"], forged: Bool[ndarray, "n"]) -> float:
    """Mean squared distance of the probability of a forgery from what is true, 0 (best) to 1.

    Raises:
        ValueError: A probability lies outside 0 to 1, there is none, or the shapes differ.

    Source: Brier, Monthly Weather Review 78(1), 1950.
    """
    _check_probabilities(probabilities, forged)
    return float(np.mean((probabilities - forged) ** 2))


def expected_calibration_error(
    probabilities: Float[ndarray, "n"], forged: Bool[ndarray, "n"], bins: int = 15
) -> float:
    """Mean distance of the probability of a forgery from how often there is one, 0 (best) to 1.

    Images are sorted by probability into bins of equal number; each counts by its size. Equal
    probabilities share the bin of their mean rank, so their order does not matter. Below some
    hundred images chance alone makes the error large.

    Raises:
        ValueError: A probability lies outside 0 to 1, there is none, or the shapes differ.

    Source: Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019.
    """
    _check_probabilities(probabilities, forged)
    middle = stats.rankdata(probabilities) - 0.5
    number = (middle * bins / middle.size).astype(int)
    return float(np.abs(np.bincount(number, probabilities - forged)).sum() / middle.size)


def risk_coverage(
    confidence: Float[ndarray, "n"], wrong: Bool[ndarray, "n"], abstained: Bool[ndarray, "n"]
) -> tuple[Float[ndarray, "points"], Float[ndarray, "points"]]:
    """Share of wrong answers among the surest ones, for every share of images to be answered.

    Args:
        confidence: How sure each answer is; where abstained, any value.
        wrong: True where the answer is wrong.
        abstained: Images without an answer. The last coverage is the share of the others.

    Returns:
        Coverage, rising, above 0 to 1, and risk, 0 to 1. Equally sure answers come together.

    Raises:
        ValueError: Nothing was answered, a confidence is not a finite float, or the shapes differ.

    Source: El-Yaniv and Wiener, Journal of Machine Learning Research 11, 2010.
    """
    _check_vectors(confidence, wrong, abstained)
    given = confidence[~abstained]
    if not given.size or not np.isfinite(given).all():
        raise ValueError(
            f"{np.count_nonzero(np.isfinite(given))} of {confidence.size} images have an answer of known "
            "confidence; answers are ranked by it, so mark images without one as abstained and have one left"
        )
    order = np.argsort(-given)
    last = detection.ends_of_ties(given[order])
    mistakes = np.cumsum(wrong[~abstained][order])[last]
    return (last + 1) / confidence.size, mistakes / (last + 1)


def _check_vectors(scores: ndarray, *others: ndarray) -> None:
    shapes = [one.shape for one in (scores, *others)]
    if scores.ndim != 1 or len(set(shapes)) != 1 or not scores.size or scores.dtype.kind != "f":
        raise ValueError(
            f"{scores.dtype} scores and what goes with them have shapes {shapes}; every image needs one "
            "float, not yet cut by a threshold, and one of each of the others, so pass vectors of one length"
        )


def _check_probabilities(probabilities: ndarray, forged: ndarray) -> None:
    _check_vectors(probabilities, forged)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"probabilities span {probabilities.min():g} to {probabilities.max():g}; calibration compares "
            "them with rates from 0 to 1, so calibrate the scores first"
        )
