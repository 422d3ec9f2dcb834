"""What volumes gain from neighbouring planes, from smoothing in 3-D, and from a method of volumes -> rows.

    OMP_NUM_THREADS=1 python benchmarks/volumes.py [--volumes 24] [--ways plane smooth]

CT phantoms of 24 planes of 128 x 128 pixels, half of those tested with one lesion of some millimetres; no set
of real volumes with lesions is at hand, so this says how the ways compare, not how well they do on patients.
AUROC of whole volumes with its interval, and the seconds of fitting and screening, by `intact.fit` and
`intact.screen` as a user would.

Rows go to benchmarks/results/volumes.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import intact
from intact.data.phantom import write_archive
from intact.metrics import Interval
from results import environment, replace_rows, spread

ROWS = "volumes.csv"
SHAPE = (24, 128, 128)
ALPHA = 0.2  # of the few that a method that trains holds out, none could be flagged at less
PLANES: dict[str, Any] = {"method": "padim", "fields": {"size": 128}}
TASKS: dict[str, Any] = {"method": "many_tasks", "fields": {"size": 128}}
WAYS: dict[str, dict[str, Any]] = {
    "plane": PLANES,
    "wide window": PLANES | {"windows": [(-250.0, 1500.0)]},
    "neighbours": PLANES | {"neighbours": 1},
    "smooth": PLANES | {"smooth_mm": 4.0},
    "neighbours, smooth": PLANES | {"neighbours": 1, "smooth_mm": 4.0},
    "many tasks, planes": TASKS,
    "many tasks, planes, smooth": TASKS | {"smooth_mm": 4.0},
    "many tasks, volumes": {"method": "many_tasks", "fields": {"dims": 3, "size": 64, "width": 8}},
}


def measure(way: str, archive: Path, work: Path) -> dict[str, Any]:
    """The row of one way to look at volumes."""
    began = time.monotonic()
    fitted = intact.fit([archive / "train"], **WAYS[way])
    fitted.model.save(work / "model")
    fit_s, began = time.monotonic() - began, time.monotonic()
    outcome = intact.screen(
        [archive / "test"],
        work / "out",
        models=[work / "model"],
        alpha=ALPHA,
        labels="folder",
        forensics=False,
    )
    card, (kind,) = fitted.model.card, outcome.run["labels"]["per_kind"]
    return (
        {"way": way, "method": card.method, "learned_from": card.normals_fitted, "tested": kind["n"]}
        | spread("auroc", Interval(*kind["auroc"]))
        | {"fit_s": fit_s, "screen_s": time.monotonic() - began}
        | environment()
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--volumes", type=int, default=24, help="of each kind")
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive, n = Path(folder) / "archive", asked.volumes
        options = {"shape": SHAPE}
        write_archive(archive, "thorax_ct", train=n, test_normal=n, test_lesion=n, seed=0, options=options)
        for number, way in enumerate(asked.ways):
            work = Path(folder) / str(number)
            work.mkdir()
            row = measure(way, archive, work)
            replace_rows(ROWS, {"way": way}, [row])
            print(way, f"AUROC {row['auroc']:.3f}, {row['fit_s']:.0f} + {row['screen_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
