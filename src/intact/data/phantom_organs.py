"""The organs of the thorax phantom: shapes and Hounsfield units, without scanner or lesion.

The origin lies between the lungs at the height of the carina. Heights and positions are those
of an adult in supine inspiration; `Chest.size` scales the cage around them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intact.data.phantom_parts import (
    Centreline,
    Field,
    Noise,
    cover,
    ellipsoid,
    mix,
    oval,
    smooth_min,
    tube,
    vessel_tree,
)

AIR, FAT, MUSCLE = -1000.0, -100.0, 50.0
RIB_PITCH = 24.0  # mm between ribs
SPINE = 62.0  # mm from the middle to the centre of the vertebral bodies
VESSEL_TARGETS = 520  # ends of the vessel tree of one lung


@dataclass(frozen=True)
class Chest:
    """Everything that chance decides about the anatomy; lengths in mm, densities in HU."""

    width: float  # inner half width of the cage
    depth: float  # inner half depth
    fat: float  # thickness under the skin
    muscle: float  # outside the ribs
    heart: float  # scale
    aorta: float  # scale
    breath: float  # height of the diaphragm above its usual place
    blood: float
    lung: float
    gravity: float  # HU between front and back of the lung
    ribs: float  # offset of the ribs along the body
    bone: float  # of spongy bone
    square: float  # power of the outline's superellipse
    tilt: float  # mm by which the middle leans to the left
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Chest:
        """Draw a chest."""
        return Chest(
            width=rng.uniform(116, 140),
            depth=rng.uniform(80, 100),
            fat=rng.triangular(5, 10, 32),
            muscle=rng.uniform(9, 17),
            heart=rng.uniform(0.85, 1.15),
            aorta=rng.uniform(0.85, 1.2),
            breath=rng.normal(0, 12),
            blood=40.0 if rng.random() < 0.6 else rng.uniform(110, 230),
            lung=rng.uniform(-865, -790),
            gravity=rng.uniform(15, 70),
            ribs=rng.uniform(0, RIB_PITCH),
            bone=rng.uniform(120, 260),
            square=rng.uniform(2.1, 2.7),
            tilt=rng.normal(0, 3),
            seed=int(rng.integers(2**31)),
        )

    @property
    def back(self) -> float:
        """Where the back touches the table."""
        return self.outline(0.0)[1] + 4.0

    def outline(self, z: float) -> tuple[float, float]:
        """Half width and half depth of the body at height z: wider at the shoulders."""
        shoulder = float(np.clip((z - 15) / 70, 0, 1)) ** 1.5
        wall = self.muscle + self.fat
        return self.width + wall + 16 + 34 * shoulder, self.depth + wall * 0.8 + 9 - 8 * shoulder


def cage(chest: Chest, x: Field, y: Field, z: float) -> Field:
    """Distance to the inner surface of the ribs."""
    apex = np.sqrt(max(1 - (max(z + 5, 0.0) / 118) ** 2, 0.02))
    front = 1 - 0.10 * np.clip(y / -90, 0, 1)  # narrower in front
    return oval(x / front, y + 4 * (1 - apex), chest.width * apex,
                chest.depth * (0.35 + 0.65 * apex), 2.35)  # fmt: skip


def lung(chest: Chest, x: Field, y: Field, z: float) -> Field:
    """Distance to the lungs: inside the cage, outside mediastinum, spine, heart, diaphragm."""
    wave = Noise(chest.seed + 1, 28.0).at(x, y, z)
    x = x - np.float32(chest.tilt) * np.clip((60 - y) / 60, 0, 1)
    half = 9 + 21 * np.exp(-(((y - 6) / 30) ** 2)) * (0.75 if z > 40 else 1.0)
    half = half + 3 * wave - 8 * np.clip(-y / 90, 0, 1)
    middle = np.abs(x - 3) - half
    blocked = smooth_min(middle.astype(np.float32), ellipsoid(x, y, 0.0, (0, SPINE + 8, 0), (29, 26, 99)), 14)
    blocked = smooth_min(blocked, heart(chest, x, y, z) - 5, 10)
    blocked = smooth_min(blocked, aorta(chest, x, y, z) - 2.5, 8)
    dome = np.float32(chest.breath) - np.where(x < 0, 84, 96).astype(np.float32)
    dome = dome - 75 * (np.hypot(x - np.sign(x) * 62, (y + 12) * 0.9) / 110) ** 2 + 3 * wave
    return np.maximum.reduce([cage(chest, x, y, z) + 1.5, -blocked, (dome - z) * np.float32(0.75)])


def lung_tissue(chest: Chest, inside: Field, x: Field, y: Field, z: float) -> Field:
    """HU of aerated lung without its larger vessels."""
    fine = Noise(chest.seed + 2, 5.0).at(x, y, z)
    broad = Noise(chest.seed + 3, 34.0).at(x, y, z)
    hu: Field = chest.lung + chest.gravity * y / 150 + 9 * fine + 12 * broad
    slant = np.abs(0.55 * y + 0.83 * (z + 25) + 3 * broad - np.sign(x) * 6) - 0.4
    hu = hu + 90 * cover(slant, 1.5)  # oblique fissures
    airways = _bronchi(x, y, z)
    hu = mix(hu, -100.0, cover(np.abs(airways) - 0.6, 1.5) * (inside < 0))
    return mix(hu, AIR + 20, cover(airways, 1.5)).astype(np.float32)


def body(chest: Chest, x: Field, y: Field, z: float, pixel: float) -> Field:
    """HU of everything but the lungs, air around the body included."""
    a, b = chest.outline(z)
    folds = Noise(chest.seed + 4, 45.0).at(x, y, z)
    fibre = Noise(chest.seed + 5, 16.0).at(x, y, z)
    skin = oval(x, y, a, b, chest.square) + 5 * folds + 5 * np.exp(-((x / 14) ** 2)) * (np.abs(y) > 60)
    wall = cage(chest, x, y, z)
    turn = np.arctan2(np.abs(x), y)  # 0 at the spine, pi at the sternum
    limb = float(np.clip((z + 25) / 50, 0, 1))
    thick = chest.muscle + limb * (
        20 * np.exp(-(((turn - 1.0) / 0.6) ** 2)) + 10 * np.exp(-(((turn - 2.2) / 0.4) ** 2))
    )
    thick = thick + 20 * np.exp(-(((np.abs(x) - 28) / 18) ** 2)) * (y > 0)
    flesh = np.maximum(wall - thick - 1.5 * folds, skin + np.float32(0.55 * chest.fat + 2.5))

    hu = np.full(x.shape, AIR, dtype=np.float32)
    hu = mix(hu, 10.0, cover(skin, pixel))
    hu = mix(hu, FAT + 6 * folds, cover(skin + 2.0, pixel))
    hu = mix(hu, MUSCLE + 5 * fibre, cover(flesh, pixel))
    between = cover(np.abs(folds + 0.4 * fibre) - 0.10, 0.12) * (wall > 9)
    hu = mix(hu, FAT + 15, 0.8 * between * cover(flesh, pixel))
    hu = mix(hu, FAT + 8 * fibre, cover(wall + 3, pixel))
    hu = _middle(chest, hu, x, y, z, pixel)
    hu = _belly(chest, hu, x, y, z, pixel)
    return _bones(chest, hu, wall, turn, x, y, z, pixel)


def heart(chest: Chest, x: Field, y: Field, z: float) -> Field:
    """Distance to the heart within its pericardium."""
    s = chest.heart
    main = ellipsoid(x, y, z, (20, -26, -68), (58 * s, 44 * s, 56 * s), 0.45)
    atria = ellipsoid(x, y, z, (-12, -8, -48), (36 * s, 32 * s, 36 * s))
    return smooth_min(main, atria, 12)


def aorta(chest: Chest, x: Field, y: Field, z: float) -> Field:
    """Distance to the aorta: up, over the left main bronchus, down beside the spine."""
    r = 13.5 * chest.aorta
    path = [(-10, -20, -40, r), (-13, -20, 15, r), (-6, -10, 38, r), (9, 10, 43, r * 0.95),
            (22, 33, 30, r * 0.9), (25, 42, 5, r * 0.85), (22, 40, -160, r * 0.8)]  # fmt: skip
    return tube(x, y, z, path)


def vessels(chest: Chest, x: Field, y: Field, heights: Field) -> Field:
    """Share of vessel in each voxel of the planes at `heights`, shape [planes, rows, columns]."""
    rng = np.random.default_rng(chest.seed + 6)
    out = np.zeros((len(heights), *x.shape), np.float32)
    for side in (-1, 1):
        root = np.array([side * 30.0, 6.0, -14.0], np.float32)
        for segment in vessel_tree(root, _lung_points(chest, rng, side), 8.5):
            _draw(out, segment, x[0], y[:, 0], heights)
    return out


def _lung_points(chest: Chest, rng: np.random.Generator, side: int) -> Field:
    found: list[Field] = []
    for z in rng.uniform(-120, 95, size=60):
        x = (side * rng.uniform(0, 135, (1, 64))).astype(np.float32)
        y = rng.uniform(-95, 95, (1, 64)).astype(np.float32)
        inside = lung(chest, x, y, float(z)) < -3
        found.append(np.stack([x[inside], y[inside], z + rng.uniform(-2, 2, inside.sum())], axis=1))
    return np.concatenate(found)[:: max(1, sum(map(len, found)) // VESSEL_TARGETS)]


def _draw(out: Field, segment: Field, columns: Field, rows: Field, heights: Field) -> None:
    """Add one vessel segment to the voxels around it."""
    start, end = segment[:4], segment[4:]
    margin = max(start[3], end[3]) + 2
    low, high = np.minimum(start, end) - margin, np.maximum(start, end) + margin
    box = [
        slice(*np.searchsorted(axis, (low[i], high[i])))
        for i, axis in ((2, heights), (1, rows), (0, columns))
    ]
    if any(part.start == part.stop for part in box):
        return
    pixel = float(columns[1] - columns[0])
    z, y, x = np.ix_(*(axis[part] for axis, part in zip((heights, rows, columns), box, strict=True)))
    along = end[:3] - start[:3]
    t = (x - start[0]) * along[0] + (y - start[1]) * along[1] + (z - start[2]) * along[2]
    t = np.clip(t / max(float(along @ along), 1e-6), 0, 1).astype(np.float32)
    gap2 = (x - start[0] - t * along[0]) ** 2 + (y - start[1] - t * along[1]) ** 2
    gap = np.sqrt(gap2 + (z - start[2] - t * along[2]) ** 2)
    radius = start[3] + (end[3] - start[3]) * t
    # A vessel thinner than a pixel fills only a part of it.
    share = np.clip(0.5 - (gap - radius) / pixel, 0, 1) * np.minimum(1, 2 * radius / pixel)
    target = out[tuple(box)]
    np.maximum(target, share, out=target)


def _bronchi(x: Field, y: Field, z: float) -> Field:
    right = [(0, 20, 0, 8), (-18, 22, -14, 6.5), (-32, 22, -30, 5), (-44, 34, -70, 3)]
    left = [(0, 20, 0, 8), (20, 24, -16, 6), (38, 26, -30, 5), (50, 38, -70, 3)]
    wind = [(0, 14, 130, 8.5), (0, 20, 0, 8.5)]
    upper = [(-32, 22, -30, 4), (-52, 12, 10, 2.2)]
    return np.minimum.reduce([tube(x, y, z, path) for path in (right, left, wind, upper)])


def _middle(chest: Chest, hu: Field, x: Field, y: Field, z: float, pixel: float) -> Field:
    """Heart, great vessels, gullet and windpipe in the mediastinal fat."""
    muscle = heart(chest, x, y, z)
    hu = mix(hu, 45.0, cover(muscle, pixel))
    hu = mix(hu, chest.blood, cover(muscle + 9 + 3 * np.sin(x / 13), 4.0))
    pulmonary = [(16, -34, -36, 14), (12, -16, -8, 13), (34, 6, -8, 10), (48, 14, -16, 7)]
    right = [(12, -16, -10, 11), (-16, -4, -12, 10), (-42, 8, -18, 7)]
    cava = [(-25, -12, 70, 8), (-25, -12, -45, 9)]
    great = ((-12, -10, 42), (1, -2, 44), (12, 8, 44))
    branches: list[Centreline] = [[(*foot, 6), (foot[0] * 1.6, foot[1], 130, 5)] for foot in great]
    for path in (pulmonary, right, cava, *branches):
        hu = mix(hu, chest.blood, cover(tube(x, y, z, path), pixel))
    hu = mix(hu, chest.blood, cover(aorta(chest, x, y, z), pixel))
    hu = mix(hu, 35.0, cover(tube(x, y, z, [(4, 36, 130, 7), (6, 34, -160, 7.5)]), pixel))
    airways = _bronchi(x, y, z)
    hu = mix(hu, 20.0, cover(airways - 1.5, pixel))
    return mix(hu, AIR + 10, cover(airways, pixel))


def _belly(chest: Chest, hu: Field, x: Field, y: Field, z: float, pixel: float) -> Field:
    """Liver and spleen under the diaphragm: whatever the lungs leave free at the sides."""
    if z > chest.breath - 80:
        return hu
    below = np.maximum(cage(chest, x, y, z) + 5, heart(chest, x, y, z) * -1 + 6)
    liver = np.maximum(below, x - 35 - 0.3 * y)
    spleen = np.maximum(below, 70 - x)
    hu = mix(hu, 58.0, cover(np.maximum(liver, np.hypot(x, y - SPINE) * -1 + 32), pixel))
    return mix(hu, 50.0, cover(np.maximum(spleen, -y), pixel))


def _bones(
    chest: Chest, hu: Field, wall: Field, turn: Field, x: Field, y: Field, z: float, pixel: float
) -> Field:
    drop = 112 * (1 - np.cos(np.minimum(turn, 2.3))) / 1.67
    phase = (z + drop + chest.ribs) / RIB_PITCH
    height = (phase - np.rint(phase)) * (RIB_PITCH * 0.8)
    ribs = (np.hypot(height / 5.0, (wall - 5.5) / 3.8) - 1) * 3.8
    blade = np.maximum(np.abs(wall - 19 - 4 * np.sin(turn * 5)) - 2.0, np.abs(turn - 1.05) * 95 - 42)
    if z < -15:
        blade = blade + np.float32(-15 - z)
    shape = float(np.float32(1 + 0.12 * np.cos(2 * np.pi * z / RIB_PITCH)))  # waist of the vertebra
    spine = ellipsoid(x, y, 0.0, (0, SPINE, 0), (18 * shape, 14 * shape, 99))
    arch = np.abs(np.hypot(x, y - SPINE - 21) - 11) - 2.8
    spike = np.maximum(np.abs(x) - 3, np.abs(y - SPINE - 41) - 12)
    wings = np.maximum(np.abs(y - SPINE - 20 - 0.25 * np.abs(x)) - 4, np.abs(np.abs(x) - 22) - 13)
    if abs(z / RIB_PITCH - np.rint(z / RIB_PITCH)) > 0.3:
        wings = wings + 40
    back = np.minimum.reduce([spine, arch, spike, wings])
    # The breastbone hangs on the cage's front.
    plate = np.maximum(np.abs(wall - 5) - 4.5, np.abs(x) - 17) + 60 * (y > 0)
    canal = np.hypot(x / 1.15, y - SPINE - 21) - 8.0
    gristle = np.clip((turn - 2.35) * 6, 0, 1)
    sponge = chest.bone + 35 * Noise(chest.seed + 7, 4.0).at(x, y, z)
    for bone, rind, soft in (
        (ribs, 1.3, gristle),
        (blade, 1.0, 0 * turn),
        (back, 1.8, 0 * turn),
        (plate, 1.2, 0 * turn),
    ):
        cortex = (1 - soft) * 780 + soft * 120
        hu = mix(hu, cortex, cover(bone, pixel))
        hu = mix(hu, (1 - soft) * sponge + soft * 90, cover(bone + rind, pixel))
    return mix(hu, 28.0, cover(canal, pixel)).astype(np.float32)
