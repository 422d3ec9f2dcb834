"""Which detector finds what, on packs of real images: every method x pack x seed, beside a floor.

    INTACT_DATA=... INTACT_WEIGHTS=... python benchmarks/anomaly.py [--packs brain_mri] [--methods ae rd4ad]

`intact bench anomaly` with every method's defaults; nothing is chosen by looking at test labels.
PneumoniaMNIST's images have 28 x 28 pixels, so there each method works at the smallest multiple of
32 or 64 pixels that it takes. Methods that train in minutes run with seeds 0, 1 and 2, the others
with seed 0. What was measured stays in benchmarks/results/anomaly/PACK/cells, and the same command
goes on from there, so the whole table may be made piece by piece and on several processors;
`index.html` beside it is the page of all that is there.

The floor is a plain PatchCore written here in a few lines: ResNet-18, layers 2 and 3, 224 pixels,
10,000 random patches of all normals, image score = largest nearest-neighbour distance.
benchmarks/results/anomaly.csv has a row per pack, kind and method: AUROC and by how much it is above
the floor's on the same images, both with intervals, false alarms and costs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import intact
from intact.anomaly import METHODS
from intact.bench.cells import Cell, Entrant, Failed, Measured, look_up, measure
from intact.bench.differences import compare
from intact.bench.measures import by_kind
from intact.bench.packs import Pack, open_packs
from intact.bench.results import tell
from intact.evaluate import NORMAL
from intact.filters import local_mean
from intact.nets.features import FrozenFeatures
from intact.rows import Row, read_rows, write_rows
from pneumoniamnist_pack import write_pack
from results import FOLDER, environment, replace_rows, spread

PACKS = ("brain_mri", "chest_xray", "lung_ct")
TINY = "pneumoniamnist"
ALPHA = 0.05
SEEDS = range(3)
REFERENCE = "patchcore"  # what `intact fit` takes by default
MINUTES = ("patchcore", "padim", "ae", "vae", "memae")  # their training takes no longer: three seeds
# What users get where no pretrained weights are to be had.
SHIPPED = Entrant("patchcore_shipped", "patchcore", {"backbone": "narrow_resnet18"})
# For images of 28 x 28 pixels; deep networks need 64.
TINY_FIELDS: dict[str, dict[str, Any]] = {
    **{key: {"size": 32} for key in ("ae", "vae", "aae", "cevae", "memae", "dae", "ganomaly", "f_anogan")},
    "anoddpm": {"size": 32, "attention": (16, 8), "frequency": 8.0},
    "pddpm": {"size": 32, "patch": 16, "frequency": 21.0},
    "uniad": {"size": 64, "neighbours": 3},
    **{key: {"size": 70} for key in ("anomaly_dino", "dinomaly", "inp_former")},  # patches of 14
}


def entrants(pack: str) -> list[Entrant]:
    """Every method as it enters for this pack; the reference comes first."""
    names = sorted(METHODS, key=REFERENCE.__ne__)
    if pack != TINY:
        return [*(Entrant(name, name) for name in names), SHIPPED]
    return [Entrant(name, name, TINY_FIELDS.get(name, {"size": 64})) for name in names]


def cells(pack: Pack) -> list[Cell]:
    """All that is to be measured on a pack, seed by seed."""
    return [
        Cell(pack, entrant, seed)
        for seed in SEEDS
        for entrant in entrants(pack.name)
        if seed == SEEDS[0] or entrant.name in MINUTES
    ]


def floor(pack: Pack, out: Path) -> list[dict[str, float]]:
    """For each seed the score of every test image by the plain PatchCore, measured unless it was before."""
    kept = out / "floor.csv"
    if not kept.exists():
        write_rows(kept, plain_patchcore(pack.folder))
    scores: list[dict[str, float]] = [{} for _ in SEEDS]
    for row in read_rows(kept):
        scores[int(row["seed"])][row["image"]] = float(row["score"])
    return scores


def plain_patchcore(pack: Path) -> list[dict[str, Any]]:
    """Its rows, for all seeds: each draws other patches."""
    net = FrozenFeatures("resnet18", ("layer2", "layer3"), "float32")

    @torch.no_grad()
    def patches(path: Path) -> torch.Tensor:
        pixels = torch.from_numpy(intact.read(path).display().astype(np.float32) / 255)
        image = F.interpolate(pixels[None, None], size=(224, 224), mode="bilinear", antialias=True)
        maps = [local_mean(m) for m in net(image)]
        fine = [maps[0], F.interpolate(maps[1], size=maps[0].shape[-2:], mode="bilinear")]
        return torch.cat(fine, dim=1).flatten(2)[0].T

    normals = torch.cat([patches(path).half() for path in sorted((pack / "train" / NORMAL).iterdir())])
    rng = torch.Generator()
    drawn = [torch.randperm(len(normals), generator=rng.manual_seed(seed))[:10_000] for seed in SEEDS]
    banks = [normals[which].float() for which in drawn]
    rows = []
    for path in sorted(path for path in (pack / "test").rglob("*") if path.is_file()):
        image, found = path.relative_to(pack).as_posix(), patches(path)
        for seed, bank in zip(SEEDS, banks, strict=True):
            score = torch.cdist(found, bank).min(dim=1).values.max().item()
            rows.append({"image": image, "seed": seed, "score": score})
    return rows


def above_floor(
    measured: Sequence[Measured], floors: Sequence[dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Per kind: AUROC of a method, its mean over seeds, less that of the floor on the same images."""
    first = measured[0].scored
    own = np.stack([one.scored.score for one in measured], axis=1)
    other = np.array([[scores[image] for scores in floors] for image in first.image.tolist()])
    found = {}
    for kind, members in by_kind(first.kind):
        gain = compare(own[members], other[members], first.kind[members] != NORMAL, first.group[members])
        found[kind] = spread("above_floor", gain) | {"above_floor_p": gain.p}
    return found


def store(
    pack: Pack, found: Sequence[Measured], summaries: Sequence[Row], floors: Sequence[dict[str, float]]
) -> None:
    """A row per kind and method into the table."""
    by_method: dict[str, list[Measured]] = {}
    for one in found:
        by_method.setdefault(one.cell.entrant.name, []).append(one)
    gains = {name: above_floor(of_seeds, floors) for name, of_seeds in by_method.items()}
    rows = [
        row | {"seeds": len(row["seeds"]), "floor_seeds": len(floors)} | gains[row["method"]][row["kind"]]
        | {"size": by_method[row["method"]][0].record["fields"]["size"]} | environment()
        | {"device": by_method[row["method"]][0].record["device"]}
        for row in summaries
    ]  # fmt: skip
    replace_rows("anomaly.csv", {"pack": pack.name}, rows)


def main() -> None:
    """Measure what is asked for; then tell all that was ever measured of these packs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=[*PACKS, TINY])
    parser.add_argument("--methods", nargs="*", default=[*METHODS, SHIPPED.name])
    asked = parser.parse_args()
    data = Path(os.environ["INTACT_DATA"])
    for name in asked.packs:
        with tempfile.TemporaryDirectory() as folder:
            if name == TINY:
                write_pack(data / TINY / f"{TINY}.npz", Path(folder) / TINY)
            # The page names the pack as it is given here, so not by where it lies on this machine.
            with contextlib.chdir(folder if name == TINY else data):
                run(name, FOLDER.resolve() / "anomaly" / name, asked.methods)


def run(name: str, out: Path, methods: Sequence[str]) -> None:
    """One pack, from the working directory."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    (pack,) = open_packs([Path(name)])
    found: list[Measured | Failed] = []
    made = 0
    for cell in cells(pack):
        one: Measured | Failed | None = look_up(cell, out)
        if one is None and cell.entrant.name in methods:
            one = measure(cell, out)
            made += 1
            news = one.reason if isinstance(one, Failed) else f"{one.record['fit_s']:.0f} s to fit"
            print(f"{name} {cell.entrant.name} seed {cell.seed}: {news}", flush=True)
        found.append(one or Failed(cell, "no time was spent on it yet"))
    floors = floor(pack, out)
    told = tell(found, out, alpha=ALPHA, reference=REFERENCE, made=made, started=started)
    measured = [one for one in found if isinstance(one, Measured)]
    store(pack, measured, told.comparison.summaries, floors)


if __name__ == "__main__":
    main()
