"""Splicing: a part of another patient's image is put into this one.

What a careful forger does is done in turn: the part is taken from the same place of the other body,
brought to the host's pixel size, made as blurred as the host, given its brightness and contrast, and
if asked its strength of noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from intact.errors import UsageError
from intact.forge.base import BORDER, FORGED, Change, Forger
from intact.forge.blend import Blend, blend
from intact.forge.place import Box, Form, Mask, Site, counterpart, draw_site, move, ring, tissue
from intact.forge.sampling import edge_width, sample
from intact.image import Image
from intact.residual import noise_sigma, residual

RING = 0.5  # of the diameter: how far around the region brightness is compared
MOST = 2.0  # by which contrast may be changed either way
SMOOTH = 1.5  # pixels: what is finer counts as noise


@dataclass(eq=False)
class Splice(Forger):
    """Puts a region of another image in.

    Args:
        diameter: In mm; pixels where their size is not known. 0 draws it.
        form: "blob" or "rectangle".
        match_blur: Blur a donor that is sharper than the host. One that is less sharp stays so.
        match_tone: Give the region the median and spread that the host has around it.
        match_noise: Scale the region's fine structure to the strength of the host's noise, as a
            forger who knows examiners would.
        blend: "hard", "feather" or "poisson".
    """

    family = "copying"
    source = "common practice; what is matched follows Popescu & Farid, IEEE TSP 53(2), 2005, and others"
    needs_donor = True

    diameter: float = 0.0
    form: Form = "blob"
    match_blur: bool = True
    match_tone: bool = True
    match_noise: bool = False
    blend: Blend = "feather"

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        assert donor is not None
        donor = _as_deep(donor, image, rng)
        site = draw_site(image, within, rng, diameter=self.diameter, form=self.form)
        box = site.box(image.shape, margin=RING * site.diameter)
        origin, guest = self._guest(image, donor, site, box, rng)
        mask = site.mask(box)
        host = image.pixels[box].astype(np.float64)
        around = ring(mask, site.steps, max(RING * site.diameter, 2 * max(site.steps)))
        guest = self._matched(host, guest, mask, around, image, donor)
        values, soft = blend(host, guest, mask, self.blend)
        labels = np.zeros(image.shape, np.uint8)
        labels[box][mask] = FORGED
        labels[box][soft] = BORDER
        drawn = {"target": list(site.centre), "from": list(origin), "diameter": site.diameter}
        return Change(box, values, labels, drawn)

    def _guest(
        self, image: Image, donor: Image, site: Site, box: Box, rng: np.random.Generator
    ) -> tuple[tuple[int, ...], Float[ndarray, "..."]]:
        """The voxel of the donor that comes to the region's middle, and the donor around it."""
        steps = donor.spacing if donor.spacing and image.spacing else (1.0,) * len(donor.shape)
        theirs = tissue(donor)
        origin = counterpart(site.centre, tissue(image), theirs)
        known = replace(site, centre=origin, steps=steps)
        if not known.fits(donor.shape):
            try:
                origin = move(known, theirs, rng).centre
            except UsageError as error:
                raise UsageError(f"the donor is too small: {error}") from error
        away = np.stack(np.broadcast_arrays(*site.offsets(box)))
        points = away / np.reshape(steps, (-1,) + (1,) * away[0].ndim)
        points += np.reshape(origin, (-1,) + (1,) * away[0].ndim)
        plain = np.allclose(points, np.rint(points), atol=1e-9)
        guest = sample(donor, np.rint(points) if plain else points, order=0 if plain else 3)
        return origin, _in_unit_of(image, donor, guest)

    def _matched(
        self,
        host: Float[ndarray, "..."],
        guest: Float[ndarray, "..."],
        mask: Mask,
        around: Mask,
        image: Image,
        donor: Image,
    ) -> Float[ndarray, "..."]:
        if self.match_blur:
            wide, own = (edge_width(_one_plane(given)) for given in (image, donor))
            if own and image.spacing and donor.spacing:
                own *= donor.spacing[-1] / image.spacing[-1]
            if wide > own:
                guest = _in_plane(guest, mask.ndim, float(np.sqrt(wide**2 - own**2)))
        colours = [(..., c) for c in range(host.shape[-1])] if host.ndim > mask.ndim else [...]
        for colour in colours:
            if self.match_tone and around.any():
                guest[colour] = _toned(guest[colour], host[colour], around)
            if self.match_noise:
                fine = residual(guest[colour], SMOOTH)
                own = noise_sigma(guest[colour])
                gain = noise_sigma(host[colour]) / own if own else 1.0
                guest[colour] += (gain - 1.0) * fine
        return guest


def _as_deep(donor: Image, image: Image, rng: np.random.Generator) -> Image:
    """A donor of as many axes as the host: one plane of a volume, for a host that is a plane."""
    if len(donor.shape) == len(image.shape):
        return donor
    if len(donor.shape) < len(image.shape):
        raise UsageError("splice: a single plane cannot be put into a volume; give a volume as donor")
    third = donor.planes // 3  # ends of a volume are often empty
    return donor.plane(int(rng.integers(third, donor.planes - third)))


def _in_unit_of(image: Image, donor: Image, stored: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Stored values of the donor as those of the host, where both measure the same unit."""
    ours, theirs = image.scale, donor.scale
    lines = all(scale.table is None and not np.ndim(scale.slope) for scale in (ours, theirs))
    if not (lines and ours.unit and ours.unit == theirs.unit):
        return stored
    return (stored * float(theirs.slope) + float(theirs.intercept) - float(ours.intercept)) / float(
        ours.slope
    )


def _toned(guest: Float[ndarray, "..."], host: Float[ndarray, "..."], around: Mask) -> Float[ndarray, "..."]:
    """The guest with the median and the spread that the host has around the region."""
    ours, theirs = host[around], guest[around]
    middles = np.median(ours), np.median(theirs)
    spreads = [float(np.median(np.abs(v - m))) for v, m in zip((ours, theirs), middles, strict=True)]
    gain = float(np.clip(spreads[0] / spreads[1], 1 / MOST, MOST)) if spreads[1] else 1.0
    return gain * (guest - middles[1]) + middles[0]


def _in_plane(values: Float[ndarray, "..."], axes: int, sigma: float) -> Float[ndarray, "..."]:
    sigmas = [0.0] * (axes - 2) + [sigma, sigma] + [0.0] * (values.ndim - axes)
    return np.asarray(ndimage.gaussian_filter(values, sigmas))


def _one_plane(image: Image) -> Float[ndarray, "h w"]:
    plane = image.plane(image.planes // 2).pixels.astype(np.float64)
    return plane.mean(axis=-1) if image.colour else plane
