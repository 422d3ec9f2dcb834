"""The head of the brain phantom: shapes and MR signal, without scanner or lesion.

Gyri come from a distance: sulci are the zero lines of a noise field that is stretched towards
the centre of the head, and cortex is whatever lies within its thickness of a sulcus or of the
brain's surface. The origin lies between the thalami; heights are above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from intact.data.phantom_parts import (
    Field,
    Noise,
    cover,
    ellipsoid,
    mix,
    oval,
    smooth_min,
    tube,
)

# Relative signal; 1 is white matter in T1 and grey matter in FLAIR.
SIGNAL = {
    "T1": {"white": 1.0, "grey": 0.7, "deep": 0.79, "pallidum": 0.9, "csf": 0.2, "fat": 1.35,
           "skin": 0.7, "bone": 0.06, "marrow": 0.55, "muscle": 0.55},
    "FLAIR": {"white": 0.76, "grey": 1.0, "deep": 0.92, "pallidum": 0.78, "csf": 0.14, "fat": 1.35,
              "skin": 0.8, "bone": 0.06, "marrow": 0.5, "muscle": 0.5},
}  # fmt: skip
# Centre (right side mirrored), semi-axes in mm, turn in radians.
NUCLEI = (
    ((13.5, -21.0, 12.0), (5.5, 10.0, 11.0), -0.35, "deep"),  # head of the caudate
    ((26.0, -4.0, 5.0), (5.0, 15.0, 11.0), 0.22, "deep"),  # putamen
    ((19.5, 0.0, 3.0), (4.0, 9.0, 8.0), 0.45, "pallidum"),
    ((10.5, 14.0, 8.0), (8.5, 14.0, 11.0), 0.35, "deep"),  # thalamus
    ((19.0, 6.0, 27.0), (3.0, 16.0, 5.0), -0.2, "deep"),  # body of the caudate
)
HORNS = [
    (11.0, -40.0, 12.0, 2.5), (7.5, -24.0, 14.0, 4.8), (8.0, -6.0, 24.0, 5.0),
    (14.0, 18.0, 25.0, 5.5), (24.0, 33.0, 14.0, 6.0), (24.0, 54.0, 8.0, 2.2),
]  # fmt: skip


@dataclass(frozen=True)
class Head:
    """Everything that chance decides about a head and its scan; lengths in mm."""

    sequence: Literal["T1", "FLAIR"]
    level: float  # height of the middle plane above the thalamus
    width: float
    length: float
    turn: float  # radians
    shift: tuple[float, float]
    skew: float  # the left half is this share wider than the right
    fat: float
    skull: float
    gap: float  # CSF over the brain
    sulci: float  # width of a sulcus at the surface
    cortex: float
    ventricles: float  # scale of their radii
    contrast: float  # between grey and white matter, relative to the table
    brightness: float  # stored value of signal 1
    bias: float
    noise: float  # standard deviation, relative to signal 1
    blur: float  # standard deviation of the point spread
    seed: int  # of the folds, the texture and the noise

    @staticmethod
    def draw(rng: np.random.Generator) -> Head:
        """Draw a head."""
        return Head(
            sequence="T1" if rng.random() < 0.5 else "FLAIR",
            level=rng.uniform(2, 42),
            width=rng.uniform(144, 168),
            length=rng.uniform(180, 212),
            turn=np.deg2rad(rng.normal(0, 4)),
            shift=(rng.normal(0, 3), rng.normal(0, 4)),
            skew=rng.normal(0, 0.015),
            fat=rng.uniform(1.5, 4.5),
            skull=rng.uniform(4.5, 7.0),
            gap=rng.uniform(0.5, 2.5),
            sulci=rng.uniform(0.6, 2.2),
            cortex=rng.uniform(2.8, 3.8),
            ventricles=rng.uniform(0.65, 1.35),
            contrast=rng.uniform(0.75, 1.25),
            brightness=rng.uniform(750, 1700),
            bias=rng.uniform(0.03, 0.16),
            noise=rng.uniform(0.012, 0.04),
            blur=rng.uniform(0.45, 0.85),
            seed=int(rng.integers(2**31)),
        )


def tissue(head: Head, x: Field, y: Field, z: float) -> tuple[Field, Field]:
    """Signal of the healthy head, and the share of brain or ventricle in each pixel."""
    s, px = dict(SIGNAL[head.sequence]), 1.1
    s["grey"] = s["white"] + (s["grey"] - s["white"]) * head.contrast
    s["deep"] = s["white"] + (s["deep"] - s["white"]) * head.contrast
    x = x * np.float32(1 + head.skew) if head.skew else x
    depth = _depth(head, x, y, z)
    layers = Noise(head.seed + 1, 30.0).at(x, y, z)
    temple = np.clip((38 - z) / 30, 0, 1) * np.exp(-(((y + 28) / 26) ** 2)) * (np.abs(x) > 30)
    under_fat = 2.0 + head.fat * (1 + 0.2 * layers)
    muscle = (9 * temple).astype(np.float32)
    table = under_fat + muscle
    skull = np.float32(head.skull) * (1 + 0.12 * layers)
    surface = depth - table - skull - np.float32(head.gap)  # > 0 inside the brain
    pia = _pia(head, x, y, z, surface)
    ventricle = ventricles(head, x, y, z)

    texture = Noise(head.seed + 2, 7.0).at(x, y, z)
    signal = np.float32(s["white"]) * (1 + np.float32(0.02) * texture)
    if head.sequence == "FLAIR":  # periventricular caps
        signal = signal + 0.16 * np.exp(-np.clip(ventricle, 0, None) / 2.5)
    for centre, axes, turn, name in NUCLEI:
        for side in (-1, 1):
            middle = (side * centre[0], centre[1], centre[2])
            nucleus = ellipsoid(x, y, z, middle, axes, side * turn) + 0.6 * texture
            signal = mix(signal, s[name], cover(nucleus, 2.0))
    signal = mix(signal, s["grey"], cover(pia - np.float32(head.cortex) - 0.5 * texture, 1.5))
    signal = mix(signal, s["csf"], cover(ventricle, px))
    signal = mix(signal, s["csf"], cover(pia, px))
    signal = mix(signal, s["grey"] * 0.75, cover(_falx(x, y, z, surface), px))
    shell = (
        (s["bone"], depth - table - skull),
        (s["marrow"], depth - table - skull + np.maximum(skull - 3.4, 0) / 2 + 1.7),
        (s["bone"], depth - table - np.float32(1.7)),
        (s["muscle"], depth - table),
        (s["fat"] * (1 - 0.08 * np.abs(layers)), depth - under_fat),
        (s["skin"], depth - np.float32(1.6)),
        (0.0, depth),
    )
    for value, inside in shell:
        signal = mix(signal, value, cover(inside, px))
    return signal.astype(np.float32), cover(-surface, px)


def ventricles(head: Head, x: Field, y: Field, z: float) -> Field:
    """Distance to the lateral and third ventricles."""
    wave = Noise(head.seed + 3, 22.0).at(x, y, z)
    size = head.ventricles
    horns = [(px, py, pz, r * size) for px, py, pz, r in HORNS]
    lateral = tube(np.abs(x) + 0.8 * wave, y + wave, z, horns)
    third = ellipsoid(x, y, z, (0.0, 5.0, 4.0), (1.9 * size, 15.0, 12.0))
    return smooth_min(lateral, np.maximum(third, -3), 2.0)


def _depth(head: Head, x: Field, y: Field, z: float) -> Field:
    """Depth below the skin in mm."""
    taper = np.sqrt(max(1 - ((z - 2) / 92) ** 2, 0.05))
    egg = x / (1 + np.float32(0.0011) * (y - 10))  # widest behind the middle
    wobble = Noise(head.seed + 4, 60.0).at(x, y, z)
    a, b = head.width / 2 * taper, head.length / 2 * taper
    return np.float32(1.6) * wobble - oval(egg, y, a, b, 2.2)


def _pia(head: Head, x: Field, y: Field, z: float, surface: Field) -> Field:
    """Distance to the nearest CSF outside the ventricles: brain surface, sulci, fissures."""
    radius = np.maximum(np.hypot(x, y), 38.0)
    spread = 1 + np.float32(0.62) * np.clip(surface, 0, 26) / radius
    bend = Noise(head.seed + 5, 11.0)
    fx = x * spread + 3.2 * bend.at(x, y, z)
    fy = y * spread + 3.2 * bend.at(y + 700, x, z)
    folds = Noise(head.seed + 6, 7.2).at(fx, fy, z)
    step = abs(float(x[0, 1] - x[0, 0])) + abs(float(y[0, 1] - y[0, 0]))
    slope = np.hypot(*np.gradient(folds)) / np.float32(max(step, 1e-3))
    sheet = np.abs(folds) / np.maximum(slope, 0.02)
    lobes = Noise(head.seed + 7, 18.0).at(x, y, z)
    floor = np.clip(17 + 0.12 * z + 6 * lobes, 5, 30)  # depth of the sulci
    middle = x - 1.2 * bend.at(y + 300, y, z)
    callosum = -ellipsoid(np.zeros_like(x), y, z, (0.0, 4.0, 10.0), (30.0, 44.0, 24.0))
    callosum = np.clip(callosum, 0, None)
    medial = np.abs(middle) + 8 + 3 * callosum  # gyri of the inner side are shallower
    deep = np.minimum(surface, medial)
    width = np.float32(head.sulci) * np.clip(1 + 0.5 * lobes, 0.2, 2) * np.clip(1.1 - surface / 40, 0.2, 1)
    sulci = np.hypot(np.clip(deep - floor, 0, None), sheet) - width / 2
    fissure = np.hypot(callosum, middle) - np.float32(0.6 + head.sulci / 4)
    sylvian = _sylvian(head, x, y, z, lobes)
    return np.minimum.reduce([surface, sulci, fissure, sylvian]).astype(np.float32)


def _sylvian(head: Head, x: Field, y: Field, z: float, lobes: Field) -> Field:
    """The fissure over the insula: in from the side, then along the island to the back."""
    thin = 0.5 + head.sulci / 3
    path = [(75.0, -22.0, 4.0, thin + 1), (44.0, -14.0, 6.0, thin), (39.0, 2.0, 8.0, thin),
            (42.0, 18.0, 12.0, thin), (60.0, 30.0, 16.0, thin)]  # fmt: skip
    fold = 0.35 * (z - 8)  # a sheet, not a tube: its height is compressed
    return tube(np.abs(x) + 1.5 * lobes, y + 1.5 * lobes, 8 + fold, path)


def _falx(x: Field, y: Field, z: float, surface: Field) -> Field:
    """Dura between the hemispheres and the sagittal sinus behind."""
    sheet = np.maximum(np.abs(x) - 0.4, np.abs(y - 4) * -1 + 34 + np.float32(max(0.0, 30 - z) / 3))
    return np.minimum(sheet, np.hypot(x, np.where(y > 0, surface + 1.5, 99.0)) - 2.5)
