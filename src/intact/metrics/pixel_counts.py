"""`PixelCounts`: metrics of localisation for many resamples of patients at once.

How many pixels lie above a few thousand thresholds is counted once for each patient. A resample is a weighted
sum of those counts, so it costs the same however many pixels there are. Thresholds are quantiles, half
of them of lesions' pixels and half of the background's; that moves a metric by far less than its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from intact.metrics.detection import area_up_to
from intact.metrics.localisation import region_weights

LEVELS = 2000  # thresholds, at most

Counts = Int[ndarray, "resamples n"]
Values = Float[ndarray, "resamples"]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """What metrics of localisation need to know of each of m patients, at t falling thresholds.

    Args:
        first: A map of each patient.
        background: Pixels outside lesions at or above each threshold.
        lesion: Pixels of lesions.
        overlap: Share of a lesion, summed over lesions.
        normal: Pixels of maps without a lesion.
    """

    first: Int[ndarray, "m"]
    background: Float[ndarray, "m t"]
    lesion: Float[ndarray, "m t"]
    overlap: Float[ndarray, "m t"]
    normal: Float[ndarray, "m t"]

    @classmethod
    def of(
        cls, maps: Float[ndarray, "n h w"], masks: Bool[ndarray, "n h w"], patients: Shaped[ndarray, "n"]
    ) -> PixelCounts:
        """Count once.

        Args:
            maps: Finite heat maps.
            masks: True on lesions.
            patients: Of each map.
        """
        shares = np.linspace(0.0, 1.0, LEVELS // 2)
        both = [np.quantile(part, shares, method="lower") for part in (maps[masks], maps[~masks])]
        levels = np.unique(np.concatenate(both))
        weights = region_weights(masks)
        _, first, whose = np.unique(patients, return_index=True, return_inverse=True)
        empty = np.logical_not(masks.any(axis=(1, 2)))
        found = np.zeros((4, len(first), len(levels)))
        for n, (one, mask) in enumerate(zip(maps, masks, strict=True)):
            at = np.clip(np.searchsorted(levels, one, side="right") - 1, 0, None)
            for kind, counted in enumerate((~mask, mask, weights[n], ~mask & empty[n])):
                found[kind, whose[n]] += np.bincount(at.ravel(), counted.ravel(), len(levels))
        return cls(first, *found[..., ::-1].cumsum(axis=-1))

    def aupro(self, counts: Counts, max_fpr: float = 0.3) -> Values:
        """`intact.metrics.aupro` of each resample.

        Args:
            counts: How often it holds each map, as `intact.metrics.resampling.draw` gives it.
            max_fpr: Largest background share of interest.
        """
        background, overlap = (_shares(counts[:, self.first] @ of) for of in (self.background, self.overlap))
        areas = [area_up_to(x, y, max_fpr) for x, y in zip(background, overlap, strict=True)]
        return np.array(areas) / max_fpr

    def average_precision(self, counts: Counts) -> Values:
        """`intact.metrics.pixel_average_precision` of each resample."""
        found = counts[:, self.first] @ self.lesion
        called = found + counts[:, self.first] @ self.background
        gained = np.diff(_shares(found), axis=1)
        return np.asarray((gained * found / np.maximum(called, 1)).sum(axis=1))

    def dice_at_normal_fpr(self, counts: Counts, fpr: float = 0.05) -> Values:
        """`intact.metrics.dice_at_normal_fpr` of each resample."""
        false = _shares(counts[:, self.first] @ self.normal)
        called_at = (false <= fpr).sum(axis=1, keepdims=True) - 1  # 0: above all thresholds
        found, background = (
            np.pad(counts[:, self.first] @ of, ((0, 0), (1, 0))) for of in (self.lesion, self.background)
        )
        true, called = (np.take_along_axis(of, called_at, axis=1)[:, 0] for of in (found, found + background))
        return np.asarray(2 * true / (called + found[:, -1]))


def _shares(rising: Float[ndarray, "resamples t"]) -> Float[ndarray, "resamples t+1"]:
    """Of all that is counted in the end, with 0 in front."""
    return np.pad(rising / rising[:, -1:], ((0, 0), (1, 0)))
