"""Does a learned start help where there are few images? One organ held out, the others practised on.

    INTACT_DATA=... python benchmarks/few_shot.py [--packs brain_mri chest_xray lung_ct]

For each pack a start is learned on the normal images of the other two (`intact start`, all defaults).
A detector then learns from 5, 10 or 20 normals of the pack in 50 or 200 steps, once from the start and
once from scratch, with the same images, steps and seeds, and scores the pack's test images. Nothing is
chosen by test labels. benchmarks/results/few_shot.csv has a row per pack, kind of finding, number
of normals and steps: both AUROCs, means over seeds, and the difference, each with its 95 % interval; those
of one AUROC cover the choice of test images, that of the difference the seeds as well.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

import intact
from intact.anomaly import METHODS
from intact.bench.differences import compare
from intact.bench.measures import RESAMPLES, by_kind
from intact.data.cache import Batches
from intact.evaluate import NORMAL
from intact.fit import BATCH
from intact.metrics import Interval, auroc
from intact.metrics.resampling import aurocs, draw, interval
from intact.model import planes_of
from intact.start import Start
from results import environment, replace_rows, spread

PACKS = ("brain_mri", "chest_xray", "lung_ct")
METHOD = "ae"
NORMALS = (5, 10, 20)
STEPS = (50, 200)
SEEDS = range(3)
Planes = Float[ndarray, "n c h w"]
Arms = dict[str, list[Float[ndarray, "n"]]]  # scores of all test images for each seed, by where it began


def measure(pack: Path, others: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    """All rows of a pack."""
    tests = sorted(path for path in (pack / "test").rglob("*") if path.is_file())
    kinds = np.array([path.parent.name for path in tests])
    arms: dict[tuple[int, int], Arms] = defaultdict(lambda: defaultdict(list))
    seconds = []
    for seed in SEEDS:
        began = time.monotonic()
        start = intact.learn_start(others, method=METHOD, rounds=rounds, seed=seed).start
        seconds.append(time.monotonic() - began)
        print(f"{pack.name} seed {seed}: start learned in {seconds[-1]:.0f} s", flush=True)
        if seed == SEEDS[0]:  # all starts prepare alike
            normals = prepared(sorted((pack / "train" / NORMAL).iterdir()), start)
            test = torch.from_numpy(prepared(tests, start))
        order = np.random.default_rng(seed).permutation(len(normals))
        for count in NORMALS:
            for steps in STEPS:
                for name, weights in (("start", start.weights), ("scratch", None)):
                    detector = METHODS[METHOD](**start.fields | {"steps": steps, "seed": seed})
                    detector.fit(Batches(normals, order[:count], BATCH, seed), weights)
                    arms[count, steps][name].append(detector.score(test).image.double().numpy())
                both = {
                    name: auroc(scores[-1], kinds != NORMAL) for name, scores in arms[count, steps].items()
                }
                told = ", ".join(f"{name} {value:.3f}" for name, value in both.items())
                print(f"{pack.name} seed {seed}, {count} normals, {steps} steps: {told}", flush=True)
    return [
        {"pack": pack.name, "method": METHOD, "normals": count, "steps": steps, "rounds": rounds,
         "seeds": len(SEEDS), "start_s": float(np.mean(seconds))} | row | environment()
        for (count, steps), scores in arms.items()
        for row in rows_of(scores, kinds)
    ]  # fmt: skip


def prepared(paths: Sequence[Path], start: Start) -> Planes:
    """Images as the start wants them."""
    planes = [plane for path in paths for plane, _ in planes_of(intact.read(path), start.preparation)]
    return torch.stack(planes).numpy()


def rows_of(arms: Arms, kinds: ndarray) -> list[dict[str, Any]]:
    """A row per kind: both AUROCs and their difference."""
    stacked = {name: np.stack(scores, axis=1) for name, scores in arms.items()}
    rows = []
    for kind, members in by_kind(kinds):
        ill = kinds[members] != NORMAL
        gain = compare(stacked["start"][members], stacked["scratch"][members], ill, np.arange(len(ill)))
        row: dict[str, Any] = {"kind": kind, "n": int(ill.sum())}
        for name, scores in stacked.items():
            row |= spread(f"auroc_{name}", mean_auroc(scores[members], ill))
        rows.append(row | spread("gain", gain) | {"gain_p": gain.p})
    return rows


def mean_auroc(scores: Float[ndarray, "n s"], ill: Bool[ndarray, "n"]) -> Interval:
    """The mean over seeds, and its bootstrap interval over test images."""
    counts = draw(np.arange(len(ill)), ill, RESAMPLES)
    drawn = np.mean([aurocs(column, ill, counts) for column in scores.T], axis=0)
    return interval(float(np.mean([auroc(column, ill) for column in scores.T])), drawn)


def main() -> None:
    """Measure the packs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS, choices=PACKS)
    parser.add_argument("--rounds", type=int, default=200, help="of learning a start")
    asked = parser.parse_args()
    data = Path(os.environ["INTACT_DATA"])
    for name in asked.packs:
        others = [data / other / "train" / NORMAL for other in PACKS if other != name]
        replace_rows("few_shot.csv", {"pack": name}, measure(data / name, others, asked.rounds))


if __name__ == "__main__":
    main()
