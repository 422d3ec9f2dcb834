"""What twenty normal images are good for: fit with all defaults, screen the whole test set, and the time.

    INTACT_DATA=... INTACT_WEIGHTS=... python benchmarks/few_normals.py [--packs brain_mri] [--seeds 0 1 2]

For each pack and seed twenty normals are drawn from train/good; then `intact fit` and `intact screen`
with its report, as a user would. benchmarks/results/few_normals.csv has a row per pack, seed and kind of
finding: AUROC and the share flagged, false alarms among the normal test images, all with 95 % intervals
over them, on how many held-out images the p-values rest, and the seconds of fitting and screening.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import intact
from intact.evaluate import NORMAL
from intact.metrics import Interval
from pneumoniamnist_pack import write_pack
from results import environment, replace_rows, spread

PACKS = ("brain_mri", "chest_xray", "lung_ct")
TINY = "pneumoniamnist"
NORMALS = 20
LONGEST = 300.0  # seconds that fitting may take


def measure(pack: Path, seed: int, work: Path) -> Iterator[dict[str, Any]]:
    """All rows of a pack and seed."""
    files = sorted((pack / "train" / NORMAL).iterdir())
    drawn = np.random.default_rng(seed).choice(len(files), NORMALS, replace=False)
    began = time.monotonic()
    fitted = intact.fit([files[n] for n in sorted(drawn)], seed=seed)
    fitted.model.save(work / "model")
    fit_s, began = time.monotonic() - began, time.monotonic()
    run = intact.screen(
        [pack / "test"], work / "out", models=[work / "model"], labels="folder", forensics=False
    ).run
    seconds = {"fit_s": fit_s, "screen_s": time.monotonic() - began, "images": run["counts"]["images"]}
    card, (alarms,) = fitted.model.card, run["labels"]["false_alarm_rate"]
    for row in run["labels"]["per_kind"]:
        yield (
            {"pack": pack.name, "method": card.method, "seed": seed, "kind": row["kind"], "n": row["n"]}
            | spread("auroc", Interval(*row["auroc"]))
            | spread("flagged_rate", Interval(*row["flagged_rate"]))
            | spread("false_alarm_rate", Interval(alarms["rate"], alarms["lo"], alarms["hi"]))
            | {"learned_from": card.normals_fitted, "calibrated_on": card.normals_calibrated}
            | seconds
            | environment()
        )


def run_pack(pack: Path, seeds: Sequence[int]) -> None:
    """Measure a pack and keep its rows."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            rows = list(measure(pack, seed, Path(work)))
        replace_rows("few_normals.csv", {"pack": pack.name, "seed": seed}, rows)
        told = ", ".join(f"{row['kind']} {row['auroc']:.3f}" for row in rows)
        late = f" - MORE THAN {LONGEST:.0f} s" if rows[0]["fit_s"] > LONGEST else ""
        print(
            f"{pack.name} seed {seed}: fitted in {rows[0]['fit_s']:.0f} s{late}, {rows[0]['images']} images "
            f"screened in {rows[0]['screen_s']:.0f} s; AUROC {told}",
            flush=True,
        )


def main() -> None:
    """Measure the packs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=[*PACKS, TINY])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked = parser.parse_args()
    data = Path(os.environ["INTACT_DATA"])
    for name in asked.packs:
        with tempfile.TemporaryDirectory() as folder:
            if name == TINY:
                write_pack(data / TINY / f"{TINY}.npz", Path(folder) / TINY)
            run_pack(Path(folder) / TINY if name == TINY else data / name, asked.seeds)


if __name__ == "__main__":
    main()
