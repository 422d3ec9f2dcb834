"""What tests of the benchmark need: a small pack of images, and cells that nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Raster

from intact.bench.cells import Cell, Entrant, Measured
from intact.bench.measures import Scored, rank
from intact.bench.packs import Pack
from intact.image import Identity, Image
from intact.io import write

KINDS = {"good": 60, "nodule": 30, "effusion": 40}
SIDE = 64
PATIENT = "MUSTERMANN-4711"


def write_pack(folder: Path, train: int = 24, good: int = 6, lesion: int = 6) -> Path:
    """Round heads, some with a bright lesion and its mask; two normal test images are of one patient."""
    number = 0
    for place, count in (("train/good", train), ("test/good", good), ("test/lesion", lesion)):
        (folder / place).mkdir(parents=True)
        for at in range(count):
            number += 1
            pixels, mask = _head(number, lesion=place == "test/lesion")
            path = folder / place / f"{number:03d}.png"
            if place == "test/good" and at < 2:
                write(
                    Image(pixels, modality="MR", identity=Identity(patient=PATIENT)), path.with_suffix(".dcm")
                )
            else:
                Raster.fromarray(pixels).save(path)
            if place == "test/lesion":
                truth = folder / "ground_truth" / "lesion" / path.name
                truth.parent.mkdir(parents=True, exist_ok=True)
                Raster.fromarray(mask * np.uint8(255)).save(truth)
    return folder


def _head(seed: int, *, lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    tall, wide = rng.uniform(0.7, 0.8, 2)
    inside = np.hypot(y / tall, x / wide) < 1
    mask = np.hypot(y - rng.uniform(-0.3, 0.3), x - rng.uniform(-0.3, 0.3)) < 0.2
    grey = (90 + rng.normal(0, 12, inside.shape)) * inside + 70 * (mask if lesion else 0)
    return np.clip(grey, 0, 255).astype(np.uint8), mask


def made_cell(
    method: str,
    lift: float,
    *,
    pack: str = "chest",
    seed: int = 0,
    own: float = 0.3,
    kinds: dict[str, int] | None = None,
    calibrated_on: int = 99,
    record: dict[str, Any] | None = None,
    ranked: bool = True,
) -> Measured:
    """A method that lifts the scores of abnormal images by so many standard deviations.

    What makes an image hard is the same for all methods and seeds; `own` is what is theirs alone.
    """
    counts = kinds or KINDS
    kind = np.repeat(list(counts), list(counts.values()))
    shared = np.random.default_rng(len(pack)).normal(size=len(kind))
    alone = np.random.default_rng([seed, *method.encode()]).normal(size=len(kind))
    score = shared + own * alone + lift * (kind != "good")
    rng = np.random.default_rng([1, seed, *method.encode()])
    calibration = np.sort(np.hypot(1.0, own) * rng.normal(size=calibrated_on))
    p = (1 + calibrated_on - np.searchsorted(calibration, score)) / (calibrated_on + 1)
    image = np.array([f"test/{k}/{at:03d}.png" for at, k in enumerate(kind)])
    scored = Scored(image, kind, np.arange(len(kind)), score, p)
    entrant = Entrant(method, method if method in ("ae", "padim", "patchcore") else "dae")
    return Measured(
        Cell(Pack(Path(pack), pack, "0" * 64), entrant, seed),
        {
            "identity": {"intact": "0.1.0", "torch": "2.13.0"},
            "fields": {"size": 64, "seed": seed},
            "notes": [],
            "normals_fitted": 300,
            "normals_calibrated": calibrated_on,
            "left_out": [],
            "fit_s": 20.0 + 3 * len(method),
            "images_per_s": 5.0 * len(method),
            "peak_mib": 700.0 + 50 * len(method),
            "imported_mib": 290.0,
            "model_mib": 1.5 * len(method),
            "device": "cpu, 2 threads",
            "python": "3.11.7",
            "measured": "2026-01-01T00:00:00+00:00",
            "kinds": rank(scored) if ranked else {},
            **(record or {}),
        },
        scored,
    )
