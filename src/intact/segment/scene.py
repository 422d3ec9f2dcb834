"""`Scene`: an image as a classical method sees it, with a seed, a radius and the noise.

What the user does not tell is measured: a seed by the Laplacian of Gaussian (Lindeberg, "Feature
detection with automatic scale selection", IJCV 30(2), 1998), the radius by the contrast of balls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from intact.data.transforms import LUMA
from intact.errors import UsageError
from intact.image import Image
from intact.segment.anatomy import body
from intact.segment.grey import Values
from intact.segment.morphology import Mask

SCALES = 8  # radii tried when the object's is not known
ENOUGH = 2**18  # voxels that an object is searched in
SMALLEST = 2.0  # radius in voxels of what can still be told from noise
# A peak of the contrast over radii, as shares of the highest one, and of itself when it is passed.
# Chosen on lesion phantoms, lungs and tumours: over 95 % of radii come out within a factor of 1.6.
CLEAR, FALLEN = 0.3, 0.75


@dataclass(frozen=True, eq=False)
class Scene:
    """An image as a classical method sees it: what is sought is bright, and about here.

    Args:
        values: float32, of the image's shape; 0 and 1 are the 0.5 and 99.5 percentiles inside
            `within`, values beyond them are kept. Dark objects have been made bright.
        spacing: mm between voxels along each axis; 1.0 where the image tells none.
        within: Where the object may be.
        seed: A voxel of the object.
        given: Whether the user gave the seed, and so wants one object and no others.
        radius: About that of the object, in mm.
        noise: Standard deviation of the noise, in units of `values`.
    """

    values: Values
    spacing: tuple[float, ...]
    within: Mask
    seed: tuple[int, ...]
    given: bool
    radius: float
    noise: float

    def smooth(self, sigma: float) -> Values:
        """The values after a Gaussian of `sigma` times the finest spacing, in mm alike on all axes."""
        finest = min(self.spacing)
        return ndimage.gaussian_filter(self.values, [sigma * finest / step for step in self.spacing])

    def distance(self) -> Values:
        """Distance of each voxel from the seed, in mm."""
        return distance_from(self.seed, self.values.shape, self.spacing)

    def near(self, times: float) -> Mask:
        """Voxels of `within` that are up to so many radii away from the seed."""
        return self.within & (self.distance() <= times * self.radius)

    def crop(self, times: float) -> tuple[slice, ...]:
        """A box around the seed that reaches so many radii to each side, inside the image."""
        reach = [int(np.ceil(times * self.radius / step)) for step in self.spacing]
        return tuple(
            slice(max(0, at - r), min(n, at + r + 1))
            for at, r, n in zip(self.seed, reach, self.values.shape, strict=True)
        )

    def seed_in(self, box: tuple[slice, ...]) -> tuple[int, ...]:
        """The seed's index in such a box."""
        return tuple(at - side.start for at, side in zip(self.seed, box, strict=True))


def look(
    image: Image,
    target: Literal["bright", "dark"],
    radius_mm: float,
    seed: Sequence[int] | None,
    within: Mask | None,
) -> Scene | None:
    """What a classical method sees of an image; None if no value differs from the others."""
    if within is None:
        within = body(image)
    elif within.shape != image.shape:
        raise UsageError(
            f"the mask has shape {within.shape} and the image {image.shape}: give one of its grid"
        )
    values = bright(image, target)
    if not within.any():
        return None
    low, high = np.percentile(values[within], (0.5, 99.5))
    if high <= low:
        low, high = float(values[within].min()), float(values[within].max())
    if high <= low:
        return None
    values = ((values - np.float32(low)) / np.float32(high - low)).astype(np.float32)
    spacing = image.spacing if image.spacing and len(image.spacing) == values.ndim else (1.0,) * values.ndim
    place = (
        _checked(seed, values.shape) if seed is not None else _conspicuous(values, within, spacing, radius_mm)
    )
    radius = radius_mm or _radius(values, within, spacing, place)
    return Scene(values, spacing, within, place, seed is not None, radius, noise_of(values, within))


def bright(image: Image, target: Literal["bright", "dark"]) -> Values:
    """Grey physical values, float32, signed so that what is sought is bright; NaN becomes the least."""
    values = image.physical()
    if values.ndim > len(image.shape):
        values = values @ LUMA
    if (image.photometric == "MONOCHROME1") != (target == "dark"):
        values = -values
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, values[finite].min(initial=np.float32(0)))


def distance_from(seed: tuple[int, ...], shape: tuple[int, ...], spacing: tuple[float, ...]) -> Values:
    """Distance of each voxel from one of them, in mm."""
    axes = [
        (np.arange(n, dtype=np.float32) - at) * step for n, at, step in zip(shape, seed, spacing, strict=True)
    ]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))


def noise_of(values: Values, within: Mask) -> float:
    """Standard deviation of the noise, from second differences along rows, which are blind to slopes.

    The median keeps edges out of it.
    """
    row = values[..., :-2] - 2 * values[..., 1:-1] + values[..., 2:]
    inside = within[..., :-2] & within[..., 1:-1] & within[..., 2:]
    if not inside.any():
        return 0.0
    return float(np.median(np.abs(row[inside])) / (0.6745 * np.sqrt(6.0)))


def _checked(seed: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    place = tuple(int(at) for at in seed)
    if len(place) != len(shape) or not all(0 <= at < n for at, n in zip(place, shape, strict=True)):
        raise UsageError(f"seed {place} is no voxel of an image of shape {shape}")
    return place


def _conspicuous(
    values: Values, within: Mask, spacing: tuple[float, ...], radius_mm: float
) -> tuple[int, ...]:
    """Where the scale-normalised Laplacian answers most: the centre of the clearest bright blob.

    The outside is filled with the median, or else the border of the body would be the clearest
    edge of all.
    """
    every = max(1, round((values.size / ENOUGH) ** (1 / values.ndim)))
    if every > 1:  # large images are searched on a coarser grid, or it would take longer than the rest
        some = (slice(None, None, every),) * values.ndim
        wider = tuple(every * step for step in spacing)
        smooth = ndimage.gaussian_filter(np.where(within, values, np.median(values[within])), every / 2)
        if within[some].any():
            return tuple(every * at for at in _conspicuous(smooth[some], within[some], wider, radius_mm))
    filled = np.where(within, values, np.median(values[within]))
    inner = ndimage.distance_transform_edt(within, sampling=spacing)
    best, place = -np.inf, np.unravel_index(int(np.argmax(inner)), values.shape)
    for radius in [radius_mm] if radius_mm else _radii(inner, spacing):
        sigma = radius / np.sqrt(values.ndim)
        answer = -(sigma**2) * _laplace(filled, sigma, spacing)
        answer[inner < min(radius, inner.max()) / 2] = -np.inf
        if answer.max() > best:
            best, place = answer.max(), np.unravel_index(int(np.argmax(answer)), values.shape)
    return tuple(int(at) for at in place)


def _laplace(values: Values, sigma: float, spacing: tuple[float, ...]) -> Values:
    """The Laplacian of Gaussian, per mm2."""
    sigmas = [sigma / step for step in spacing]
    parts = []
    for axis, step in enumerate(spacing):
        order = [2 * int(other == axis) for other in range(values.ndim)]
        parts.append(ndimage.gaussian_filter(values, sigmas, order=order) / np.float32(step**2))
    return np.sum(parts, axis=0)


def _radii(inner: Values, spacing: tuple[float, ...]) -> Values:
    """Radii in mm to look for, from a few voxels on the coarsest axis to half of what the body can hold."""
    smallest = SMALLEST * max(spacing)
    return np.geomspace(smallest, max(2 * smallest, float(inner.max()) / 2), SCALES)


def _radius(values: Values, within: Mask, spacing: tuple[float, ...], seed: tuple[int, ...]) -> float:
    """The radius, in mm, at which a ball around the seed differs most from as many voxels around it.

    Not the radius of the organ that the object lies in: the first clear peak counts, not the highest.
    """
    step = float(np.prod(spacing)) ** (1 / len(spacing))
    shell = (distance_from(seed, values.shape, spacing)[within] / step).astype(np.intp)
    counts = np.cumsum(np.bincount(shell))
    sums = np.cumsum(np.bincount(shell, values[within]))
    around = np.minimum(np.searchsorted(counts, 2 * counts), len(counts) - 1)  # the ball of twice as many
    inside = sums / np.maximum(counts, 1)
    outside = (sums[around] - sums) / np.maximum(counts[around] - counts, 1)
    # A little more for larger balls, or else a bright texture inside the object would win.
    contrast = np.arange(1, len(counts) + 1) ** 0.25 * (inside - outside)
    contrast[(counts[around] < 1.5 * counts) | (np.arange(len(counts)) < SMALLEST)] = 0.0
    best = 0
    for at, here in enumerate(contrast):
        if here > contrast[best]:
            best = at
        elif contrast[best] >= CLEAR * contrast.max() and here < FALLEN * contrast[best]:
            break
    return step * (best + 0.5)
