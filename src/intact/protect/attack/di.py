"""DI: the gradient of an image that is now and then made smaller and put anywhere on black.

Xie, Zhang, Zhou, Bai, Wang, Ren, Yuille, "Improving transferability of adversarial examples with
input diversity", CVPR 2019, with momentum (M-DI2-FGSM). Differs from the paper, whose networks take
299 pixels and see 330: images shrink instead and keep their size with the black around them, as
classifiers here take one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Momentum, diverse


@dataclass(eq=False)
class DI(Momentum):
    """The diverse inputs method.

    Args:
        smallest: Side of the smallest copy, as a share of the image's.
        chance: Of an image being changed at a step.
    """

    smallest: float = 0.9
    chance: float = 0.5

    source: ClassVar[str] = "Xie et al., CVPR 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.smallest < 1 or not 0 <= self.chance <= 1:
            raise UsageError(
                f"smallest={self.smallest:g}, chance={self.chance:g}: give shares between 0 and 1"
            )

    def _slope(self, problem: Problem, x: Shown) -> Tensor:
        return diverse(problem, self.chance, self.smallest).gradient(x)
