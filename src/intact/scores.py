"""What a detector says (`Scores`), what it means (`Calibration`), and where (`Region`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from intact.errors import TooFewNormalsError


@dataclass(frozen=True)
class Scores:
    """Raw scores: larger is more suspicious; only scores of one fitted detector compare."""

    image: Float[Tensor, "n"]
    pixel: Float[Tensor, "n *d h w"] | None  # None when the method does not localise


@dataclass(frozen=True)
class NearNormal:
    """A region of a normal image that looks like another one.

    Args:
        path: Of the image.
        plane: In a volume, 0 in a 2-D image.
        box: (first row, first column, last row + 1, last column + 1) in pixels on that plane.
        distance: 1 - cosine of what the two look like, 0 to 2.
    """

    path: str
    plane: int
    box: tuple[int, int, int, int]
    distance: float


@dataclass(frozen=True)
class Region:
    """A connected part of a score map, in the image's own grid.

    Args:
        plane: Plane on which the region is largest in a volume, 0 in a 2-D image.
        box: (first row, first column, last row + 1, last column + 1) in pixels on that plane.
        center: (plane, row, column) of the highest score.
        area_px: Pixels in the region on that plane.
        area_mm2: The same in mm², None when the spacing is unknown.
        extent_mm: (height, width) of the box in mm, None when the spacing is unknown.
        peak: Highest score in the region.
        p_value: Share of normal images whose highest pixel score reaches `peak`.
        side: Of the patient, in words; empty where it is not known.
        nearest: Normal regions that look most like it.
        variant: Number of the mark that says this is normal at this site; None without one.
    """

    plane: int
    box: tuple[int, int, int, int]
    center: tuple[int, int, int]
    area_px: int
    area_mm2: float | None
    extent_mm: tuple[float, float] | None
    peak: float
    p_value: float
    side: str = ""
    nearest: tuple[NearNormal, ...] = ()
    variant: int | None = None


def conformal_p_values(scores: Float[ndarray, "n"], normals: Float[ndarray, "m"]) -> Float[ndarray, "n"]:
    """The share of normal scores at least as large, each new score counted among them.

    p = (1 + #{normals >= score}) / (m + 1). For a new normal image that is exchangeable with
    `normals`, P(p <= alpha) <= alpha for every alpha.

    Source: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; Bates, Candès,
    Lei, Romano, Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 2023.
    """
    ordered = np.sort(normals)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1.0 + at_least) / (len(ordered) + 1.0)


def normals_needed(alpha: float) -> int:
    """Fewest held-out normals with which a p-value can reach `alpha`: 19 for 5 %, 99 for 1 %."""
    return math.ceil(round(1.0 / alpha, 9)) - 1


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of held-out normal images: the only thing a decision is measured against.

    Args:
        image: Image scores of the held-out normals, float64 [n].
        peak: Highest pixel score of each, float64 [n]; empty when the method does not localise.
        pixel: Quantiles 0, 0.1, ..., 100 % of their pixel scores, float64 [1001]; may be empty.
        groups: Group (scanner, view, ...) of each, or empty when none were given.
    """

    image: NDArray[np.float64]
    peak: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    pixel: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image)

    def group_size(self, group: str = "") -> int:
        """How many held-out normals an image of `group` is compared with."""
        return int(self._members(group).sum())

    def p_value(self, score: ArrayLike, group: str = "") -> NDArray[np.float64]:
        """Conformal p-values of image scores; of the whole set when `group` is unknown to it."""
        return conformal_p_values(np.asarray(score, np.float64), self.image[self._members(group)])

    def peak_p_value(self, peak: ArrayLike, group: str = "") -> NDArray[np.float64]:
        """p-values of a region's highest score against the highest score of whole normal images.

        Being compared with maxima over images, it already accounts for looking everywhere.
        """
        return conformal_p_values(np.asarray(peak, np.float64), self.peak[self._members(group)])

    def pixel_quantile(self, share: float) -> float:
        """The pixel score that this share of the normals' pixels stays under."""
        return float(np.interp(share, np.linspace(0.0, 1.0, len(self.pixel)), self.pixel))

    def require(self, alpha: float) -> None:
        """Refuse a false-alarm rate that so few normals cannot give.

        Raises:
            TooFewNormalsError: No score, however high, could be flagged at `alpha`.
        """
        smallest = min((self.group_size(g) for g in set(self.groups)), default=len(self))
        if smallest < normals_needed(alpha):
            raise TooFewNormalsError(
                f"{smallest} held-out normal images give p-values no smaller than "
                f"{1 / (smallest + 1):.3g}, so nothing could ever be flagged at alpha={alpha:g}: fit on "
                f"more normals (at least {normals_needed(alpha)} must be held out), hold out a "
                f"larger share, or screen with --alpha {math.ceil(1000 / (smallest + 1)) / 1000:g} or above"
            )

    def _members(self, group: str) -> NDArray[np.bool_]:
        if group in self.groups:
            return np.array([g == group for g in self.groups])
        return np.ones(len(self.image), bool)


def pixel_quantiles(maps: Iterable[Float[ndarray, "h w"]], per_map: int = 4096) -> NDArray[np.float64]:
    """The 1001 quantiles of pixel scores pooled over maps, from an even subsample of each."""
    kept = [m.ravel()[:: max(1, m.size // per_map)] for m in maps]
    return np.quantile(np.concatenate(kept), np.linspace(0, 1, 1001)) if kept else np.empty(0)
