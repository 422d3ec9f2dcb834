"""An image in grey, and the dark background that shows at its border: where its air is.

Otsu's threshold (IEEE Trans. SMC 9(1), 1979) lies between dark and bright tissue as often as between
tissue and background, so it only tells how bright tissue is; level and noise of the background are
read off the border.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from skimage.filters import threshold_otsu

from intact.image import Image
from intact.segment.morphology import Mask, border

Values = Float[ndarray, "..."]

SKIN = -500.0  # HU, half way between air (-1000) and water (0): cuts a blurred skin in its middle
LEAST = -1100.0  # HU; air is -1000 with a noise of some tens: what is lower was never measured
LUNG = -880.0  # HU; lungs as a whole are denser, mattresses and the air of the room are not
EDGE = 0.03  # of the shorter side: the border that is searched for background; frames are thinner
FLAT = 0.07  # of the way to tissue: how far a background strays from its level; soft tissue strays further
# Grey levels above the image's darkest, as shares of its range.
DARK = 0.1  # where the level of a background lies at most
DIM = 0.3  # up to which it is looked for: what is brighter at the border is tissue
# Shares of an area.
AIR = 0.02  # of an image: so much of it tells Hounsfield units
SEEN = 0.05  # of the border: less than this is a dark corner of the body
CLEAR = 0.25  # of what is dark at the border: if less of it is flat, it is dark tissue


@dataclass(frozen=True, eq=False)
class Grey:
    """An image as the finders of regions see it.

    Args:
        values: float32, bright where the screen is; the least value where nothing was measured.
            The brightest channel of a colour, as black is where none shines.
        measured: False in padding, at NaN, and below what CT can measure.
        hounsfield: Whether the values are Hounsfield units, of an image that shows air.
    """

    values: Values
    measured: Mask
    hounsfield: bool

    @staticmethod
    def of(image: Image) -> Grey:
        """Look at an image."""
        values = image.physical()
        measured = ~image.padding_mask()
        if values.ndim > len(image.shape):
            values = values.max(axis=-1)
        measured &= np.isfinite(values)
        air = values[measured & (values > LEAST) & (values < SKIN)]
        told = image.scale.unit == "HU" and air.size > 0
        likely = image.modality in ("CT", "") and air.size > AIR * values.size and np.median(air) < LUNG
        if told or likely:
            measured &= values >= LEAST
        elif image.photometric == "MONOCHROME1":
            values = -values
        least = values[measured].min() if measured.any() else np.float32(0)
        return Grey(np.where(measured, values, least), measured, bool(told or likely))


@dataclass(frozen=True)
class Background:
    """A flat, dark level found at a border.

    Args:
        level: Its most common value.
        noise: Standard deviation.
        tissue: Median of what Otsu's threshold calls bright.
        share: Of the border that shows it.
    """

    level: float
    noise: float
    tissue: float
    share: float

    @staticmethod
    def of(values: Values, field: Mask) -> Background | None:
        """The background that shows at the border of a field, if any."""
        inside = values[field]
        low, high = np.percentile(inside, (0.5, 99.5))
        if high <= low:
            return None
        otsu = threshold_otsu(np.clip(inside, low, high))
        tissue = np.median(inside[inside > otsu])
        edge, top = values[border(field, EDGE * min(field.shape[-2:]))], low + DIM * (high - low)
        dark = np.maximum(edge[edge <= min(otsu, top)], low)
        if not dark.size:
            return None
        # Bins of half a percent of the range, smoothed, so that noise alone makes no mode.
        counts, bins = np.histogram(dark, bins=64, range=(low, top))
        common = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(np.float64), 1.0)))
        level = (bins[common] + bins[common + 1]) / 2
        flat = np.abs(dark - level) < FLAT * (tissue - level)
        share = np.count_nonzero(flat) / edge.size
        below = dark[dark < level] - level  # tissue adds to the half above
        noise = np.sqrt(np.mean(below**2)) if below.size else 0.0
        lowest = max(DARK * (high - low), 3 * noise)  # of what was subtracted from, noise goes below
        if level - low > lowest or share < SEEN or np.mean(flat) < CLEAR:
            return None
        return Background(float(level), float(noise), float(tissue), share)

    def end(self, least: float, most: float = np.inf) -> float:
        """Where it ends: four sigma up, yet between these shares of the way to tissue."""
        way = self.tissue - self.level
        return self.level + min(max(4 * self.noise, least * way), most * way)
