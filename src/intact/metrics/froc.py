"""How many forged regions are found, at how many false ones per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from intact.metrics.tampering import Labels, Map, judged

HIT_IOU = 0.1  # low, since a region only has to lead the eye to the place
FALSE_PER_IMAGE = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # Setio et al., Medical Image Analysis 42, 2017


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
    counts, forged = judged(score_map, labels, sources=sources)
    neighbours = np.ones((3,) * labels.ndim, bool)
    truth, count = ndimage.label(forged, neighbours)
    sizes = np.bincount(truth.ravel(), minlength=count + 1)[1:]
    parts, _ = ndimage.label(score_map >= threshold, neighbours)
    found, false = np.full(count, -np.inf), []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        part = parts[box] == number
        peak = score_map[box][part].max()
        counted = part & counts[box]
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
