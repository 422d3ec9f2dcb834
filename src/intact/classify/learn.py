"""Learn to classify: from a folder for each class to a model, measured on patients it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from intact import progress
from intact.classify.classifier import Classifier
from intact.configure import configure
from intact.data.cache import PlaneCache
from intact.data.splits import hold_out, look_alikes
from intact.data.transforms import Preparation, choose_preparation, thumbnail
from intact.errors import InputError, UsageError
from intact.io import Rejected, Unit, index, read_some, read_unit
from intact.metrics.statistics import binomial_interval
from intact.model import planes_of
from intact.store import load_learned, save_learned

KIND = "classification"
SAMPLE = 24  # images looked at to choose the preparation


@dataclass(frozen=True)
class Card:
    """What a classifier was learned from, and how well it does on patients it never saw.

    Args:
        name: Of the model's folder; empty until it is saved.
        fitted: ISO 8601 time.
        classes: What it tells apart.
        images: How many of each it learned from.
        held_out: How many of each it was measured on.
        accuracy: Share of the held-out images told right, and its 95 % interval.
        recalls: The same for each class.
    """

    name: str
    fitted: str
    classes: tuple[str, ...]
    images: tuple[int, ...]
    held_out: tuple[int, ...]
    accuracy: tuple[float, ...]
    recalls: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Learned:
    """What learning gave.

    Args:
        classifier: Fitted.
        card: What it was learned from, and how well it does.
        judged: Names of the held-out images, on which alone anything more can be measured fairly.
        rejected: Files that could not be used, and why.
    """

    classifier: Classifier
    card: Card
    judged: list[str]
    rejected: list[Rejected]

    def save(self, folder: str | Path) -> None:
        """Write the model folder.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        save_learned(folder, KIND, self.classifier, self.card)


@dataclass(frozen=True, eq=False)
class Example:
    """One plane that was read; it is in the cache."""

    name: str  # of its image
    label: int
    patient: str  # or "" when unknown
    thumbnail: Float[ndarray, "side side"]


def learn(
    classes: Mapping[str, str | Path],
    *,
    fields: Mapping[str, Any] | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> Learned:
    """Learn to tell classes apart.

    Args:
        classes: For each class a folder, file or zip archive of its images.
        fields: Fields of `Classifier` that differ from its defaults.
        held_out: Share of the images to hold out, whole patients at a time; look-alikes count as
            one patient where none is named.
        seed: Decides the split and everything random in training.

    Raises:
        UsageError: Fewer than two classes, an unknown field, or too few images.
    """
    if len(classes) < 2:
        raise UsageError("a classifier tells classes apart: give two folders or more, one for each")
    classifier = configure({"classifier": Classifier}, "classifier", {"seed": seed, **(fields or {})})
    names = list(classes)
    found = [(label, entry) for label, name in enumerate(names) for entry in index([Path(classes[name])])]
    rejected = [entry for _, entry in found if isinstance(entry, Rejected)]
    units = [(label, entry) for label, entry in found if isinstance(entry, Unit)]
    some = read_some([unit for _, unit in units], SAMPLE, seed)
    if not some:
        raise UsageError("none of the folders holds an image that can be read")
    preparation = choose_preparation(some, classifier.size)
    with PlaneCache(preparation.channels, preparation.size) as cache:
        examples = _read_all(units, preparation, cache, rejected)
        truth, planes = np.array([example.label for example in examples]), cache.planes()
        out = _split(examples, names, held_out, seed)
        classifier.fit(planes, np.where(out, -1, truth), names, preparation)
        told = [
            int(classifier.tell(torch.from_numpy(planes[[at]])).argmax())
            for at in progress.track(np.flatnonzero(out), "measuring", int(out.sum()))
        ]
    right = np.array(told) == truth[out]
    card = Card(
        name="",
        fitted=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=tuple(names),
        images=tuple(np.bincount(truth[~out], minlength=len(names)).tolist()),
        held_out=tuple(np.bincount(truth[out], minlength=len(names)).tolist()),
        accuracy=_share(right),
        recalls={name: _share(right[truth[out] == label]) for label, name in enumerate(names)},
    )
    judged = dict.fromkeys(example.name for example, held in zip(examples, out, strict=True) if held)
    return Learned(classifier, card, list(judged), rejected)


def load(folder: str | Path) -> tuple[Classifier, Card]:
    """Read a model folder back.

    Raises:
        ModelError: It is missing, damaged, of another format or kind.
    """
    classifier, card = load_learned(
        folder,
        KIND,
        "no classifier: make one with `intact fit --classes`",
        Card,
        lambda manifest: Classifier(**manifest["fields"]),
    )
    return classifier, card


def _read_all(
    units: Sequence[tuple[int, Unit]], preparation: Preparation, cache: PlaneCache, rejected: list[Rejected]
) -> list[Example]:
    """Read every image once and keep its prepared planes in the cache; an example for each plane."""
    examples: list[Example] = []
    for label, unit in progress.track(units, "reading", len(units)):
        try:
            image = read_unit(unit)
        except InputError as error:
            rejected.append(Rejected(error.name, error.reason, unit.folder))
            continue
        patient = image.identity.patient or image.identity.study
        for plane, _ in planes_of(image, preparation):
            cache.append(plane)
            examples.append(Example(unit.name, label, patient, thumbnail(plane)))
    return examples


def _split(examples: Sequence[Example], names: Sequence[str], share: float, seed: int) -> Bool[ndarray, "n"]:
    """True for what is held out."""
    labels = np.array([example.label for example in examples])
    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < 2:
        raise UsageError(
            f"{names[int(counts.argmin())]} has fewer than two images that can be read: give more"
        )
    alike = look_alikes(np.stack([example.thumbnail for example in examples]))
    out = hold_out([e.patient or other for e, other in zip(examples, alike, strict=True)], share, seed)
    kept = np.bincount(labels[~out], minlength=len(names))
    if not kept.all():
        raise UsageError(
            f"all images of {names[int(kept.argmin())]} would be held out: give more patients of it"
        )
    return out


def _share(right: Bool[ndarray, "n"]) -> tuple[float, ...]:
    """The share that is right, and its 95 % interval; NaN of nothing."""
    if not right.size:
        return (float("nan"),) * 3
    of = binomial_interval(int(right.sum()), right.size)
    return float(right.mean()), of.low, of.high
