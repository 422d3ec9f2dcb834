"""Path lengths of a frontal beam through the tissues of the chest phantom, in mm.

x runs to the patient's left, z to the head; the origin lies in the middle of the lungs. The beam
is parallel, so the path through each organ is a formula of x and z alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intact.data.phantom_parts import Field, Noise, cover, oval, smooth_min, vessel_tree

WATER = 0.018  # effective attenuation of soft tissue per mm, at about 110 kV after hardening
BONE = 0.026  # what a mm of cortical bone adds to the soft tissue whose place it takes
RIBS = 11


@dataclass(frozen=True)
class Torso:
    """Everything that chance decides about the anatomy; lengths in mm."""

    width: float  # inner half width of the cage at its widest
    depth: float  # inner half depth
    fat: float
    heart: float  # scale
    apex: float  # height of the lung tops
    dome: tuple[float, float]  # height of the right and the left diaphragm
    pitch: float  # between ribs
    slope: float  # mm by which a rib falls from the spine to the side
    shoulder: float  # height of the shoulders above the lung tops
    bone: float  # scale of all bone
    vessels: float  # scale
    breasts: float  # thickness, 0 for none
    gas: float  # size of the air bubble in the stomach
    lean: float  # mm by which the patient is turned: shifts the middle
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator) -> Torso:
        """Draw a torso."""
        right = rng.normal(-78, 10)
        return Torso(
            width=rng.uniform(118, 142),
            depth=rng.uniform(72, 96),
            fat=rng.uniform(8, 34),
            heart=rng.uniform(0.82, 1.18),
            apex=rng.uniform(108, 126),
            dome=(right, right - rng.uniform(2, 16)),
            pitch=rng.uniform(20, 24),
            slope=rng.uniform(20, 48),
            shoulder=rng.uniform(-4, 16),
            bone=rng.uniform(0.75, 1.2),
            vessels=rng.uniform(0.75, 1.25),
            breasts=rng.uniform(10, 35) if rng.random() < 0.4 else 0.0,
            gas=rng.uniform(0, 30),
            lean=rng.normal(0, 4),
            seed=int(rng.integers(2**31)),
        )

    def cage(self, z: Field) -> Field:
        """Inner half width of the cage at height z."""
        up = np.clip((z + 40) / (self.apex + 40), 0, 0.999)
        down = np.clip((-40 - z) / 400, 0, 1)
        return self.width * (np.sqrt(1 - up**2.6) - down).astype(np.float32)

    def base(self, x: Field) -> Field:
        """Height of the diaphragm's silhouette."""
        top = np.where(x < 0, self.dome[0], self.dome[1])
        off = (np.abs(x) - 0.5 * self.width) / (0.58 * self.width)
        return (top - 34 * np.abs(off) ** 2.4 - 3 * np.sin(x / 31)).astype(np.float32)


def paths(torso: Torso, x: Field, z: Field) -> dict[str, Field]:
    """Path lengths: water (all of the body), lung (its air), gas (elsewhere), bone, vessels."""
    body = _body(torso, x, z)
    lung, vessels = _lungs(torso, x - np.float32(torso.lean), z)
    wind = _airways(x - np.float32(torso.lean), z)
    bone = _spine(torso, x, z) + _ribs(torso, x, z) + _girdle(torso, x, z)
    gas = _ball(x - 62, z - torso.dome[1] + 28, torso.gas * 1.5, torso.gas * 0.8)
    gas = gas + 0.35 * np.clip(Noise(torso.seed + 1, 16).at(x, z, 9) - 0.7, 0, 1) * 40 * cover(z + 150, 30)
    broad = Noise(torso.seed + 2, 40).at(x, z, 0.0)
    return {
        "water": body * (1 + np.float32(0.015) * broad),
        "lung": np.minimum(lung, 0.85 * body).astype(np.float32),
        "gas": np.minimum(gas + wind, 0.3 * body).astype(np.float32),
        "bone": torso.bone * np.minimum(bone, body),
        "vessels": vessels,
    }


def _chord(u: Field) -> Field:
    """Half the chord of a unit circle at distance u from its centre."""
    return np.sqrt(np.clip(1 - u**2, 0, None))


def _ball(x: Field, z: Field, a: float, b: float) -> Field:
    """Path through an ellipsoid with half axes a, b and, along the beam, b."""
    if min(a, b) < 1:
        return np.zeros_like(x)
    return np.float32(2 * b) * _chord(np.hypot(x / np.float32(a), z / np.float32(b)))


def _body(torso: Torso, x: Field, z: Field) -> Field:
    wall = torso.fat + 16
    waist = torso.width + wall - 6 * np.clip((-z - 60) / 80, 0, 1)
    top = torso.apex + torso.shoulder + 8
    yoke = np.clip((z - top + 75) / 75, 0, 1)
    slope = 190 - (190 - 62) * np.clip((z - top + 12) / 40, 0, 1) ** 1.3  # shoulders to neck
    half = np.where(z < top - 12, waist + (195 - waist) * yoke**1.5, slope)
    deep = (torso.depth + wall * 0.7) * (1 - 0.28 * np.clip((z - 40) / 100, 0, 1))
    trunk = 2 * deep * np.clip(1 - (np.abs(x) / half) ** 2.6, 0, None) ** 0.5
    arm_x = half + 12 + np.clip(-z, 0, 90) * 0.1
    arm = 2 * 34 * _chord((np.abs(x) - arm_x) / 36) * cover(z - top + 20, 25)
    breast = torso.breasts * _chord(np.hypot((np.abs(x) - 78) / 68, (z + 52) / 52)) ** 1.7
    return np.maximum(trunk, 0.85 * arm) + breast * (trunk > 0)


def _lungs(torso: Torso, x: Field, z: Field) -> tuple[Field, Field]:
    cage = np.maximum(torso.cage(z), 1)
    depth = torso.depth * (1 - 0.45 * np.clip((z - 10) / 110, 0, 1) ** 1.5)
    full = 2 * depth * np.clip(1 - (np.abs(x) / cage) ** 2.4, 0, None) ** 0.5
    full = full * cover(z - torso.apex + 2, 5)
    spared = 1 - _middle(torso, x, z)
    free = full * spared
    over = z - torso.base(x)
    # Behind the dome the lung reaches deeper: a fading veil under the silhouette.
    free = free * (cover(-over, 2.5) + cover(over, 2.5) * 0.22 * np.exp(np.clip(over, -90, 0) / 22))
    vessels = _vessels(torso, x, z) * cover(-over, 2.5) * spared**1.5 * (full > 12)
    texture = 1 + 0.03 * Noise(torso.seed + 3, 7).at(x, z, 0.0)
    return (0.78 * np.clip(free * texture - vessels, 0, None)).astype(np.float32), vessels


def _airways(x: Field, z: Field) -> Field:
    """Windpipe and main bronchi."""
    wind = 15 * _chord((x - 1) / 9) * cover(40 - z, 14) * cover(z - 150, 10)
    left = 10 * _chord((x * 0.62 + (z - 40) * 0.78) / 7) * (x > 0) * (x < 34)
    right = 10 * _chord((x * -0.8 + (z - 40) * 0.6) / 8) * (x <= 0) * (x > -24)
    return wind + 0.7 * (left + right)


def _middle(torso: Torso, x: Field, z: Field) -> Field:
    """How much of the lung's depth heart, great vessels and spine take: soft at their edges."""
    s = torso.heart
    wave = Noise(torso.seed + 4, 30).at(x, z, 0.0)
    up = z - torso.dome[1] - 34
    turned, across = 0.8 * (x - 24) - 0.6 * up, 0.6 * (x - 24) + 0.8 * up
    ventricle = oval(turned, across, 68 * s, 46 * s, 2.1)
    atrium = oval(x + 12, up - 4, 34 * s, 50 * s)
    trunk = oval(x - 20, up - 58, 20 * s, 34)
    heart = smooth_min(smooth_min(ventricle, atrium, 15), trunk, 30)
    half = 19 + 9 * np.clip((z - 70) / 60, 0, 1) + 5 * np.exp(-(((z - 35) / 30) ** 2))
    column = (np.abs(x + 2) - half).astype(np.float32)
    knob = oval(x - 20, z - 54, 15 * s, 17)
    great = smooth_min(column, knob, 12) + 1.2 * wave
    hilum = oval(np.abs(x) - 27, z - 12 - 8 * (x > 0), 15, 26) + 2 * wave
    # The heart is a ball in the lung: it takes less of the depth towards its edge.
    ball = cover(heart, 3.0) * (0.45 + 0.33 * np.clip(-heart / (25 * s), 0, 1) ** 0.5)
    rest = np.maximum(0.92 * cover(great + 3, 9.0), 0.28 * cover(hilum, 12.0))
    return np.maximum(ball, rest).astype(np.float32)


def _vessels(torso: Torso, x: Field, z: Field) -> Field:
    """Path through the pulmonary vessels, which leave the hila and thin out to the sides."""
    rng = np.random.default_rng(torso.seed + 5)
    out = np.zeros(x.shape, np.float32)
    for side in (-1, 1):
        height = rng.uniform(-95, torso.apex - 8, 200).astype(np.float32)
        reach = torso.cage(height) * np.sqrt(rng.uniform(0.05, 0.9, 200))
        deep = rng.uniform(-50, 50, 200)
        ends = np.stack([side * reach, deep, height], axis=1).astype(np.float32)
        root = np.array([side * 24.0, 0.0, 16.0 + 8.0 * (side > 0)], np.float32)
        for segment in vessel_tree(root, ends, 8.5 * torso.vessels):
            _add_segment(out, segment, x, z)
    return np.minimum(out, 22.0)


def _add_segment(out: Field, segment: Field, x: Field, z: Field) -> None:
    """Add the chord of one straight vessel to the pixels around it."""
    (ax, _, az, ar), (bx, _, bz, br) = segment[:4], segment[4:]
    margin = max(ar, br) + 2.0
    step = float(np.hypot(x[0, 1] - x[0, 0], z[0, 1] - z[0, 0]))
    rows, columns = x.shape
    # The frame is turned by a degree or two: convert the ends to pixels, then pad.
    c, s = (x[0, 1] - x[0, 0]) / step, (z[0, 1] - z[0, 0]) / step
    down = float(np.hypot(x[1, 0] - x[0, 0], z[1, 0] - z[0, 0]))
    px = np.array([ax, bx]) - x[0, 0], np.array([az, bz]) - z[0, 0]
    column, row = (c * px[0] + s * px[1]) / step, (s * px[0] - c * px[1]) / down
    box = tuple(
        slice(max(int(v.min() - margin / d) - 1, 0), max(min(int(v.max() + margin / d) + 2, n), 0))
        for v, d, n in ((row, down, rows), (column, step, columns))
    )
    gx, gz = x[box] - ax, z[box] - az
    dx, dz = bx - ax, bz - az
    t = np.clip((gx * dx + gz * dz) / max(dx * dx + dz * dz, 1e-6), 0, 1)
    gap2 = (gx - t * dx) ** 2 + (gz - t * dz) ** 2
    radius2 = (ar + (br - ar) * t) ** 2
    out[box] += 2 * np.sqrt(np.clip(radius2 - gap2, 0, None))


def _tube_shell(distance: Field, radius: Field | float, cortex: float) -> Field:
    """Path through the wall of a tube seen from the side."""
    outer = np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    inner = np.sqrt(np.clip((radius - cortex) ** 2 - distance**2, 0, None))
    return 2 * (outer - 0.82 * inner)


def _ribs(torso: Torso, x: Field, z: Field) -> Field:
    out = np.zeros_like(x)
    wobble = Noise(torso.seed + 6, 50).at(x, z, 0.0)
    for k in range(RIBS):
        height = torso.apex + 2 - torso.pitch * k
        width = np.float32(torso.cage(np.array([height - 12.0], np.float32))[0] + 5.0)
        u = np.clip(np.abs(x) / width, 0, 1)
        # Along the beam the rib runs steeply at the side of the chest: longer paths.
        steep = np.minimum(1 / np.sqrt(np.clip(1 - u**2, 0.06, 1)), 2.2)
        fall = torso.slope * (0.35 + 0.05 * k)
        behind = height - fall * u**2 + 7 * u * (1 - u) + wobble
        across = np.sqrt(1 - u**2)  # seen from the front, a rib is half an ellipse
        loop = 58 + 2.2 * k
        before = behind - loop * across
        bounds = cover(np.abs(x) - width, 4.0) * (np.abs(x) > 14)
        thick = 5.2 + 0.8 * np.sin(k)
        tilt = 1 / np.hypot(1, 2 * fall * u / width)
        out += _tube_shell((z - behind) * tilt, thick, 1.3) * steep * bounds
        if k < 8:
            tilt_front = 1 / np.hypot(1, loop * u / (width * np.maximum(across, 0.08)))
            cartilage = np.clip((u - 0.42) * 8, 0, 1)
            out += 0.8 * _tube_shell((z - before) * tilt_front, thick + 0.5, 1.2) * steep * bounds * cartilage
    return 1.15 * out


def _spine(torso: Torso, x: Field, z: Field) -> Field:
    x = x - np.float32(0.4 * torso.lean)
    phase = z / 25 - np.floor(z / 25)
    disc = cover(np.abs(phase - 0.5) * 25 - 2.4, 2.0)
    wide = 17 + 1.5 * np.cos(2 * np.pi * phase) + 3 * np.clip(-z / 150, 0, 1)
    body = 17 * _chord(x / wide) ** 0.6 * (1 - 0.45 * disc)
    pedicle = 8 * _chord(np.hypot((np.abs(x) - 12) / 4, ((phase - 0.18) * 25) / 6))
    spike = 8 * _chord(np.hypot(x / 3.2, (phase - 0.55) * 25 / 9))
    wing = 6 * cover(np.abs(np.abs(x) - 23) - 10, 3) * cover(np.abs(phase - 0.2) * 25 - 4, 3)
    return (body + pedicle + spike + wing) * np.float32(0.75)


def _girdle(torso: Torso, x: Field, z: Field) -> Field:
    """Clavicles, scapulae and heads of the upper arm bones."""
    a = np.abs(x)
    top = torso.apex + torso.shoulder * 0.5
    middle = top - 22 + 0.16 * a + 7 * np.sin(a / 24)
    clavicle = _tube_shell(z - middle, 6.0, 1.6) * cover(np.abs(a - 82) - 66, 4)
    inner = torso.width * 0.86 - 0.10 * (z - 40)
    blade = 3.2 * cover(inner - a, 3) * cover(a - inner - 42 - 0.25 * (z - 40), 4)
    blade = blade * cover(z - top + 24, 4) * cover(-z - 10 + 0.9 * (a - inner), 6)
    rim = 5 * np.exp(-(((a - inner - 1) / 2) ** 2)) * (blade > 0.5)
    head = 2 * 15 * _chord(np.hypot(a - 172, z - top + 20) / 23)
    shaft = _tube_shell(a - 182, 11, 3.2) * cover(z - top + 30, 8)
    return 1.5 * clavicle + blade + rim + 0.55 * head + 0.6 * shaft
