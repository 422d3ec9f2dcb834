"""The promise that every examiner keeps that has to be taught, and how it sees an image.

The card's rule for medical images is kept by all of them: they look at stored values at the image's own
resolution and depth, never at an 8-bit picture of it, and never resized, since scaling wipes out what
forgers leave.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar, final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from intact.errors import NotFittedError
from intact.forensics.base import Evidence, Examiner, grey
from intact.image import Image
from intact.learner import Learner

E = TypeVar("E", bound="LearnedExaminer")
Lesson = tuple[Image, UInt8[ndarray, "..."]]  # an image, and its labels as `intact.forge` gives them
Lessons = Iterable[Lesson]  # may be iterated several times

SMALLEST = 16  # pixels: of the shorter side of what can be examined
PLANES = 8  # of a volume or film that are learned from at most
TOP = 1000  # one in so many pixels makes the score of an image,
FEWEST = 16  # but not fewer than these


@dataclass(eq=False)
class LearnedExaminer(Learner, Examiner):
    """An examiner that learns from images of which it is known where they were forged.

    A method implements `_fit` and `_look`, or `_examine`, and `_build` for its networks. Colours are
    averaged, as for every examiner.
    """

    seed: int = 0

    kind: ClassVar[str] = "learned"
    family: ClassVar[str] = "learned examiner"
    routine: ClassVar[bool] = False  # it is asked where somebody has taught it

    @final
    def fit(self: E, lessons: Lessons) -> E:
        """Learn; a second call forgets the first.

        Args:
            lessons: Images and their labels: 0 genuine, 1 forged, 2 copied, 3 the border of a blend.
                Genuine images are among them. Of a volume up to eight planes are taken, forged ones first.

        Raises:
            ValueError: There is nothing to learn from.
        """
        self._forget()
        self.channels_ = torch.tensor(1)
        self._build_networks()
        self._fit(lessons)
        return self

    @torch.no_grad()
    def _examine(self, plane: Float[ndarray, "..."], valid: Bool[ndarray, "..."], image: Image) -> Evidence:
        self._check_fitted()
        if min(plane.shape) < SMALLEST:
            return self._abstain(f"its shorter side has {min(plane.shape)} pixels, {SMALLEST} are needed")
        seen = prepared(plane, valid)
        if seen is None:
            return self._abstain("nearly all of its values are the same")
        score, chances = self._look(torch.from_numpy(self._seen(seen)))
        chances = np.where(valid, chances, np.float32(0))
        return Evidence(self.kind, score, chances, _told(chances))

    def _check_fitted(self) -> None:
        if not hasattr(self, "channels_"):
            raise NotFittedError(f"{type(self).__name__} has learned nothing yet: call fit() or load a model")

    @abstractmethod
    def _fit(self, lessons: Lessons) -> None: ...

    def _seen(self, plane: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
        """What it looks at, made of a whole prepared plane, in learning and in examining."""
        return plane

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        """The score of what it looks at, and how likely each pixel is forged, float32 from 0 to 1.

        Not needed by a method that overrides `_examine`, to see the image itself.
        """
        raise NotImplementedError


def prepared(plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"]) -> Float[ndarray, "h w"] | None:
    """Values less their median, in halves of their range; 0 where nothing was measured.

    The range is that between the percentiles 0.5 and 99.5, so values are about -1 to 1 and nothing is cut
    off. None where it is empty.
    """
    if not valid.any():
        return None
    low, middle, high = np.percentile(plane[valid], (0.5, 50.0, 99.5))
    if not high > low:
        return None
    return np.where(valid, (plane - middle) * (2.0 / (high - low)), 0.0).astype(np.float32)


def planes_of(
    lessons: Lessons,
) -> Iterator[tuple[Float[ndarray, "h w"], Bool[ndarray, "h w"], UInt8[ndarray, "h w"]]]:
    """Prepared planes of all lessons, where they were measured, and their labels.

    Of more than `PLANES` planes the forged ones are taken first, the rest evenly.
    """
    for image, labels in lessons:
        stack = labels.reshape(-1, *image.shape[-2:])
        for number in _chosen(stack):
            part = image.plane(number) if len(image.shape) > 2 else image
            plane, valid = grey(part)
            seen = prepared(plane, valid) if min(plane.shape) >= SMALLEST else None
            if seen is not None:
                yield seen, valid, stack[number]


def top_mean(values: Float[Tensor, "..."]) -> float:
    """The mean of the highest thousandth: of an image's pixels, what its score is made of."""
    flat = values.flatten()
    count = min(len(flat), max(FEWEST, len(flat) // TOP))
    return float(flat.topk(count).values.mean())


def _chosen(labels: UInt8[ndarray, "d h w"]) -> list[int]:
    forged = np.flatnonzero(labels.any(axis=(1, 2)))
    order = forged if len(forged) else np.arange(len(labels))
    evenly = np.linspace(0, len(order) - 1, min(PLANES, len(order))).round().astype(int)
    return [int(n) for n in order[evenly]]


def _told(chances: Float[ndarray, "h w"]) -> str:
    row, column = np.unravel_index(int(chances.argmax()), chances.shape)
    share = float((chances >= 0.5).mean())
    where = f"Most like what it was taught to call forged: around row {row}, column {column}"
    return f"{where}; {100 * share:.2g} % of the pixels are more likely forged than not."
