"""BIM, or I-FGSM: small steps along the sign of the gradient, each brought back into the bound.

Kurakin, Goodfellow, Bengio, "Adversarial examples in the physical world", ICLR workshops 2017:
x_{t+1} = clip(x_t + alpha sign(grad J(x_t, y))).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import GREY, Bounded, Problem, Shown


@dataclass(eq=False)
class BIM(Bounded):
    """The basic iterative method.

    Args:
        steps: How many.
        step: Length of one, in grey levels of 255.
    """

    steps: int = 10
    step: float = 2.0

    family: ClassVar[str] = "gradient"
    source: ClassVar[str] = "Kurakin et al., ICLR workshops 2017"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.step <= 0:
            raise UsageError(f"{self.steps} steps of {self.step:g}: give one or more, longer than 0")

    def _search(self, problem: Problem) -> Shown:
        x, length = self._start(problem), self.step / GREY
        direction = x.new_zeros(x.shape)
        for _ in range(self.steps):
            direction = self._direction(problem, x, direction)
            x = problem.inside(x + length * direction.sign())
        return x

    def _start(self, problem: Problem) -> Shown:
        return problem.shown

    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        """Where to go from here; `before` is the direction of the step before, at first 0."""
        return problem.gradient(x)
