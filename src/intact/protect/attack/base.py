"""The one promise every attack keeps: integers, only where allowed, no larger than asked.

An attack changes an image so that a classifier errs about it. What counts is the saved file, so
changes are whole stored values; and what a diagnosis rests on may be kept out of it.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from intact.errors import UsageError

Shown = Float[Tensor, "b c h w"]  # 0 is black on the screen, 1 is white
Classifier = Callable[[Shown], Float[Tensor, "b classes"]]  # gives logits; differentiable, in eval mode
Stored = Int[ndarray, "b h w *c"]

GREY = 255.0  # levels from black to white in which strengths are told, whatever is stored


class Together(nn.Module):
    """Classifiers of the same classes as one: the mean of their logits (Dong et al., CVPR 2018).

    Args:
        members: What is attacked together.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = list(members)
        self.step = max(getattr(member, "step", 1.0) for member in members)

    def forward(self, shown: Shown) -> Float[Tensor, "b classes"]:
        """Logits."""
        return torch.stack([member(shown) for member in self.members]).mean(0)


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of images as an attack sees it.

    Args:
        shown: The images.
        labels: Their true classes, [b].
        allowed: 1 where they may be changed, 0 elsewhere, [b,1,h,w].
        budget: How far a shown value may be changed; infinite where an attack has no bound.
        levels: Stored values from black to white.
        classify: What is attacked.
        rng: For everything random.
        objective: What is to rise, of each image; by default the cross-entropy of the true classes.
        step: How many pixels of an image make one of those that the classifier sees.
    """

    shown: Shown
    labels: Int[Tensor, "b"]
    allowed: Float[Tensor, "b 1 h w"]
    budget: float
    levels: float
    classify: Classifier
    rng: torch.Generator
    objective: Callable[[Shown], Float[Tensor, "b"]] | None = None
    step: float = 1.0

    def inside(self, x: Shown) -> Shown:
        """The nearest images that are allowed: within the budget, between black and white."""
        change = (x - self.shown).clamp(-self.budget, self.budget) * self.allowed
        return (self.shown + change).clamp(0.0, 1.0)

    def rounded(self, x: Shown) -> Shown:
        """The images as they will be stored: in whole steps from what they were."""
        return self.shown + torch.round((x - self.shown) * self.levels) / self.levels

    def loss(self, x: Shown) -> Float[Tensor, "b"]:
        """What is to rise."""
        if self.objective is not None:
            return self.objective(x)
        return F.cross_entropy(self.classify(x), self.labels, reduction="none")

    def margins(self, x: Shown) -> Float[Tensor, "m b"]:
        """How far the likeliest wrong class is above the true one, in logits, for each classifier."""
        found = []
        for one in self.classify.members if isinstance(self.classify, Together) else [self.classify]:
            logits = one(x)
            own = F.one_hot(self.labels, logits.shape[1]).bool()
            found.append(logits.masked_fill(own, -torch.inf).amax(1) - logits[own])
        return torch.stack(found)

    def margin(self, x: Shown) -> Float[Tensor, "b"]:
        """That of the classifier which is fooled least: fooled, if above 0."""
        return self.margins(x).amin(0)

    def soft_margin(self, x: Shown) -> Float[Tensor, "b"]:
        """The same, smooth, so that every classifier that is not fooled clearly has a part in its slope."""
        return -torch.logsumexp(-self.margins(x), dim=0)

    def gradient(self, x: Shown) -> Float[Tensor, "b c h w"]:
        """The gradient of the loss; 0 where nothing may be changed.

        The mask comes before any norm or sign is taken, or else pixels that cannot be changed
        would decide how the others are.
        """
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            total = self.loss(x).sum()
        (slope,) = torch.autograd.grad(total, x)
        return slope * self.allowed

    def of(self, chosen: Bool[Tensor, "b"]) -> Problem:
        """The problem of some of the images."""
        return dataclasses.replace(
            self, shown=self.shown[chosen], labels=self.labels[chosen], allowed=self.allowed[chosen]
        )


@dataclass(eq=False)
class Attack(ABC):
    """Finds a change that makes a classifier err.

    An attack is a dataclass: its fields are the method's parameters. The change of an image does
    not depend on the rest of the batch.

    Args:
        seed: Of everything random.
    """

    seed: int = 0

    family: ClassVar[str]  # gradient, optimisation or query
    source: ClassVar[str]  # short citation, for listings

    @final
    def fields(self) -> dict[str, Any]:
        """The parameters, as plain values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @final
    def perturb(
        self,
        classify: Classifier,
        pixels: Stored,
        labels: Int[ndarray, "b"],
        *,
        allowed: Bool[ndarray, "b h w"] | None = None,
        window: tuple[float, float] = (0.0, 255.0),
        storable: tuple[int, int] | None = None,
    ) -> Stored:
        """The change to add to each image.

        Args:
            classify: Takes images as they are shown, [b,c,h,w] in [0, 1], and gives logits. It is
                to be in evaluation mode, with its own resizing and normalising inside. Its attribute
                `step`, if it has one, tells how many pixels of an image make one that it sees.
            pixels: Stored integers of equal images, [b,h,w] grey or [b,h,w,3] colour; left as they are.
            labels: The true class of each.
            allowed: Where an image may be changed; by default everywhere.
            window: The stored values that are shown black and white. Pixels beyond them are left
                as they are, since no change of them is seen.
            storable: Least and greatest value that the changed image may hold; by default what
                the dtype can.

        Returns:
            int32, of the shape of `pixels`: 0 outside `allowed`, and within the attack's bound.

        Raises:
            UsageError: The arrays do not fit each other, or pixels are no integers.
        """
        allowed = np.ones(pixels.shape[:3], bool) if allowed is None else allowed
        _check(pixels, labels, allowed, window)
        low, high = window
        levels, stored = high - low, _planes(pixels)
        seen = (stored >= low) & (stored <= high)
        free = torch.from_numpy(np.array(allowed))[:, None] & seen.all(dim=1, keepdim=True)
        bound = max(1, round(self._epsilon / GREY * levels)) if np.isfinite(self._epsilon) else np.inf
        problem = Problem(
            shown=shown(pixels, window),
            labels=torch.from_numpy(np.asarray(labels, np.int64)),
            allowed=free.float(),
            budget=bound / levels,
            levels=float(levels),
            classify=classify,
            rng=torch.Generator().manual_seed(self.seed),
            step=float(getattr(classify, "step", 1.0)),
        )
        found = problem.inside(self._search(problem).detach())
        change = torch.round((found - problem.shown) * levels).to(torch.int64)
        least, most = storable or (int(np.iinfo(pixels.dtype).min), int(np.iinfo(pixels.dtype).max))
        change = (stored + change).clamp(least, most) - stored
        whole: Stored = torch.where(free, change, 0).to(torch.int32).numpy()
        return whole[:, 0] if pixels.ndim == 3 else np.ascontiguousarray(np.moveaxis(whole, 1, -1))

    @property
    def _epsilon(self) -> float:
        """The bound in grey levels of 255; infinite where the method has none."""
        return np.inf

    @abstractmethod
    def _search(self, problem: Problem) -> Shown:
        """The images that the classifier is to err about; what is not allowed is taken back afterwards."""


@dataclass(eq=False)
class Singly(Attack):
    """An attack that takes image by image, each with the same random numbers."""

    @final
    def _search(self, problem: Problem) -> Shown:
        every, found = torch.arange(len(problem.shown)), []
        for number in every:
            problem.rng.manual_seed(self.seed)
            found.append(self._one(problem.of(every == number)))
        return torch.cat(found)

    @abstractmethod
    def _one(self, problem: Problem) -> Shown:
        """The changed image of a problem of one."""


@dataclass(eq=False)
class Bounded(Attack):
    """An attack that changes no value by more than it was told.

    Args:
        epsilon: The largest change, in grey levels of 255.
    """

    epsilon: float = 8.0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < GREY:
            raise UsageError(f"epsilon={self.epsilon:g}: give a strength between 0 and 255 grey levels")

    @property
    def _epsilon(self) -> float:
        return self.epsilon


def shown(pixels: Stored, window: tuple[float, float]) -> Shown:
    """Images as they are shown through a window of stored values."""
    low, high = window
    return ((_planes(pixels) - low) / (high - low)).clamp(0.0, 1.0).float()


def _planes(pixels: Stored) -> Int[Tensor, "b c h w"]:
    planes = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(planes).astype(np.int64))


def _check(pixels: ndarray, labels: ndarray, allowed: ndarray, window: tuple[float, float]) -> None:
    if pixels.dtype.kind not in "iu":
        raise UsageError(f"attacks change stored integers, and these pixels are {pixels.dtype}")
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[-1] != 3):
        raise UsageError(f"give images as [b,h,w] or [b,h,w,3], not of shape {pixels.shape}")
    if len(labels) != len(pixels) or allowed.shape != pixels.shape[:3]:
        raise UsageError(
            f"{len(pixels)} images of shape {pixels.shape[1:3]} need as many labels ({len(labels)} given) "
            f"and masks of their shape ({allowed.shape} given)"
        )
    if window[1] <= window[0]:
        raise UsageError(f"the window {window} shows nothing: give what is black, then what is white")
