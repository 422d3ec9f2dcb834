"""What a mark of a normal variant lets pass: the same region again, and other patients' at its place -> rows.

    intact fit $INTACT_DATA/brain_mri/train/good -o model
    cd $INTACT_DATA; intact screen brain_mri/test --model model -o out --labels folder --no-forensics
    python benchmarks/variants.py brain_mri=out [lung_ct=out2]

From the images that a run flagged: the regions that are suspicious by themselves (the first, where none is)
are marked one by one.

- `again`: the marked region of the same image, moved by some pixels, 3 % brighter, with noise of 1 to 3 % of
  the image's deviation: the share that the mark lets pass.
- `others`: the first three regions of all other flagged images that lie at the same place and have
  about the same size: the share that it lets pass, which is what a mark costs.

At several limits of likeness, the one in use among them. Rows go to benchmarks/results/variants.csv.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intact import read
from intact.explain.eyes import Box, Look, see
from intact.explain.variants import LIKE, Variant, place_of, same_place
from intact.image import Image
from intact.report.html import read_findings
from results import environment, replace_rows

ROWS = "variants.csv"
LIMITS = (0.0025, LIKE, 0.01, 0.02)
AGAIN = ((3, -3, 0.01), (5, 4, 0.02), (0, 0, 0.03))  # rows and columns moved, noise
BRIGHTER = 1.03
ALPHA = 0.05
FIRST = 3  # regions of other images


@dataclass(frozen=True, eq=False)
class Flagged:
    """A flagged image: what its regions look like, the suspicious ones first."""

    image: Image
    boxes: list[Box]
    looks: list[Look]
    places: list[Any]


def flagged(run: Path) -> list[Flagged]:
    """All of a run that have regions."""
    rows, _ = read_findings(run, identify=False)
    found = []
    for row in rows:
        if row["flagged"] and row["regions"]:
            image = read(row["path"])
            (seen,) = see(image, [0])
            boxes = [tuple(region["box"]) for region in row["regions"]]
            looks = [seen.look(box) for box in boxes]
            found.append(Flagged(image, boxes, looks, [place_of(seen, box) for box in boxes]))
    return found


def again(one: Flagged, rng: np.random.Generator) -> list[float]:
    """Distances of its first region to itself in images of the same patient."""
    pixels = one.image.pixels.astype(np.float64)
    top, left, bottom, right = one.boxes[0]
    distances = []
    for down, across, noise in AGAIN:
        moved = BRIGHTER * np.roll(pixels, (down, across), (0, 1))
        moved += rng.normal(0, noise * pixels.std(), pixels.shape)
        stored = np.clip(moved, pixels.min(), pixels.max()).astype(one.image.pixels.dtype)
        (seen,) = see(dataclasses.replace(one.image, pixels=stored), [0])
        box = max(top + down, 0), max(left + across, 0), bottom + down, right + across
        distances.append(1 - float(seen.look(box) @ one.looks[0]))
    return distances


def others(images: list[Flagged]) -> list[float]:
    """Distances of first regions to those of other images at their place."""
    distances = []
    for one in images:
        mark = Variant(0, "", "", "", *one.places[0])
        for other in images:
            if other is not one:
                distances += [
                    1 - float(look @ one.looks[0])
                    for look, place in zip(other.looks[:FIRST], other.places[:FIRST], strict=True)
                    if same_place(mark, *place)
                ]
    return distances


def main() -> None:
    """Measure the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="PACK=RUN")
    for pack, run in (pair.split("=", 1) for pair in parser.parse_args().runs):
        images = flagged(Path(run))
        rng = np.random.default_rng(0)
        same = np.array([distance for one in images for distance in again(one, rng)])
        different = np.array(others(images))
        rows = [
            {
                "pack": pack,
                "limit": limit,
                "used": int(limit == LIKE),
                "again": float((same <= limit).mean()),
                "others": float((different <= limit).mean()),
                "images": len(images),
                "pairs": len(different),
            }
            | environment()
            for limit in LIMITS
        ]
        replace_rows(ROWS, {"pack": pack}, rows)
        for row in rows:
            print({name: row[name] for name in ("pack", "limit", "again", "others", "images", "pairs")})


if __name__ == "__main__":
    main()
