"""A CT volume of a thorax in Hounsfield units, with or without a lung lesion.

Organs are analytic shapes around a rib cage whose size, tilt and filling vary; the lung vessels
are trees grown towards random points of each lung. Every slice is the average of thinner ones,
as a detector row has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from intact.data import phantom_organs as organs
from intact.data.phantom_organs import AIR, Chest
from intact.data.phantom_parts import Blob, Field, Noise, cover, mix
from intact.image import Image, Scale, Window

SLICE_SPACING = 5.0  # mm
REACH = 250.0  # mm that many planes cover at most
BITS = 12
INTERCEPT = -1024.0
PADDING = -2000  # stored value outside the circular field of view
LUNG, SOFT_TISSUE = Window(-600.0, 1500.0), Window(40.0, 400.0)
SUBSLICES = 2
Kind = Literal["solid", "spiculated", "ground_glass", "consolidation", "calcified"]
LESIONS: dict[Kind, tuple[float, float, float, float]] = {  # diameter in mm and HU, low and high
    "solid": (4, 24, -40, 60), "spiculated": (9, 28, 0, 60), "ground_glass": (10, 30, -720, -480),
    "consolidation": (16, 30, -80, 40), "calcified": (4, 12, 250, 800),
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """Everything that chance decides about the scanner; lengths in mm."""

    field: float
    level: float  # height of the middle plane above the carina
    shift: tuple[float, float]
    noise: float  # HU in the middle of an average patient
    sharp: float  # kernel cut-off, as a share of the Nyquist frequency
    streaks: float  # HU along the shoulders
    table: float  # gap between back and table
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Scan:
        """Draw a scan."""
        return Scan(
            field=rng.uniform(355, 430),
            level=rng.uniform(-45, 25),
            shift=(rng.normal(0, 6), rng.uniform(-28, -8)),
            noise=rng.uniform(7, 26),
            sharp=rng.uniform(0.35, 0.8),
            streaks=rng.uniform(5, 30),
            table=rng.uniform(2, 9),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Lesion:
    """Everything that chance decides about a lesion, except where lung allows it to be."""

    kind: Kind
    diameter: float  # mm
    hu: float
    rough: float
    spiky: float
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Lesion:
        """Draw a lesion."""
        kind = list(LESIONS)[rng.choice(5, p=(0.3, 0.25, 0.2, 0.15, 0.1))]
        small, large, thin, dense = LESIONS[kind]
        return Lesion(
            kind=kind,
            diameter=rng.uniform(small, large),
            hu=rng.uniform(thin, dense),
            rough=rng.uniform(0.2, 0.4) if kind in ("ground_glass", "consolidation") else 0.08,
            spiky=rng.uniform(0.25, 0.6) if kind == "spiculated" else 0.0,
            seed=int(rng.integers(2**31)),
        )


def thorax_ct(
    seed: int, *, shape: tuple[int, int, int] = (32, 256, 256), lesion: bool | None = None
) -> tuple[Image, NDArray[np.bool_]]:
    """Make one thorax; the same seed has the same anatomy with and without its lesion.

    Args:
        seed: Decides everything.
        shape: Planes (first is the lowest), rows, columns.
        lesion: Whether there is one; None lets the seed decide.

    Returns:
        The volume (int16, stored value - 1024 = HU, 12 bits, padding -2000 outside the circular
        field of view) and the exact lesion mask of the same shape.
    """
    rng = np.random.default_rng(seed)
    chest, scan, found, coin = Chest.draw(rng), Scan.draw(rng), Lesion.draw(rng), rng.random() < 0.5
    present = coin if lesion is None else lesion
    step = min(SLICE_SPACING, REACH / shape[0])
    heights = scan.level + step * (np.arange(shape[0]) - (shape[0] - 1) / 2)
    spacing = (step, scan.field / shape[1], scan.field / shape[2])
    y, x = (scan.field * ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) for n in shape[1:])
    x, y = np.meshgrid(x - np.float32(scan.shift[0]), y - np.float32(scan.shift[1]), copy=False)
    blob = place(chest, found, heights) if present else None
    thin = (heights[:, None] + step * ((np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5)).ravel()
    vessels = organs.vessels(chest, x, y, thin)
    hu = np.empty(shape, np.float32)
    mask = np.zeros(shape, bool)
    for k, z in enumerate(heights):
        parts = range(k * SUBSLICES, (k + 1) * SUBSLICES)
        slabs = [render(chest, scan, found, blob, vessels[i], x, y, float(thin[i])) for i in parts]
        hu[k] = np.mean(slabs, axis=0)
        if blob is not None and abs(blob.centre[2] - z) < blob.reach:
            mask[k] = (blob.distance(x, y, float(z)) < 0) & (organs.lung(chest, x, y, float(z)) < 0)
    if blob is not None:  # it may be smaller than a voxel, but never nowhere
        nearest = np.hypot(x - blob.centre[0], y - blob.centre[1]).argmin()
        mask[np.abs(heights - blob.centre[2]).argmin()].flat[nearest] = True
    image = Image(
        pixels=_digitise(hu + _noise(chest, scan, heights, x, y, spacing)),
        spacing=spacing,
        affine=_affine(spacing, shape, float(heights[0])),
        modality="CT",
        bits=BITS,
        scale=Scale(1.0, INTERCEPT, unit="HU"),
        windows=(LUNG, SOFT_TISSUE),
        padding=(float(PADDING), float(PADDING)),
    )
    return image, mask


def render(
    chest: Chest,
    scan: Scan,
    lesion: Lesion,
    blob: Blob | None,
    vessels: Field,
    x: Field,
    y: Field,
    z: float,
) -> Field:
    """Noise-free HU of one thin plane; x, y in the body's frame, in mm."""
    pixel = float(x[0, 1] - x[0, 0])
    lung = organs.lung(chest, x, y, z)
    content = organs.lung_tissue(chest, lung, x, y, z)
    if blob is not None and abs(blob.centre[2] - z) < blob.reach:
        distance = blob.distance(x, y, z)
        texture = Noise(lesion.seed + 5, 3.0).at(x, y, z)
        soft = lesion.kind in ("ground_glass", "consolidation")
        inside = cover(distance, 3.0 if soft else pixel)
        content = mix(content, lesion.hu + (45 if soft else 15) * texture, inside)
        if lesion.kind == "consolidation":  # air bronchograms
            content = mix(content, AIR + 250, inside * cover(vessels * -4 + 3.2, 1.0))
            vessels = vessels * (1 - inside)
    content = np.maximum(content, mix(content, chest.blood, vessels))
    body = organs.body(chest, x, y, z, pixel)
    return mix(_table(chest, scan, body, x, y, pixel), content, cover(lung, pixel))


def place(chest: Chest, lesion: Lesion, heights: NDArray[np.floating]) -> Blob:
    """Choose where in the lungs the lesion sits: inside the middle half of the volume."""
    rng = np.random.default_rng(lesion.seed)
    quarter = len(heights) // 4
    inner = heights[quarter : len(heights) - quarter]
    room = min(lesion.diameter / 2 + 1, 9.0)
    while True:
        x, y = rng.uniform(-130, 130, (2, 1, 256)).astype(np.float32)
        # Close to the middle of a slice, or the smallest would fall between two.
        z = float(rng.choice(inner)) + rng.uniform(-0.25, 0.25) * lesion.diameter / 2
        fit = np.flatnonzero(organs.lung(chest, x, y, z)[0] < -room)
        if len(fit):
            centre = (float(x[0, fit[0]]), float(y[0, fit[0]]), z)
            return Blob(centre, lesion.diameter, lesion.rough, lesion.spiky, lesion.seed)


def _table(chest: Chest, scan: Scan, body: Field, x: Field, y: Field, pixel: float) -> Field:
    """The carbon-fibre table under the patient, where there is no patient."""
    bend, top = np.float32(420.0), np.float32(chest.back + scan.table)
    shell = np.hypot(x, y - (top - bend)) - bend
    thick = np.abs(shell - 12) - 12
    foam = mix(np.full_like(body, AIR), -940.0, cover(thick, pixel) * (np.abs(x) < 205))
    skin = cover(np.abs(thick) - np.float32(0.8), pixel) * (np.abs(x) < 205)
    return np.maximum(body, mix(foam, -120.0, skin))


def _noise(
    chest: Chest,
    scan: Scan,
    heights: Field,
    x: Field,
    y: Field,
    spacing: tuple[float, float, float],
) -> Field:
    """Noise as filtered back-projection leaves it: ramp spectrum, stronger where rays are long."""
    rng = np.random.default_rng(scan.seed)
    shape = (len(heights), *x.shape)
    fy, fx = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None]
    f = np.hypot(fy, fx) * 2  # 1 at the Nyquist frequency
    kernel = (f + 0.05) * np.exp(-((f / scan.sharp) ** 2))
    white = rng.standard_normal(shape, dtype=np.float32)
    grain = np.fft.irfft2(np.fft.rfft2(white) * kernel, s=shape[1:]).astype(np.float32)
    grain /= grain.std()
    rows = rng.standard_normal(shape, dtype=np.float32)
    streaks = gaussian_filter(rows, (0, 0.7, 45 / spacing[2]))
    streaks /= streaks.std()
    out = np.empty(shape, np.float32)
    for k, z in enumerate(heights):
        a, b = chest.outline(float(z))
        centre = np.exp(-((x / a) ** 2) - (y / b) ** 2)
        wide = np.exp((a * b) ** 0.5 / 75 - 1.9)  # photons that reach the detector
        shoulders = np.clip((float(z) - 20) / 50, 0, 1.5)
        grainy = scan.noise * wide * (0.45 + 0.75 * centre) * grain[k]
        out[k] = grainy + scan.streaks * shoulders * np.exp(-((y / (0.7 * b)) ** 2)) * streaks[k]
    return out


def _digitise(hu: Field) -> NDArray[np.int16]:
    stored = np.clip(np.rint(hu - np.float32(INTERCEPT)), 0, 2 ** (BITS - 1) - 1).astype(np.int16)
    rows, columns = hu.shape[1:]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    stored[:, np.hypot(x, y) > 1] = PADDING
    return stored


def _affine(spacing: tuple[float, float, float], shape: tuple[int, ...], z: float) -> NDArray[np.float64]:
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    affine[:3, 3] = (-(shape[2] - 1) / 2 * spacing[2], -(shape[1] - 1) / 2 * spacing[1], z)
    return affine
