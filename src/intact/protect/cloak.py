"""`Cloak`: what makes chosen classifiers misread an image, as `intact protect --against` uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from intact.classify import Classifier, View, load
from intact.configure import configure
from intact.errors import UnsealableError, UsageError
from intact.image import Image
from intact.protect.attack import METHODS, Attack, Together
from intact.protect.attack.base import shown
from intact.protect.change import Change
from intact.protect.files import read_image
from intact.protect.header import Planes
from intact.protect.hiding.base import span_of
from intact.protect.learn import LEARNED, check_alike, load_attack
from intact.protect.seal import depth_of, planes_of, with_planes

FEWEST = 32  # grey levels; of fewer, one step is seen
SEALS = 8  # tries at a seal that does not undo the change


@dataclass(frozen=True, eq=False)
class Cloak:
    """Classifiers, and the attack that misleads them.

    Args:
        classifiers: Of the same classes, and prepared alike; attacked together.
        attack: How.

    Raises:
        UsageError: The classifiers do not fit each other.
    """

    classifiers: tuple[Classifier, ...]
    attack: Attack

    def __post_init__(self) -> None:
        if not self.classifiers:
            raise UsageError("there is nothing to protect against: give a classifier")
        check_alike(self.classifiers)

    def change(self, image: Image, allowed: Bool[ndarray, "..."] | None = None) -> Change:
        """What to add to the planes of an image, as `seal.planes_of` has them.

        Every plane counts as what the classifiers together take it for.

        Args:
            image: Whole stored values.
            allowed: Where it may be changed, [h,w] or the shape of the image; by default everywhere.

        Raises:
            UnsealableError: Its stored values cannot be changed a little: floating point, palette
                colours, few grey levels.
        """
        views = self._views(image)
        together = Together(views)
        pixels = image.pixels.reshape(image.planes, *image.shape[-2:], *((3,) if image.colour else ()))
        free = np.broadcast_to(True if allowed is None else allowed, image.shape).reshape(pixels.shape[:3])
        found = []
        for plane, where in zip(pixels, free, strict=True):
            label = self._told(together, plane, views[0].window)
            found.append(
                self.attack.perturb(
                    together,
                    plane[None],
                    np.array([label]),
                    allowed=where[None],
                    window=views[0].window,
                    storable=span_of(pixels.dtype, depth_of(image, pixels)),
                )[0]
            )
        change = np.stack(found)
        if image.colour:
            change = np.moveaxis(change, -1, 1)
        return np.ascontiguousarray(change).reshape(-1, *image.shape[-2:])

    def sealed(
        self, before: Image, change: Change, seal: Callable[[], tuple[bytes, str]]
    ) -> tuple[bytes, str, list[bool]]:
        """The sealed file, its name, and for each classifier whether it misreads that file.

        What a seal hides changes pixels a little, otherwise each time. Where that makes a classifier
        read the image as before, it is sealed anew, up to `SEALS` times; the best file counts.

        Args:
            before: The image.
            change: Of `change`.
            seal: Makes a sealed file with this change, as `seal_file` does.
        """
        (file, name), possible = seal(), None
        misread = self.misread(before, read_image(file, name))
        for _ in range(SEALS - 1):
            if all(misread):
                break
            possible = possible or self.misread(before, _changed(before, change))
            if sum(misread) >= sum(possible):
                break
            other, _ = seal()
            found = self.misread(before, read_image(other, name))
            if sum(found) > sum(misread):
                file, misread = other, found
        return file, name, misread

    def misread(self, before: Image, after: Image) -> list[bool]:
        """For each classifier, whether it takes an image for another class than before."""
        return [answer(one, before) != answer(one, after) for one in self.classifiers]

    def _views(self, image: Image) -> list[View]:
        """How each classifier sees an image; refused where a small change of values may be a large one."""
        name, kind = image.identity.path or "the image", image.pixels.dtype
        if kind.kind not in "iu":
            raise UnsealableError(name, f"has {kind} pixels; only whole values can be changed a little")
        if image.palette is not None:
            raise UnsealableError(name, "has palette colours, whose numbers cannot be changed a little")
        try:
            views = [classifier.view(image) for classifier in self.classifiers]
        except UsageError as error:
            raise UnsealableError(
                name, "has stored values that are not on one rising line with physical ones"
            ) from error
        low, high = views[0].window
        if high - low < FEWEST:
            raise UnsealableError(name, f"shows {high - low:.0f} grey levels, too few to change one a little")
        return views

    @torch.no_grad()
    def _told(self, together: Together, plane: Planes, window: tuple[float, float]) -> int:
        """The class of a plane, as the classifiers together see it."""
        return int(together(shown(plane[None], window)).argmax())


@dataclass(frozen=True)
class Against:
    """Which classifiers to protect against, and how: little enough to be handed to processes.

    Args:
        models: Folders from `intact fit --classes`, each with the folder of images that it is for;
            "" is for all.
        method: Key in `intact.protect.attack.METHODS`, or a folder from `intact fit --against`.
        fields: Fields of the method that differ from its defaults.
        threads: For the networks; 0 leaves that to torch.
    """

    models: tuple[tuple[str, Path], ...]
    method: str = "tiles"
    fields: tuple[tuple[str, Any], ...] = ()
    threads: int = 0

    def check(self, carrier: str) -> None:
        """Find out what is wrong before hours of work are spent.

        Raises:
            UsageError: Unknown method or field, or nothing would hold what undoes the change.
            ModelError: A model cannot be read.
        """
        if carrier != "pixels":
            raise UsageError("a change against networks needs the pixels as carrier")
        self._attack()
        for folder, _ in self.models:
            self.cloak(f"{folder}/")

    def models_for(self, name: str) -> list[Path]:
        """The models for an image, by its name below the path that it was found under."""
        return [model for folder, model in self.models if not folder or name.startswith(f"{folder}/")]

    def cloak(self, name: str) -> Cloak:
        """What makes the classifiers for an image misread it.

        Raises:
            UsageError: There is none for it, or they do not fit each other.
            ModelError: A model cannot be read.
        """
        folders = tuple(self.models_for(name))
        if not folders:
            raise UsageError("no classifier is given for its folder: add --against FOLDER=MODEL")
        if len({folder.name for folder in folders}) < len(folders):
            raise UsageError("two of the classifiers for one image have the same name: rename a folder")
        if self.threads:
            torch.set_num_threads(self.threads)
        return Cloak(tuple(map(_classifier, folders)), self._attack())

    def _attack(self) -> Attack:
        if self.method in LEARNED:
            raise UsageError(
                f"{self.method} learns beforehand: give --method the model that "
                f"`intact fit IMAGES --against CLASSIFIER --method {self.method}` makes"
            )
        if self.method in METHODS:
            return configure(METHODS, self.method, dict(self.fields))
        attack = _learned(self.method)
        if self.fields:
            raise UsageError(f"{self.method} has learned with its own fields, which cannot be changed now")
        return attack


@cache
def _classifier(folder: Path) -> Classifier:
    return load(folder)[0]


@cache
def _learned(folder: str) -> Attack:
    return load_attack(folder)[0]


def _changed(image: Image, change: Change) -> Image:
    """An image with a change, before anything is hidden in it."""
    planes = planes_of(image)
    return with_planes(image, (planes + change).astype(planes.dtype))


def answer(classifier: Classifier, image: Image) -> str:
    """The class that an image is taken for."""
    told = classifier.probabilities(image)
    return max(told, key=lambda name: told[name])
