"""How well networks segment patients they never saw -> rows.

    OMP_NUM_THREADS=1 INTACT_DATA=... python benchmarks/segment_learned.py [--tasks lungs] [--seeds 0 1 2]

`lungs`: chest radiographs of `cxr_lung_masks`; a fifth of the patients (look-alikes count as one)
is held out, another fifth for each seed. Two of the 99 are left out, in which only one of two
visible lungs was outlined. `vessels`: `retina_vessels`, the official split; only pixels of the
field of view count, as in the literature. `shipped_lungs`: the network that comes with Intact, on
all radiographs of `cxr_lung_masks`. It learned on made images only; how they are made was changed
after mistakes on these were looked at.

`reported` is another team's figure on its own split: for lungs the region module of NROI-AdvGAN
(J. Univ. Shanghai Sci. Technol. 47(5), 2025), for vessels the U-Net in table II of Alom et al.,
"Recurrent Residual U-Net", J. Med. Imaging 6(1), 2019. Steps and mirroring were chosen on a fifth
of the training patients, not on the test images.
Rows go to benchmarks/results/segment_learned.csv.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import intact
from intact.data.splits import hold_out, look_alikes
from intact.data.transforms import thumbnail
from intact.image import Image
from intact.metrics.detection import auroc
from intact.metrics.segmentation import aggregate, compare
from intact.segment import METHODS, Network
from intact.segment.lungs import lungs as shipped_lungs
from intact.segment.pairs import THUMBNAIL
from results import environment, replace_rows

Mask = np.ndarray
MADE = {"size": 192, "steps": 1800, "mirror": True}
LUNGS = {"unet": MADE, "attention_unet": MADE}
VESSELS = {
    "auto": {"mirror": True},
    "unet": {"size": 576, "batch": 2, "steps": 1200, "mirror": True},
}
REPORTED = {"lungs": {"dice": 0.9568, "pixel_accuracy": 0.9634},
            "vessels": {"dice": 0.8142, "pixel_accuracy": 0.9531, "sensitivity": 0.7537,
                        "specificity": 0.9820, "auroc": 0.9755}}  # fmt: skip


class Files:
    """Pairs of an image and a mask, read when they are iterated."""

    def __init__(self, label: str, images: list[Path], masks: list[Path]) -> None:
        self.label, self.images, self.masks = label, images, masks

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[Image, dict[str, Mask]]]:
        for image, mask in zip(self.images, self.masks, strict=True):
            yield intact.read(image), {self.label: intact.read(mask).pixels > 0}


def lungs(method: str, seed: int) -> None:
    """One network for a split of the radiographs."""
    folder, images = radiographs()
    planes = [intact.read(path) for path in images]
    thumbnails = [thumbnail(THUMBNAIL.prepare(plane, THUMBNAIL.limits(plane))[0]) for plane in planes]
    held = hold_out(look_alikes(np.stack(thumbnails)), 0.2, seed)
    parts = [[path for path, out in zip(images, held, strict=True) if out == test] for test in (False, True)]
    train, test = (Files("lungs", part, [folder / "masks" / path.name for path in part]) for part in parts)
    network, seconds = fitted(method, {"seed": seed} | LUNGS[method], train)
    rows = [compare(network.segment(image), masks["lungs"], image.spacing) for image, masks in test]
    store({"task": "lungs", "method": method, "seed": seed}, rows, len(train), seconds)


def vessels(method: str, seed: int) -> None:
    """One network for the official split of the retinal photographs."""
    folder = Path(os.environ["INTACT_DATA"]) / "retina_vessels"
    split = {part: sorted((folder / part / "images").iterdir()) for part in ("train", "test")}
    train, test = (
        Files("vessels", paths, [folder / part / "masks" / f"{path.stem}.png" for path in paths])
        for part, paths in split.items()
    )
    network, seconds = fitted(method, {"seed": seed} | VESSELS[method], train)
    rows = []
    for path, (image, masks) in zip(test.images, test, strict=True):
        seen = intact.read(folder / "test" / "field_of_view" / f"{path.stem}.png").pixels > 0
        chances, truth = network.probabilities(image)[0][seen], masks["vessels"][seen]
        row = compare((chances >= 0.5)[None], truth[None])
        rows.append(row | {"auroc": auroc(chances, truth), "hausdorff_95": np.nan, "assd": np.nan})
    store({"task": "vessels", "method": method, "seed": seed}, rows, len(train), seconds)


def shipped(method: str, seed: int) -> None:
    """The lungs that Intact finds without being taught."""
    folder, images = radiographs()
    files = Files("lungs", images, [folder / "masks" / path.name for path in images])
    rows = [compare(shipped_lungs(image), masks["lungs"], image.spacing) for image, masks in files]
    store({"task": "shipped_lungs", "method": method, "seed": seed}, rows, 0, 0.0)


def radiographs() -> tuple[Path, list[Path]]:
    """The pack, and its images with both lungs outlined."""
    folder = Path(os.environ["INTACT_DATA"]) / "cxr_lung_masks"
    both = [{path.name for path in (folder / f"{side}_lung").iterdir()} for side in ("left", "right")]
    return folder, [path for path in sorted((folder / "images").iterdir()) if path.name in both[0] & both[1]]


def fitted(method: str, fields: dict[str, Any], pairs: Files) -> tuple[Network, float]:
    """A network and the seconds it took to learn."""
    network = METHODS[method](**fields)
    started = time.perf_counter()
    network.fit(pairs)
    return network, time.perf_counter() - started


def store(keys: dict[str, Any], rows: list[dict[str, float]], learned: int, seconds: float) -> None:
    """Put a row into the table, and print it."""
    found = aggregate(rows).metrics
    row: dict[str, Any] = {"images": learned, "tested": len(rows), "fit_seconds": seconds}
    row |= {name: of.value for name, of in found.items() if np.isfinite(of.value)}
    row |= {"dice_low": found["dice"].low, "dice_high": found["dice"].high}
    row |= {"dice_worst": min(one["dice"] for one in rows)}
    row |= {f"reported_{name}": value for name, value in REPORTED.get(str(keys["task"]), {}).items()}
    replace_rows("segment_learned.csv", keys, [keys | row | environment()])
    print(*keys.values(), {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


TASKS: dict[str, tuple[Callable[[str, int], None], list[str]]] = {
    "lungs": (lungs, list(LUNGS)),
    "vessels": (vessels, list(VESSELS)),
    "shipped_lungs": (shipped, ["unet"]),
}


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked = parser.parse_args()
    for task in asked.tasks:
        run, methods = TASKS[task]
        for method in asked.methods or methods:
            for seed in asked.seeds if task != "shipped_lungs" else [0]:
                run(method, seed)


if __name__ == "__main__":
    main()
