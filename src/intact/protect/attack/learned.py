"""What attacks share that learn beforehand: they ask nothing of the classifier when an image comes.

Training needs no labels: an image counts as what the classifier takes it for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from intact import progress
from intact.errors import NotFittedError, UsageError
from intact.precision import best_precision
from intact.protect.attack.base import GREY, Bounded, Classifier, Problem, Shown

L = TypeVar("L", bound="Learned")
N = TypeVar("N", bound=nn.Module)


@dataclass(eq=False)
class Learned(Bounded):
    """An attack that learns from images of the kind.

    Args:
        steps: Of learning.
        batch: Images in a step.
        rate: Learning rate.
    """

    steps: int = 2000
    batch: int = 4
    rate: float = 1e-3

    family: ClassVar[str] = "learned"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.batch) < 1 or self.rate <= 0:
            raise UsageError("steps and batch are 1 or more, the rate above 0")

    @final
    def fit(self: L, classify: Classifier, images: Shown, allowed: Float[Tensor, "n 1 h w"]) -> L:
        """Learn to mislead a classifier.

        Args:
            classify: As for `perturb`.
            images: As they are shown, grey, [n,1,h,w] in [0, 1].
            allowed: 1 where they may be changed.
        """
        if images.ndim != 4 or images.shape[1] != 1 or images.shape != allowed.shape:
            raise UsageError(
                f"give grey images [n,1,h,w] and masks of their shape, not {tuple(images.shape)} and "
                f"{tuple(allowed.shape)}"
            )
        with torch.no_grad():
            labels = torch.cat([classify(part).argmax(1) for part in images.split(16)])
        self._build(images.shape[-2:])
        self._fit(_fast(classify), images, labels, allowed)
        return self.load(self.state(), self.learned())

    def learned(self) -> dict[str, Any]:
        """Everything learned that is plain data."""
        return {"shape": list(self.shape_)}

    def state(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor, by name."""
        return dict(self.net.state_dict())

    def load(self: L, tensors: dict[str, Tensor], learned: dict[str, Any]) -> L:
        """Take over what another attack with the same fields has learned."""
        self._build(learned["shape"])
        self.net.load_state_dict(tensors)
        self.net.eval().requires_grad_(False)
        return self

    @final
    def _search(self, problem: Problem) -> Shown:
        if not hasattr(self, "net"):
            raise NotFittedError("this attack learns: call fit(), or `intact fit --against`")
        if problem.shown.shape[1] != 1:
            raise UsageError("attacks that learn take grey images; choose another for colour")
        with torch.no_grad():
            return problem.shown + problem.budget * self._drawn(problem.shown)

    def _drawn(self, images: Shown) -> Shown:
        """What the network draws for images of any size, brought to the one it learned on, on black."""
        shape, wanted = images.shape[-2:], self.shape_
        scale = min(b / a for a, b in zip(shape, wanted, strict=True))
        rows, columns = (min(b, round(a * scale)) for a, b in zip(shape, wanted, strict=True))
        top, left = (wanted[0] - rows) // 2, (wanted[1] - columns) // 2
        small = F.interpolate(images, (rows, columns), mode="bilinear", antialias=True)
        framed = F.pad(small, (left, wanted[1] - columns - left, top, wanted[0] - rows - top))
        change = self.net(framed)[..., top : top + rows, left : left + columns]
        return F.interpolate(change, shape, mode="bilinear", antialias=True)

    def _build(self, shape: tuple[int, ...]) -> None:
        """A fresh network for images of a shape."""
        self.shape_ = tuple(shape)
        self.net = self._seeded(self._network)

    @final
    def _seeded(self, make: Callable[[], N]) -> N:
        """A network whose first weights the seed decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make()

    @abstractmethod
    def _network(self) -> nn.Module:
        """Draws a change from -1 to 1 for images [b,1,h,w]."""

    @abstractmethod
    def _fit(
        self,
        classify: Classifier,
        images: Shown,
        labels: Int[Tensor, "n"],
        allowed: Float[Tensor, "n 1 h w"],
    ) -> None:
        """Train `self.net`."""

    @final
    def _changed(self, images: Shown, allowed: Float[Tensor, "b 1 h w"]) -> Shown:
        """Images with what the network draws, differentiable."""
        budget = self.epsilon / GREY
        return (images + budget * _fast(self.net)(images) * allowed).clamp(0.0, 1.0)

    @final
    def _batches(self, count: int) -> Iterator[Int[Tensor, "batch"]]:
        """Numbers of images, each as often as the others, for all steps, telling how far it is."""
        rng, order = torch.Generator().manual_seed(self.seed), torch.zeros(0, dtype=torch.int64)
        for step in range(self.steps):
            while len(order) < self.batch:
                order = torch.cat([order, torch.randperm(count, generator=rng)])
            yield order[: self.batch]
            order = order[self.batch :]
            progress.report("training", step + 1, self.steps)


def _fast(net: Classifier) -> Classifier:
    """A network in bfloat16 where this CPU computes in it; learning takes half the time."""

    def answer(images: Shown) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=best_precision() == "bfloat16"):
            return net(images).float()

    return answer


def likeliest_wrong(logits: Float[Tensor, "b classes"], labels: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
    """The class that is most likely beside the true one."""
    own: Bool[Tensor, "b classes"] = F.one_hot(labels, logits.shape[1]).bool()
    return logits.detach().masked_fill(own, -torch.inf).argmax(1)


def step_of(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
