"""How well forged images, and the forged parts of them, are found.

Three levels: pixels of one image, regions, and whole images. Score maps are floats, larger meaning
more suspicious, in planes or volumes, and stand on the grid of their labels: a map made at another
size is resized before it comes here, never the labels, in which a small forgery would vanish. What
scores at or above a threshold is called forged.

Labels are uint8: 0 genuine, 1 forged, 2 what was copied, 3 don't care. Don't-care pixels count
nowhere. What was copied is genuine in itself, yet a copy-move detector rightly finds both ends; so
there are two scores, and a table shows both: by default the copied part counts nowhere either, with
`sources=True` it counts as forged.

The usual AUROC, average precision, Dice and intervals are those of the neighbouring files. Differences
from common protocols: no map is inverted where that scores higher, nothing counts towards pixel F1 in
an authentic image, and a threshold chosen on the truth is called an oracle.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy import ndimage, stats

from intact.metrics import detection, localisation
from intact.metrics.segmentation import Summary, aggregate
from intact.metrics.statistics import Interval, binomial_interval

Map = Float[ndarray, "..."]
Labels = UInt8[ndarray, "..."]

FORGED, SOURCE, BORDER = 1, 2, 3  # as `intact.forge` writes them, a floor above this one; 0 is genuine

SMALL_SHARE = 0.001  # of an image's area: a larger false alarm would be noticed
HIT_IOU = 0.1  # low, since a region only has to lead the eye to the place
FALSE_PER_IMAGE = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # Setio et al., Medical Image Analysis 42, 2017


@dataclass(frozen=True)
class Confusion:
    """Pixels by truth and by call, all at one threshold. The sum of two pools their pixels.

    A share of nothing is NaN, and so is what asks for forged pixels where there are none.

    Args:
        tp: Forged pixels called forged.
        fp: Genuine pixels called forged.
        fn: Forged pixels called genuine.
        tn: Genuine pixels called genuine.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def authentic(self) -> bool:
        """Whether no pixel is forged."""
        return self.tp + self.fn == 0

    @property
    def precision(self) -> float:
        """Share of the called pixels that are forged, 0 to 1; NaN if none is called."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the forged pixels that are called, 0 to 1; NaN if none is forged."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Dice: twice the hits over the forged pixels of truth and call, 0 to 1; NaN if none is forged."""
        return math.nan if self.authentic else 2 * self.tp / (2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """Hits over the pixels forged in truth or call, 0 to 1, F1 / (2 - F1); NaN if none is forged."""
        return math.nan if self.authentic else self.tp / (self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> float:
        """Correlation of call and truth, -1 to 1; 0 where all calls are alike, NaN if none is forged.

        Source: Matthews, Biochimica et Biophysica Acta 405(2), 1975.
        """
        if self.authentic:
            return math.nan
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(spread) if spread else 0.0

    @property
    def false_area(self) -> float:
        """Share of the genuine pixels that are called forged, 0 to 1."""
        return _share(self.fp, self.fp + self.tn)


@dataclass(frozen=True)
class PixelScores:
    """How well a map shows what is forged in one image; all but `confusion` NaN if nothing is.

    Args:
        confusion: At the fixed threshold; it has F1, IoU, MCC, precision and recall.
        oracle_f1: Oracle: the F1 of the threshold that suits this image best, found by looking at the
            truth. It flatters: even noise scores above `all_forged_f1`. Never report it as F1.
        auroc: Over the pixels of the image, 0 to 1.
        average_precision: Over the pixels of the image, 0 to 1; guessing earns the forged share.
        all_forged_f1: F1 of calling every pixel forged, 2f / (1 + f) at a forged share f; the line to beat.
    """

    confusion: Confusion
    oracle_f1: float = math.nan
    auroc: float = math.nan
    average_precision: float = math.nan
    all_forged_f1: float = math.nan


@dataclass(frozen=True)
class PixelSummary:
    """Pixel scores over the forged images of a set.

    Args:
        mean: Mean of each image's score (the number to report), with intervals, by name.
        pooled: The pixels of all these images together, in which large forgeries outweigh small ones.
    """

    mean: Summary
    pooled: Confusion


@dataclass(frozen=True)
class FalseArea:
    """Share of an authentic image's area that is called forged, over images; NaN without any.

    Args:
        images: How many authentic images there are.
        mean: Mean share, 0 to 1.
        percentile_95: 95 % of images have this share or less, interpolated linearly.
        above: Share of images in which more than 0.1 % of the area is called.
    """

    images: int
    mean: float
    percentile_95: float
    above: float


def pixel_scores(
    score_map: Map, labels: Labels, threshold: float = 0.5, *, sources: bool = False
) -> PixelScores:
    """Judge the map of one image, forged or authentic.

    Args:
        score_map: Finite floats, on the grid of the labels.
        labels: 0 genuine, 1 forged, 2 what was copied, 3 don't care.
        threshold: At or above it a pixel is called forged. It is fixed beforehand, never chosen on
            these images.
        sources: Whether the copied part counts as forged; otherwise it counts nowhere.

    Raises:
        ValueError: Map and labels differ in shape, the map is not of finite floats, the labels hold
            something else, or they say neither that the image is forged in part nor that it is authentic.
    """
    judged, truth = _judged(score_map, labels, sources=sources)
    values, forged = score_map[judged], truth[judged]
    called = values >= threshold
    hits, calls, found = (int(np.count_nonzero(part)) for part in (called & forged, called, forged))
    confusion = Confusion(hits, calls - hits, found - hits, values.size - calls - found + hits)
    if confusion.authentic:
        return PixelScores(confusion)
    return PixelScores(
        confusion,
        localisation.best_dice(values[None, None], forged[None, None]),
        detection.auroc(values, forged),
        detection.average_precision(values, forged),
        2 * found / (values.size + found),
    )


def over_forged(
    scores: Mapping[str, PixelScores], patients: Mapping[str, Hashable] | None = None
) -> PixelSummary:
    """Average over the forged images; authentic ones are left to `false_area`.

    Scores come by the name of their image, so that the padding or the repeats of a last batch
    cannot count twice.

    Args:
        scores: Of every image, all at one threshold.
        patients: Whose each image is. A patient's images are averaged first; by default every image
            weighs the same.

    Raises:
        ValueError: No image is forged.
    """
    forged = {name: one for name, one in scores.items() if not one.confusion.authentic}
    cases = [
        {
            "f1": one.confusion.f1,
            "iou": one.confusion.iou,
            "mcc": one.confusion.mcc,
            "precision": one.confusion.precision,
            "sensitivity": one.confusion.recall,
            "oracle_f1": one.oracle_f1,
            "auroc": one.auroc,
            "average_precision": one.average_precision,
            "all_forged_f1": one.all_forged_f1,
        }
        for one in forged.values()
    ]
    mean = aggregate(cases, [patients[name] for name in forged] if patients is not None else None)
    return PixelSummary(mean, sum((one.confusion for one in forged.values()), Confusion(0, 0, 0, 0)))


def false_area(scores: Mapping[str, PixelScores]) -> FalseArea:
    """False alarms of the pixels of authentic images; forged ones are left to `over_forged`."""
    shares = [one.confusion.false_area for one in scores.values() if one.confusion.authentic]
    if not shares:
        return FalseArea(0, math.nan, math.nan, math.nan)
    above = np.mean(np.array(shares) > SMALL_SHARE)
    return FalseArea(len(shares), float(np.mean(shares)), float(np.percentile(shares, 95)), float(above))


@dataclass(frozen=True, eq=False)
class RegionScores:
    """What `region_scores` found in one image.

    Args:
        found: For each forged region, the highest peak of a predicted one that hits it; -inf if none does.
        false: Peaks of predicted regions that hit nothing.
    """

    found: Float[ndarray, "regions"]
    false: Float[ndarray, "alarms"]


def region_scores(
    score_map: Map, labels: Labels, threshold: float = 0.5, *, sources: bool = False
) -> RegionScores:
    """Match the regions of a map with the forged ones. Pixels that touch, corners included, are one region.

    A predicted region, scored by its peak, hits a forged one if their IoU is 0.1 or more or if its
    centre, the mean place of its pixels rounded to a pixel, halves up, lies inside. It may hit several;
    several may hit one. What hits nothing is false, unless half of it or more is don't-care. The centre
    rule lets a map that calls everything hit a forgery in the middle: read pixel scores beside.

    Args and errors are those of `pixel_scores`; the threshold bounds the predicted regions.
    """
    judged, forged = _judged(score_map, labels, sources=sources)
    neighbours = np.ones((3,) * labels.ndim, bool)
    truth, count = ndimage.label(forged, neighbours)
    sizes = np.bincount(truth.ravel(), minlength=count + 1)[1:]
    parts, _ = ndimage.label(score_map >= threshold, neighbours)
    found, false = np.full(count, -np.inf), []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        part = parts[box] == number
        peak = score_map[box][part].max()
        counted = part & judged[box]
        area = np.count_nonzero(counted)
        common = np.bincount(truth[box][counted], minlength=count + 1)[1:]
        hit = common >= HIT_IOU * (area + sizes - common)
        places = np.argwhere(part)
        middle = (2 * places.sum(axis=0) + len(places)) // (2 * len(places))
        hit |= np.arange(1, count + 1) == truth[box][tuple(middle)]
        found[hit] = np.maximum(found[hit], peak)
        if not hit.any() and 2 * area > len(places):
            false.append(peak)
    return RegionScores(found, np.array(false, float))


def froc(scores: Mapping[str, RegionScores]) -> dict[float, float]:
    """Share of forged regions found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false regions per image.

    Only thresholds that a user could set count, nothing is interpolated; false regions are divided by
    all images, authentic ones included. Their mean is the usual one number.

    Args:
        scores: Of every image, by its name.

    Returns:
        Sensitivity, 0 to 1, by false regions per image.

    Raises:
        ValueError: No image holds a forged region.

    Source: Chakraborty, Medical Physics 16(4), 1989; the seven rates: Setio et al., 2017.
    """
    found = np.concatenate([np.empty(0), *(one.found for one in scores.values())])
    false = np.sort(np.concatenate([np.empty(0), *(one.false for one in scores.values())]))[::-1]
    if not found.size:
        raise ValueError(
            f"{len(scores)} images hold no forged region; a sensitivity is a share of such regions, so "
            "add forged images"
        )
    allowed = [int(rate * len(scores)) for rate in FALSE_PER_IMAGE]
    bounds = [false[most] if most < false.size else -np.inf for most in allowed]
    return {rate: float(np.mean(found > bound)) for rate, bound in zip(FALSE_PER_IMAGE, bounds, strict=True)}


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


@dataclass(frozen=True)
class CopyTransform:
    """How a copied part was moved. What takes the copy for the source has all of it inverted.

    Args:
        displacement: From the source to the copy, in px along each axis.
        angle: In degrees.
        scale: Above 0; 1 keeps the size.
    """

    displacement: tuple[float, ...]
    angle: float = 0.0
    scale: float = 1.0


def transform_error(estimate: CopyTransform, truth: CopyTransform) -> dict[str, float]:
    """How far an estimated copy-move is off.

    Returns:
        `displacement_px`, the length of the difference; `angle_degrees`, the shorter way round, 0 to
        180; and `scale_percent` of the true scale. All are 0 or more.

    Raises:
        ValueError: The displacements have another number of axes, or a scale is not above 0.
    """
    if len(estimate.displacement) != len(truth.displacement) or min(estimate.scale, truth.scale) <= 0:
        raise ValueError(
            f"displacements of {len(estimate.displacement)} and {len(truth.displacement)} axes, scales "
            f"{estimate.scale:g} and {truth.scale:g}; nothing is copied to size 0 and both describe one "
            "image, so give as many axes for both and scales above 0"
        )
    turn = abs(estimate.angle - truth.angle) % 360
    return {
        "displacement_px": math.dist(estimate.displacement, truth.displacement),
        "angle_degrees": min(turn, 360 - turn),
        "scale_percent": 100 * abs(estimate.scale / truth.scale - 1),
    }


def _judged(
    score_map: Map, labels: Labels, *, sources: bool
) -> tuple[Bool[ndarray, "..."], Bool[ndarray, "..."]]:
    """Where pixels count, and which of them are forged."""
    if score_map.shape != labels.shape:
        raise ValueError(
            f"the map has shape {score_map.shape} and the labels {labels.shape}; forgeries are judged at the "
            "size of the image, so resize the map to it, not the labels"
        )
    if score_map.dtype.kind != "f" or not np.isfinite(score_map).all():
        raise ValueError(
            f"the map is {score_map.dtype} with {np.count_nonzero(~np.isfinite(score_map))} values that are "
            "NaN or infinite; ranks need finite scores that no threshold has cut, so pass the floats that "
            "the detector gave"
        )
    if labels.dtype != np.uint8 or labels.max(initial=0) > BORDER:
        raise ValueError(
            f"labels are {labels.dtype} up to {labels.max(initial=0)}; uint8 0 is genuine, 1 forged, 2 "
            "copied and 3 don't care, so bring them to that"
        )
    forged, ignored = labels == FORGED, labels == BORDER
    if sources:
        forged |= labels == SOURCE
    else:
        ignored |= labels == SOURCE
    if labels.any() and not ((labels == FORGED).any() and (~forged & ~ignored).any()):
        raise ValueError(
            f"{np.count_nonzero(labels == FORGED)} pixels are forged and "
            f"{np.count_nonzero(~forged & ~ignored)} genuine, of {labels.size}; a forged image is judged by "
            "telling one from the other and an authentic one is all genuine, so leave this image out"
        )
    return ~ignored, forged


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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
