"""A frontal chest radiograph, with or without a finding, projected through an analytic thorax.

Every tissue is a map of path lengths in mm; Beer and Lambert turn their sum into photons, which
are blurred, counted and log-converted as a digital detector does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Raster
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from intact.data import phantom_projection as projection
from intact.data.phantom_parts import Blob, Field, Noise, cover
from intact.data.phantom_projection import BONE, WATER, Torso
from intact.image import Image

BITS = 12
TOP = 2**BITS - 1
BESIDE_SPINE = 26.0  # mm from the middle to where a reader lets a lung begin
PLEURA = 2.0  # mm between the ribs and the lung
Kind = Literal["nodule", "consolidation", "effusion", "pneumothorax"]
SIZES: dict[Kind, tuple[float, float]] = {  # mm, as `Finding.size`, smallest and largest
    "nodule": (7, 30), "consolidation": (35, 90), "effusion": (15, 70), "pneumothorax": (10, 35),
}  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """Everything that chance decides about the exposure; lengths in mm."""

    field: float
    shift: tuple[float, float]
    turn: float  # radians
    photons: float  # per mm2 without a patient
    blur: float
    gamma: float  # of the presentation curve
    low: float  # attenuation shown as black
    high: float  # attenuation shown as white
    edge: float  # unsharp masking of the presentation
    border: tuple[float, ...]  # collimated top, bottom, left, right, as shares of the field
    marker: tuple[float, float] | None  # place of the side marker, as shares of the field
    inverted: bool  # stored as MONOCHROME1
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Exposure:
        """Draw an exposure."""
        narrow = rng.uniform(0, 0.06, 4) * (rng.random(4) < 0.5)
        place = (rng.uniform(0.04, 0.12), rng.uniform(0.06, 0.4))
        return Exposure(
            field=rng.uniform(345, 400),
            shift=(rng.normal(0, 7), rng.normal(0, 9)),
            turn=np.deg2rad(rng.normal(0, 1.5)),
            photons=10 ** rng.uniform(4.0, 4.9),
            blur=rng.uniform(0.4, 0.9),
            gamma=rng.uniform(0.8, 1.3),
            low=rng.uniform(0.55, 1.1),
            high=rng.uniform(5.6, 6.8),
            edge=rng.uniform(0.2, 0.8),
            border=tuple(narrow.tolist()),
            marker=place if rng.random() < 0.7 else None,
            inverted=bool(rng.random() < 0.3),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Finding:
    """Everything that chance decides about a finding, except where lung allows it to be."""

    kind: Kind
    side: Literal[-1, 1]  # -1 is the patient's right
    size: float  # mm: diameter, or height of an effusion, or width of a pneumothorax
    density: float  # share of the air that is replaced; of a nodule, relative to water
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Finding:
        """Draw a finding."""
        kind = list(SIZES)[rng.choice(4, p=(0.35, 0.3, 0.2, 0.15))]
        return Finding(
            kind=kind,
            side=-1 if rng.random() < 0.5 else 1,
            size=rng.uniform(*SIZES[kind]),
            density=rng.uniform(0.9, 1.6) if kind == "nodule" else rng.uniform(0.2, 0.65),
            seed=int(rng.integers(2**31)),
        )


def chest_xray(
    seed: int, *, shape: tuple[int, int] = (224, 224), lesion: bool | None = None
) -> tuple[Image, NDArray[np.bool_]]:
    """Make one radiograph; the same seed has the same anatomy with and without its finding.

    Args:
        seed: Decides everything.
        shape: Rows, columns.
        lesion: Whether there is a finding; None lets the seed decide.

    Returns:
        The image (uint16, 12 bits, MONOCHROME1 or 2, for presentation) and the exact mask of the
        finding, of the same shape.
    """
    rng = np.random.default_rng(seed)
    torso, exposure, found = Torso.draw(rng), Exposure.draw(rng), Finding.draw(rng)
    coin = rng.random() < 0.5
    x, z, pixel = _grid(exposure, shape)
    maps = projection.paths(torso, x, z)
    mask = np.zeros(shape, bool)
    if coin if lesion is None else lesion:
        mask = apply(torso, found, maps, x, z)
    attenuation = WATER * (maps["water"] - maps["lung"] - maps["gas"]) + BONE * maps["bone"]
    stored = _present(exposure, _expose(exposure, attenuation, pixel), pixel)
    image = Image(
        pixels=TOP - stored if exposure.inverted else stored,
        photometric="MONOCHROME1" if exposure.inverted else "MONOCHROME2",
        spacing=pixel,
        modality="DX",
        bits=BITS,
    )
    return image, mask & _open_field(exposure, shape)


def lung_fields(seed: int, *, shape: tuple[int, int] = (224, 224)) -> NDArray[np.bool_]:
    """The lungs in `chest_xray` of the same seed and shape, as a reader outlines them.

    From the tops to the domes of the diaphragm and from the ribs to the spine: the parts behind the
    heart belong to them, and so does what a finding hides.
    """
    rng = np.random.default_rng(seed)
    torso, exposure = Torso.draw(rng), Exposure.draw(rng)
    x, z, _ = _grid(exposure, shape)
    x = x - np.float32(torso.lean)
    beside = (np.abs(x) > BESIDE_SPINE) & (np.abs(x) < torso.cage(z) - PLEURA)
    return beside & (z < torso.apex) & (z > torso.base(x)) & _open_field(exposure, shape)


def apply(torso: Torso, found: Finding, maps: dict[str, Field], x: Field, z: Field) -> NDArray[np.bool_]:
    """Put the finding into the path lengths, in place, and say where it is."""
    air, side = maps["lung"], np.sign(x) == found.side
    lung = (air > 25) & side
    noise = Noise(found.seed, 18.0).at(x, z, 0.0)
    fine = Noise(found.seed + 1, 8.0).at(x, z, 0.0)
    if found.kind == "nodule":
        distance = _blob(found, lung, x, z, 0.12)
        chord = 2 * np.sqrt(np.clip(-distance * (found.size + distance), 0, None))
        maps["lung"] = air - found.density * np.minimum(chord, air)
        return distance < 0
    if found.kind == "consolidation":
        distance = _blob(found, lung, x, z, 0.3)
        share = cover(distance + 3 * fine, 9.0) * np.clip(found.density * (1 + 0.15 * fine), 0, 0.9)
        maps["lung"] = air * (1 - share * side * np.clip((air - 3) / 6, 0, 1))
        return (distance + 3 * fine < 0) & (air > 4) & side
    if found.kind == "effusion":
        wall = np.clip(torso.cage(z) - np.abs(x), 0, None)
        level = torso.base(x) + found.size + 35 * np.exp(-wall / 20) - 12 + 2 * noise
        share = cover(z - level, 22.0) * side * np.clip((air - 3) / 6, 0, 1)
        maps["lung"] = air * (1 - share * min(0.55 + found.density, 0.95))
        return (z < level) & (air > 4) & side
    gap = found.size * np.clip((z + 60) / 150, 0, 1)  # wide at the top, closed at the bottom
    depth = torso.cage(z) - np.abs(x) - 4 - gap - 2 * noise
    there = (air > 5) * side * np.clip((gap - 3) / 4, 0, 1)
    free = cover(depth, 2.0) * there
    pleura = np.exp(-((depth / 0.9) ** 2)) * there
    maps["lung"] = air + 0.7 * free * (maps["vessels"] + 8) - 3.0 * pleura
    return (depth < 0) & (there > 0)


def _blob(found: Finding, lung: NDArray[np.bool_], x: Field, z: Field, rough: float) -> Field:
    """Signed distance to a blob whose centre lies in the lung."""
    rng = np.random.default_rng(found.seed + 2)
    # Drawn in mm, so that the place does not depend on the matrix.
    points = np.stack([found.side * rng.uniform(25, 115, 400), rng.uniform(-110, 110, 400)])
    pixel = np.array([x[0, 1] - x[0, 0], z[1, 0] - z[0, 0]])
    column, row = np.rint((points - [[x[0, 0]], [z[0, 0]]]) / pixel[:, None]).astype(int)
    inside = (column >= 0) & (column < x.shape[1]) & (row >= 0) & (row < x.shape[0])
    fit = np.flatnonzero(inside)[lung[row[inside], column[inside]]]
    centre = points[:, fit[0]]
    blob = Blob((float(centre[0]), float(centre[1]), 0.0), found.size, rough, 0.0, found.seed)
    return blob.distance(x, z, 0.0)


def _grid(exposure: Exposure, shape: tuple[int, int]) -> tuple[Field, Field, tuple[float, float]]:
    """Coordinates in mm (x to the patient's left, z to the head) and the pixel spacing."""
    pixel = (exposure.field / shape[0], exposure.field / shape[1])
    z, x = (exposure.field * ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) for n in shape)
    x, z = np.meshgrid(x - np.float32(exposure.shift[0]), -z - np.float32(exposure.shift[1]))
    c, s = np.float32(np.cos(exposure.turn)), np.float32(np.sin(exposure.turn))
    return c * x + s * z, c * z - s * x, pixel


def _expose(exposure: Exposure, attenuation: Field, pixel: tuple[float, float]) -> Field:
    """Attenuation as measured: blurred photons, counted."""
    photons = exposure.photons * pixel[0] * pixel[1]
    beam = photons * np.exp(-attenuation)
    beam = gaussian_filter(beam, [exposure.blur / step for step in pixel])
    # Counts are large, so Poisson's law is a normal one; its draw stays the same under a lesion.
    grain = np.random.default_rng(exposure.seed).standard_normal(beam.shape, dtype=np.float32)
    counts = np.maximum(beam + np.sqrt(beam) * grain, 1.0)
    return -np.log(counts / np.float32(photons))


def _present(exposure: Exposure, measured: Field, pixel: tuple[float, float]) -> NDArray[np.uint16]:
    """Edge enhancement, tone curve, shutter and side marker: what the console sends out."""
    around = gaussian_filter(measured, [4 / step for step in pixel], truncate=2.5)
    measured = measured + exposure.edge * (measured - around)
    shown = np.clip((measured - exposure.low) / (exposure.high - exposure.low), 0, 1) ** exposure.gamma
    shown = np.where(_open_field(exposure, measured.shape), shown, 0.0)
    if exposure.marker is not None:
        rows, columns = measured.shape
        raster = Raster.new("L", (columns, rows))
        place = (exposure.marker[0] * columns, exposure.marker[1] * rows)
        font = ImageFont.load_default(size=max(rows // 18, 8))
        ImageDraw.Draw(raster).text(place, "R", fill=255, font=font)
        shown = np.maximum(shown, np.asarray(raster) / 255.0)
    return np.rint(shown * TOP).astype(np.uint16)


def _open_field(exposure: Exposure, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """True where the collimator lets the beam through."""
    y, x = ((np.arange(n) + 0.5) / n for n in shape)
    top, bottom, left, right = exposure.border
    return ((y >= top) & (y <= 1 - bottom))[:, None] & ((x >= left) & (x <= 1 - right))[None]
