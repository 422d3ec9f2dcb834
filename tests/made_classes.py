"""Two classes of images that a small network tells apart within seconds."""

from __future__ import annotations

import numpy as np

from intact.image import Image
from intact.io import write

KINDS = ("disc", "stripes")
SMALL = {"network": "small_vgg", "size": 32, "steps": 60, "batch": 8, "rate": 3e-3}  # enough for them


def pattern(kind, seed, side=48):
    """Noise with a bright disc in the middle, or with bright stripes, between a black and a white edge."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)) - side / 2
    shape = (np.hypot(y, x) < side / 4) if kind == "disc" else (x // (side // 8) % 2 == 0)
    pixels = np.clip(90 + 30 * shape + rng.normal(0, 12, (side, side)), 0, 255).astype(np.uint8)
    pixels[:2], pixels[-2:] = 0, 255
    return pixels


def folders_of_patterns(root, count=16, side=48):
    """A folder of images for each class, no two alike."""
    for number, kind in enumerate(KINDS):
        (root / kind).mkdir(parents=True)
        for seed in range(count):
            write(Image(pattern(kind, seed + 100 * number, side)), root / kind / f"{seed}.png")
    return {kind: root / kind for kind in KINDS}
