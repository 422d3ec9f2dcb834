"""What becomes of protection when somebody works against it -> rows.

    INTACT_DATA=... python benchmarks/protection_lasts.py MODELS [--images 60] [--confidence 1]

MODELS as for `attack_success.py`. `intact protect` makes ResNet-18 misread the images that it learned
from, and `--images` of those that it never saw, lungs kept. Then:

- retraining: a ResNet-18 learns from the protected images with their true labels, and is asked about
  protected and about clean images; beside it one that learned from clean ones.
- detector: a small VGG learns, without noise, to tell protected from clean images; AUROC on images it
  never saw.
- averaging: the mean of what a 3 x 3 median takes from the protected images is subtracted from each.

A stopped run goes on. Rows go to benchmarks/results/protection_lasts.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

import intact
from attack_success import CLASSES, NETWORKS, Pixels, learned, success, told
from intact.classify import Classifier, learn
from intact.metrics import auroc
from intact.protect import Against, load_key, new_key, seal_archive
from results import environment, replace_rows

VICTIM = "resnet18"
Labels = NDArray[np.int_]


def main() -> None:
    """Protect, work against it, and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--images", type=int, default=60, help="of those never seen")
    parser.add_argument("--confidence", type=float, default=1.0)
    asked = parser.parse_args()
    classifiers, judged = learned(asked.models)
    victim = classifiers[VICTIM]
    place = asked.models / f"protected_{asked.confidence:g}"
    clean = sorted_out(place / "clean", judged, asked.images)
    protected = protect(place, clean, asked.models / VICTIM, asked.confidence)
    before, labels = pixels_of(clean / "test", clean / "test")
    after, _ = pixels_of(clean / "test", protected / "test")
    known = told(victim, before) == labels
    keys = {"network": VICTIM, "confidence": f"{asked.confidence:g}"}

    def store(what: str, row: dict[str, Any]) -> None:
        replace_rows(
            "protection_lasts.csv", keys | {"what": what}, [keys | {"what": what} | row | environment()]
        )
        print(what, row, flush=True)

    def misread(classifier: Classifier, pixels: Pixels) -> dict[str, float]:
        return success((told(classifier, pixels) != labels)[known])

    store("as saved", misread(victim, after))
    store("averaging", misread(victim, without_pattern(after)))
    store("averaging, of clean", misread(victim, without_pattern(before)))
    retrained = taught(
        {name: protected / "train" / name for name in CLASSES}, NETWORKS[VICTIM] | {"network": VICTIM}
    )
    store("retraining", misread(retrained, after))
    store("retraining, of clean", misread(retrained, before))
    store("no retraining, of clean", misread(victim, before))
    pair = {"clean": clean / "train", "protected": protected / "train"}
    detector = taught(pair, NETWORKS["small_vgg"] | {"network": "small_vgg", "noise": 0.0})
    scores = [detector.probabilities(intact.Image(one))["protected"] for one in (*before, *after)]
    truth = np.repeat([False, True], len(before))
    store("detector", {"tested": len(scores), "auroc": float(auroc(np.array(scores), truth))})


def sorted_out(place: Path, judged: list[tuple[Path, int]], images: int) -> Path:
    """The images in folders: those that classifiers learned from, and some that they never saw."""
    unseen = {path.name for path, _ in judged}
    some = np.unique(np.linspace(0, len(judged) - 1, images).round().astype(int))
    chosen = {judged[at][0].name for at in some}
    packs = Path(os.environ["INTACT_DATA"]) / "chest_xray"
    for name, folder in CLASSES.items():
        for part in ("train", "test"):
            (place / part / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((packs / folder).iterdir()):
            if path.name not in unseen:
                shutil.copy(path, place / "train" / name)
            elif path.name in chosen:
                shutil.copy(path, place / "test" / name)
    return place


def protect(place: Path, clean: Path, model: Path, confidence: float) -> Path:
    """The same folders, protected."""
    key = place / "key"
    key = load_key(key) if key.exists() else new_key(key)
    fields = (("confidence", confidence),)
    against = Against((("", model),), fields=fields)
    out = place / "out"
    outcome = seal_archive([clean], out, key, keep="lungs", against=against, workers=1)
    print(outcome.counts, outcome.misread, flush=True)
    return out


def pixels_of(clean: Path, folder: Path) -> tuple[Pixels, Labels]:
    """The images of the classes, in the order of the clean ones, and their labels."""
    found = [
        (folder / path.relative_to(clean), name)
        for name in CLASSES
        for path in sorted((clean / name).iterdir())
    ]
    names = list(CLASSES)
    paths = [path if path.exists() else path.with_name(f"{path.name}.png") for path, _ in found]
    pixels = np.stack([intact.read(path).pixels for path in paths])
    return pixels, np.array([names.index(name) for _, name in found])


def without_pattern(pixels: Pixels) -> Pixels:
    """Images less what all of them share above a median filter."""
    residuals = [one.astype(float) - median_filter(one, 3) for one in pixels]
    pattern = np.mean(residuals, axis=0)
    return np.clip(pixels - pattern, 0, 255).round().astype(np.uint8)


def taught(folders: dict[str, Path], fields: dict[str, Any]) -> Classifier:
    """A classifier of these folders."""
    return learn(folders, fields=fields, held_out=0.05).classifier


if __name__ == "__main__":
    main()
