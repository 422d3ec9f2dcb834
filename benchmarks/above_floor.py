"""Why a memory bank is above the floor: from the plain PatchCore to Intact's, one change at a time.

    INTACT_DATA=... INTACT_WEIGHTS=... python benchmarks/above_floor.py [--packs brain_mri]

Each rung keeps the changes of those before it: the images' proportions and percentiles instead of a
square of the stored grey values; standardised features on 128 principal axes instead of raw ones; a
coreset of 2,000 patches instead of 10,000 random ones; the small backbone that comes with Intact
instead of ResNet-18. On each rung an image's patches are summed up in three ways: the largest
distance, PatchCore's Eq. 7, and their mean. All rungs learn from all of train/good, with three seeds.

Rows go to benchmarks/results/above_floor.csv: AUROC, and how far it is above the floor's (first rung,
largest distance) on the same images, with the interval of a paired bootstrap over images.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomaly import PACKS, SEEDS
from intact.anomaly.patchcore import PatchCore, nearest_distance
from intact.bench.differences import compare
from intact.bench.measures import by_kind
from intact.evaluate import NORMAL
from intact.io import Unit, read_unit
from intact.metrics import auroc
from peer_anomalib import preparation_for, prepared, units
from results import environment, replace_rows, spread

SIZE = 224
BATCH = 8


@dataclass(frozen=True)
class Rung:
    """One bank: what it is made from, and how."""

    name: str
    prepared: bool = True  # False: 8-bit grey values in a square
    standardise: bool = True  # False: raw features, all of them
    coreset: bool = True  # False: 10,000 patches drawn at random
    backbone: str = "resnet18"


RUNGS = (
    Rung("plain PatchCore", prepared=False, standardise=False, coreset=False),
    Rung("proportions kept, percentiles", standardise=False, coreset=False),
    Rung("standardised, 128 axes", coreset=False),
    Rung("coreset of 2,000"),
    Rung("shipped backbone", backbone="narrow_resnet18"),
)


class OfFeatures(PatchCore):
    """PatchCore on features made beforehand: an "image" here is the (p, c) features of its patches."""

    def _features(self, images: Tensor) -> Tensor:
        return images.float()

    def _patches(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean_) @ self.basis_


@cache
def features(pack: Path, is_prepared: bool, backbone: str) -> tuple[Tensor, Tensor]:
    """(n, p, c) float16 features of the normals to learn from and of the test images."""
    normals, test = units(pack / "train" / NORMAL), units(pack / "test")
    maker = PatchCore(size=SIZE, backbone=backbone)
    maker._build(1)
    preparation = preparation_for(normals, SIZE, seed=0)

    def made(members: list[Unit]) -> Tensor:
        images = prepared(members, preparation) if is_prepared else map(squared, members)
        return torch.cat([maker._features(image[None]).half() for image in images])

    return made(normals), made(test)


def squared(unit: Unit) -> Tensor:
    """(1, size, size) grey values in [0, 1] as shown on a screen, stretched to a square."""
    shown = torch.from_numpy(read_unit(unit).display().astype(np.float32) / 255)
    return F.interpolate(shown[None, None], size=(SIZE, SIZE), mode="bilinear", antialias=True)[0]


@torch.no_grad()
def score(rung: Rung, pack: Path) -> dict[str, np.ndarray]:
    """By summary: the score of each test image, a column per seed."""
    normals, test = features(pack, rung.prepared, rung.backbone)
    bank = OfFeatures(
        size=SIZE,
        standardise=rung.standardise,
        dimensions=PatchCore.dimensions if rung.standardise else normals.shape[-1],
    )
    bank.mean_, bank.basis_ = bank._principal_axes(normals.split(BATCH))
    columns: dict[str, list[Tensor]] = {"largest distance": [], "Eq. 7": [], "mean": []}
    for seed in SEEDS:
        bank.seed = seed
        remember(bank, normals, rung.coreset)
        of_images = [summaries(bank, images) for images in test.split(BATCH)]
        for summary, column in columns.items():
            column.append(torch.cat([one[summary] for one in of_images]))
    return {summary: torch.stack(column, dim=1).numpy() for summary, column in columns.items()}


def remember(bank: OfFeatures, normals: Tensor, coreset: bool) -> None:
    """Fill the bank with patches of the normals."""
    if coreset:
        bank._fit(normals.split(BATCH))
        return
    every = normals.flatten(0, 1)
    drawn = torch.randperm(len(every), generator=torch.Generator().manual_seed(bank.seed))[:10_000]
    bank.bank_ = bank._patches(every[drawn])


def summaries(bank: OfFeatures, images: Tensor) -> dict[str, Tensor]:
    """How unusual each image is, by the distances of its patches to the bank."""
    patches = bank._patches(images)
    distance = nearest_distance(patches.flatten(0, 1), bank.bank_).view(patches.shape[:2])
    worst = patches[torch.arange(len(images)), distance.argmax(dim=1)]
    return {
        "largest distance": distance.amax(dim=1),
        "Eq. 7": bank._image_score(worst),
        "mean": distance.mean(dim=1),
    }


def rows(pack: Path) -> Iterator[dict[str, Any]]:
    """A row per rung, summary and kind of finding."""
    test = units(pack / "test")
    kind = np.array([unit.folder for unit in test])
    alone = np.arange(len(test))  # each image a patient of its own
    floor: np.ndarray | None = None
    for rung in RUNGS:
        for summary, scores in score(rung, pack).items():
            floor = scores if floor is None else floor
            for name, members in by_kind(kind):
                abnormal = kind[members] != NORMAL
                gain = compare(scores[members], floor[members], abnormal, alone[members])
                value = float(np.mean([auroc(column, abnormal) for column in scores[members].T]))
                print(
                    f"{pack.name} {name} {rung.name}, {summary}: {value:.3f} ({gain.value:+.3f})", flush=True
                )
                row = {
                    "rung": rung.name,
                    "summary": summary,
                    "kind": name,
                    "seeds": len(SEEDS),
                    "auroc": value,
                }
                yield row | spread("above_floor", gain) | {"above_floor_p": gain.p}


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    asked = parser.parse_args()
    for name in asked.packs:
        found = [{"pack": name} | row | environment() for row in rows(Path(os.environ["INTACT_DATA"]) / name)]
        replace_rows("above_floor.csv", {"pack": name}, found)
        features.cache_clear()


if __name__ == "__main__":
    main()
