"""What happens to whole images after they were forged, or not: JPEG, noise, scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from intact.errors import UsageError
from intact.forge.process import Noise, Recompress, Resample
from intact.forge.sampling import sample
from intact.image import Image

AFTER = {"jpeg": 85.0, "noise": 1.0, "scale": 0.9}  # quality; strength, in the image's noise; factor


@dataclass(frozen=True)
class After:
    """Processing of whole images after forging, such as `jpeg=70`."""

    name: str
    value: float

    @property
    def told(self) -> str:
        """As tables call it."""
        return f"{self.name} {self.value:g}"

    def apply(self, image: Image, labels: UInt8[ndarray, "..."], seed: int) -> tuple[Image, ndarray]:
        """A processed image, and the labels that fit it.

        Raises:
            UsageError: The image's values cannot be processed so.
        """
        if self.name == "scale":
            scaled = Resample(where="image", factor=self.value).forge(image, seed=seed).image
            return scaled, _scaled(labels, self.value)
        forger = (
            Recompress(where="image", quality=int(self.value))
            if self.name == "jpeg"
            else Noise(where="image", strength=self.value)
        )
        return forger.forge(image, seed=seed).image, labels


def parse_after(texts: Sequence[str]) -> list[After]:
    """`jpeg`, or `jpeg=70`.

    Raises:
        UsageError: There is no such processing, or its value is no number above 0.
    """
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in AFTER:
            raise UsageError(f"--after {text}: choose one of {', '.join(AFTER)}, such as jpeg=70")
        try:
            number = float(value) if equals else AFTER[name]
        except ValueError:
            number = math.nan
        if not number > 0 or (name == "jpeg" and number > 100):
            raise UsageError(f"--after {text}: its value is a number above 0, of jpeg at most 100")
        found.append(After(name, number))
    return found


def _scaled(labels: UInt8[ndarray, "..."], factor: float) -> UInt8[ndarray, "..."]:
    """Labels as `Resample` moves the pixels below them, each the label of the nearest."""
    rows, columns = ((np.arange(n) - (n - 1) / 2) / factor + (n - 1) / 2 for n in labels.shape[-2:])
    points: Float[ndarray, "2 h w"] = np.rint(np.stack(np.meshgrid(rows, columns, indexing="ij")))
    planes = [sample(Image(plane), points, order=0) for plane in labels.reshape(-1, *labels.shape[-2:])]
    return np.stack(planes).astype(np.uint8).reshape(labels.shape)
