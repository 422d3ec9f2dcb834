"""MI-FGSM: BIM with momentum, which keeps the direction that all gradients share.

Dong, Liao, Pang, Su, Zhu, Hu, Li, "Boosting adversarial attacks with momentum", CVPR 2018:
g_{t+1} = mu g_t + grad J / ||grad J||_1, x_{t+1} = clip(x_t + alpha sign(g_{t+1})).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.bim import BIM


@dataclass(eq=False)
class MIFGSM(BIM):
    """The momentum iterative method.

    Args:
        decay: Share of the direction that the next step keeps; mu in the paper.
    """

    decay: float = 1.0

    source: ClassVar[str] = "Dong et al., CVPR 2018"

    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        slope = self._slope(problem, x)
        size = slope.abs().sum(dim=(1, 2, 3), keepdim=True)
        return self.decay * before + slope / size.clamp_min(1e-30)

    def _slope(self, problem: Problem, x: Shown) -> Tensor:
        return problem.gradient(x)
