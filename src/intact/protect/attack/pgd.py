"""PGD: BIM from a random place within the bound.

Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial
attacks", ICLR 2018. One start; all images of a batch begin with the same noise, so that a result
does not depend on the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.bim import BIM


@dataclass(eq=False)
class PGD(BIM):
    """Projected gradient descent."""

    source: ClassVar[str] = "Madry et al., ICLR 2018"

    def _start(self, problem: Problem) -> Shown:
        noise = torch.rand(problem.shown.shape[1:], generator=problem.rng) * 2 - 1
        return problem.inside(problem.shown + problem.budget * noise)
