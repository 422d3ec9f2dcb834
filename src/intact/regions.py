"""Regions: the connected parts of a score map that stand out, measured in millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from intact.image import Image
from intact.scores import Calibration, Region

# Pixels are grouped into regions above this share of the normals' pixels. It decides how far a
# region reaches; whether it means anything is told by its p-value.
STANDS_OUT = 0.995
MOST = 10  # regions listed for one image, the most abnormal first


def find_regions(
    score_map: Float[ndarray, "..."], image: Image, calibration: Calibration, group: str = ""
) -> list[Region]:
    """Regions of a map in the image's grid, most abnormal first, at most `MOST`.

    Args:
        score_map: Pixel scores, of shape `image.shape`; larger is more abnormal.
        image: Gives the spacing.
        calibration: Of the model that made the map.
        group: Calibration group of the image.
    """
    found = _parts(score_map, calibration.pixel_quantile(STANDS_OUT))
    p_values = calibration.peak_p_value([r.intensity_max for r in found], group)
    return [_describe(r, image, float(p)) for r, p in zip(found, p_values, strict=True)]


def marked_regions(marked: Float[ndarray, "..."], image: Image, p_value: float) -> list[Region]:
    """Regions of a map in which evidence marks places, at most `MOST`.

    Args:
        marked: 0 to 1, of shape `image.shape`.
        image: Gives the spacing.
        p_value: Of the evidence as a whole, which each region is given.
    """
    return [_describe(r, image, p_value) for r in _parts(marked, float(marked.max()) / 2)]


def _parts(score_map: Float[ndarray, "..."], above: float) -> list[Any]:
    """The connected parts above a score, the highest first."""
    volume = score_map.reshape(-1, *score_map.shape[-2:])
    labels = label(volume > above, connectivity=3)
    return sorted(regionprops(labels, volume), key=lambda r: -r.intensity_max)[:MOST]


def _describe(found: Any, image: Image, p_value: float) -> Region:
    coords: NDArray[np.intp] = found.coords
    scores: NDArray[np.float32] = found.image_intensity[found.image]
    spacing = image.spacing[-2:] if image.spacing else None
    plane = int(np.bincount(coords[:, 0]).argmax())
    rows, columns = coords[coords[:, 0] == plane, 1:].T
    box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    worst = scores.argmax()
    return Region(
        plane=plane,
        box=box,
        center=(int(coords[worst, 0]), int(coords[worst, 1]), int(coords[worst, 2])),
        area_px=len(rows),
        area_mm2=len(rows) * spacing[0] * spacing[1] if spacing else None,
        extent_mm=((box[2] - box[0]) * spacing[0], (box[3] - box[1]) * spacing[1]) if spacing else None,
        peak=float(scores[worst]),
        p_value=p_value,
    )
