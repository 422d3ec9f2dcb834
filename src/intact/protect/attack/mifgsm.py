"""MI-FGSM: steps with momentum, which keeps the direction that all gradients share.

Dong, Liao, Pang, Su, Zhu, Hu, Li, "Boosting adversarial attacks with momentum", CVPR 2018:
g_{t+1} = mu g_t + grad J / ||grad J||_1, x_{t+1} = clip(x_t + alpha sign(g_{t+1})).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intact.protect.attack.steps import Momentum


@dataclass(eq=False)
class MIFGSM(Momentum):
    """The momentum iterative method."""

    source: ClassVar[str] = "Dong et al., CVPR 2018"
