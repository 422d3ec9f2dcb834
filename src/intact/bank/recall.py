"""From what a memory bank keeps to the memory and the calibration of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from intact import progress
from intact.anomaly.base import SCORE_BATCH
from intact.bank.eyes import Replay, axes_of
from intact.bank.settings import Settings
from intact.bank.store import BankStore
from intact.bottom_sample import Sample, bottom_k, lots
from intact.coreset import greedy_k_center, random_projection
from intact.errors import TooFewNormalsError
from intact.model import batched
from intact.scores import Calibration, pixel_quantiles

JUDGED = 1000  # images held out that a model is calibrated on: those with the smallest lots


@dataclass(frozen=True)
class Entry:
    """Where one patch in a model's memory came from.

    Args:
        image: Name of the image when it was added.
        digest: SHA-256 of its file.
        plane: Plane of a volume, from 0.
        patch: Number of the patch in the plane, row by row.
        center: (row, column) of the patch's centre in the image; outside it where the prepared square
            is filled up.
    """

    image: str
    digest: str
    plane: int
    patch: int
    center: tuple[int, int]


def recall(store: BankStore, settings: Settings) -> tuple[Sample, dict[str, Tensor]]:
    """The patches that a model remembers, and all that it learns from those kept, as PatchCore's state.

    Raises:
        TooFewNormalsError: There are none.
    """
    fields = settings.fields
    sample = bottom_k(_kept(store, settings), fields["block"])
    if sample is None:
        raise TooFewNormalsError("the bank remembers no image, so there is nothing to compare with: add more")
    features = torch.from_numpy(sample.vectors).float()
    axes = axes_of(features, fields)
    points = (features - axes["mean_"]) @ axes["basis_"]
    # As PatchCore chooses it, but by index.
    generator = torch.Generator().manual_seed(settings.seed)
    dimensions = points.shape[1]
    matrix = random_projection(dimensions, min(fields["projection"], dimensions), generator)
    chosen = greedy_k_center(points @ matrix, fields["coreset"], generator)
    return sample.take(chosen.numpy()), {**axes, "bank_": points[chosen]}


def calibration_of(store: BankStore, settings: Settings, learned: dict[str, Tensor]) -> Calibration:
    """What a model thinks of the images held out; of a volume what it thinks of the worst plane."""
    replay = Replay.of(settings.fields, settings.shapes, learned)
    scores: list[float] = []
    peaks: list[float] = []
    maps: list[NDArray[np.float32]] = []
    for batch in batched(_held(store), SCORE_BATCH):
        owners, planes, kept = zip(*batch, strict=True)
        found = replay.score(torch.stack(kept).float())
        assert found.pixel is not None
        for owner, of, score, pixel in zip(owners, planes, found.image.tolist(), found.pixel, strict=True):
            peak = float(pixel.amax())
            if owner == len(scores):
                scores.append(score)
                peaks.append(peak)
            scores[owner], peaks[owner] = max(scores[owner], score), max(peaks[owner], peak)
            # Every image gives about as many pixels, or volumes would fill the memory.
            maps.append(pixel[::4, ::4].reshape(1, -1)[:, ::of].numpy())
    return Calibration(np.array(scores), np.array(peaks), pixel_quantiles(maps))


def entries_of(store: BankStore, settings: Settings) -> list[Entry]:
    """Where the patches came from that a model remembers."""
    chosen, _ = recall(store, settings)
    images = store.named(set(chosen.owners.tolist()))
    side, size = settings.shapes[0][1], settings.preparation.size
    entries = []
    for owner, place in zip(chosen.owners.tolist(), chosen.places.tolist(), strict=True):
        name, digest, (height, width, top, left, rows, columns) = images[owner]
        plane, patch = divmod(place, settings.patches)
        row, column = ((at + 0.5) * size / side for at in divmod(patch, side))
        center = (int((row - top) * height // rows), int((column - left) * width // columns))
        entries.append(Entry(name, digest, plane, patch, center))
    return entries


def _kept(store: BankStore, settings: Settings) -> Iterator[Sample]:
    """Of each image that is remembered the patches that are kept."""
    for number, record in store.records(held=False):
        drawn = lots(settings.seed, record.digest, record.planes * settings.patches)
        owners = np.full(len(record.places), number)
        yield Sample(drawn[record.places], owners, record.places, record.vectors)


def _held(store: BankStore) -> Iterator[tuple[int, int, Float[Tensor, "total 1 1"]]]:
    """Each plane of the images held out: number of the image, how many planes it has, maps of this one."""
    total = min(store.count(held=True), JUDGED)
    records = progress.track(store.records(held=True, limit=JUDGED), "calibrating", total)
    for number, (_, record) in enumerate(records):
        for maps in torch.tensor(record.vectors):
            yield number, record.planes, maps
