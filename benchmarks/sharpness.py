"""How much of what detectors find on the packs of real images is sharpness, and how much is more.

    INTACT_DATA=... python benchmarks/sharpness.py [--packs brain_mri]

Abnormal images of a pack may come from other scanners, or be blurred by what ails the patient: pneumonia
veils a chest. Then a detector may do well without having seen a lesion. Two questions are asked of
the scores that anomaly.py and above_floor.py kept:

- What do three numbers of the whole image find, its mean, its standard deviation and its mean gradient?
  The score is their Mahalanobis distance to the normals of train/good.
- What does a method find among pairs of a normal and an abnormal image that are equally sharp? Their
  mean gradients, as logarithms, differ by no more than a tenth of the standard deviation among the
  normals of train/good. Sharpness alone has 0.5 there by construction.

Rows go to benchmarks/results/sharpness.csv, with intervals from a bootstrap over patients, and for
each method with the difference from the floor's on the same pairs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

import intact
from anomaly import PACKS, cells, floor
from intact.bench.cells import look_up
from intact.bench.differences import RESAMPLES
from intact.bench.measures import Scored, by_kind
from intact.bench.packs import open_packs
from intact.evaluate import NORMAL
from intact.metrics import auroc
from intact.metrics.resampling import draw, interval
from results import FOLDER, environment, replace_rows, spread

SHARPNESS = 2  # which of the three numbers is the mean gradient
EQUAL = 0.1  # standard deviations
FLOOR, NUMBERS = "plain_patchcore", "three_numbers"


def numbers(images: Sequence[Path]) -> ndarray:
    """(n, 3): mean, standard deviation and mean gradient of the grey values 0 to 255."""
    found = []
    for path in images:
        shown = intact.read(path).display().astype(np.float64)
        found.append((shown.mean(), shown.std(), np.hypot(*np.gradient(shown)).mean()))
    return np.array(found)


def mahalanobis(normal: ndarray, test: ndarray) -> ndarray:
    """(n,) distances of the rows of `test` to the normal distribution of those of `normal`."""
    away = test - normal.mean(axis=0)
    squares = (away @ np.linalg.inv(np.cov(normal.T)) * away).sum(axis=1)
    return np.sqrt(squares)


def kept(folder: Path) -> tuple[Scored, dict[str, ndarray]]:
    """The test images of a pack, and by method their (n, seeds) scores as far as they were measured."""
    (pack,), out = open_packs([folder]), FOLDER / "anomaly" / folder.name
    found = [one for cell in cells(pack) if (one := look_up(cell, out)) is not None]
    if not found:
        raise SystemExit(f"{out} holds no measurement of this pack: run benchmarks/anomaly.py first")
    images = found[0].scored
    columns = {FLOOR: [np.array([scores[one] for one in images.image]) for scores in floor(pack, out)]}
    for one in found:
        columns.setdefault(one.cell.entrant.name, []).append(one.scored.score)
    return images, {method: np.stack(seeds, axis=1) for method, seeds in columns.items()}


class EqualPairs:
    """The pairs of an abnormal and a normal image that are equally sharp, in all and in each resample.

    Args:
        sharp: (n,) logarithms of the mean gradients.
        abnormal: (n,) True where an image is abnormal.
        groups: (n,) the patient of each image.
        apart: Largest difference of two logarithms that counts as equal.
    """

    def __init__(self, sharp: ndarray, abnormal: ndarray, groups: ndarray, apart: float) -> None:
        self.abnormal = abnormal
        self.near = np.abs(sharp[abnormal][:, None] - sharp[~abnormal][None]) <= apart
        counts = draw(groups, abnormal, RESAMPLES)
        self.ill, self.well = counts[:, abnormal], counts[:, ~abnormal]
        self.drawn = self._per_resample(self.near)

    def auroc(self, scores: ndarray) -> tuple[float, ndarray]:
        """From (n, seeds) scores: share of the pairs that are in order, and the same of each resample."""
        gap = scores[self.abnormal][:, None] - scores[~self.abnormal][None]
        won = ((gap > 0) + (gap == 0) / 2.0).mean(axis=2) * self.near
        return float(won.sum() / self.near.sum()), self._per_resample(won) / self.drawn

    def _per_resample(self, of_pairs: ndarray) -> ndarray:
        return ((self.ill @ of_pairs) * self.well).sum(axis=1)


def rows(name: str) -> Iterator[dict[str, Any]]:
    """A row per kind of finding and method."""
    pack = Path(os.environ["INTACT_DATA"]) / name
    images, methods = kept(pack)
    normal = numbers(sorted((pack / "train" / NORMAL).iterdir()))
    own = numbers([pack / image for image in images.image])
    methods = {NUMBERS: mahalanobis(normal, own)[:, None]} | methods
    sharp, apart = np.log(own[:, SHARPNESS]), EQUAL * np.log(normal[:, SHARPNESS]).std()
    for kind, members in by_kind(images.kind):
        abnormal = images.kind[members] != NORMAL
        pairs = EqualPairs(sharp[members], abnormal, images.group[members], apart)
        floors, resampled_floors = pairs.auroc(methods[FLOOR][members])
        for method, scores in methods.items():
            plain = float(np.mean([auroc(column, abnormal) for column in scores[members].T]))
            value, resampled = pairs.auroc(scores[members])
            print(f"{name} {kind} {method}: {plain:.3f}, among equally sharp pairs {value:.3f}", flush=True)
            told = {"kind": kind, "method": method, "seeds": scores.shape[1], "auroc": plain}
            told |= {"pairs": int(pairs.near.sum())} | spread("equally_sharp", interval(value, resampled))
            yield told | spread("above_floor", interval(value - floors, resampled - resampled_floors))


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    asked = parser.parse_args()
    for name in asked.packs:
        found = [{"pack": name} | row | environment() for row in rows(name)]
        replace_rows("sharpness.csv", {"pack": name}, found)


if __name__ == "__main__":
    main()
