"""Laundering: what a careful forger does last, so that traces are gone.

Stamm & Liu, "Anti-forensics of digital image compression", IEEE TIFS 6(3), 2011, hide quantisation by
dither; Kirchner & Böhme, "Hiding traces of resampling in digital images", IEEE TIFS 3(4), 2008, by
filters and geometric distortion. Nothing moves: applied to an image that was forged before, the labels
of that forgery still hold.

Differs from the papers: dither is added to pixels, not to cosine coefficients, and the distortion is
the same everywhere, an enlargement that is taken back. As for all processing, a whole image is laundered
with where=image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from intact.errors import UsageError
from intact.forge.process import Drawn, Planes, Process
from intact.image import Image
from intact.residual import residual

How = Literal["resample", "dither", "noise", "median"]

FINE = 1.5  # sigma in pixels: what is finer counts as noise
AWAY = 0.25, 0.75  # of the image's height and width, that noise is brought from


@dataclass(eq=False)
class Launder(Process):
    """Takes the traces of forging away, and leaves its own.

    Args:
        how: "resample" enlarges a little and takes that back; "dither" fills gaps between values by
            noise as wide as the gaps; "noise" puts noise from elsewhere in the image in place of what
            is there; "median" takes the median of 3 x 3 pixels.
        factor: Of "resample".
        gap: Of "dither", in stored values; 0 takes the usual distance of the image's values.
    """

    source = "Stamm & Liu, IEEE TIFS 2011; Kirchner & Böhme, IEEE TIFS 2008"

    how: How = "resample"
    factor: float = 1.02
    gap: float = 0.0

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        if self.how not in get_args(How):
            raise UsageError(f"how={self.how!r} is not one of {', '.join(get_args(How))}")
        if self.how == "dither":
            gap = self.gap or _usual_gap(stack)
            drawn["gap"] = gap
            # The sum of two even distributions leaves no trace of the gap in mean and variance.
            return stack + gap * (rng.random(stack.shape) + rng.random(stack.shape) - 1.0)
        if self.how == "resample":
            return np.stack([_there_and_back(plane, self.factor) for plane in stack])
        if self.how == "median":
            size = (1, 3, 3, 1)[: stack.ndim]
            return np.asarray(ndimage.median_filter(stack, size))
        shift = [int(n * rng.uniform(*AWAY)) for n in stack.shape[1:3]]
        drawn["noise_from"] = shift
        noise = _noise(stack)
        return stack - noise + np.roll(noise, shift, axis=(1, 2))


def _usual_gap(stack: Planes) -> float:
    """The usual distance of values that occur."""
    values = np.unique(stack)
    return float(np.median(np.diff(values))) if len(values) > 1 else 0.0


def _there_and_back(plane: Planes, factor: float) -> Planes:
    """A plane enlarged, rounded as a program that shows it would, and brought back to its size."""
    colour = (1.0,) * (plane.ndim - 2)
    large = ndimage.zoom(plane, (factor, factor, *colour), order=3, mode="mirror")
    back = [n / m for n, m in zip(plane.shape, large.shape, strict=True)]
    return np.asarray(ndimage.zoom(np.rint(large), back, order=3, mode="mirror"))


def _noise(stack: Planes) -> Planes:
    """What is fine, channel by channel."""
    if stack.ndim == 3:
        return residual(stack, FINE)
    return np.stack([residual(stack[..., c], FINE) for c in range(stack.shape[-1])], axis=-1)
