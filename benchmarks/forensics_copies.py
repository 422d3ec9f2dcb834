"""Which examiner finds which kind of copy: turned, scaled, mirrored, blended, compressed -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics_copies.py [--packs brain_mri] [--images 25]

One region of 0.3 to 3 % of the image is copied within genuine brain MR slices, chest radiographs and
lung CT slices; a row per pack, kind of copy and examiner of copy-move, and one for those of them that
screening asks, together. Genuine images that were processed alike are the other class. Detected: the
examiner's own p-value is at most 1 %. F1 and IoU are of the map cut at 0.5, with what was copied counted
as forged too (both ends of a copy look the same), the mean over forged images.

Rows go to benchmarks/results/forensics_copies.csv.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from forensics_packs import GENUINE, evenly
from intact import read
from intact.errors import UsageError
from intact.forensics import METHODS, Examiner
from intact.forge import CopyMove
from intact.forge.after import parse_after
from intact.image import Image
from intact.metrics import auroc, binomial_interval
from intact.metrics.tampering import Confusion, pixel_scores
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
KNOWN = [name for name, kind in METHODS.items() if kind.kind == "copy-move"]
TOGETHER = "together"  # the row of those that screening asks, if all of them were measured


class Said(NamedTuple):
    """What is said of one image."""

    score: float
    p_value: float
    map: np.ndarray


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


def said(examiners: dict[str, Examiner], image: Image) -> dict[str, Said]:
    """What each examiner says, and those of screening together, corrected for their number."""
    found = {name: asked(examiner, image) for name, examiner in examiners.items()}
    routine = [of for name, of in found.items() if examiners[name].routine]
    p = min([1.0, *(len(routine) * of.p_value for of in routine)])
    seen = [of.map for of in routine if len(routine) * of.p_value <= ALPHA]
    whole = np.max([np.zeros(image.shape), *seen], axis=0)
    return found | {TOGETHER: Said(-math.log10(max(p, 1e-300)), p, whole)}


def asked(examiner: Examiner, image: Image) -> Said:
    """What one examiner says; who abstains found nothing."""
    evidence = examiner.examine(image)
    if evidence.abstained or evidence.map is None or evidence.p_value is None:
        return Said(0.0, 1.0, np.zeros(image.shape))
    return Said(evidence.score, evidence.p_value, evidence.map)


def measure(pack: str, methods: list[str], images: int) -> None:
    """Rows of one pack, written after all of its images."""
    folder = Path(os.environ["INTACT_DATA"]) / pack / GENUINE[pack]
    paths = evenly(sorted(folder.iterdir()), images)
    clean: dict[tuple[str, str], list[Said]] = {}
    forged: dict[tuple[str, str, str], list[tuple[Said, Confusion]]] = {}
    examiners = {name: METHODS[name]() for name in methods}
    told = (
        [*methods, TOGETHER] if {name for name in KNOWN if METHODS[name].routine} <= set(methods) else methods
    )
    for seed, path in enumerate(paths):
        image = read(path)
        for processing, picture in genuine(image, seed):
            for name, of in said(examiners, picture).items():
                clean.setdefault((name, processing), []).append(of)
        for kind, processing, picture, labels in copies(image, seed):
            for name, of in said(examiners, picture).items():
                places = pixel_scores(of.map, labels, sources=True).confusion
                forged.setdefault((name, kind, processing), []).append((of, places))
        print(f"{pack}: {seed + 1} of {len(paths)}", end="\r", flush=True)
    for name in told:
        own = [(kind, after, of) for (method, kind, after), of in forged.items() if method == name]
        rows = [row(pack, name, kind, clean[name, after], of) for kind, after, of in own]
        replace_rows(ROWS, {"pack": pack, "method": name}, rows)


def row(
    pack: str, name: str, kind: str, clean: list[Said], forged: list[tuple[Said, Confusion]]
) -> dict[str, Any]:
    """What one examiner says of one kind of copy."""
    scores = np.array([of.score for of in clean] + [of.score for of, _ in forged])
    truth = np.repeat([False, True], [len(clean), len(forged)])
    detected = binomial_interval(sum(of.p_value <= ALPHA for of, _ in forged), len(forged))
    return {
        "pack": pack,
        "method": name,
        "copy": kind,
        "forged": len(forged),
        "genuine": len(clean),
        "auroc": auroc(scores, truth),
        **spread("detected", detected),
        "alarms": sum(of.p_value <= ALPHA for of in clean),
        "f1": float(np.mean([places.f1 for _, places in forged])),
        "iou": float(np.mean([places.iou for _, places in forged])),
    } | environment()


def main() -> None:
    """Measure what is asked for."""
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=list(GENUINE))
    parser.add_argument("--methods", nargs="+", default=KNOWN)
    parser.add_argument("--images", type=int, default=IMAGES, help="genuine ones per pack; 0 takes all")
    asked = parser.parse_args()
    for pack in asked.packs:
        measure(pack, asked.methods, asked.images)


if __name__ == "__main__":
    main()
