"""Where a forgery goes, how large it is, and its outline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from intact.data.phantom_parts import Blob
from intact.errors import UsageError
from intact.image import Image
from intact.segment.anatomy import body

Form = Literal["blob", "rectangle"]
Box = tuple[slice, ...]
Mask = Bool[ndarray, "..."]

ROUGH = 0.15  # amplitude of a blob's outline, over its radius
DIAMETERS = (3.0, 40.0)  # mm, of which sizes are drawn where a pixel's size is known
SHARES = (0.003, 0.03)  # of the image's area, where it is not
WIDEST = 0.25  # of the shortest edge of the image
COVERED, TRIES = 0.9, 16  # of a region is within the body, or as much as so many trials find
CANDIDATES = 16  # places that the one most like another is chosen from
LITTLE = 0.05  # of the image: a body that is smaller was not recognised
_tissues: WeakKeyDictionary[Image, Mask] = WeakKeyDictionary()


@dataclass(frozen=True)
class Site:
    """A region around a voxel, of a shape that is known between voxels too.

    Args:
        centre: The voxel, as an index into the image's shape.
        diameter: mm; pixels where their size is not known.
        form: "blob" is an irregular disc or ball, "rectangle" a square or cube of equal size.
        seed: Decides the blob's outline.
        steps: mm between voxels along each axis; 1 where that is not known.
    """

    centre: tuple[int, ...]
    diameter: float
    form: Form
    seed: int
    steps: tuple[float, ...]

    @property
    def reach(self) -> float:
        """How far from the centre the region can extend, in mm."""
        factor = math.sqrt(2.0) if self.form == "rectangle" else 1.0 + 1.5 * ROUGH
        return factor * self.diameter / 2

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the region lies whole inside an image."""
        margins = _margins(self)
        return all(m <= at < n - m for at, m, n in zip(self.centre, margins, shape, strict=True))

    def box(self, shape: tuple[int, ...], margin: float = 0.0) -> Box:
        """The part of an image that holds the region and so many mm around it."""
        half = [math.ceil((self.reach + margin) / step) + 1 for step in self.steps]
        return tuple(
            slice(max(at - h, 0), min(at + h + 1, n))
            for at, h, n in zip(self.centre, half, shape, strict=True)
        )

    def offsets(self, box: Box) -> list[Float[ndarray, "..."]]:
        """How far each voxel of a box is from the centre along each axis, in mm; to be broadcast."""
        axes = [
            (np.arange(part.start, part.stop) - at) * step
            for part, at, step in zip(box, self.centre, self.steps, strict=True)
        ]
        return list(np.meshgrid(*axes, indexing="ij", sparse=True))

    def mask(self, box: Box) -> Mask:
        """Which voxels of a box belong to the region."""
        return self.inside(self.offsets(box))

    def inside(self, offsets: list[Float[ndarray, "..."]]) -> Mask:
        """Whether points, given by their distance from the centre along each axis in mm, are inside."""
        away = np.stack(np.broadcast_arrays(*offsets)).astype(np.float32)
        if self.form == "rectangle":
            half = self.diameter / 2 * math.sqrt(math.pi) / 2  # of the area of a disc
            return np.asarray(np.abs(away).max(axis=0) <= half)
        blob = Blob((0.0, 0.0, 0.0), self.diameter, ROUGH, 0.0, self.seed)
        if len(away) == 2:
            return np.asarray(blob.distance(away[1], away[0], 0.0) <= 0)
        # A blob is reckoned plane by plane, and points that were turned in the plane stay in it.
        return np.stack([blob.distance(x, y, float(z.flat[0])) <= 0 for z, y, x in away.swapaxes(0, 1)])


def draw_site(
    image: Image,
    within: Mask,
    rng: np.random.Generator,
    *,
    diameter: float = 0.0,
    form: Form = "blob",
) -> Site:
    """A place where a forger would work, whole inside the image.

    Args:
        image: A plane or a volume.
        within: Where it may be, of the image's shape.
        rng: Decides what is open.
        diameter: In mm (pixels where their size is not known); 0 draws it, evenly in its logarithm:
            from 3 to 40 mm, or from 0.3 to 3 % of the image's area where a pixel's size is not known.
        form: Of the region.

    Raises:
        UsageError: There is no such form, or no room for so large a region.
    """
    if form not in get_args(Form):
        raise UsageError(f"form={form!r} is not one of {', '.join(get_args(Form))}")
    steps = image.spacing or (1.0,) * len(image.shape)
    size = diameter or _drawn_diameter(image, rng)
    site = Site((0,) * len(steps), size, form, int(rng.integers(2**31)), steps)
    return move(site, within, rng)


def move(site: Site, within: Mask, rng: np.random.Generator, *, away: Mask | None = None) -> Site:
    """The same region elsewhere.

    Args:
        site: The region.
        within: Where its centre may be, of the image's shape.
        rng: Decides where.
        away: Where its centre must not be.

    Raises:
        UsageError: There is no room for it.
    """
    frame = tuple(slice(margin, n - margin) for n, margin in zip(within.shape, _margins(site), strict=True))
    allowed = np.zeros(within.shape, bool)
    allowed[frame] = within[frame]
    if away is not None:
        allowed &= ~away
    if not allowed.any():
        raise UsageError(
            f"there is no room for a forgery of {site.diameter:.3g} mm (or pixels) in an image of shape "
            f"{within.shape}; choose a smaller diameter"
        )
    places = np.flatnonzero(allowed)
    best, most = site, -1.0
    for _ in range(TRIES):
        centre = np.unravel_index(places[int(rng.integers(len(places)))], allowed.shape)
        tried = replace(site, centre=tuple(int(at) for at in centre))
        box = tried.box(within.shape)
        share = float(within[box][tried.mask(box)].mean())
        if share > most:
            best, most = tried, share
        if share >= COVERED:
            break
    return best


def counterpart(centre: tuple[int, ...], ours: Mask, theirs: Mask) -> tuple[int, ...]:
    """The voxel that lies in one body where another lies in the other, by their bounding boxes.

    Args:
        centre: A voxel of ours.
        ours: A body, of the image's shape.
        theirs: Another, of as many axes.
    """
    place = []
    for axis, at in enumerate(centre):
        others = tuple(other for other in range(ours.ndim) if other != axis)
        (a, b), (c, d) = (np.flatnonzero(body.any(axis=others))[[0, -1]] for body in (ours, theirs))
        place.append(round(c + (at - a) * (d - c) / max(b - a, 1)))
    return tuple(place)


def similar(image: Image, sites: Sequence[Site], wanted: Float[ndarray, "n"]) -> Site:
    """The site whose values are most like others in level and spread, as a careful forger chooses.

    Args:
        image: A plane or a volume.
        sites: To choose from.
        wanted: Values in the image's stored units.
    """

    def unlike(site: Site) -> float:
        box = site.box(image.shape)
        own = image.pixels[box][site.mask(box)].astype(np.float64)
        return float(abs(np.median(own) - np.median(wanted)) + abs(own.std() - np.std(wanted)))

    return min(sites, key=unlike)


def tissue(image: Image) -> Mask:
    """The body as far as it can be told from the air around it, else everything that was measured.

    Remembered as long as the image is, as one image is often forged in several ways.
    """
    if image not in _tissues:
        found = body(image)
        measured = ~image.padding_mask()
        found = found & measured if found.mean() > LITTLE else measured
        found.flags.writeable = False
        _tissues[image] = found
    return _tissues[image]


def ring(mask: Mask, steps: tuple[float, ...], width: float) -> Mask:
    """What lies outside a region, at most so many mm away."""
    away = ndimage.distance_transform_edt(~mask, sampling=steps)
    return np.asarray((away > 0) & (away <= width))


def _drawn_diameter(image: Image, rng: np.random.Generator) -> float:
    steps = image.spacing or (1.0,) * len(image.shape)
    edge = min(n * step for n, step in zip(image.shape, steps, strict=True))
    if image.spacing:
        low, high = DIAMETERS
    else:
        area = float(np.prod(image.shape[-2:]))
        low, high = (2 * math.sqrt(share * area / math.pi) for share in SHARES)
    high = min(high, WIDEST * edge)
    return float(np.exp(rng.uniform(np.log(min(low, high)), np.log(high))))


def _margins(site: Site) -> list[int]:
    return [math.ceil(site.reach / step) + 1 for step in site.steps]
