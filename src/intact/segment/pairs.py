"""Images and their masks on disk: which belong together, which can be read, and whose they are."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intact import progress
from intact.data.splits import look_alikes
from intact.data.transforms import Preparation, thumbnail
from intact.errors import InputError, UsageError
from intact.image import Image
from intact.io import Rejected, Unit, read, read_unit
from intact.io.discover import stem_of
from intact.segment.morphology import Mask

THUMBNAIL = Preparation(64)


@dataclass(frozen=True)
class Case:
    """An image and its masks, on disk."""

    unit: Unit
    masks: dict[str, Path]
    patient: str = ""

    def read(self) -> tuple[Image, dict[str, Mask]]:
        """The image and its masks, of one shape.

        Raises:
            InputError: A file cannot be read, or a mask has another shape.
        """
        image = read_unit(self.unit)
        return image, {label: read_mask(path, image) for label, path in self.masks.items()}


@dataclass(frozen=True)
class OnDisk:
    """Cases that are read when they are iterated, as often as they are."""

    cases: Sequence[Case]

    def __iter__(self) -> Iterator[tuple[Image, dict[str, Mask]]]:
        return (case.read() for case in self.cases)


def read_mask(path: Path, image: Image) -> Mask:
    """The mask of an image: True where the file is not zero.

    Raises:
        InputError: It cannot be read, or it has another shape than the image.
    """
    read_back = read(path)
    mask: Mask = read_back.pixels != 0
    if read_back.colour:
        mask = np.any(mask, axis=-1)
    if mask.shape != image.shape:
        raise InputError(
            str(path), f"has shape {mask.shape}, and its image {image.shape}: give one of its grid"
        )
    return mask


def by_stem(folder: Path) -> dict[str, Path]:
    """The masks in a folder by the names of their images.

    Raises:
        UsageError: It is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give one that holds a mask for each image")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {stem_of(path).removesuffix("_mask").removesuffix("_seg"): path for path in paths}


def paired(units: Sequence[Unit], masks: Mapping[str, str | Path], rejected: list[Rejected]) -> list[Case]:
    """Each image with its mask of every label; one that lacks a mask is rejected."""
    known = {label: by_stem(Path(folder)) for label, folder in masks.items()}
    cases = []
    for unit in units:
        own = {label: files[unit.stem] for label, files in known.items() if unit.stem in files}
        if lacking := [label for label in masks if label not in own]:
            rejected.append(Rejected(unit.name, f"has no mask of {', '.join(lacking)}", unit.folder))
        else:
            cases.append(Case(unit, own))
    if not cases:
        folders = ", ".join(map(str, masks.values()))
        raise UsageError(
            f"no image has a mask in {folders}: a mask is called like its image, say IMAGE_mask.png"
        )
    return cases


def examined(cases: Sequence[Case], rejected: list[Rejected]) -> tuple[list[Case], str]:
    """The cases that can be read, with their patients, and the modality of most."""
    sound, thumbnails, modalities = [], [], Counter[str]()
    for case in progress.track(cases, "reading", len(cases)):
        try:
            image, _ = case.read()
        except InputError as error:
            rejected.append(Rejected(error.name, error.reason, case.unit.folder))
            continue
        sound.append(dataclasses.replace(case, patient=image.identity.patient or image.identity.study))
        middle = image.plane(image.planes // 2)
        thumbnails.append(thumbnail(THUMBNAIL.prepare(middle, THUMBNAIL.limits(middle))[0]))
        modalities[image.modality] += 1
    if not sound:
        raise UsageError(
            f"no image with masks can be read; the first: {rejected[0].name}: {rejected[0].reason}"
        )
    alike = look_alikes(np.stack(thumbnails))
    named = [dataclasses.replace(c, patient=c.patient or a) for c, a in zip(sound, alike, strict=True)]
    return named, modalities.most_common(1)[0][0]
