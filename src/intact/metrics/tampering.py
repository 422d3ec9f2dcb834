"""How well the forged pixels of images are found; regions are in `froc.py`, whole images in `decisions.py`.

Score maps are floats, larger meaning more suspicious, in planes or volumes, and stand on the grid of
their labels: a map made at another size is resized before it comes here, never the labels, in which a
small forgery would vanish. What scores at or above a threshold is called forged.

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

from intact.metrics import detection, localisation
from intact.metrics.segmentation import Summary, aggregate

Map = Float[ndarray, "..."]
Labels = UInt8[ndarray, "..."]

FORGED, SOURCE, BORDER = 1, 2, 3  # as `intact.forge` writes them, a floor above this one; 0 is genuine

SMALL_SHARE = 0.001  # of an image's area: a larger false alarm would be noticed


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
    counted, truth = judged(score_map, labels, sources=sources)
    values, forged = score_map[counted], truth[counted]
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


def judged(
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


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
