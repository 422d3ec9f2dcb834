"""TI: the gradient is smoothed, as if the image had been attacked at many places at once.

Dong, Pang, Su, Zhu, "Evading defenses to transferable adversarial examples by
translation-invariant attacks", CVPR 2019, with momentum (TI-MIM): the gradient is convolved with a
Gaussian kernel of 15 x 15 pixels whose standard deviation is a third of its reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Momentum


@dataclass(eq=False)
class TI(Momentum):
    """The translation-invariant method.

    Args:
        kernel: Side of the Gaussian, in pixels, odd.
    """

    kernel: int = 15

    source: ClassVar[str] = "Dong et al., CVPR 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"a kernel of {self.kernel} pixels has no middle: give an odd number")

    def _slope(self, problem: Problem, x: Shown) -> Tensor:
        reach = self.kernel // 2
        line = torch.exp(-0.5 * torch.linspace(-3, 3, self.kernel) ** 2) if reach else torch.ones(1)
        line = line / line.sum()
        slope, channels = problem.gradient(x), x.shape[1]
        for shape, padding in (((1, 1, -1, 1), (reach, 0)), ((1, 1, 1, -1), (0, reach))):
            kernel = line.reshape(shape).repeat(channels, 1, 1, 1)
            slope = F.conv2d(slope, kernel, padding=padding, groups=channels)
        return slope * problem.allowed  # or what is beside the mask would count in the norm
