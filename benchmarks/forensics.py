"""Which examiner finds which forgery, on real images -> rows.

    INTACT_DATA=... OMP_NUM_THREADS=1 python benchmarks/forensics.py [--packs brain_mri] [--methods block_dct]
        [--images 60]

`intact bench forensics` with every method's defaults. Genuine brain MR slices, chest radiographs and
lung CT slices are forged by six operators, plain and then stored as JPEG, with noise and scaled; two
sets of forged pictures by others come as they are. A pack whose classes can be told apart without
looking for forgeries gets a row that says so, and no numbers. What was measured stays in
benchmarks/results/forensics/PACK/cells, so the same command goes on from there, and one more method
costs only its own time. Rows go to benchmarks/results/forensics.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from forensics_packs import FORGED, GENUINE, write_pack
from intact.bench.forensics import bench_forensics
from intact.errors import UsageError
from intact.forensics import METHODS
from results import FOLDER, environment, replace_rows

KINDS = ("copy_move", "splice", "remove", "inject", "erase", "resample")
AFTER = ("jpeg=85", "noise=0.5", "scale=0.9")
IMAGES = 60  # genuine images of a pack
LEFT_BEHIND = ("packs",)  # made again from the seed, and too large to keep


def run(name: str, methods: Sequence[str], images: int) -> None:
    """One pack; its rows replace those of the methods that were asked for."""
    data, out = Path(os.environ["INTACT_DATA"]), FOLDER.resolve() / "forensics" / name
    with tempfile.TemporaryDirectory() as folder:
        try:
            if name in FORGED:
                pack = write_pack(name, data, Path(folder) / name, images)
                benched = bench_forensics([pack], out, methods=methods)
            else:
                # The page names images as they are given here, so not by where they lie on this machine.
                with contextlib.chdir(data):
                    benched = bench_forensics(
                        [f"{name}/{GENUINE[name]}"],
                        out,
                        kinds=KINDS,
                        after=AFTER,
                        methods=methods,
                        images=images,
                    )
        except UsageError as error:
            refused = {"pack": name, "method": "", "slice": "refused", "value": str(error)}
            replace_rows("forensics.csv", {"pack": name}, [refused | environment()])
            print(f"{name}: {error}", flush=True)
            return
    for part in LEFT_BEHIND:
        shutil.rmtree(out / part, ignore_errors=True)
    replace_rows("forensics.csv", {"pack": name, "slice": "refused"}, [])
    for method in dict.fromkeys(row["method"] for row in benched.rows):
        own = [row for row in benched.rows if row["method"] == method]
        rows = [{"pack": name} | row | {"images": images} | environment() for row in own]
        replace_rows("forensics.csv", {"pack": name, "method": method}, rows)
        whole = own[0]
        print(name, method, f"AUROC {whole['auroc']:.3f}, F1 {whole.get('f1') or 0:.3f}", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=[*GENUINE, *FORGED])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--images", type=int, default=IMAGES, help="genuine ones per pack; 0 takes all")
    asked = parser.parse_args()
    for name in asked.packs:
        run(name, asked.methods, asked.images)


if __name__ == "__main__":
    main()
