"""How often saved images fool classifiers, by method, strength and network -> rows.

    INTACT_DATA=... python benchmarks/attack_success.py MODELS [--methods pgd] [--epsilons 8] [--keep]

MODELS is a folder for the classifiers: those that lie there are used, others are learned first.
Three classes of the test half of `chest_xray` (good, bacteria, virus), learned without two fifths of
the patients; on those the attacks are tried. Only images that a network tells right count. Changed
images are written as PNG and read back. `kept` tells whether lungs, found by the shipped network,
were left alone. Transfer: the same files, shown to the other networks, of images that these tell
right as well. Attacks that learn do so on the images that the classifiers learned from. PSNR is that of
the whole image at 255 levels, SSIM Gaussian with sigma 1.5. Rows go to
benchmarks/results/attack_success.csv.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import intact
from intact import Image
from intact.classify import Classifier, learn, load
from intact.errors import ModelError
from intact.io import write
from intact.metrics import binomial_interval, likeness
from intact.protect import learn_attack, load_attack
from intact.protect.attack import METHODS, Attack, Bounded, Learned
from intact.segment import REGIONS
from results import environment, replace_rows

CLASSES = {"good": "test/good", "bacteria": "test/bacteria", "virus": "test/virus"}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"steps": 400},
    "small_vgg": {"steps": 800, "rate": 1e-3},
    "squeezenet1_1": {"steps": 400, "rate": 1e-4},
    "densenet121": {"steps": 300, "rate": 5e-4},
}
ATTACKED = ("resnet18", "small_vgg")
LEARNING = {"steps": 2000}  # of attacks that learn
WITHOUT = {  # parts of NROI-AdvGAN that can be left out
    "": {},
    "discriminator": {"discriminator": False},
    "squared difference": {"weight_mse": 0.0},
    "similarity": {"weight_ssim": 0.0},
}
HELD_OUT = 0.4
FAST = ("fgsm", "bim", "pgd", "mifgsm", "di", "ti", "tiles")
Pixels = NDArray[np.uint8]


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--methods", nargs="+", default=FAST, choices=METHODS)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1, 2, 4, 8])
    parser.add_argument("--networks", nargs="+", default=ATTACKED, choices=NETWORKS)
    parser.add_argument("--images", type=int, default=60, help="of each network, at most")
    parser.add_argument("--keep", action="store_true", help="leave the lungs alone")
    parser.add_argument("--without", default="", choices=WITHOUT, help="a part of NROI-AdvGAN to leave out")
    asked = parser.parse_args()
    classifiers, files = learned(asked.models)
    pixels = np.stack([intact.read(path).pixels for path, _ in files])
    labels = np.array([label for _, label in files])
    right = {name: told(one, pixels) == labels for name, one in classifiers.items()}
    keep = [REGIONS["lungs"](Image(one)) for one in pixels] if asked.keep else None
    for name in asked.networks:
        classifier = classifiers[name]
        known = np.flatnonzero(right[name])  # in the order of classes, so they are taken evenly
        chosen = known[np.unique(np.linspace(0, len(known) - 1, asked.images).round().astype(int))]
        allowed = None if keep is None else ~np.stack([keep[at] for at in chosen])
        for method in asked.methods:
            kind = METHODS[method]
            for epsilon in asked.epsilons if issubclass(kind, Bounded) else [0.0]:
                if issubclass(kind, Learned):
                    kept = "lungs" if asked.keep else ""
                    attack = learned_attack(
                        asked.models, method, epsilon, classifier, name, kept, asked.without
                    )
                else:
                    attack = kind(epsilon=epsilon) if issubclass(kind, Bounded) else kind()
                marked, seconds = attacked(attack, classifier, pixels[chosen], labels[chosen], allowed)
                row = quality(pixels[chosen], marked, allowed)
                row |= success(told(classifier, marked) != labels[chosen]) | {
                    "seconds": seconds / len(chosen)
                }
                for other, against in classifiers.items():
                    both = right[other][chosen]
                    fooled = told(against, marked[both]) != labels[chosen][both]
                    row |= {f"transfer_{other}": float(fooled.mean())} if other != name else {}
                keys = {"network": name, "method": method, "epsilon": f"{epsilon:g}", "kept": asked.keep}
                keys |= {"without": asked.without}
                replace_rows("attack_success.csv", keys, [keys | row | environment()])
                print(*keys.values(), {k: round(v, 4) for k, v in row.items()}, flush=True)


def learned(folder: Path) -> tuple[dict[str, Classifier], list[tuple[Path, int]]]:
    """The classifiers, and the files that none of them learned from, with their classes."""
    packs = Path(os.environ["INTACT_DATA"]) / "chest_xray"
    classes = {name: packs / place for name, place in CLASSES.items()}
    classifiers, judged = {}, folder / "judged.txt"
    for name, fields in NETWORKS.items():
        try:
            classifiers[name], card = load(folder / name)
        except ModelError:
            folder.mkdir(exist_ok=True)
            result = learn(classes, fields={"network": name, **fields}, held_out=HELD_OUT)
            result.save(folder / name)
            judged.write_text("\n".join(result.judged))
            classifiers[name], card = load(folder / name)
        print(name, "accuracy", [round(value, 3) for value in card.accuracy], flush=True)
    paths = [Path(line) for line in judged.read_text().splitlines()]
    numbers = {place.resolve(): number for number, place in enumerate(classes.values())}
    return classifiers, [(path, numbers[path.resolve().parent]) for path in paths]


def learned_attack(
    folder: Path,
    method: str,
    epsilon: float,
    classifier: Classifier,
    name: str,
    keep: str = "lungs",
    without: str = "",
) -> Attack:
    """An attack that has learned on the images that the classifiers learned from; now, if not before."""
    parts = [method, name, f"{epsilon:g}", keep or "all", *(["no", without] if without else [])]
    place = folder / "_".join(parts).replace(" ", "_")
    try:
        return load_attack(place)[0]
    except ModelError:
        judged = {Path(line).name for line in (folder / "judged.txt").read_text().splitlines()}
        packs = Path(os.environ["INTACT_DATA"]) / "chest_xray"
        paths = [path for kind in CLASSES.values() for path in sorted((packs / kind).iterdir())]
        taught = learn_attack(
            [path for path in paths if path.name not in judged],
            [classifier],
            method=method,
            fields={"epsilon": epsilon, **LEARNING, **WITHOUT[without]},
            keep=keep,
            held_out=0.1,
        )
        taught.save(place)
        return taught.attack


def told(classifier: Classifier, pixels: Pixels) -> NDArray[np.intp]:
    """The classes of images, as a user would ask for them."""
    found = [list(classifier.probabilities(Image(one)).values()) for one in pixels]
    return np.argmax(found, axis=1) if found else np.zeros(0, np.intp)


def attacked(
    attack: Any, classifier: Classifier, pixels: Pixels, labels: NDArray[np.int_], allowed: Any
) -> tuple[Pixels, float]:
    """The images after the attack, written and read back, and the seconds it took."""
    saved, seconds = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for at, one in enumerate(pixels):  # each has its own limits of brightness
            view = classifier.view(Image(one))
            free = None if allowed is None else allowed[at : at + 1]
            started = time.perf_counter()
            change = attack.perturb(view, one[None], labels[at : at + 1], allowed=free, window=view.window)
            seconds += time.perf_counter() - started
            path = Path(folder) / f"{at}.png"
            write(Image((one + change[0]).astype(np.uint8)), path)
            saved.append(intact.read(path).pixels)
    return np.stack(saved), seconds


def quality(before: Pixels, after: Pixels, allowed: Any) -> dict[str, float]:
    """How well the images can still be read."""
    rows = [likeness(a, b) for a, b in zip(before, after, strict=True)]
    row = {name: float(np.mean([one[name] for one in rows])) for name in rows[0]}
    row["changed"] = float((before != after).mean())
    if allowed is not None:
        row["kept_pixels_changed"] = int((before != after)[~allowed].sum())
    return row


def success(fooled: NDArray[np.bool_]) -> dict[str, float]:
    """The attack success rate, with its 95 % interval."""
    of = binomial_interval(int(fooled.sum()), len(fooled))
    return {"tested": len(fooled), "asr": float(fooled.mean()), "asr_low": of.low, "asr_high": of.high}


if __name__ == "__main__":
    main()
