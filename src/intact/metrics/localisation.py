"""How well heat maps point at lesions.

Every function pools the pixels of n images: `maps` are raw heat maps, larger meaning more
suspicious, and `masks` are True on lesions. Normal images belong in the pool, with empty masks.
Equal map values are never told apart, so a constant map earns what guessing earns.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from intact.metrics import detection

Maps = Float[np.ndarray, "n h w"]
Masks = Bool[np.ndarray, "n h w"]


def pixel_auroc(maps: Maps, masks: Masks) -> float:
    """AUROC over all pixels. The easy background dominates it: never report it alone.

    Raises:
        ValueError: The masks hold no lesion or no background, a map value is not finite, or the
            shapes differ.
    """
    _check(maps, masks)
    return detection.auroc(maps.ravel(), masks.ravel())


def pixel_average_precision(maps: Maps, masks: Masks) -> float:
    """Average precision over all pixels, those of normal images included.

    Raises:
        ValueError: The masks hold no lesion or no background, a map value is not finite, or the
            shapes differ.
    """
    _check(maps, masks)
    return detection.average_precision(maps.ravel(), masks.ravel())


def aupro(maps: Maps, masks: Masks, max_fpr: float = 0.3) -> float:
    """Area under the per-region-overlap curve, exact: every distinct map value is a threshold.

    The overlap of a threshold is the share of a lesion's pixels above it, averaged over lesions
    so that small ones weigh as much as large ones. It is drawn against the share of background
    pixels above the threshold, integrated up to `max_fpr` and divided by it. A perfect map gives
    1. A constant map gives `max_fpr / 2`, the area under the line from (0, 0) to (1, 1).

    Args:
        maps: Heat maps.
        masks: True on lesions. Pixels that touch, corners included, form one lesion.
        max_fpr: Largest background share of interest, above 0 and at most 1.

    Raises:
        ValueError: `max_fpr` is out of range, the masks hold no lesion or no background, a map
            value is not finite, or the shapes differ.

    Source: Bergmann et al., "The MVTec anomaly detection dataset", IJCV 129, 2021, section 4.
    """
    detection.check_fpr_limit(max_fpr)
    _check(maps, masks)
    order = np.argsort(-maps.ravel())
    last = detection.ends_of_ties(maps.ravel()[order])
    overlap = np.cumsum(region_weights(masks).ravel()[order])[last]
    background = np.cumsum(~masks.ravel()[order])[last]
    return (
        detection.area_up_to(
            np.append(0.0, background / background[-1]), np.append(0.0, overlap), limit=max_fpr
        )
        / max_fpr
    )


def best_dice(maps: Maps, masks: Masks) -> float:
    """Oracle: the largest Dice that any single threshold reaches, found by looking at the truth.

    No user can set this threshold, so report it only in a column labelled "oracle"; compare
    `dice_at_normal_fpr`.

    Raises:
        ValueError: The masks hold no lesion or no background, a map value is not finite, or the
            shapes differ.
    """
    _check(maps, masks)
    false, true = detection.operating_points(maps.ravel(), masks.ravel())
    return float(np.max(2 * true / (true + false + true[-1])))


def dice_at_normal_fpr(maps: Maps, masks: Masks, fpr: float = 0.05) -> float:
    """Dice over all pixels at a threshold that normal images alone set.

    The threshold is the lowest one that at most a share `fpr` of the pixels of normal images
    exceed; a pixel is called lesion when it lies strictly above.

    Args:
        maps: Heat maps.
        masks: True on lesions; images with an empty mask are the normal ones.
        fpr: Share of normal pixels that may be called lesion, 0 or more and below 1.

    Raises:
        ValueError: `fpr` is out of range, no image is normal, the masks hold no lesion, a map
            value is not finite, or the shapes differ.
    """
    if not 0.0 <= fpr < 1.0:
        raise ValueError(
            f"fpr is {fpr:g}; it is the share of normal pixels that may be called lesion, so "
            "give a number from 0 to below 1, for example 0.05"
        )
    _check(maps, masks)
    normal = ~masks.any(axis=(1, 2))
    if not normal.any():
        raise ValueError(
            f"all {len(masks)} masks hold a lesion; the threshold comes from normal images, so "
            "add normal images with empty masks"
        )
    values = maps[normal].ravel()
    allowed = int(fpr * values.size + 1e-9)
    place = values.size - 1 - allowed
    called = maps > np.partition(values, place)[place]
    return float(2 * (called & masks).sum() / (called.sum() + masks.sum()))


def shrink_mask(
    mask: Bool[np.ndarray, "*n rows columns"], shape: tuple[int, int]
) -> Bool[np.ndarray, "*n h w"]:
    """Reduce masks to a smaller grid; a cell is lesion if any pixel it covers is.

    Nearest-neighbour reduction would lose lesions of a few pixels. Where the sizes do not
    divide, a pixel under two cells counts for both.

    Args:
        mask: True on lesions; leading axes are kept.
        shape: (h, w) of the result, in cells; at least 1 and at most the size of the mask.

    Raises:
        ValueError: `shape` is empty or larger than the mask.
    """
    if not all(1 <= cells <= pixels for cells, pixels in zip(shape, mask.shape[-2:], strict=True)):
        raise ValueError(
            f"a mask of {mask.shape[-2:]} pixels cannot shrink to {tuple(shape)}; shrinking never "
            "adds pixels, so give a shape between (1, 1) and that of the mask"
        )
    return _any_within(_any_within(mask, shape[0], axis=-2), shape[1], axis=-1)


def region_weights(masks: Masks) -> Float[np.ndarray, "n h w"]:
    """1 / (pixels of the lesion x number of lesions) on lesions, 0 elsewhere."""
    from scipy.ndimage import label

    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[1] = True  # the 8 neighbours within an image, none in the next image
    regions, count = label(masks, structure=neighbours)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    weights = 1.0 / (np.maximum(sizes, 1) * count)
    weights[0] = 0.0
    return np.asarray(weights[regions])


def _any_within(mask: NDArray[np.bool_], cells: int, axis: int) -> NDArray[np.bool_]:
    """Split an axis into cells and say which of them hold a True value."""
    size = mask.shape[axis]
    first = np.arange(cells) * size // cells
    end = -(-np.arange(1, cells + 1) * size // cells)
    seen = np.insert(np.cumsum(mask, axis=axis), 0, 0, axis=axis)  # how many True before index i
    return np.asarray(seen.take(end, axis=axis) > seen.take(first, axis=axis))


def _check(maps: NDArray[Any], masks: NDArray[np.bool_]) -> None:
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"maps have shape {maps.shape} and masks {masks.shape}; every map pixel needs its "
            "truth, so bring both to one shape [images, rows, columns]"
        )
    if not np.isfinite(maps).all():
        raise ValueError(
            f"{int((~np.isfinite(maps)).sum())} of {maps.size} map values are NaN or infinite; "
            "they cannot be ranked, so leave those images out and report how many there were"
        )
    if not masks.any() or masks.all():
        raise ValueError(
            f"{int(masks.sum())} of {masks.size} pixels are marked as lesion; localisation "
            "compares lesions with background, so pass masks that hold some of each"
        )
