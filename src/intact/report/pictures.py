"""Pictures small enough to embed: 8-bit PNGs of a plane, and heat maps on an absolute scale.

A heat map is a palette PNG with its own transparency, so the browser only has to lay it over the
image. Its colours mean the same score in every image of a run: nothing is normalised per image.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

LEVELS = 64  # heat colours; more could not be told apart and would not compress as well

# Violet over red and orange to pale yellow: lightness rises all the way, so it reads in grey too.
_ANCHORS = np.array(
    [
        [48, 18, 92],
        [101, 26, 112],
        [155, 41, 100],
        [205, 66, 72],
        [240, 112, 34],
        [250, 178, 30],
        [253, 250, 168],
    ],
    np.float64,
)
_OPAQUE_FROM = 0.35  # share of the scale above which the colour hides nothing of itself
_BAR_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200)  # mm


@dataclass(frozen=True)
class HeatScale:
    """The absolute pixel scores between which heat colours run.

    Args:
        low: 95th percentile of the pixels of normal images; at or below it nothing is drawn.
        high: Largest pixel of the held-out normal images.
    """

    low: float
    high: float

    @property
    def top(self) -> float:
        """Score of the last colour: half above `high`, also where scores are negative."""
        return max(1.5 * self.high, self.high + 0.5 * (self.high - self.low), self.low + 1e-12)

    @property
    def normal(self) -> float:
        """Where `high` lies on the scale, 0 to 1."""
        return (self.high - self.low) / (self.top - self.low)

    def levels(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Index of each pixel's colour: 0 (not drawn) up to LEVELS - 1; NaN is not drawn."""
        share = (scores.astype(np.float64) - self.low) / (self.top - self.low)
        share = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
        levels: NDArray[np.uint8] = np.ceil(share * (LEVELS - 1)).astype(np.uint8)
        return levels


def heat_colours() -> NDArray[np.uint8]:
    """The heat palette, uint8 [LEVELS, 4] (red, green, blue, alpha), from faint to hot."""
    share = np.linspace(0.0, 1.0, LEVELS)
    anchors = np.linspace(0.0, 1.0, len(_ANCHORS))
    rgb = np.stack([np.interp(share, anchors, channel) for channel in _ANCHORS.T], axis=1)
    alpha = 255.0 * np.clip(share / _OPAQUE_FROM, 0.0, 1.0)
    palette: NDArray[np.uint8] = np.rint(np.column_stack([rgb, alpha])).astype(np.uint8)
    return palette


def heat_gradient() -> str:
    """The palette as a CSS gradient from left to right, for the colour legend."""
    stops = (f"rgb({r} {g} {b} / {a / 255:.2f})" for r, g, b, a in heat_colours()[::7])
    return f"linear-gradient(to right, {', '.join(stops)})"


def heat_png(scores: NDArray[np.float32], scale: HeatScale, *, side: int) -> str:
    """One plane of a score map as a PNG data URI, at most `side` pixels long; empty if all cold.

    A map that has to shrink keeps the largest score of each neighbourhood, so no hot spot fades.
    """
    shrink = max(scores.shape) / side
    levels = scale.levels(scores)
    if not levels.any():
        return ""
    if shrink > 1:
        levels = ndimage.maximum_filter(levels, size=math.ceil(shrink))
    picture = _shrunk(Pillow.fromarray(levels), side, Pillow.Resampling.NEAREST)
    palette = heat_colours()
    picture.putpalette(palette[:, :3].tobytes())
    return _data_uri(picture, transparency=palette[:, 3].tobytes())


def image_png(shown: NDArray[np.uint8], *, side: int) -> str:
    """A displayed plane, uint8 [H,W] or [H,W,3], as a PNG data URI at most `side` pixels long."""
    return _data_uri(_shrunk(Pillow.fromarray(shown), side, Pillow.Resampling.LANCZOS))


def scale_bar(width_mm: float) -> tuple[int, float] | None:
    """A round length in mm and its share of the picture's width; None for a tiny picture."""
    fitting = [length for length in _BAR_LENGTHS if length <= 0.3 * width_mm]
    return (fitting[-1], fitting[-1] / width_mm) if fitting else None


def _shrunk(picture: Pillow.Image, side: int, how: Pillow.Resampling) -> Pillow.Image:
    longest = max(picture.size)
    if longest <= side:
        return picture
    width, height = (max(1, round(length * side / longest)) for length in picture.size)
    return picture.resize((width, height), how)


def _data_uri(picture: Pillow.Image, transparency: bytes | None = None) -> str:
    target = io.BytesIO()
    extra = {} if transparency is None else {"transparency": transparency}
    picture.save(target, "PNG", compress_level=4, **extra)
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode("ascii")
