"""Removal: a region is filled from what surrounds it, as if nothing had been there.

Bertalmio et al., "Navier-Stokes, fluid dynamics, and image and video inpainting", CVPR 2001; Telea,
"An image inpainting technique based on the fast marching method", J. Graphics Tools 9(1), 2004
(both as OpenCV has them, plane by plane); the harmonic fill solves Laplace's equation with the
values at the rim, in planes and volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.errors import UsageError
from intact.forge.base import FORGED, Change, Forger
from intact.forge.blend import blend
from intact.forge.place import Form, Mask, Site, draw_site, move
from intact.image import Image
from intact.residual import residual

Fill = Literal["telea", "navier_stokes", "harmonic", "neighbour"]

RADIUS = 5.0  # pixels that Telea's and Navier-Stokes' fills look around
SMOOTH = 1.5  # pixels: what is finer counts as grain
BESIDE = (2, 6)  # slices away that a neighbouring slice lies at
MARGIN = 8  # voxels of context around the region


@dataclass(eq=False)
class Remove(Forger):
    """Fills a region with healthy-looking tissue.

    Args:
        diameter: In mm; pixels where their size is not known. 0 draws it.
        form: "blob" or "rectangle".
        fill: "telea", "navier_stokes" and "harmonic" are smooth inside; "neighbour" takes what lies
            there in a slice nearby, or in a plane on the mirrored side, without a seam.
        grain: Add the fine structure of another part of the image, which a smooth fill lacks.
    """

    family = "removal"
    source = "Telea 2004; Bertalmio et al., CVPR 2001; Pérez et al., SIGGRAPH 2003"

    diameter: float = 0.0
    form: Form = "blob"
    fill: Fill = "telea"
    grain: bool = False

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        if self.fill not in get_args(Fill):
            raise UsageError(f"fill={self.fill!r} is not one of {', '.join(get_args(Fill))}")
        site = draw_site(image, within, rng, diameter=self.diameter, form=self.form)
        box = site.box(image.shape, margin=MARGIN * max(site.steps))
        mask = site.mask(box)
        host = image.pixels[box].astype(np.float64)
        drawn = {"target": list(site.centre), "diameter": site.diameter}
        if self.fill == "neighbour":
            values = self._from_beside(image, site, host, mask, rng, drawn)
        else:
            planes = [(..., c) for c in range(3)] if image.colour else [...]
            values = host.copy()
            for colour in planes:
                values[colour] = fill_hole(host[colour], mask, self.fill)
        if self.grain:
            origin = move(site, within, rng, away=_touching(site, image.shape))
            fine = _grain(image, origin, mask)
            values[mask] += fine[mask]
            drawn["grain_from"] = list(origin.centre)
        labels = np.zeros(image.shape, np.uint8)
        labels[box][mask] = FORGED
        return Change(box, values, labels, drawn)

    def _from_beside(
        self,
        image: Image,
        site: Site,
        host: Float[ndarray, "..."],
        mask: Mask,
        rng: np.random.Generator,
        drawn: dict[str, object],
    ) -> Float[ndarray, "..."]:
        """What another slice shows here, or the other side of the plane."""
        box = site.box(image.shape, margin=MARGIN * max(site.steps))
        if len(image.shape) == 2:
            guest = image.pixels[:, ::-1][box].astype(np.float64)
        else:
            step = int(rng.integers(*BESIDE)) * int(rng.choice([-1, 1]))
            planes = np.clip(np.arange(box[0].start, box[0].stop) + step, 0, image.shape[0] - 1)
            guest = image.pixels[planes][:, box[1], box[2]].astype(np.float64)
            drawn["slices_away"] = step
        return blend(host, guest, mask, "poisson")[0]


def fill_hole(host: Float[ndarray, "..."], mask: Mask, fill: Fill) -> Float[ndarray, "..."]:
    """Fill a hole of one channel.

    Args:
        host: [h, w] or [d, h, w].
        mask: The hole.
        fill: "telea", "navier_stokes" or "harmonic".
    """
    if fill == "harmonic":
        return blend(host, np.zeros_like(host), mask, "poisson")[0]
    flags = cv2.INPAINT_TELEA if fill == "telea" else cv2.INPAINT_NS
    planes, holes = host.reshape(-1, *host.shape[-2:]), mask.reshape(-1, *mask.shape[-2:])
    filled = planes.copy()
    for at, (plane, hole) in enumerate(zip(planes, holes, strict=True)):
        if hole.any():
            inpainted = cv2.inpaint(plane.astype(np.float32), hole.astype(np.uint8), RADIUS, flags)
            filled[at][hole] = inpainted[hole]
    return filled.reshape(host.shape)


def _grain(image: Image, origin: Site, mask: Mask) -> Float[ndarray, "..."]:
    """The fine structure around a site, of the shape of a box whose middle the site's is."""
    away = [n // 2 for n in mask.shape]
    index = [
        np.clip(np.arange(n) - half + at, 0, size - 1)
        for n, half, at, size in zip(mask.shape, away, origin.centre, image.shape, strict=True)
    ]
    part = image.pixels[np.ix_(*index)].astype(np.float64)
    if not image.colour:
        return residual(part, SMOOTH)
    return np.stack([residual(part[..., c], SMOOTH) for c in range(3)], axis=-1)


def _touching(site: Site, shape: tuple[int, ...]) -> Mask:
    """Where a region of the same size would touch this one."""
    near = np.zeros(shape, bool)
    near[site.box(shape, margin=2 * site.reach)] = True
    return near
