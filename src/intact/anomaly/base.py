"""The one promise every anomaly detector keeps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from intact.errors import NotFittedError, TooFewNormalsError, UsageError
from intact.learner import Learner
from intact.scores import Scores

D = TypeVar("D", bound="Detector")
Images = Float[Tensor, "n c *d h w"]  # "*d": a third axis, where a detector sees whole volumes
Batches = Iterable[Float[Tensor, "_ c *d h w"]]  # "_": the last batch may be smaller

# Images are scored in batches of exactly this many, the last one filled up: a convolution may
# round differently for another batch shape, and a score must not depend on its neighbours.
SCORE_BATCH = 8


@dataclass(eq=False)
class Detector(Learner):
    """Learns what normal looks like, then measures how far an image is from it.

    A method implements `_fit` and `_score`, and `_build` when it has networks.

    Images are float32 in [0, 1], (n, c, h, w), with c and h = w = `size` as in `fit`; or cubes
    (n, c, d, h, w), where it sees `volumes`.
    """

    size: int
    seed: int

    family: ClassVar[str]  # reconstruction, synthesis, self-supervised or memory
    source: ClassVar[str]  # short citation, for listings
    trains: ClassVar[bool] = True  # by descent: two trainings give scores of another size

    @property
    def volumes(self) -> bool:
        """Whether it sees whole volumes instead of their planes."""
        return False

    @final
    def fit(self: D, batches: Batches, start: Mapping[str, Tensor] | None = None) -> D:
        """Learn from normal images only; a second call forgets the first.

        Args:
            batches: Iterated once or many times, depending on the method; at least 2 images each.
            start: The `weights` of a detector with the same networks, where training begins; by
                default at random ones.

        Raises:
            TooFewNormalsError: Fewer images than the method needs.
            UsageError: `start` is of other networks.
            ValueError: No images, or images of another size.
        """
        first = next(iter(batches), None)
        if first is None or not len(first):
            raise ValueError("there are no training images: the batches are empty")
        if len(first) < 2:
            raise TooFewNormalsError("one normal image says nothing about how normal images vary: give more")
        sides = (self.size,) * (3 if self.volumes else 2)
        if first.shape[2:] != sides:
            given, wanted = (" x ".join(map(str, each)) for each in (first.shape[2:], sides))
            raise ValueError(
                f"images are {given}, but the size is {wanted}: prepare them at the detector's size"
            )
        self._forget()
        self.channels_ = torch.tensor(first.shape[1])
        self._build_networks()
        if start is not None:
            try:
                self._load_networks(start)
            except RuntimeError as error:
                raise UsageError(
                    f"the start is of other networks than {type(self).__name__} has with these fields and "
                    f"{int(self.channels_)} channel(s): only change fields of training ({error})"
                ) from error
        self._fit(batches)
        return self

    @final
    @torch.no_grad()
    def score(self, images: Images) -> Scores:
        """Score each image on its own: the result never depends on the rest of the batch.

        Raises:
            NotFittedError: Nothing was learned yet.
            ValueError: NaN or infinite values, or another number of channels than in `fit`.
        """
        if not hasattr(self, "channels_"):
            raise NotFittedError(f"{type(self).__name__} has learned nothing yet: call fit() or load()")
        if images.shape[1] != self.channels_:
            raise ValueError(f"images have {images.shape[1]} channels, fit saw {self.channels_}")
        if not images.sum().isfinite():  # many times faster than looking at each
            raise ValueError("images hold NaN or infinite values; fill the padding before scoring")
        parts = [self._score_filled(images[i : i + SCORE_BATCH]) for i in range(0, len(images), SCORE_BATCH)]
        maps = [p.pixel for p in parts if p.pixel is not None]
        return Scores(torch.cat([p.image for p in parts]), torch.cat(maps) if maps else None)

    @abstractmethod
    def _fit(self, batches: Batches) -> None: ...

    @abstractmethod
    def _score(self, images: Images) -> Scores: ...

    def _score_filled(self, images: Images) -> Scores:
        n = len(images)
        filled = torch.cat([images, images[-1:].expand(SCORE_BATCH - n, *images.shape[1:])])
        scores = self._score(filled)
        return Scores(scores.image[:n], None if scores.pixel is None else scores.pixel[:n])


def check_halvings(size: int, halvings: int) -> None:
    """Refuse a side that a network cannot halve so often.

    Raises:
        UsageError: `size` is not a multiple of 2 ** `halvings`.
    """
    if size % 2**halvings or size <= 0:
        raise UsageError(
            f"size is {size}, which {halvings} halvings do not divide: use a multiple of {2**halvings}"
        )


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse the value of a field that is none of its choices.

    Raises:
        UsageError: It is none.
    """
    if value not in choices:
        raise UsageError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")
