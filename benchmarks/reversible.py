"""Reversible adversarial examples, ours beside published schemes -> rows.

    INTACT_DATA=... python benchmarks/reversible.py MODELS [--images 60] [--rows tiles] [--epsilon 8]

MODELS as for `attack_success.py`, which learns its classifiers. Rows: what makes the example, and what
makes it reversible. `fits`: how many of the images hold what undoes the
change; success, PSNR and SSIM are of those that fit, `asr_of_all` counts the others as failures.
`before`: success of the same examples before anything was hidden in them. `noise` is the control: random
signs of full strength, from which nothing can be undone. Examples are written as PNG and read back. The
region is the lungs, found by the shipped network. Rows go to benchmarks/results/reversible.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import intact
from attack_success import Pixels, learned, learned_attack, success, told
from intact import Image
from intact.classify import Classifier
from intact.errors import CapacityError
from intact.io.png import encode_png
from intact.metrics import likeness
from intact.protect import Cloak, new_key, restore, seal
from intact.protect.attack import METHODS, Attack, Bounded, Problem, Together
from intact.protect.change import pack_change
from intact.protect.coding import pack
from intact.protect.reversible import METHODS as SCHEMES
from intact.segment import REGIONS
from results import environment, replace_rows

MEANS = (
    "exact",
    "payload_bits",
    "payload_bits_if_drawn",
    "seconds_attack",
    "seconds_embed",
    "seconds_restore",
    "seals",
)
TOGETHER = ("resnet18", "small_vgg", "squeezenet1_1")
SURE = (("confidence", 3.0), ("steps", 20))
SURER = (("confidence", 8.0), ("steps", 20))
WITHOUT_VGG = ("resnet18", "squeezenet1_1", "densenet121")
WITHOUT_SQUEEZENET = ("resnet18", "small_vgg", "densenet121")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """What makes an example, where, and what makes it reversible."""

    attack: str
    scheme: str  # key in SCHEMES, "seal" for ours, or "none"
    where: str = "all"  # "rest": outside the lungs; "cam": where the classifier looks
    against: tuple[str, ...] = ()  # the attacked network
    fields: tuple[tuple[str, Any], ...] = ()  # of the attack, other than its defaults


@dataclass(eq=False)
class Keyed(Bounded):
    """The second design that was tried: signs of squares drawn from a key, the best of some draws.

    To undo it, the number of the draw and where squares were used are enough.
    """

    tile: int = 2
    tries: int = 32

    def _search(self, problem: Problem) -> torch.Tensor:
        room = (problem.shown >= problem.budget) & (problem.shown <= 1 - problem.budget)
        free = -F.max_pool2d(-problem.allowed * room, self.tile)
        best, margin = problem.shown, torch.full((1,), -torch.inf)
        for _ in range(self.tries):
            signs = torch.randint(0, 2, free.shape, generator=problem.rng) * 2.0 - 1
            change = F.interpolate(signs * free, scale_factor=self.tile, mode="nearest")
            drawn = problem.shown + problem.budget * change
            with torch.no_grad():
                now = problem.margin(drawn)
            if now > margin:
                best, margin = drawn, now
        return best


ROWS = {
    "noise": Row("noise", "none"),
    "fgsm": Row("fgsm", "none"),
    "mifgsm": Row("mifgsm", "none"),
    "nroi_advgan": Row("nroi_advgan", "none", "rest"),
    "rdh_rae": Row("fgsm", "rdh_rae"),
    "rit_rae": Row("fgsm", "rit_rae"),
    "yuv_rae": Row("mifgsm", "yuv_rae"),
    "yuv_rae_cam": Row("mifgsm", "yuv_rae", "cam"),
    "nroi_rae": Row("nroi_advgan", "nroi_rae", "rest"),
    "keyed": Row("keyed", "seal", "rest", TOGETHER),
    "tiles": Row("tiles", "seal", "rest"),
    "tiles_together": Row("tiles", "seal", "rest", TOGETHER, SURE),
    "tiles_but_small_vgg": Row("tiles", "seal", "rest", WITHOUT_VGG, SURE),
    "tiles_but_squeezenet1_1": Row("tiles", "seal", "rest", WITHOUT_SQUEEZENET, SURE),
    "tiles_together_all": Row("tiles", "seal", "all", TOGETHER, SURER),
    "tiles_but_small_vgg_all": Row("tiles", "seal", "all", WITHOUT_VGG, SURER),
    "tiles_but_squeezenet1_1_all": Row("tiles", "seal", "all", WITHOUT_SQUEEZENET, SURER),
}


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--images", type=int, default=60, help="at most")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--network", default="resnet18", choices=TOGETHER, help="that is attacked")
    asked = parser.parse_args()
    classifiers, files = learned(asked.models)
    pixels = np.stack([intact.read(path).pixels for path, _ in files])
    labels = np.array([label for _, label in files])
    known = np.flatnonzero(told(classifiers[asked.network], pixels) == labels)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, asked.images).round().astype(int))]
    pixels, labels = pixels[chosen], labels[chosen]
    region = np.stack([REGIONS["lungs"](Image(one)) for one in pixels])
    right = {name: told(one, pixels) == labels for name, one in classifiers.items()}
    with tempfile.TemporaryDirectory() as folder:
        key = new_key(Path(folder) / "key")
        for name in asked.rows:
            made = [
                example(ROWS[name], asked, classifiers, one, label, lungs, key, Path(folder))
                for one, label, lungs in zip(pixels, labels, region, strict=True)
            ]
            row = summary(made, pixels, labels, region, right, classifiers, asked.network)
            keys = {"row": name, "network": asked.network, "epsilon": f"{asked.epsilon:g}"}
            more = {"attack": ROWS[name].attack, "scheme": ROWS[name].scheme, "where": ROWS[name].where}
            more["against"] = " ".join(ROWS[name].against or [asked.network])
            replace_rows("reversible.csv", keys, [keys | more | row | environment()])
            print(name, {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


def example(
    row: Row,
    asked: Any,
    classifiers: dict[str, Classifier],
    one: Pixels,
    label: int,
    lungs: Mask,
    key: Any,
    folder: Path,
) -> dict[str, Any]:
    """One image before and after, with seconds."""
    victim, against = classifiers[asked.network], row.against or (asked.network,)
    views = [classifiers[name].view(Image(one)) for name in against]
    together = Together(views) if len(views) > 1 else views[0]
    allowed = {"all": np.ones_like(lungs), "rest": ~lungs}.get(row.where)
    if allowed is None:
        allowed = seen(victim, views[0], one, label)
    started = time.perf_counter()
    attack = attack_of(row, asked, victim)
    if attack is None:
        signs = np.random.default_rng(int(one.sum())).choice([-1, 1], one.shape)
        change = np.clip(one + signs * round(asked.epsilon), 0, 255) - one
    else:
        given = {"allowed": allowed[None], "window": views[0].window}
        change = attack.perturb(together, one[None], np.array([label]), **given)[0]
    seconds = time.perf_counter() - started
    before = (one + change).astype(np.uint8)
    payload = 8 * len(pack_change(change[None].astype(np.int32)))
    drawn = 8 * len(pack(change[::2, ::2] != 0)) + 8
    found: dict[str, Any] = {"before": before, "seconds_attack": seconds, "payload_bits": payload}
    found |= {"payload_bits_if_drawn": drawn} if row.attack == "keyed" else {}
    kept = lungs if row.where == "rest" else None
    embed, undo = reversible(row.scheme, one, before, change, kept, key)
    took = []

    def saved() -> tuple[bytes, str]:
        started = time.perf_counter()
        marked = embed()
        took.append(time.perf_counter() - started)
        return encode_png(picture(marked)), "example.png"

    try:
        if row.scheme == "seal":  # as `intact protect` does it: made anew where a seal undoes the change
            cloak = Cloak(tuple(classifiers[name] for name in against), attack)
            file = cloak.sealed(Image(one), change[None], saved)[0]
        else:
            file = saved()[0]
    except CapacityError:
        return found | {"after": None}
    found |= {"seconds_embed": took[-1], "seals": len(took)}
    (folder / "example.png").write_bytes(file)
    read = intact.read(folder / "example.png").pixels
    found["after"] = read
    if row.scheme != "none":
        started = time.perf_counter()
        found["exact"] = bool(np.array_equal(undo(read), one))
        found["seconds_restore"] = time.perf_counter() - started
    return found


def reversible(
    scheme: str, one: Pixels, before: Pixels, change: Any, keep: Mask | None, key: Any
) -> tuple[Callable[[], Pixels], Callable[[Pixels], Pixels]]:
    """How an example is made reversible, and how that is undone."""
    if scheme == "none":
        return (lambda: before), (lambda read: read)
    if scheme == "seal":
        return (
            lambda: seal(Image(one), key, keep=keep, change=change[None]).pixels,
            lambda read: restore(Image(read), key).pixels,
        )
    kind = SCHEMES[scheme]()
    return (lambda: kind.embed(one, before)), kind.restore


def attack_of(row: Row, asked: Any, classifier: Classifier) -> Attack | None:
    """The attack of a row, if it is one; what learns has learned on the images that the classifier saw."""
    if row.attack == "noise":
        return None
    if row.attack == "nroi_advgan":
        return learned_attack(asked.models, row.attack, asked.epsilon, classifier, asked.network)
    if row.attack == "keyed":
        return Keyed(epsilon=asked.epsilon)
    return METHODS[row.attack](epsilon=asked.epsilon, **dict(row.fields))


def seen(classifier: Classifier, view: Any, one: Pixels, label: int) -> Mask:
    """Where the class activation map (Zhou et al., CVPR 2016) is above half of its largest value."""
    low, high = view.window
    shown = ((torch.from_numpy(one.astype(np.float32)) - low) / (high - low)).clamp(0, 1)[None, None]
    with torch.no_grad():
        maps = classifier.net.body(shown)
        last = maps[-1] if isinstance(maps, list) else maps
        cam = (last * classifier.net.head.weight[label][None, :, None, None]).sum(1, keepdim=True).relu()
        cam = F.interpolate(cam, one.shape, mode="bilinear")[0, 0].numpy()
    found: Mask = cam > cam.max() / 2
    return found


def summary(
    made: list[dict[str, Any]],
    pixels: Pixels,
    labels: NDArray[np.int_],
    region: Mask,
    right: dict[str, NDArray[np.bool_]],
    classifiers: dict[str, Classifier],
    victim: str,
) -> dict[str, Any]:
    """What all examples of a row come to."""
    fits = np.array([one["after"] is not None for one in made])
    row: dict[str, Any] = {"images": len(made), "fits": int(fits.sum())}
    before = told(classifiers[victim], np.stack([one["before"] for one in made])) != labels
    row["before"] = float(before.mean())
    if not fits.any():
        return row | {"asr_of_all": 0.0}
    kept = np.flatnonzero(fits)
    after = [made[at]["after"] for at in kept]
    for name, classifier in classifiers.items():
        fooled = np.array([answer(classifier, one) for one in after]) != labels[kept]
        told_right = right[name][kept]
        if name == victim:
            row |= success(fooled)
            row["asr_of_all"] = float(fooled.sum() / len(made))
            row["before_of_fitting"] = float(before[kept].mean())
        else:
            row[f"transfer_{name}"] = float(fooled[told_right].mean())
    grey = [one if one.ndim == 2 else one.astype(float) @ [0.299, 0.587, 0.114] for one in after]
    row |= quality(pixels[kept], grey, region[kept])
    for name in MEANS:
        if name in made[kept[0]]:
            row[name] = float(np.mean([made[at][name] for at in kept]))
        if name in ("seconds_embed", "seconds_restore") and name in made[kept[0]]:
            every = [made[at][name] for at in kept]
            row |= {f"{name}_median": float(np.median(every)), f"{name}_most": float(np.max(every))}
    return row


def answer(classifier: Classifier, pixels: Pixels) -> int:
    """The class of one image."""
    return int(np.argmax(list(classifier.probabilities(picture(pixels)).values())))


def picture(pixels: Pixels) -> Image:
    """An image, grey or in colour."""
    return Image(pixels, photometric="RGB") if pixels.ndim == 3 else Image(pixels)


def quality(before: Pixels, after: list[Any], region: Mask) -> dict[str, float]:
    """PSNR and SSIM of grey values, over the whole image, in the lungs and outside."""
    found: dict[str, list[float]] = {}
    for one, other, lungs in zip(before, after, region, strict=True):
        changed = one != other
        row = likeness(one, other, lungs)
        row |= {"changed": changed.mean(), "region_pixels_changed": changed[lungs].sum()}
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


if __name__ == "__main__":
    main()
