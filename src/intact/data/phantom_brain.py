"""An axial MR image of a head, T1-weighted or FLAIR, with or without a lesion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from intact.data import phantom_head as head_tissue
from intact.data.phantom_head import SIGNAL, Head
from intact.data.phantom_parts import Blob, Field, Noise, cover, mix, rotate
from intact.image import Image

FIELD_OF_VIEW = 230.0  # mm
SLICE_SPACING = 5.0  # mm
BITS = 12
Kind = Literal["tumour", "spots", "cavity"]
DIAMETERS: dict[Kind, tuple[float, float]] = {  # mm, smallest and largest
    "tumour": (8, 30), "spots": (4, 9), "cavity": (10, 28),
}  # fmt: skip


@dataclass(frozen=True)
class Lesion:
    """Everything that chance decides about a lesion, except where tissue allows it to be."""

    kind: Kind
    diameter: float  # mm, of the whole lesion, halo included; of the largest spot
    contrast: float  # of the core against white matter, signed
    ring: float  # bright rim of the core, relative signal
    core: float  # share of the diameter that is core, the rest is oedema
    push: float  # mass effect: largest displacement as a share of the radius
    rough: float
    seed: int  # of place, shape and texture

    @staticmethod
    def draw(rng: np.random.Generator) -> Lesion:
        """Draw a lesion."""
        kind = list(DIAMETERS)[rng.choice(3, p=(0.55, 0.25, 0.2))]
        return Lesion(
            kind=kind,
            diameter=rng.uniform(*DIAMETERS[kind]),
            contrast=rng.choice((-1, 1)) * rng.uniform(0.06, 0.4),
            ring=rng.choice((0.0, rng.uniform(0.15, 0.45))),
            core=rng.uniform(0.5, 1.0),
            push=rng.choice((0.0, rng.uniform(0.1, 0.4))),
            rough=rng.uniform(0.1, 0.35),
            seed=int(rng.integers(2**31)),
        )


def brain_mr(
    seed: int,
    *,
    shape: tuple[int, int, int] = (1, 224, 224),
    lesion: bool | None = None,
    sequence: Literal["T1", "FLAIR"] | None = None,
) -> tuple[Image, NDArray[np.bool_]]:
    """Make one head; the same seed has the same anatomy with and without its lesion.

    Args:
        seed: Decides everything.
        shape: Planes, rows, columns; one plane gives a 2-D image.
        lesion: Whether there is one; None lets the seed decide.
        sequence: The contrast; None lets the seed decide.

    Returns:
        The image (uint16, 12 bits) and the exact lesion mask of the same shape. Oedema belongs to
        the lesion; displaced healthy tissue around it does not.
    """
    rng = np.random.default_rng(seed)
    head, found, coin = Head.draw(rng), Lesion.draw(rng), rng.random() < 0.5
    present = coin if lesion is None else lesion
    if sequence is not None:
        head = replace(head, sequence=sequence)
    heights = head.level + SLICE_SPACING * (np.arange(shape[0]) - (shape[0] - 1) / 2)
    blobs = place(head, found, float(heights[len(heights) // 2])) if present else []
    spacing = (FIELD_OF_VIEW / shape[1], FIELD_OF_VIEW / shape[2])
    signal, masks = [], []
    for z in heights:
        x, y = _head_frame(head, shape[1:])
        plane, mask = render(head, found, blobs, x, y, float(z))
        signal.append(gaussian_filter(plane, [head.blur / step for step in spacing]))
        masks.append(mask)
    pixels, mask = _scan(head, np.stack(signal)), np.stack(masks)
    affine = _affine(spacing, shape, float(heights[0]))
    single = shape[0] == 1
    image = Image(
        pixels=pixels[0] if single else pixels,
        spacing=spacing if single else (SLICE_SPACING, *spacing),
        affine=affine,
        modality="MR",
        bits=BITS,
    )
    return image, mask[0] if single else mask


def render(
    head: Head, lesion: Lesion, blobs: list[Blob], x: Field, y: Field, z: float
) -> tuple[Field, NDArray[np.bool_]]:
    """Noise-free signal of one plane and where the lesion is; x, y in the head's frame, in mm."""
    sx, sy = (x, y) if lesion.kind != "tumour" else _push(lesion, blobs, x, y, z)
    signal, brain = head_tissue.tissue(head, sx, sy, z)
    mask = np.zeros(x.shape, bool)
    near = [blob for blob in blobs if abs(blob.centre[2] - z) < blob.reach]
    for blob in near:
        distance = blob.distance(x, y, z)
        mask |= (distance < 0) & (brain > 0.5)
        signal = mix(signal, _lesion_signal(head, lesion, blob, signal, distance, x, y, z), brain)
    return signal, mask


def place(head: Head, lesion: Lesion, z: float) -> list[Blob]:
    """Choose where in the brain the lesion sits: positions near plane z, in mm."""
    rng = np.random.default_rng(lesion.seed)
    x, y = np.meshgrid(np.arange(-66, 67, 4, dtype=np.float32), np.arange(-90, 91, 4, dtype=np.float32))
    brain = head_tissue.tissue(head, x, y, z)[1] > 0.99
    room = gaussian_filter(brain.astype(np.float32), 1.5) > 0.8
    ventricle = head_tissue.ventricles(head, x, y, z)
    if lesion.kind == "spots":  # demyelination prefers the white matter around the ventricles
        fit = room & (ventricle > 2) & (np.hypot(x / 45, y / 65) < 1)
        many = int(rng.integers(3, 9))
    else:
        fit, many = room & (ventricle > lesion.diameter / 4), 1
    spots = rng.choice(np.flatnonzero(fit), size=many)
    blobs = []
    for k, spot in enumerate(spots):
        jitter = rng.uniform(-2, 2, size=3)
        centre = (
            float(x.flat[spot] + jitter[0]),
            float(y.flat[spot] + jitter[1]),
            z + float(jitter[2]) / 2,
        )
        size = lesion.diameter * (1.0 if k == 0 else rng.uniform(0.6, 1.0))
        blobs.append(Blob(centre, max(size, 4.0), lesion.rough, 0.0, lesion.seed + 10 * k))
    return blobs


def _push(lesion: Lesion, blobs: list[Blob], x: Field, y: Field, z: float) -> tuple[Field, Field]:
    """Where the tissue at (x, y) was before the tumour pushed it; unchanged beyond 2.2 radii."""
    for blob in blobs:
        dx, dy = x - blob.centre[0], y - blob.centre[1]
        far = np.sqrt(dx**2 + dy**2 + (z - blob.centre[2]) ** 2) / np.float32(1.1 * blob.diameter)
        pull = np.float32(lesion.push) * np.clip(1 - far**2, 0, None) ** 2
        x, y = x - pull * dx, y - pull * dy
    return x, y


def _lesion_signal(
    head: Head,
    lesion: Lesion,
    blob: Blob,
    signal: Field,
    distance: Field,
    x: Field,
    y: Field,
    z: float,
) -> Field:
    """Signal with this lesion over the healthy one."""
    s = SIGNAL[head.sequence]
    texture = Noise(lesion.seed + 3, 4.0).at(x, y, z)
    inside = cover(distance, 2.0)
    if lesion.kind == "cavity":
        scar = mix(signal, s["white"] * (1.25 if head.sequence == "FLAIR" else 0.8), inside)
        return mix(scar, s["csf"] * 1.1, cover(distance + 2.0, 1.5))
    sign = np.sign(lesion.contrast) if lesion.kind == "tumour" else (1 if head.sequence == "FLAIR" else -1)
    target = s["white"] * (1 + sign * abs(lesion.contrast))
    if lesion.kind == "spots":
        return mix(signal, np.float32(target) * (1 + 0.04 * texture), inside)
    water = 0.25 if head.sequence == "FLAIR" else -0.2
    halo = mix(signal, s["white"] * (1 + water * (0.4 + abs(lesion.contrast))), inside * np.float32(0.85))
    rim = distance + np.float32(blob.diameter / 2 * (1 - lesion.core))
    solid = np.float32(target) * (1 + 0.10 * texture)
    solid = solid + np.float32(lesion.ring) * np.exp(-(((rim + 2.0) / 1.5) ** 2))
    return mix(halo, solid, cover(rim, 2.0))


def _head_frame(head: Head, shape: tuple[int, ...]) -> tuple[Field, Field]:
    rows, columns = shape
    x = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * (FIELD_OF_VIEW / columns)
    y = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * (FIELD_OF_VIEW / rows)
    grid = np.meshgrid(x - np.float32(head.shift[0]), y - np.float32(head.shift[1]))
    return rotate(grid[0], grid[1], head.turn)


def _scan(head: Head, signal: Field) -> NDArray[np.uint16]:
    """Coil shading, receiver noise in both channels (hence Rician), digitisation."""
    rng = np.random.default_rng(head.seed + 8)
    rows, columns = signal.shape[1:]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    a, b, c, d = rng.normal(size=4)
    shading = np.exp(np.float32(head.bias) * (a * x + b * y + c * x * y + d * (x**2 - y**2)))
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(head.noise)
    magnitude = np.hypot(signal * shading + noise[0], noise[1]) * np.float32(head.brightness)
    return np.clip(np.rint(magnitude), 0, 2**BITS - 1).astype(np.uint16)


def _affine(spacing: tuple[float, float], shape: tuple[int, ...], z: float) -> NDArray[np.float64]:
    affine = np.diag([spacing[1], spacing[0], SLICE_SPACING, 1.0])
    affine[:3, 3] = (-(shape[2] - 1) / 2 * spacing[1], -(shape[1] - 1) / 2 * spacing[0], z)
    return affine
