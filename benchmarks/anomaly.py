"""Which detector finds what, on packs of real images: pack x method x seed -> rows.

    INTACT_DATA=... INTACT_WEIGHTS=... python benchmarks/anomaly.py [--packs brain_mri] [--methods ae]

Each method runs with its defaults through the same `fit` and `screen` that users call; nothing is
chosen by looking at test labels. `floor` is a plain PatchCore written here in a few lines:
ResNet-18, layers 2 and 3, 224 pixels, 10,000 random patches of all normals, image score = largest
nearest-neighbour distance. Rows go to benchmarks/results/anomaly.csv, one per kind of finding;
rows of the same pack, method and seed are replaced.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import intact
from intact.anomaly import METHODS
from intact.filters import local_mean
from intact.metrics.detection import auroc, average_precision
from intact.metrics.statistics import bootstrap, false_alarm_acceptance
from intact.nets.features import FrozenFeatures
from results import environment, replace_rows

PACKS = ("brain_mri", "chest_xray", "lung_ct")
ALPHA = 0.05
# What users get where no pretrained weights are to be had.
WITHOUT_WEIGHTS = {"patchcore_shipped": ("patchcore", {"backbone": "narrow_resnet18"})}


def measure(pack: Path, method: str, seed: int) -> list[dict[str, Any]]:
    """Fit on the pack's normals, screen its test images, one row per kind."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        name, fields = WITHOUT_WEIGHTS.get(method, (method, {}))
        model = intact.fit([pack / "train" / "good"], method=name, fields=fields, seed=seed).model
        model.save(Path(folder) / method)
        fitted = time.perf_counter()
        outcome = intact.screen(
            [pack / "test"],
            Path(folder) / "out",
            models=[Path(folder) / method],
            alpha=ALPHA,
            labels="folder",
        )
        seconds = {"fit_s": fitted - started, "screen_s": time.perf_counter() - fitted}
    labels = outcome.run["labels"]
    alarms = labels["false_alarm_rate"][0]
    expected = false_alarm_acceptance(ALPHA, model.card.normals_calibrated, alarms["n"])
    common = {
        "false_alarms": alarms["flagged"],
        "normals": alarms["n"],
        "calibrated_on": model.card.normals_calibrated,
        "false_alarm_rate": alarms["rate"],
        "rate_low": alarms["lo"],
        "rate_high": alarms["hi"],
        "expected_alarms_low": expected[0],
        "expected_alarms_high": expected[1],
        **seconds,
    }
    return [{"kind": row["kind"], "n": row["n"], **spans(row), **common} for row in labels["per_kind"]]


def spans(row: dict[str, Any]) -> dict[str, float]:
    """AUROC, average precision and share flagged with their 95 % intervals as flat columns."""
    flat = {}
    for name in ("auroc", "average_precision", "flagged_rate"):
        if name in row:
            flat |= dict(zip((name, f"{name}_low", f"{name}_high"), row[name], strict=True))
    return flat


def floor(pack: Path, seed: int) -> list[dict[str, Any]]:
    """The plain PatchCore that every default has to beat."""
    torch.manual_seed(seed)
    net = FrozenFeatures("resnet18", ("layer2", "layer3"), "float32")

    def features(folder: Path) -> torch.Tensor:
        rows = []
        for path in sorted(folder.iterdir()):
            pixels = torch.from_numpy(intact.read(path).display().astype(np.float32) / 255)
            image = F.interpolate(pixels[None, None], size=(224, 224), mode="bilinear", antialias=True)
            maps = [local_mean(m) for m in net(image)]
            fine = [maps[0], F.interpolate(maps[1], size=maps[0].shape[-2:], mode="bilinear")]
            rows.append(torch.cat(fine, dim=1).flatten(2)[0].T.half())
        return torch.stack(rows)

    started = time.perf_counter()
    normals = features(pack / "train" / "good").flatten(0, 1)
    bank = normals[torch.randperm(len(normals))[:10_000]].float()
    fitted = time.perf_counter()
    scores = {}
    for folder in sorted((pack / "test").iterdir()):
        scores[folder.name] = np.array(
            [torch.cdist(p.float(), bank).min(dim=1).values.max().item() for p in features(folder)]
        )
    seconds = {"fit_s": fitted - started, "screen_s": time.perf_counter() - fitted}
    good = scores.pop("good")
    return [compare(kind, good, found) | seconds for kind, found in scores.items()]


def compare(kind: str, good: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """A row that says how well the scores `found` stand out from those of `good`."""
    values, truth = np.r_[good, found], np.r_[np.zeros(len(good), bool), np.ones(len(found), bool)]
    row: dict[str, Any] = {"kind": kind, "n": len(found)}
    for name, metric in (("auroc", auroc), ("average_precision", average_precision)):
        interval = bootstrap(metric, values, truth, strata=truth)
        row[name] = (interval.value, interval.low, interval.high)
    return {"kind": kind, "n": len(found), **spans(row)}


def store(rows: list[dict[str, Any]], pack: str, method: str, seed: int) -> None:
    """Put the rows of one measurement into the table, and print them."""
    keys = {"pack": pack, "method": method, "seed": seed}
    replace_rows("anomaly.csv", keys, [keys | row | environment() for row in rows])
    for row in rows:
        print(f"{pack} {method} seed {seed} {row['kind']}: AUROC {row['auroc']:.3f} "
              f"({row['auroc_low']:.3f} to {row['auroc_high']:.3f})", flush=True)  # fmt: skip


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--methods", nargs="+", default=["floor", *METHODS, *WITHOUT_WEIGHTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked = parser.parse_args()
    for pack in asked.packs:
        folder = Path(os.environ["INTACT_DATA"]) / pack
        for method in asked.methods:
            for seed in asked.seeds:
                rows = floor(folder, seed) if method == "floor" else measure(folder, method, seed)
                store(rows, pack, method, seed)


if __name__ == "__main__":
    main()
