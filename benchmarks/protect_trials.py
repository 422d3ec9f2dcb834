"""What protection is worth after what happens to files, by `intact bench protect` -> rows.

    INTACT_DATA=... python benchmarks/protect_trials.py MODELS OUT [--images 40] [--together]

MODELS as for `attack_success.py`. Images that no network learned from, lungs kept; ResNet-18 is attacked, or
with `--together` all but DenseNet-121, with confidence 3. OUT gets what the command writes, the gallery
among it. Rows go to benchmarks/results/protect_trials.csv.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from attack_success import NETWORKS, learned
from intact.protect import Against
from intact.protect.bench import bench_protect
from results import environment, replace_rows

UNSEEN = "densenet121"


def main() -> None:
    """Try it and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--together", action="store_true")
    asked = parser.parse_args()
    _, judged = learned(asked.models)
    attacked = [name for name in NETWORKS if name != UNSEEN] if asked.together else ["resnet18"]
    fields = (("confidence", 3.0), ("steps", 20)) if asked.together else ()
    against = Against(tuple(("", asked.models / name) for name in attacked), fields=fields)
    unseen = [asked.models / name for name in NETWORKS if name not in attacked]
    with tempfile.TemporaryDirectory() as folder:
        for at in np.unique(np.linspace(0, len(judged) - 1, asked.images).round().astype(int)):
            shutil.copy(judged[at][0], folder)
        benched = bench_protect(
            [folder], asked.out, against, unseen=unseen, keep="lungs", images=asked.images
        )
    keys = {"against": " ".join(attacked)}
    rows = [keys | row | benched.quality | environment() for row in benched.rows]
    replace_rows("protect_trials.csv", keys, rows)
    print(len(rows), benched.quality, benched.refused)


if __name__ == "__main__":
    main()
