"""Lesions that were never there, and lesions that are no longer there, in planes and volumes.

A generator is not needed to make the traces that examiners look for: a surrogate draws a nodule
with a soft, irregular, spiculated outline, or the mean of what surrounds a lesion. How it is put
in decides what is left: "seamless" as a careful forger would, "ct_gan" with every step of the
public attack on CT (see `ct_gan.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from intact.data.phantom_parts import Blob
from intact.errors import UsageError
from intact.forge import ct_gan
from intact.forge.base import BORDER, FORGED, Change, Forger
from intact.forge.place import ROUGH, Box, Mask, Site, draw_site, move
from intact.forge.remove import fill_hole
from intact.image import Image
from intact.residual import residual

How = Literal["seamless", "ct_gan"]

NODULE_HU = 800.0  # what a nodule has more than the lung around it: 600 to 1,000
SOFT_HU = 60.0  # what a lesion has more than soft tissue around it
SHARE = 0.2  # of the range of values, where no HU are known
SOFT = 0.1  # width of the nodule's edge, over its radius: 0.08 to 0.2
SPIKY = 0.15  # length of spicules, over the radius
LUNG = (-950.0, -400.0)  # HU
INSIDE = 3.0  # mm that a place in the lung is away from its wall
SMOOTH = 1.5  # pixels: what is finer counts as noise
MARGIN = 6  # voxels of context


@dataclass(eq=False)
class Inject(Forger):
    """Puts a nodule in: in CT of the chest into the lung, elsewhere into the body.

    Args:
        diameter: In mm; pixels where their size is not known. 0 draws it.
        contrast: What the nodule has more than its surroundings, in HU for CT and else in shares of
            the image's range; 0 takes 800 HU in the lung, 60 HU elsewhere, or 0.2. Negative for a
            dark lesion.
        spiky: Length of the spicules over the radius.
        how: "seamless" adds the nodule to what is there, whose own noise stays; "ct_gan" is the
            public attack, for volumes in HU.
    """

    family = "lesion"
    source = "surrogate of Mirsky et al., CT-GAN, USENIX Security 2019"

    diameter: float = 0.0
    contrast: float = 0.0
    spiky: float = SPIKY
    how: How = "seamless"

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        _check(self.how)
        lung = _lung(image, within)
        site = draw_site(image, within if lung is None else lung, rng, diameter=self.diameter)
        blob = Blob((0.0, 0.0, 0.0), site.diameter, ROUGH, self.spiky, site.seed)
        usual = NODULE_HU if lung is not None else SOFT_HU if image.scale.unit == "HU" else SHARE
        contrast = self.contrast or usual
        drawn = {"target": list(site.centre), "diameter": site.diameter, "contrast": contrast}
        if self.how == "ct_gan":
            physical = ct_gan.in_hu(image)

            def nodule(box: Box, cube: Float[ndarray, "d h w"]) -> Float[ndarray, "d h w"]:
                return ct_gan.smooth(cube) + contrast * _share(blob, site, box)

            box, values, changed = ct_gan.attack(physical, site, nodule, inject=True)
            return ct_gan.as_change(image, box, values, changed, drawn)
        box = _box(blob, site, image.shape)
        share = _share(blob, site, box)
        step = contrast / float(np.mean(image.scale.slope)) if image.scale.unit == "HU" else None
        host = image.pixels[box].astype(np.float64)
        added = share * (contrast * _spread(image) if step is None else step)
        values = host + (added[..., None] if image.colour else added)
        labels = _labels(image, box, share > 0.5)
        labels[box][(share > 0) & (share <= 0.5)] = BORDER
        return Change(box, values, labels, drawn)


@dataclass(eq=False)
class Erase(Forger):
    """Takes a lesion away, or tissue that looks like one: a smooth fill with noise from elsewhere.

    Args:
        diameter: In mm; pixels where their size is not known. 0 draws it.
        how: "seamless" or "ct_gan", as for `Inject`.
    """

    family = "lesion"
    source = "surrogate of Mirsky et al., CT-GAN, USENIX Security 2019"

    diameter: float = 0.0
    how: How = "seamless"

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        _check(self.how)
        lung = _lung(image, within)
        within = within if lung is None else lung
        site = draw_site(image, within, rng, diameter=self.diameter)
        drawn = {"target": list(site.centre), "diameter": site.diameter}
        if self.how == "ct_gan":
            physical = ct_gan.in_hu(image)

            def healthy(box: Box, cube: Float[ndarray, "d h w"]) -> Float[ndarray, "d h w"]:
                return ct_gan.smooth(fill_hole(cube, site.mask(box), "harmonic"))

            box, values, changed = ct_gan.attack(physical, site, healthy, inject=False)
            return ct_gan.as_change(image, box, values, changed, drawn)
        box = site.box(image.shape, margin=MARGIN * max(site.steps))
        mask = site.mask(box)
        values = image.pixels[box].astype(np.float64)
        origin = move(site, within, rng)
        elsewhere = origin.box(image.shape, margin=MARGIN * max(site.steps))
        for colour in [(..., c) for c in range(3)] if image.colour else [...]:
            fine = residual(image.pixels[elsewhere].astype(np.float64)[colour], SMOOTH)
            values[colour] = fill_hole(values[colour], mask, "harmonic")
            values[colour][mask] += _fitted(fine, mask.shape)[mask]
        return Change(box, values, _labels(image, box, mask), drawn | {"noise_from": list(origin.centre)})


def _check(how: str) -> None:
    if how not in get_args(How):
        raise UsageError(f"how={how!r} is not one of {', '.join(get_args(How))}")


def _lung(image: Image, within: Mask) -> Mask | None:
    """Lung some mm from its wall, in CT that shows any."""
    if image.scale.unit != "HU":
        return None
    physical = image.physical()
    lung = within & (physical > LUNG[0]) & (physical < LUNG[1])
    reach = INSIDE / (image.spacing[-1] if image.spacing else 1.0)
    planes = (1,) * (lung.ndim - 2)
    smooth = ndimage.median_filter(lung, (*planes, 5, 5))  # without vessels
    deep: Mask = ndimage.minimum_filter(smooth, planes + (int(2 * reach) + 1,) * 2)
    return deep if deep.any() else None


def _box(blob: Blob, site: Site, shape: tuple[int, ...]) -> Box:
    return site.box(shape, margin=max(blob.reach - site.reach, 0.0) + max(site.steps))


def _share(blob: Blob, site: Site, box: Box) -> Float[ndarray, "..."]:
    """How much of the nodule each voxel of a box shows: 1 inside, 0 outside, soft between."""
    away = np.stack(np.broadcast_arrays(*site.offsets(box))).astype(np.float32)
    planes = away[None] if len(away) == 2 else away.swapaxes(0, 1)
    share = []
    for plane in planes:
        height = float(plane[0].flat[0]) if len(plane) == 3 else 0.0
        distance = blob.distance(plane[-1], plane[-2], height)
        share.append(1.0 / (1.0 + np.exp(np.clip(distance / (SOFT * blob.diameter / 2), -30, 30))))
    # The sigmoid never ends; below a thousandth nothing is stored anyway.
    stacked = np.stack(share).astype(np.float64)
    stacked[stacked < 1e-3] = 0.0
    return stacked[0] if len(away) == 2 else stacked


def _spread(image: Image) -> float:
    """The image's robust range, in stored values."""
    low, high = np.percentile(image.pixels[~image.padding_mask()], (0.5, 99.5))
    return float(high - low) or 1.0


def _fitted(fine: Float[ndarray, "..."], shape: tuple[int, ...]) -> Float[ndarray, "..."]:
    """Noise of another box, which the frame may have cut, repeated to a shape."""
    return np.pad(
        fine, [(0, max(n - have, 0)) for n, have in zip(shape, fine.shape, strict=True)], mode="reflect"
    )[tuple(slice(0, n) for n in shape)]


def _labels(image: Image, box: Box, mask: Mask) -> ndarray:
    labels = np.zeros(image.shape, np.uint8)
    labels[box][mask] = FORGED
    return labels
