"""Which examiner finds which kind of copy: turned, scaled, mirrored, blended, compressed -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics_copies.py [--packs brain_mri] [--images 25]

One region of 0.3 to 3 % of the image is copied within genuine brain MR slices, chest radiographs and
lung CT slices; a row per pack, kind of copy and examiner of copy-move. Genuine images that were
processed alike are the other class. Detected: the examiner's own p-value is at most 1 %. F1 and IoU are
of the map cut at 0.5, with what was copied counted as forged too (both ends of a copy look the same),
the mean over forged images.

Rows go to benchmarks/results/forensics_copies.csv.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from forensics_packs import GENUINE, evenly
from intact import read
from intact.bench.forensics_after import parse_after
from intact.errors import UsageError
from intact.forensics import METHODS, Examiner
from intact.forge import CopyMove
from intact.image import Image
from intact.metrics import auroc, binomial_interval
from intact.metrics.tampering import pixel_scores
from results import environment, replace_rows, spread

ROWS = "forensics_copies.csv"
SHARES = (0.003, 0.03)  # of the image that is copied, drawn evenly in its logarithm
ALPHA = 0.01
IMAGES = 25
COPIES: dict[str, dict[str, Any]] = {
    "moved": {},
    "turned 10": {"rotation": 10.0},
    "turned 45": {"rotation": 45.0},
    "turned 90": {"rotation": 90.0},
    "scaled 0.9": {"scale": 0.9},
    "scaled 1.2": {"scale": 1.2},
    "mirrored": {"mirror": True},
    "soft edge": {"blend": "feather"},
    "Poisson": {"blend": "poisson"},
}
AFTER = ("jpeg=90", "jpeg=70", "noise=0.5")  # of images with a region that was moved
PLAIN = "none"


def copies(image: Image, seed: int) -> Iterator[tuple[str, str, Image, np.ndarray]]:
    """Kind of copy, processing, image and labels; kinds that find no room are left out."""
    share = math.exp(np.random.default_rng(seed).uniform(*np.log(SHARES)))
    pixels = 2 * math.sqrt(share * math.prod(image.shape) / math.pi)
    step = math.sqrt(math.prod(image.spacing)) if image.spacing else 1.0
    for kind, fields in COPIES.items():
        try:
            forged = CopyMove(diameter=pixels * step, **fields).forge(image, seed=seed)
        except UsageError:
            continue
        yield kind, PLAIN, forged.image, forged.labels
        if not fields:
            for after in parse_after(AFTER):
                yield after.told, after.told, *after.apply(forged.image, forged.labels, seed)


def genuine(image: Image, seed: int) -> Iterator[tuple[str, Image]]:
    """Processing and image."""
    yield PLAIN, image
    for after in parse_after(AFTER):
        yield after.told, after.apply(image, np.zeros(image.shape, np.uint8), seed)[0]


def score(examiner: Examiner, image: Image) -> tuple[float, float, np.ndarray | None]:
    """Score, p-value and map; who abstains found nothing."""
    evidence = examiner.examine(image)
    if evidence.abstained:
        return 0.0, 1.0, None
    return evidence.score, 1.0 if evidence.p_value is None else evidence.p_value, evidence.map


def measure(pack: str, methods: list[str], images: int) -> None:
    """Rows of one pack, written after all of its images."""
    folder = Path(os.environ["INTACT_DATA"]) / pack / GENUINE[pack]
    paths = evenly(sorted(folder.iterdir()), images)
    clean: dict[tuple[str, str], list[tuple[float, float]]] = {}
    found: dict[tuple[str, str, str], list[tuple[float, float, float, float]]] = {}
    examiners = {name: METHODS[name]() for name in methods}
    for seed, path in enumerate(paths):
        image = read(path)
        for processing, picture in genuine(image, seed):
            for name, examiner in examiners.items():
                clean.setdefault((name, processing), []).append(score(examiner, picture)[:2])
        for kind, processing, picture, labels in copies(image, seed):
            for name, examiner in examiners.items():
                value, p, seen = score(examiner, picture)
                seen = np.zeros(picture.shape, np.float32) if seen is None else seen
                at = pixel_scores(seen, labels, sources=True).confusion
                found.setdefault((name, kind, processing), []).append((value, p, at.f1, at.iou))
        print(f"{pack}: {seed + 1} of {len(paths)}", end="\r", flush=True)
    for name in methods:
        own = [(kind, after, of) for (method, kind, after), of in found.items() if method == name]
        rows = [row(pack, name, kind, clean[name, after], of) for kind, after, of in own]
        replace_rows(ROWS, {"pack": pack, "method": name}, rows)


def row(
    pack: str,
    name: str,
    kind: str,
    clean: list[tuple[float, float]],
    found: list[tuple[float, float, float, float]],
) -> dict[str, Any]:
    """What one examiner says of one kind of copy."""
    scores = np.array([value for value, _ in clean] + [value for value, *_ in found])
    truth = np.repeat([False, True], [len(clean), len(found)])
    detected = binomial_interval(sum(p <= ALPHA for _, p, *_ in found), len(found))
    return {
        "pack": pack,
        "method": name,
        "copy": kind,
        "forged": len(found),
        "genuine": len(clean),
        "auroc": auroc(scores, truth),
        **spread("detected", detected),
        "alarms": sum(p <= ALPHA for _, p in clean),
        "f1": float(np.mean([f1 for *_, f1, _ in found])),
        "iou": float(np.mean([iou for *_, iou in found])),
    } | environment()


def main() -> None:
    """Measure what is asked for."""
    cv2.setNumThreads(1)
    known = [name for name, kind in METHODS.items() if kind.kind == "copy-move"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=list(GENUINE))
    parser.add_argument("--methods", nargs="+", default=known)
    parser.add_argument("--images", type=int, default=IMAGES, help="genuine ones per pack; 0 takes all")
    asked = parser.parse_args()
    for pack in asked.packs:
        measure(pack, asked.methods, asked.images)


if __name__ == "__main__":
    main()
