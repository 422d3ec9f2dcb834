"""What an examination comes to, and the promise that every examiner of pixels keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Protocol, final

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.errors import UsageError
from intact.image import Image

ARTEFACT = "artefact"  # the kind of evidence that tells of a disturbed acquisition, not of tampering


class Severity(IntEnum):
    """How much a finding weighs. What is benign or information is never counted as tampering."""

    INFORMATION = 0
    BENIGN = 1  # what archives, anonymisers and converters leave
    UNUSUAL = 2
    IMPOSSIBLE = 3  # no legitimate chain of programs leaves this


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed in headers or between slices.

    Args:
        rule: Its key in the reference of rules, such as "R3".
        severity: How much it weighs.
        element: The DICOM element that shows it, as "Rows (0028,0010)"; empty where there is none.
        explanation: A sentence. Of the patient module it names elements, never values.
        files: Which files show it.
    """

    rule: str
    severity: Severity
    element: str
    explanation: str
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an examiner says of the pixels of an image.

    Args:
        kind: What it looks for: "copy-move", "splice", "noise", "compression", "resampling"; or `ARTEFACT`.
        score: Larger is more suspicious; nan where it abstained.
        map: float32 of the image's shape, 0 to 1: where; None where it abstained.
        explanation: A sentence a court could read.
        abstained: Why nothing can be said; empty otherwise.
        p_value: How often a genuine image would give so much, where a model of genuine images tells; 1
            where nothing was found; None where only a comparison with genuine images can tell.
    """

    kind: str
    score: float
    map: Float[ndarray, "..."] | None
    explanation: str
    abstained: str = ""
    p_value: float | None = None


class Witness(Protocol):
    """What can be asked about an image: an examiner, or a taught one with its calibration."""

    @property
    def kind(self) -> str:
        """What it looks for."""

    def examine(self, image: Image) -> Evidence:
        """What it says of an image."""


@dataclass(eq=False)
class Examiner(ABC):
    """Looks for one kind of tampering, at the image's own resolution and depth.

    An examiner is a dataclass: its fields are the method's parameters. It learns nothing and needs no
    genuine images to begin with.
    """

    kind: ClassVar[str]
    source: ClassVar[str]  # short citation, for listings
    family: ClassVar[str] = "examiner"  # for listings
    volumes: ClassVar[bool] = False  # whether it takes volumes whole; else plane by plane
    routine: ClassVar[bool] = True  # whether screening asks it: not what is slow, or needs more than an image
    compares: ClassVar[bool] = False  # whether its scores only mean something beside genuine images'

    @final
    def examine(self, image: Image) -> Evidence:
        """Examine an image; the planes of a volume or film one by one, if the method is for planes.

        Args:
            image: [h, w], [d, h, w], either with [..., 3] in colour.

        Returns:
            Of several planes: the map of each, the highest score and its explanation, and a p-value
            that allows for the number of planes.

        Raises:
            UsageError: A palette or a time series of volumes.
        """
        if image.palette is not None or len(image.shape) > 3:
            raise UsageError(
                f"examiners take planes and volumes of values, this image has shape {image.shape} and is "
                f"{image.photometric}: convert it first"
            )
        if len(image.shape) == 2 or self.volumes:
            return self._at_once(image)
        each = [self._at_once(image.plane(n)) for n in range(image.planes)]
        spoken = [n for n, evidence in enumerate(each) if not evidence.abstained]
        if not spoken:
            return each[0]
        worst = max(spoken, key=lambda n: each[n].score)
        maps = np.stack([np.zeros(image.shape[1:], np.float32) if e.map is None else e.map for e in each])
        p_value = each[worst].p_value
        return Evidence(
            self.kind,
            each[worst].score,
            maps,
            f"Plane {worst + 1} of {image.planes}: {each[worst].explanation}",
            p_value=None if p_value is None else min(1.0, p_value * len(spoken)),
        )

    @final
    def _at_once(self, image: Image) -> Evidence:
        evidence = self._examine(*grey(image), image)
        # A p-value belongs to what is told: who marks nothing must never be counted.
        silent = evidence.map is not None and not evidence.map.any()
        return replace(evidence, p_value=1.0) if silent and evidence.p_value is not None else evidence

    @final
    def _abstain(self, why: str) -> Evidence:
        """Say nothing, and why."""
        return Evidence(self.kind, math.nan, None, "", abstained=why)

    @abstractmethod
    def _examine(
        self, plane: Float[ndarray, "..."], valid: Bool[ndarray, "..."], image: Image
    ) -> Evidence: ...


def grey(image: Image) -> tuple[Float[ndarray, "..."], Bool[ndarray, "..."]]:
    """Stored values as float32, colours averaged and finite everywhere, and True where they were measured."""
    values = image.pixels.astype(np.float32)
    values = values.mean(axis=-1) if image.colour else values
    finite = np.isfinite(values)
    if not finite.all():  # what is no number was not measured, and must not spread by filters
        values = np.where(finite, values, values[finite].mean() if finite.any() else 0.0).astype(np.float32)
    return values, ~image.padding_mask() & finite
