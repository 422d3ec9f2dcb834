"""Smaller batches than those given, for methods that learn from few images at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from intact.anomaly.base import Batches


@dataclass(frozen=True)
class Parts:
    """The same images in the same order, at most `most` at a time.

    A batch is cut into parts of about the same size, so that none is left with a single image.
    """

    batches: Batches
    most: int

    def __iter__(self) -> Iterator[Tensor]:
        for images in self.batches:
            yield from images.tensor_split(-(-len(images) // self.most))
