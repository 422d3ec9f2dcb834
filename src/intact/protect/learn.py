"""Learn an attack: from images of the kind and classifiers to a model folder for `protect --method`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from intact import progress
from intact.classify import Classifier
from intact.configure import configure
from intact.data.splits import hold_out, look_alikes
from intact.data.transforms import Placement, thumbnail
from intact.errors import InputError, UsageError
from intact.image import Image
from intact.io import Rejected, Unit, index, read_unit
from intact.model import planes_of, region_of
from intact.protect.attack import METHODS, Learned, Together
from intact.store import load_learned, save_learned

KIND = "attack"
LEARNED: dict[str, type[Learned]] = {
    name: kind for name, kind in METHODS.items() if issubclass(kind, Learned)
}


@dataclass(frozen=True)
class Card:
    """What an attack was learned from, and how well it does on patients it never saw.

    Args:
        name: Of the model's folder; empty until it is saved.
        fitted: ISO 8601 time.
        method: Key in `LEARNED`.
        keep: Region that it leaves alone.
        images: How many it learned from.
        held_out: How many it was measured on.
        misread: Share of these that the classifiers together take for another class, changes rounded
            to 255 grey levels.
    """

    name: str
    fitted: str
    method: str
    keep: str
    images: int
    held_out: int
    misread: float


@dataclass(frozen=True)
class LearnedAttack:
    """What learning gave.

    Args:
        attack: Ready to change images.
        card: What it was learned from, and how well it does.
        rejected: Files that could not be used, and why.
    """

    attack: Learned
    card: Card
    rejected: list[Rejected]

    def save(self, folder: str | Path) -> None:
        """Write the model folder.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        save_learned(folder, KIND, self.attack, self.card)


def learn_attack(
    paths: Sequence[str | Path],
    classifiers: Sequence[Classifier],
    *,
    method: str = "nroi_advgan",
    fields: Mapping[str, Any] | None = None,
    keep: str = "",
    held_out: float = 0.2,
    seed: int = 0,
) -> LearnedAttack:
    """Learn to make classifiers misread images of a kind. No labels are needed.

    Args:
        paths: Folders, files or zip archives of images.
        classifiers: Of the same classes, prepared alike; misled together.
        method: Key in `LEARNED`.
        fields: Fields of the method that differ from its defaults.
        keep: Key in `intact.segment.REGIONS`: the region that stays as it is.
        held_out: Share of the images to hold out, whole patients at a time; look-alikes count as
            one patient where none is named.
        seed: Decides the split and everything random in training.

    Raises:
        UsageError: An unknown method, field or region, classifiers that do not fit each other, or too
            few images.
    """
    attack = configure(LEARNED, method, {"seed": seed, **(fields or {})})
    if keep:
        from intact.segment import known_region  # takes a second, and sealing does without

        known_region(keep)
    check_alike(classifiers)
    prepared = classifiers[0].preparation_
    if prepared.channels != 1 or any(one.preparation_.size != prepared.size for one in classifiers):
        raise UsageError("attacks that learn need classifiers of grey images, of one size and one window")
    examples, rejected = _read_all(paths, classifiers[0], keep)
    if len(examples) < 2:
        raise UsageError("there are fewer than two images that can be read: give more")
    shown, allowed = (torch.stack([getattr(one, name) for one in examples]) for name in ("shown", "allowed"))
    alike = look_alikes(np.stack([thumbnail(one) for one in shown]))
    out = hold_out([one.patient or other for one, other in zip(examples, alike, strict=True)], held_out, seed)
    if out.all():
        raise UsageError("all images would be held out: give images of more patients")
    together = Together([one.net for one in classifiers])
    attack.fit(together, shown[~out], allowed[~out])
    card = Card(
        name="",
        fitted=datetime.now(UTC).isoformat(timespec="seconds"),
        method=method,
        keep=keep,
        images=int((~out).sum()),
        held_out=int(out.sum()),
        misread=_misread(attack, together, shown[out], allowed[out]),
    )
    return LearnedAttack(attack, card, rejected)


def load_attack(folder: str | Path) -> tuple[Learned, Card]:
    """Read a model folder back.

    Raises:
        ModelError: It is missing, damaged, of another format or kind.
    """
    attack, card = load_learned(
        folder,
        KIND,
        "no learned attack: make one with `intact fit --against`",
        Card,
        lambda manifest: LEARNED[manifest["card"]["method"]](**manifest["fields"]),
    )
    return attack, card


def check_alike(classifiers: Sequence[Classifier]) -> None:
    """Make sure that classifiers can be attacked together.

    Raises:
        UsageError: Their classes, or how they show images, differ.
    """
    first = classifiers[0]
    for one in classifiers[1:]:
        if one.classes_ != first.classes_:
            raise UsageError(
                f"the classifiers tell different classes apart ({', '.join(first.classes_)}; "
                f"{', '.join(one.classes_)}): protect against one kind at a time"
            )
        if _shows(one) != _shows(first):
            raise UsageError("the classifiers see images through different windows: learn them anew")


def _shows(classifier: Classifier) -> tuple[object, ...]:
    told = classifier.preparation_
    return told.intensity, told.windows, told.percentiles, told.colour


@dataclass(frozen=True, eq=False)
class Example:
    """One plane as classifiers see it, and where it may be changed, [1,size,size]."""

    shown: Float[Tensor, "1 size size"]
    allowed: Float[Tensor, "1 size size"]
    patient: str  # or "" when unknown


def _read_all(
    paths: Sequence[str | Path], classifier: Classifier, keep: str
) -> tuple[list[Example], list[Rejected]]:
    found = index([Path(path) for path in paths])
    units = [entry for entry in found if isinstance(entry, Unit)]
    rejected = [entry for entry in found if isinstance(entry, Rejected)]
    examples: list[Example] = []
    for unit in progress.track(units, "reading", len(units)):
        try:
            image = read_unit(unit)
        except InputError as error:
            rejected.append(Rejected(error.name, error.reason, unit.folder))
            continue
        examples += _examples(image, classifier, keep)
    return examples, rejected


def _examples(image: Image, classifier: Classifier, keep: str) -> list[Example]:
    region = region_of(image, keep)
    kept = np.zeros(image.shape, bool) if region is None else np.broadcast_to(region, image.shape)
    flat = kept.reshape(-1, *image.shape[-2:])
    patient = image.identity.patient or image.identity.study
    planes = planes_of(image, classifier.preparation_)
    return [
        Example(plane, _placed(~mask, placement, plane.shape[-1]), patient)
        for (plane, placement), mask in zip(planes, flat, strict=True)
    ]


def _placed(allowed: Bool[ndarray, "h w"], at: Placement, size: int) -> Float[Tensor, "1 size size"]:
    """A mask where its image went; nothing may be changed beside the image."""
    mask = torch.from_numpy(np.ascontiguousarray(allowed)).float()[None, None]
    small = F.interpolate(mask, (at.rows, at.columns), mode="nearest")[0]
    right, below = size - at.left - at.columns, size - at.top - at.rows
    return F.pad(small, (at.left, right, at.top, below))


def _misread(attack: Learned, together: Together, shown: Tensor, allowed: Tensor) -> float:
    """The share of images that are taken for another class; NaN of none."""
    pixels = np.rint(shown[:, 0].numpy() * 255).astype(np.uint8)
    clean = torch.from_numpy(pixels).float()[:, None] / 255
    fooled = 0
    for one, grey, free in zip(pixels, clean, allowed.numpy()[:, 0] > 0, strict=True):
        with torch.no_grad():
            label = together(grey[None]).argmax(1)
            change = attack.perturb(together, one[None], label.numpy(), allowed=free[None])
            told = together(grey[None] + torch.from_numpy(change[:, None]).float() / 255).argmax(1)
        fooled += int((told != label).item())
    return fooled / len(pixels) if len(pixels) else float("nan")
