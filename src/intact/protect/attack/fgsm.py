"""FGSM: one step as far as is allowed, along the sign of the gradient.

Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015:
x' = x + epsilon sign(grad J(x, y)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intact.protect.attack.base import Bounded, Problem, Shown


@dataclass(eq=False)
class FGSM(Bounded):
    """The fast gradient sign method."""

    family: ClassVar[str] = "gradient"
    source: ClassVar[str] = "Goodfellow et al., ICLR 2015"

    def _search(self, problem: Problem) -> Shown:
        return problem.shown + problem.budget * problem.gradient(problem.shown).sign()
