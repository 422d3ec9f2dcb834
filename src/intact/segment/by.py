"""`By`: what a folder of images is segmented by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intact.configure import configure
from intact.errors import UsageError
from intact.image import Image
from intact.segment import METHODS, REGIONS, Classical, known_region
from intact.segment.learn import load
from intact.segment.morphology import Mask

OBJECT = "object"  # what a classical method's mask is called


@dataclass(frozen=True)
class By:
    """What segments: a classical method, regions, or a model; one of the three.

    Args:
        method: Key in `METHODS`, a classical one.
        fields: Of the method, where they differ from the defaults.
        seed: A voxel of the object, as an index into the image's shape, for a classical method.
        regions: Keys in `REGIONS`.
        model: Folder of a model from `intact fit --masks`.
    """

    method: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: tuple[int, ...] = ()
    regions: tuple[str, ...] = ()
    model: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.method, self.regions, self.model))) != 1:
            raise UsageError("give a method, regions or a model, and only one of them")
        for name in self.regions:
            known_region(name)
        if self.seed and not self.method:
            raise UsageError("a seed points a classical method to an object; it means nothing without one")

    @property
    def labels(self) -> tuple[str, ...]:
        """What is segmented."""
        return self.regions or ((OBJECT,) if self.method else load(self.model)[1].labels)

    @property
    def name(self) -> str:
        """What made the masks, in a word."""
        return self.method or Path(self.model).name or "regions"

    @property
    def family(self) -> str:
        """Its kind, as DICOM segmentations name it."""
        return METHODS[self.method].family if self.method else "network" if self.model else "region"

    def segmenter(self) -> Callable[[Image], dict[str, Mask]]:
        """What gives the masks of an image by their labels.

        Raises:
            UsageError: Unknown method or field, or a network without a model.
            ModelError: The model cannot be loaded.
        """
        if self.model:
            return load(self.model)[0].masks
        if self.regions:
            return lambda image: {name: REGIONS[name](image) for name in self.regions}
        method = configure(METHODS, self.method, self.fields)
        if not isinstance(method, Classical):
            raise UsageError(f"{self.method} learns from masks: make a model with `intact fit --masks`")
        return lambda image: {OBJECT: method.segment(image, seed=self.seed or None)}
