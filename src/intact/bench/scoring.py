"""Scoring the test images of a pack with a fitted model."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from skimage.transform import resize

from intact import progress
from intact.bench.measures import Scored
from intact.data.cache import PlaneCache
from intact.errors import InputError
from intact.evaluate import MASK_SIDE, NORMAL, find_masks
from intact.image import Image
from intact.io import Rejected, Unit, index, read, read_unit
from intact.metrics import shrink_mask
from intact.model import Model, batched, group_of
from intact.screen import GROUND_TRUTH

BATCH = 16  # images read at once: twice what is scored at once


@dataclass
class Tested:
    """What has been found about the test images so far."""

    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    p_values: list[float] = field(default_factory=list)
    masks: list[Bool[ndarray, "h w"]] = field(default_factory=list)
    masked_kinds: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def scored(self) -> Scored:
        """Patients become numbers: no name leaves this process."""
        _, numbers = np.unique(self.patients, return_inverse=True)
        return Scored(
            np.array(self.names),
            np.array(self.kinds),
            numbers,
            np.array(self.scores),
            np.array(self.p_values),
        )


def score_test_images(model: Model, pack: Path, maps: PlaneCache) -> Tested:
    """Score every test image; only preparing and scoring are timed, not reading the files."""
    tested = Tested()
    entries = index([pack / "test"], skip=lambda path: path.name == GROUND_TRUTH)
    tested.left_out += [(e.name, e.reason) for e in entries if isinstance(e, Rejected) and e.folder]
    tested.left_out += [(e.name, "is in no folder of test/") for e in entries if not e.folder]
    units = [entry for entry in entries if isinstance(entry, Unit) and entry.folder]
    masks = find_masks(units, [pack / "test"])
    for batch in batched(progress.track(units, "scoring", len(units)), BATCH):
        read_in = [(unit, image) for unit in batch if (image := _read(unit, tested)) is not None]
        started = time.perf_counter()
        readings = list(model.read([image for _, image in read_in]))
        tested.seconds += time.perf_counter() - started
        for (unit, image), reading in zip(read_in, readings, strict=True):
            name = within(pack, unit.name)
            tested.names.append(name)
            tested.kinds.append(unit.folder)
            tested.patients.append(image.identity.patient or image.identity.study or f"image {name}")
            tested.scores.append(reading.score)
            group = group_of(image, unit.folder, model.card.group_by)
            tested.p_values.append(model.p_value(reading, image, group))
            if masks and reading.pixel and (unit.folder == NORMAL or unit.name in masks):
                _keep_map(model.map(reading, image), masks.get(unit.name), unit.folder, maps, tested)
    return tested


def _read(unit: Unit, tested: Tested) -> Image | None:
    try:
        return read_unit(unit)
    except InputError as error:
        tested.left_out.append((error.name, error.reason))
        return None


def _keep_map(
    score_map: Float[ndarray, "..."], path: Path | None, kind: str, maps: PlaneCache, tested: Tested
) -> None:
    """Reduce heat map and mask to one size, plane by plane; the maps wait on disk, not in memory."""
    mask = np.zeros(score_map.shape, bool) if path is None else read(path).pixels.reshape(score_map.shape) > 0
    side = (MASK_SIDE, MASK_SIDE)
    height, width = score_map.shape[-2:]
    planes, lesions = score_map.reshape(-1, height, width), mask.reshape(-1, height, width)
    for plane, lesion in zip(planes, lesions, strict=True):
        small = resize(plane, side, order=1, anti_aliasing=True, preserve_range=True)
        maps.append(torch.from_numpy(small.astype(np.float32))[None])
        tested.masks.append(shrink_mask(_at_least(lesion, MASK_SIDE), side))
        tested.masked_kinds.append(kind)


def _at_least(mask: Bool[ndarray, "h w"], side: int) -> Bool[ndarray, "rows columns"]:
    """A mask whose sides are shorter enlarged by repeating rows and columns."""
    rows, columns = (np.arange(max(length, side)) * length // max(length, side) for length in mask.shape)
    return mask[np.ix_(rows, columns)]


def within(pack: Path, name: str) -> str:
    """A name as it is from the pack on."""
    return name.removeprefix(f"{pack}{os.sep}")
