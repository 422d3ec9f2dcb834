"""The public attack on chest CT, step by step, with any generator in place of its network.

Mirsky, Mahler, Shelef & Elovici, "CT-GAN: malicious tampering of 3D medical imagery using deep
learning", USENIX Security 2019. A cube of 32 mm is brought to 1 mm voxels and back, its inner
20 mm are made anew, values are cut to -1,000 to 2,000 HU, the cube is pasted, and a cube 1.3 times
as large is touched up: noise is copied from one fixed place of the scan, and blended in under a
Gaussian. An injected value is never below the original; everything is truncated to integers.

Differs from the authors' code: only the cube is scaled, as their comment recommends, and there is no
histogram equalisation, which serves their network. Their DICOM route takes stored values for HU; here
HU are HU. Where no air lies at the fixed place, which leaves their noise undefined, none is added.
Whoever looks for this attack should look for what these steps leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage, stats

from intact.errors import UsageError
from intact.forge.base import BORDER, FORGED, Change
from intact.forge.place import Box, Site
from intact.image import Image

CUBE = 32  # mm, the side of what is cut out
INNER = slice(6, 26)  # of it, what the generator makes
LIMITS = (-1000.0, 2000.0)  # HU
LARGER = 1.3  # the touched-up cube over the one that was cut out
NOISE_AT = (0.5, 0.43, 0.27)  # of the scan's planes, rows and columns: where noise is copied from
AIR = -800.0  # HU: what is brighter there does not count as noise
KNEE, SLOPE = -700.0, 70.0  # HU: where noise is blended in
SMOOTH = 2.0  # voxels: how smooth made tissue is
WIDTHS = {True: 3.0, False: 0.1}  # of the Gaussian window, in standard deviations: injecting, removing

Cube = Float[ndarray, "d h w"]
Generator = Callable[[Box, Cube], Cube]


def in_hu(image: Image) -> Cube:
    """A volume in HU.

    Raises:
        UsageError: It is not one.
    """
    if len(image.shape) != 3 or image.scale.unit != "HU" or image.spacing is None:
        raise UsageError(
            f'how="ct_gan" attacks volumes of CT in HU with known spacing; this image has shape '
            f'{image.shape} and unit {image.scale.unit or "unknown"}: take how="seamless"'
        )
    return image.physical().astype(np.float64)


def attack(
    scan: Cube, site: Site, generate: Generator, *, inject: bool
) -> tuple[Box, Cube, Bool[ndarray, "d h w"]]:
    """Tamper with a scan around a site.

    Args:
        scan: HU.
        site: Its centre is the middle of the cube.
        generate: Given a box of the scan and what it shows, makes what it shall show.
        inject: Whether something is put in or taken out, which decides the blending.

    Returns:
        The box of the touch-up, its values in HU, and what of it the generator made.
    """
    side = np.rint(CUBE / np.array(site.steps)).astype(int)
    box = _cube(site.centre, side)
    clean = _cut(scan, box)
    made = _as_in_cube(clean, generate(box, clean))
    tampered = _pasted(scan, box, made)
    outer = _cube(site.centre, np.full(3, int(side.max() * LARGER)))
    before, pasted = _cut(scan, outer), _cut(tampered, outer)
    after = pasted + _copied_noise(tampered, pasted.shape)
    window = _window(before.shape, WIDTHS[inject])
    if inject:
        weight = window / (1.0 + np.exp(-(pasted - KNEE) / SLOPE))
        values = np.maximum(after * weight + before * (1.0 - weight), before)
    else:
        values = after * window + before * (1.0 - window)
    touched, part = _inside(outer, scan.shape)
    made_here = _pasted(np.zeros(scan.shape, bool), box, _inner(clean.shape))
    return touched, values[part], made_here[touched]


def as_change(
    image: Image, box: Box, hu: Cube, forged: Bool[ndarray, "d h w"], drawn: dict[str, Any]
) -> Change:
    """HU as stored values, truncated as the attack's writer does."""
    slope, intercept = (
        np.reshape(np.broadcast_to(value, image.planes), (-1, 1, 1))[box[0]]
        for value in (image.scale.slope, image.scale.intercept)
    )
    stored = image.pixels[box].astype(np.float64)
    changed = hu != image.physical()[box]
    values = np.where(changed, np.trunc((hu - intercept) / slope), stored)
    labels = np.zeros(image.shape, np.uint8)
    labels[box][values != stored] = BORDER
    labels[box][forged & (values != stored)] = FORGED
    return Change(box, values, labels, drawn)


def noise_box(shape: tuple[int, ...], size: tuple[int, ...]) -> Box:
    """Where a scan of this shape gives noise from, for a cube of this size; it may stick out."""
    centre = tuple(int(n * share) for n, share in zip(shape, NOISE_AT, strict=True))
    return _cube(centre, np.array(size))


def smooth(cube: Cube) -> Cube:
    """As a generator's tissue, which has no noise of its own."""
    return np.asarray(ndimage.gaussian_filter(cube, SMOOTH))


def _as_in_cube(clean: Cube, made: Cube) -> Cube:
    """What the generator made, having gone through voxels of 1 mm and back."""
    factor = CUBE / np.array(clean.shape)
    small = ndimage.zoom(clean, factor, mode="nearest")
    inner = (INNER,) * 3
    small[inner] = ndimage.zoom(made, factor, mode="nearest")[inner]
    small = np.clip(small, *LIMITS)
    back: Cube = ndimage.zoom(small, np.array(clean.shape) / CUBE, mode="nearest")
    return back


def _copied_noise(scan: Cube, size: tuple[int, ...]) -> Cube:
    """What lies at the fixed place, less what is no air or outside of the scan, less its mean."""
    box = noise_box(scan.shape, size)
    noise = _cut(scan, box)
    air = (noise < AIR) & _sticks_in(box, scan.shape)
    if not air.any():
        return np.zeros(size)
    noise[~air] = noise[air].mean()
    return noise - noise.mean()


def _window(shape: tuple[int, ...], width: float) -> Cube:
    """A Gaussian over rows and columns, 1 in the middle and 0 in the corners; the same in all planes."""
    axes = []
    for n in shape[1:]:
        half = (2 * width + 1) / n
        axes.append(np.diff(stats.norm.cdf(np.linspace(-width - half / 2, width + half / 2, n + 1))))
    kernel = np.sqrt(np.outer(*axes))
    kernel = (kernel - kernel.min()) / (kernel.max() - kernel.min())
    return np.broadcast_to(kernel, shape)


def _cube(centre: tuple[int, ...], size: ndarray) -> Box:
    """A cuboid of this size around a voxel; it may stick out of the scan."""
    starts = [at - round(n / 2) for at, n in zip(centre, size, strict=True)]
    return tuple(slice(a, a + int(n)) for a, n in zip(starts, size, strict=True))


def _cut(scan: ndarray, box: Box) -> ndarray:
    """What a box shows; what sticks out shows the voxel at the edge."""
    index = [
        np.clip(np.arange(part.start, part.stop), 0, n - 1) for part, n in zip(box, scan.shape, strict=True)
    ]
    return scan[np.ix_(*index)]


def _inside(box: Box, shape: tuple[int, ...]) -> tuple[Box, Box]:
    """The part of a box that lies in the scan: in the scan's voxels, and in the box's own."""
    scan = tuple(slice(max(p.start, 0), min(p.stop, n)) for p, n in zip(box, shape, strict=True))
    own = tuple(slice(s.start - p.start, s.stop - p.start) for s, p in zip(scan, box, strict=True))
    return scan, own


def _sticks_in(box: Box, shape: tuple[int, ...]) -> Bool[ndarray, "d h w"]:
    """Which voxels of a box lie in the scan."""
    inside = np.zeros(tuple(part.stop - part.start for part in box), bool)
    inside[_inside(box, shape)[1]] = True
    return inside


def _pasted(scan: ndarray, box: Box, values: ndarray) -> ndarray:
    """A copy of the scan with a box's values in it, as far as it lies inside."""
    pasted = scan.copy()
    there, own = _inside(box, scan.shape)
    pasted[there] = values[own]
    return pasted


def _inner(shape: tuple[int, ...]) -> Bool[ndarray, "d h w"]:
    """What of the cube the generator makes."""
    inner = np.zeros(shape, bool)
    inner[tuple(slice(round(INNER.start / CUBE * n), round(INNER.stop / CUBE * n)) for n in shape)] = True
    return inner
