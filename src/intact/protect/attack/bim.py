"""BIM, or I-FGSM: small steps along the sign of the gradient, each brought back into the bound.

Kurakin, Goodfellow, Bengio, "Adversarial examples in the physical world", ICLR workshops 2017:
x_{t+1} = clip(x_t + alpha sign(grad J(x_t, y))).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Iterative


@dataclass(eq=False)
class BIM(Iterative):
    """The basic iterative method."""

    source: ClassVar[str] = "Kurakin et al., ICLR workshops 2017"

    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        return problem.gradient(x)
