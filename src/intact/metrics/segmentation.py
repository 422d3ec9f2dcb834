"""How well a predicted mask agrees with the true one: overlap, distance between surfaces, volume.

Masks are bool, of one shape, with any number of axes; `spacing` is mm between voxels along each,
1 mm where it is None. Libraries differ in what a surface is. Here a surface voxel belongs to the
mask and has a face neighbour (4 in a plane, 6 in a volume) outside it; what lies beyond the image
is outside. Distances are exact and Euclidean, from centre to centre. Every surface voxel counts
alike: it is not weighed by the area that it stands for. MONAI's definition is the same, and the
results agree.

Some masks are empty, and means must not hide that:

- Both are empty: right, yet there is nothing to measure. Dice, IoU and all surface metrics are
  NaN, which no mean counts.
- Only the truth is empty, a false positive: Dice and IoU are 0, surface metrics NaN.
- Only the prediction is empty, a miss: Dice, IoU and NSD are 0. HD95 and ASSD are the image's
  diagonal, since no mask of this image can be farther off.

A share of nothing is NaN: sensitivity where the truth is empty, precision where the prediction is.

Source: Maier-Hein et al., "Metrics reloaded", Nature Methods 21, 2024. It leaves the value of a
miss to the user; the diagonal is the choice made here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from intact.metrics.statistics import Interval, bootstrap

Mask = Bool[ndarray, "..."]
Spacing = Sequence[float] | None

TOLERANCE_MM = 2.0  # two or three pixels of most CT and MR planes
ROUNDING_MM = 1e-6  # a distance of exactly the tolerance is within it, whatever the last bit says


@dataclass(frozen=True)
class Summary:
    """What `aggregate` tells of many cases.

    Args:
        metrics: Mean over patients and the interval around it, by metric; NaN where no case has
            a value.
        cases: How many cases there are.
        patients: How many patients they belong to.
        correct_empty: Cases with nothing to find where nothing was found.
        false_positive: Cases with nothing to find where something was found.
        missed: Cases with something to find where nothing was found.
    """

    metrics: dict[str, Interval]
    cases: int
    patients: int
    correct_empty: int
    false_positive: int
    missed: int

    @property
    def case_specificity(self) -> float:
        """Share of the cases with nothing to find where nothing was found; NaN without any."""
        return _share(self.correct_empty, self.correct_empty + self.false_positive)


def compare(predicted: Mask, truth: Mask, spacing: Spacing = None) -> dict[str, float]:
    """Every metric of this module by the name of its function; NSD at its default tolerance.

    Raises:
        ValueError: The masks differ in shape or are not bool, or the spacing has another number
            of axes or a value that is not above 0.
    """
    return {
        "dice": dice(predicted, truth),
        "iou": iou(predicted, truth),
        "sensitivity": sensitivity(predicted, truth),
        "specificity": specificity(predicted, truth),
        "precision": precision(predicted, truth),
        "pixel_accuracy": pixel_accuracy(predicted, truth),
        **_surface_metrics(predicted, truth, spacing),
        "volume_error": volume_error(predicted, truth),
    }


def aggregate(
    cases: Sequence[Mapping[str, float]],
    patients: Sequence[Hashable] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Summary:
    """Means over patients of what `compare` gave for each case, with bootstrap intervals.

    A patient's cases are averaged first, so that many slices of one patient weigh no more than
    one of another. Voxels are never pooled, which would let large lesions hide small ones.

    Args:
        cases: Results of `compare`, one per case.
        patients: Whose each case is; by default every case is a patient.
        resamples: How often to draw patients for an interval.
        seed: Same seed, same intervals.
        level: Share of the resampled means between the two ends.

    Raises:
        ValueError: There is no case, or another number of patients than cases.
    """
    owners: list[Hashable] = list(range(len(cases)) if patients is None else patients)
    if not cases or len(owners) != len(cases):
        raise ValueError(
            f"{len(cases)} cases come with {len(owners)} patients; a mean needs at least one case, and "
            "every case the patient it belongs to"
        )
    metrics = {}
    for name in cases[0]:
        means = _means_by_owner([case[name] for case in cases], owners)
        interval = Interval(np.nan, np.nan, np.nan)
        if means.size:
            interval = bootstrap(_mean, means, resamples=resamples, seed=seed, level=level)
        metrics[name] = interval
    # Sensitivity is NaN where the truth is empty, and nowhere else; precision likewise.
    nothing_there = np.isnan([case["sensitivity"] for case in cases])
    nothing_found = np.isnan([case["precision"] for case in cases])
    return Summary(
        metrics,
        cases=len(cases),
        patients=len(set(owners)),
        correct_empty=int((nothing_there & nothing_found).sum()),
        false_positive=int((nothing_there & ~nothing_found).sum()),
        missed=int((~nothing_there & nothing_found).sum()),
    )


def dice(predicted: Mask, truth: Mask) -> float:
    """Twice the common voxels over the voxels of both masks, 0 to 1.

    Source: Dice, Ecology 26(3), 1945.
    """
    _check(predicted, truth)
    return _share(2 * _count(predicted & truth), _count(predicted) + _count(truth))


def iou(predicted: Mask, truth: Mask) -> float:
    """Common voxels over those of either mask, 0 to 1; also called the Jaccard index."""
    _check(predicted, truth)
    return _share(_count(predicted & truth), _count(predicted | truth))


def sensitivity(predicted: Mask, truth: Mask) -> float:
    """Share of the true voxels that were found; NaN if there is none."""
    _check(predicted, truth)
    return _share(_count(predicted & truth), _count(truth))


def specificity(predicted: Mask, truth: Mask) -> float:
    """Share of the background that was left alone; NaN if there is none.

    It depends on how much background the image shows: never report it alone.
    """
    _check(predicted, truth)
    return _share(_count(~predicted & ~truth), _count(~truth))


def precision(predicted: Mask, truth: Mask) -> float:
    """Share of the predicted voxels that are true; NaN if there is none."""
    _check(predicted, truth)
    return _share(_count(predicted & truth), _count(predicted))


def pixel_accuracy(predicted: Mask, truth: Mask) -> float:
    """Share of all voxels on which the masks agree. The easy background dominates it."""
    _check(predicted, truth)
    return _share(_count(predicted == truth), truth.size)


def hausdorff_95(predicted: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """95 % of the surface voxels of either mask lie this close to the other's surface, in mm.

    The larger of the two directed 95th percentiles, each interpolated linearly. Some tools
    pool both directions before they take the percentile, which never gives more.

    Source: Huttenlocher et al., IEEE PAMI 15(9), 1993, with a percentile in place of the maximum.
    """
    return _surface_metrics(predicted, truth, spacing)["hausdorff_95"]


def assd(predicted: Mask, truth: Mask, spacing: Spacing = None) -> float:
    """Average symmetric surface distance in mm: the mean over the surface voxels of both masks.

    Some tools average the means of the two directions, so that the smaller surface weighs more.
    """
    return _surface_metrics(predicted, truth, spacing)["assd"]


def nsd(predicted: Mask, truth: Mask, spacing: Spacing = None, tolerance: float | None = None) -> float:
    """Normalised surface Dice: the share of both surfaces within `tolerance` mm of the other, 0 to 1.

    Args:
        predicted: What was found.
        truth: What is there.
        spacing: mm between voxels along each axis.
        tolerance: In mm, 0 or more; by default 2 mm, or the longest edge of a voxel if that is
            longer.

    Source: Nikolov et al., Journal of Medical Internet Research 23(7), 2021, which weighs a
    surface voxel by its area.
    """
    return _surface_metrics(predicted, truth, spacing, tolerance)["nsd"]


def volume_error(predicted: Mask, truth: Mask) -> float:
    """Predicted volume minus the true one, over the true one; NaN if that is 0.

    Negative where too little was found. Errors of both signs cancel in a mean.
    """
    _check(predicted, truth)
    return _share(_count(predicted) - _count(truth), _count(truth))


def _surface_metrics(
    predicted: Mask, truth: Mask, spacing: Spacing, tolerance: float | None = None
) -> dict[str, float]:
    _check(predicted, truth)
    steps = _steps(spacing, truth.ndim)
    if not truth.any():
        return {"hausdorff_95": np.nan, "assd": np.nan, "nsd": np.nan}
    if not predicted.any():
        diagonal = float(np.linalg.norm(np.multiply(truth.shape, steps)))
        return {"hausdorff_95": diagonal, "assd": diagonal, "nsd": 0.0}
    there, back = _surface_distances(predicted, truth, steps)
    both = np.concatenate([there, back])
    if tolerance is None:
        tolerance = max(TOLERANCE_MM, *steps)
    return {
        "hausdorff_95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "nsd": float(np.mean(both <= tolerance + ROUNDING_MM)),
    }


def _surface_distances(
    predicted: Mask, truth: Mask, steps: tuple[float, ...]
) -> tuple[Float[ndarray, "p"], Float[ndarray, "t"]]:
    """From each surface voxel of a mask to the nearest one of the other, in mm."""
    box = ndimage.find_objects((predicted | truth).astype(np.uint8))[0]  # nothing beyond it matters
    ours, theirs = _surface(predicted[box]), _surface(truth[box])
    return (
        ndimage.distance_transform_edt(~theirs, sampling=steps)[ours],
        ndimage.distance_transform_edt(~ours, sampling=steps)[theirs],
    )


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~ndimage.binary_erosion(mask)
    return surface


def _means_by_owner(values: Sequence[float], owners: Sequence[Hashable]) -> Float[ndarray, "n"]:
    """The mean of each owner's values that are no NaN; owners without any are left out."""
    by_owner: dict[Hashable, list[float]] = {}
    for value, owner in zip(values, owners, strict=True):
        if not np.isnan(value):
            by_owner.setdefault(owner, []).append(value)
    return np.array([np.mean(own) for own in by_owner.values()])


def _mean(values: Float[ndarray, "n"]) -> float:
    return float(values.mean())


def _count(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _steps(spacing: Spacing, axes: int) -> tuple[float, ...]:
    steps = (1.0,) * axes if spacing is None else tuple(float(step) for step in spacing)
    if len(steps) != axes or not all(0 < step < np.inf for step in steps):
        raise ValueError(
            f"spacing is {steps} for masks of {axes} axes; distances need the mm between voxels along "
            "each, so give one number above 0 per axis"
        )
    return steps


def _check(predicted: Mask, truth: Mask) -> None:
    if predicted.shape != truth.shape or not predicted.dtype == truth.dtype == np.bool_:
        raise ValueError(
            f"the prediction is {predicted.dtype} of shape {predicted.shape} and the truth {truth.dtype} "
            f"of shape {truth.shape}; masks are compared voxel by voxel, so bring both to one grid and "
            "to bool"
        )
