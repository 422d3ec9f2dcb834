"""Learn to segment: from folders of images and masks to a model that can do it.

A share of the patients is held out and never learned from; the model's card says how well they
were segmented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from intact import progress
from intact.configure import configure
from intact.data.splits import hold_out
from intact.errors import UsageError
from intact.io import Rejected, Unit, index
from intact.metrics.segmentation import aggregate, compare
from intact.segment import METHODS, Network
from intact.segment.pairs import Case, OnDisk, examined, paired
from intact.store import load_learned, save_learned

KIND = "segmentation"
# What nnU-Net takes on a GPU of 8 GB, for `auto` where there is one.
ON_A_GPU = {"steps": 250_000, "width": 32, "voxels": 128**3}


@dataclass(frozen=True)
class Card:
    """What a segmentation model was learned from, and how well it did on patients it never saw.

    Args:
        name: Of the model's folder; empty until it is saved.
        method: Key in `METHODS`.
        fitted: ISO 8601 time.
        labels: What it segments.
        images: How many it learned from.
        held_out: How many it was measured on.
        modality: Of most images, or empty.
        measured: For each label and metric: mean over held-out patients, and its 95 % interval.
    """

    name: str
    method: str
    fitted: str
    labels: tuple[str, ...]
    images: int
    held_out: int
    modality: str
    measured: dict[str, dict[str, tuple[float | None, ...]]]


@dataclass(frozen=True)
class Learned:
    """What learning gave: the network, its card, files that could not be used, notes in words."""

    network: Network
    card: Card
    rejected: list[Rejected]
    notes: list[str]

    def save(self, folder: str | Path) -> None:
        """Write the model folder.

        Raises:
            UsageError: `folder` exists and is not a model.
            OutputError: It cannot be written.
        """
        save_learned(folder, KIND, self.network, self.card)


def learn(
    images: Sequence[str | Path],
    masks: Mapping[str, str | Path],
    *,
    method: str = "auto",
    fields: Mapping[str, Any] | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> Learned:
    """Learn to segment from images and masks of the same names.

    Args:
        images: Files, folders or zip archives.
        masks: For each label a folder of masks: not zero inside. A mask is called like its image
            (the ending may differ, and `_mask` or `_seg` may follow), or like the folder of a series.
        method: Key in `intact.segment.METHODS`, one of the networks.
        fields: Hyper-parameters that differ from the method's defaults.
        held_out: Share of the images to hold out, whole patients at a time; look-alikes count as
            one patient where none is named.
        seed: Decides the split and everything random in the method.

    Raises:
        UsageError: Unknown method or field, no mask for any image, or too few images.
    """
    network, notes = make_network(method, {"seed": seed, **(fields or {})})
    found = index([Path(path) for path in images])
    rejected = [entry for entry in found if isinstance(entry, Rejected)]
    cases, modality = examined(paired([e for e in found if isinstance(e, Unit)], masks, rejected), rejected)
    try:
        out = hold_out([case.patient for case in cases], held_out, seed)
    except ValueError as error:
        raise UsageError(f"{len(cases)} images with masks are too few to learn from: {error}") from error
    network.fit(OnDisk([case for case, held in zip(cases, out, strict=True) if not held]))
    judged = [case for case, held in zip(cases, out, strict=True) if held]
    card = Card(
        name="",
        method=method,
        fitted=datetime.now(UTC).isoformat(timespec="seconds"),
        labels=tuple(masks),
        images=len(cases) - len(judged),
        held_out=len(judged),
        modality=modality,
        measured=measure(network, judged),
    )
    return Learned(network, card, rejected, notes)


def load(folder: str | Path) -> tuple[Network, Card]:
    """Read a model folder back.

    Raises:
        ModelError: It is missing, damaged, of another format or kind, or of an unknown method.
    """
    network, card = load_learned(
        folder,
        KIND,
        "a model that screens, not one that segments: use it with `intact screen`",
        Card,
        lambda manifest: _networks()[manifest["card"]["method"]](**manifest["fields"]),
    )
    return network, card


def make_network(method: str, fields: Mapping[str, Any]) -> tuple[Network, list[str]]:
    """A network by its name in `METHODS`, and in words what was chosen for this machine.

    Raises:
        UsageError: Unknown method or field, or a value of another type than the field's.
    """
    networks = _networks()
    if method not in networks:
        raise UsageError(f"{method!r} does not learn from masks; choose one of {', '.join(networks)}")
    suited, notes = dict(fields), []
    if method == "auto" and torch.cuda.is_available():
        suited = ON_A_GPU | suited
        notes.append(f"a GPU was found: {', '.join(f'{k}={v}' for k, v in ON_A_GPU.items())}")
    return configure(networks, method, suited), notes


def measure(network: Network, cases: Sequence[Case]) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """For each label and metric the mean over patients and its 95 % interval."""
    found: dict[str, list[dict[str, float]]] = {}
    for case in progress.track(cases, "measuring", len(cases)):
        image, masks = case.read()
        for label, predicted in network.masks(image).items():
            found.setdefault(label, []).append(compare(predicted, masks[label], image.spacing))
    patients = [case.patient for case in cases]
    return {label: means(rows, patients) for label, rows in found.items()}


def means(
    rows: Sequence[Mapping[str, float]], patients: Sequence[str]
) -> dict[str, tuple[float | None, ...]]:
    """For each metric of `compare` the mean over patients and its 95 % interval; None for NaN."""
    found = aggregate(rows, patients).metrics
    return {
        name: tuple(None if np.isnan(x) else float(x) for x in (of.value, of.low, of.high))
        for name, of in found.items()
    }


def _networks() -> dict[str, type[Network]]:
    return {name: kind for name, kind in METHODS.items() if issubclass(kind, Network)}
