"""One lesion in one organ: what classical segmentation is measured on, with the exact mask.

An ellipse of one value holds an irregular blob of another. Blur, a bias field and noise come on
top of it, so that a method is tested by what images do to a lesion and not by anatomy. In three
dimensions the ellipse is an ellipsoid and the blob a lump.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from intact.data.phantom_parts import Blob
from intact.errors import UsageError
from intact.image import Image

ORGAN = 0.45  # its value, so that with the default contrast the lesion has 0.70
WIDTHS = (0.42, 0.42, 0.36)  # semi-axes over the image's depth, height and width: body around an organ
RADII = (7 / 128, 14 / 128)  # of the lesion, over the image's shortest edge
OFF_CENTRE = 0.2  # the lesion's distance from the organ's centre, at most, over the shortest edge
ROUGH = 0.15  # amplitude of the lesion's outline, over its radius
BLUR = 1.0  # standard deviation, over the finest spacing: about what a scanner's own pixels are worth

Field = Float[ndarray, "..."]
Mask = Bool[ndarray, "..."]


def lesion_in_organ(
    seed: int,
    *,
    shape: tuple[int, ...] = (128, 128),
    spacing: tuple[float, ...] | None = None,
    noise: float = 0.05,
    bias: float = 0.0,
    radius: float | None = None,
    contrast: float = 0.25,
) -> tuple[Image, Mask, tuple[int, ...]]:
    """An organ with a lesion, the lesion's mask, and a voxel inside the lesion.

    The same seed gives the same organ, lesion, direction of the bias field and pattern of noise,
    whatever their strengths.

    Args:
        seed: Decides where the lesion is, its size, its outline, and the noise.
        shape: (h, w) or (d, h, w), in voxels.
        spacing: mm between voxels along each axis; None leaves it unknown and counts voxels.
        noise: Standard deviation of the noise; the organ has 0.45 and the background 0.
        bias: How far the bias field goes from 1 in the image's corners; it is a ramp.
        radius: Of the lesion, in mm (voxels without a spacing), about; by default 7 to 14 of 128
            parts of the image's shortest edge.
        contrast: What the lesion has more than the organ; negative for a dark lesion.

    Returns:
        The image (float32, background about 0); the mask (bool, exactly the voxels of the lesion
        before any blur, one connected part inside the organ); the voxel that the lesion was grown
        around.

    Raises:
        UsageError: The shape is neither of a plane nor of a volume, the spacing has another
            number of axes, or the radius is not above 0.
    """
    steps = _checked(shape, spacing, radius)
    rng = np.random.default_rng(seed)
    edge = float(np.multiply(shape, steps).min())
    drawn = edge * rng.uniform(*RADII)
    centre = _near_middle(shape, steps, OFF_CENTRE * edge * rng.random(), rng)
    organ = _organ(shape)
    lump = _lump(shape, steps, centre, radius or drawn, int(rng.integers(2**31)))
    lesion = _part_at(centre, organ & lump)
    values = ORGAN * organ + contrast * lesion
    values = ndimage.gaussian_filter(values, [BLUR * min(steps) / step for step in steps])
    values *= 1.0 + bias * _ramp(shape, rng)
    values += noise * rng.standard_normal(shape)
    return Image(values.astype(np.float32), spacing=spacing), lesion, centre


def _near_middle(
    shape: tuple[int, ...], steps: tuple[float, ...], reach: float, rng: np.random.Generator
) -> tuple[int, ...]:
    """The voxel at `reach` mm from the middle, in a random direction."""
    direction = rng.standard_normal(len(shape))
    away = reach * direction / np.linalg.norm(direction)
    return tuple(round((n - 1) / 2 + mm / step) for n, mm, step in zip(shape, away, steps, strict=True))


def _organ(shape: tuple[int, ...]) -> Mask:
    """An ellipse or ellipsoid in the middle."""
    semi_axes = np.multiply(shape, WIDTHS[-len(shape) :])
    scaled = [away / axis for away, axis in zip(_from_middle(shape), semi_axes, strict=True)]
    inside: Mask = sum(share**2 for share in scaled) < 1
    return inside


def _lump(
    shape: tuple[int, ...], steps: tuple[float, ...], centre: tuple[int, ...], radius: float, seed: int
) -> Mask:
    """Voxels of an irregular ball around a voxel, which is one of them."""
    blob = Blob((0.0, 0.0, 0.0), 2 * radius, ROUGH, 0.0, seed)
    axes = [(np.arange(n) - at) * step for n, at, step in zip(shape, centre, steps, strict=True)]
    heights = axes[0] if len(shape) == 3 else [0.0]
    y, x = np.meshgrid(*(axis.astype(np.float32) for axis in axes[-2:]), indexing="ij")
    lump = np.zeros((len(heights), *x.shape), bool)
    for plane, z in enumerate(heights):
        if abs(z) < blob.reach:
            lump[plane] = blob.distance(x, y, float(z)) < 0
    return lump.reshape(shape)


def _part_at(voxel: tuple[int, ...], mask: Mask) -> Mask:
    """The connected part of the mask that a voxel of it belongs to."""
    labels, _ = ndimage.label(mask)
    part: Mask = labels == labels[voxel]
    return part


def _ramp(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """A plane that is 0 in the middle, -1 and 1 in two opposite corners of the image."""
    signs = rng.choice([-1.0, 1.0], len(shape))
    along = [sign * away / n for sign, away, n in zip(signs, _from_middle(shape), shape, strict=True)]
    return np.asarray(sum(along) * 2 / len(shape))


def _from_middle(shape: tuple[int, ...]) -> list[Field]:
    """How far each voxel is from the middle of the image along each axis, in voxels."""
    return [at - (n - 1) / 2 for at, n in zip(np.indices(shape, sparse=True), shape, strict=True)]


def _checked(
    shape: Sequence[int], spacing: tuple[float, ...] | None, radius: float | None
) -> tuple[float, ...]:
    steps = (1.0,) * len(shape) if spacing is None else spacing
    if len(shape) not in (2, 3) or len(steps) != len(shape):
        raise UsageError(
            f"shape {tuple(shape)} with spacing {spacing} is neither a plane nor a volume: give (h, w) or "
            "(d, h, w), and a spacing of as many numbers or none"
        )
    if radius is not None and not radius > 0:
        raise UsageError(f"radius={radius:g} leaves no lesion: give one above 0, in mm")
    return steps
