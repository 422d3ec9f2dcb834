"""Copy-move: a part of an image hides or doubles something elsewhere in it.

The commonest forgery of scientific and clinical images. The part may be turned, scaled, mirrored
and made brighter; a plain copy repeats the noise of its source to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.forge.base import BORDER, FORGED, SOURCE, Change, Forger
from intact.forge.blend import Blend, blend
from intact.forge.place import CANDIDATES, Box, Form, Mask, Site, draw_site, move, similar
from intact.forge.sampling import sample
from intact.image import Image
from intact.residual import noise_sigma

APART = 1.5  # diameters between what is copied and where it goes
MARGIN = 3  # voxels of context around the region, for its seam


@dataclass(eq=False)
class CopyMove(Forger):
    """Copies a region to another place of the same image.

    Args:
        diameter: In mm; pixels where their size is not known. 0 draws it: 3 to 40 mm, or 0.3 to 3 %
            of the image.
        form: "blob" or "rectangle".
        rotation: Of the copy in the plane, in degrees.
        scale: Of the copy.
        mirror: Whether the copy is mirrored left to right.
        gain: By which the copy's values are multiplied, around their mean.
        offset: Added to the copy's values, in standard deviations of the image's noise.
        blend: "hard", "feather" or "poisson".
        vary: Draw rotation, scale, mirror, gain, offset and blend for each image, in place of the
            fields: rotation 0 for 30 % of images, within 10 degrees for 30 %, anything for the rest;
            scale 0.8 to 1.25; mirrored one in four; gain 0.9 to 1.1; offset within 1.
    """

    family = "copying"
    source = "common practice; turned and scaled copies as in Christlein et al., IEEE TIFS 7(6), 2012"

    diameter: float = 0.0
    form: Form = "blob"
    rotation: float = 0.0
    scale: float = 1.0
    mirror: bool = False
    gain: float = 1.0
    offset: float = 0.0
    blend: Blend = "hard"
    vary: bool = False

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        how = self._varied(rng) if self.vary else self
        target = draw_site(image, within, rng, diameter=how.diameter, form=how.form)
        # The source is as large as the target's region turned back, so the larger of both needs room.
        room = replace(target, diameter=target.diameter * max(1.0, 1.0 / how.scale))
        near = _near(target, image.shape)
        origins = [move(room, within, rng, away=near) for _ in range(CANDIDATES)]
        around = image.pixels[target.box(image.shape)].ravel()
        origin = similar(image, origins, around).centre
        box = target.box(image.shape, margin=MARGIN * max(target.steps))
        mask = target.mask(box)
        turn = _turn(how.rotation, how.scale, mirror=how.mirror)
        copied = how._toned(_copied(image, target, origin, turn, box), image, mask)
        values, soft = blend(image.pixels[box].astype(np.float64), copied, mask, how.blend)
        labels = np.zeros(image.shape, np.uint8)
        labels[_source_of(image, target, origin, turn)] = SOURCE
        labels[box][mask] = FORGED
        labels[box][soft] = BORDER
        drawn = {
            "target": list(target.centre),
            "from": list(origin),
            "diameter": target.diameter,
            "rotation": how.rotation,
            "scale": how.scale,
            "mirror": how.mirror,
            "gain": how.gain,
            "offset": how.offset,
            "blend": how.blend,
        }
        return Change(box, values, labels, drawn)

    def _varied(self, rng: np.random.Generator) -> CopyMove:
        law = rng.random()
        rotation = 0.0 if law < 0.3 else rng.uniform(-10, 10) if law < 0.6 else rng.uniform(-180, 180)
        return replace(
            self,
            rotation=float(rotation),
            scale=float(np.exp(rng.uniform(np.log(0.8), np.log(1.25)))),
            mirror=bool(rng.random() < 0.25),
            gain=float(rng.uniform(0.9, 1.1)),
            offset=float(rng.uniform(-1, 1)),
            blend=str(rng.choice(["hard", "feather", "poisson"])),  # type: ignore[arg-type]
        )

    def _toned(self, copied: Float[ndarray, "..."], image: Image, mask: ndarray) -> Float[ndarray, "..."]:
        if self.gain == 1.0 and self.offset == 0.0:
            return copied
        middle = copied[mask].mean()
        sigma = noise_sigma(image.pixels[..., 1] if image.colour else image.pixels) if self.offset else 0.0
        return middle + self.gain * (copied - middle) + self.offset * sigma


def _turn(rotation: float, scale: float, *, mirror: bool) -> Float[ndarray, "2 2"]:
    """From an offset in the source, (y, x) in mm, to one in the copy."""
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    return scale * np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0 if mirror else 1.0])


def _copied(
    image: Image, target: Site, origin: tuple[int, ...], turn: Float[ndarray, "2 2"], box: Box
) -> Float[ndarray, "..."]:
    """What a box around the target would show if the whole neighbourhood of the source were there."""
    offsets = np.stack(np.broadcast_arrays(*target.offsets(box))).astype(np.float64)
    back = np.linalg.inv(turn)
    offsets[-2:] = np.tensordot(back, offsets[-2:], axes=1)
    if len(offsets) == 3:
        offsets[0] /= math.sqrt(abs(np.linalg.det(turn)))
    steps = np.reshape(target.steps, (-1,) + (1,) * len(box))
    points = offsets / steps + np.reshape(origin, (-1,) + (1,) * len(box))
    plain = np.allclose(points, np.rint(points), atol=1e-9)
    return sample(image, np.rint(points) if plain else points, order=0 if plain else 3)


def _source_of(
    image: Image, target: Site, origin: tuple[int, ...], turn: Float[ndarray, "2 2"]
) -> tuple[ndarray, ...]:
    """The voxels that were copied: those that fall into the target's region."""
    scale = math.sqrt(abs(np.linalg.det(turn)))
    site = replace(target, centre=origin, diameter=target.diameter / scale)
    box = site.box(image.shape)
    offsets = np.stack(np.broadcast_arrays(*site.offsets(box))).astype(np.float64)
    offsets[-2:] = np.tensordot(turn, offsets[-2:], axes=1)
    if len(offsets) == 3:
        offsets[0] *= scale
    inside = target.inside(list(offsets))
    found = np.nonzero(inside)
    return tuple(at + part.start for at, part in zip(found, box, strict=True))


def _near(target: Site, shape: tuple[int, ...]) -> ndarray:
    """Where a source would be too close to the target."""
    box = replace(target, form="blob").box(shape, margin=APART * target.diameter)
    near = np.zeros(shape, bool)
    gap = np.sqrt(sum(axis**2 for axis in target.offsets(box)))
    near[box] = gap < APART * target.diameter
    return near
