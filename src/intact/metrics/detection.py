"""How well scores tell abnormal images from normal ones.

Every function takes the scores of n images, larger meaning more suspicious, and the truth, and
returns one number between 0 and 1. No function ever turns a detector around: an AUROC below one
half stays there.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def auroc(scores: Float[np.ndarray, "n"], abnormal: Bool[np.ndarray, "n"]) -> float:
    """Probability that an abnormal image scores above a normal one; a tie counts one half.

    Args:
        scores: One finite score per image.
        abnormal: True where the image is abnormal; both classes must be present.

    Raises:
        ValueError: One class is missing, a score is not finite, or the shapes differ.

    Source: area under the ROC curve, Hanley and McNeil, Radiology 143(1), 1982.
    """
    false, true = operating_points(scores, abnormal)
    return area_up_to(false / false[-1], true / true[-1], limit=1.0)


def average_precision(scores: Float[np.ndarray, "n"], abnormal: Bool[np.ndarray, "n"]) -> float:
    """Area under the precision-recall curve as a step function.

    The precision at each threshold, weighted by the recall that this threshold gains; images
    with equal scores enter together. A useless detector reaches the share of abnormal images.

    Args:
        scores: One finite score per image.
        abnormal: True where the image is abnormal; both classes must be present.

    Raises:
        ValueError: One class is missing, a score is not finite, or the shapes differ.
    """
    false, true = operating_points(scores, abnormal)
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(np.diff(true) * precision) / true[-1])


def partial_auroc(
    scores: Float[np.ndarray, "n"], abnormal: Bool[np.ndarray, "n"], max_fpr: float = 0.1
) -> float:
    """Area under the ROC curve up to a false-positive rate, rescaled as McClish does.

    The area is mapped so that chance gives 0.5 and a perfect detector 1, which is also what
    scikit-learn's `roc_auc_score(..., max_fpr=...)` returns. The curve is cut at `max_fpr` on
    the straight line between its neighbouring points.

    Args:
        scores: One finite score per image.
        abnormal: True where the image is abnormal; both classes must be present.
        max_fpr: Largest false-positive rate of interest, above 0 and at most 1.

    Raises:
        ValueError: `max_fpr` is out of range, one class is missing, a score is not finite, or
            the shapes differ.

    Source: McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9(3), 1989.
    """
    check_fpr_limit(max_fpr)
    false, true = operating_points(scores, abnormal)
    area = area_up_to(false / false[-1], true / true[-1], limit=max_fpr)
    chance, perfect = max_fpr**2 / 2, max_fpr
    return 0.5 * (1.0 + (area - chance) / (perfect - chance))


def sensitivity_at_specificity(
    scores: Float[np.ndarray, "n"], abnormal: Bool[np.ndarray, "n"], specificity: float
) -> float:
    """Largest share of abnormal images found while at least `specificity` of normals pass.

    Only thresholds that a user could really set count: nothing is interpolated between points.
    The threshold comes from the very images that are judged, so this describes the curve; it
    does not promise the same rate on new images.

    Args:
        scores: One finite score per image.
        abnormal: True where the image is abnormal; both classes must be present.
        specificity: Share of normal images that must stay unflagged, 0 to 1.

    Raises:
        ValueError: `specificity` is out of range, one class is missing, a score is not finite,
            or the shapes differ.
    """
    if not 0.0 <= specificity <= 1.0:
        raise ValueError(
            f"specificity is {specificity:g}; it is a share of the normal images, so give a "
            "number from 0 to 1, for example 0.95"
        )
    false, true = operating_points(scores, abnormal)
    # The slack keeps 1 - 0.9 = 0.09999... from forbidding the one false alarm in ten it allows.
    allowed = (1.0 - specificity) * false[-1] + 1e-9
    return float(true[false <= allowed][-1] / true[-1])


def operating_points(scores: NDArray[Any], abnormal: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """Count false and true positives at every distinct threshold, strictest first.

    Args:
        scores: Finite scores, shape [n].
        abnormal: Truth, shape [n], both classes present.

    Returns:
        False and true positives, each starting with 0 (nothing flagged) and ending with the
        number of normals and abnormals (everything flagged). Equal scores share one point.
    """
    _check_scores(scores, abnormal)
    order = np.argsort(-scores)
    true = np.cumsum(abnormal[order])
    last = ends_of_ties(scores[order])
    true, flagged = true[last], last + 1
    return np.concatenate([[0], flagged - true]), np.concatenate([[0], true])


def ends_of_ties(ordered: NDArray[Any]) -> Counts:
    """Index of the last element of each run of equal values."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def area_up_to(x: NDArray[Any], y: NDArray[Any], limit: float) -> float:
    """Trapezoidal area under a curve with rising `x` from 0 to 1, cut at x = `limit`."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < len(x):
        run, rise = x[inside] - x[inside - 1], y[inside] - y[inside - 1]
        cut = y[inside - 1] + rise * (limit - x[inside - 1]) / run
        x, y = np.append(x[:inside], limit), np.append(y[:inside], cut)
    return float(np.trapezoid(y, x))


def check_fpr_limit(max_fpr: float) -> None:
    """Refuse a false-positive rate that no area can be taken up to."""
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(
            f"max_fpr is {max_fpr:g}; a curve has no area up to this false-positive rate, so "
            "give a number above 0 and at most 1"
        )


def _check_scores(scores: NDArray[Any], abnormal: NDArray[np.bool_]) -> None:
    if scores.shape != abnormal.shape or scores.ndim != 1:
        raise ValueError(
            f"scores have shape {scores.shape} and labels {abnormal.shape}; a metric compares "
            "one score with one label per image, so pass two vectors of equal length"
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are NaN or infinite; "
            "they cannot be ranked, so leave those images out and report how many there were"
        )
    found = int(abnormal.sum())
    if found in (0, abnormal.size):
        raise ValueError(
            f"{found} of {abnormal.size} images are labelled abnormal; telling two classes apart "
            "needs at least one image of each, so add the missing class"
        )
