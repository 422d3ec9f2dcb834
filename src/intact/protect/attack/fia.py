"""FIA: features of a middle layer that matter for the true class are suppressed, whatever network follows.

Wang, Guo, Zhang, Liu, Qin, Ren, "Feature importance-aware transferable adversarial attacks", ICCV
2021. The importance of a feature is the gradient of the true class's logit by it, summed over copies
of the image with random pixels dropped, and scaled to length 1; the sum of features weighted by it
is made as small as can be, with momentum.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Momentum


@dataclass(eq=False)
class FIA(Momentum):
    """The feature importance-aware method; the classifier is a torch module.

    Args:
        layer: Name of the module whose output is looked at, such as "layer2" of a ResNet.
        copies: With dropped pixels; 30 in the paper.
        dropped: Share of the pixels that each of them lacks.

    Raises:
        UsageError: When it is used: the classifier has no such layer.
    """

    layer: str = "layer2"
    copies: int = 30
    dropped: float = 0.3

    source: ClassVar[str] = "Wang et al., ICCV 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies < 1 or not 0 <= self.dropped < 1:
            raise UsageError(f"copies={self.copies}, dropped={self.dropped:g}: give 1 or more, below 1")

    def _search(self, problem: Problem) -> Shown:
        weights = self._importance(problem)

        def unlike(x: Shown) -> Tensor:
            features, _ = self._looked_at(problem, x)
            return -(weights * features).flatten(1).sum(dim=1)

        return super()._search(dataclasses.replace(problem, objective=unlike))

    def _importance(self, problem: Problem) -> Tensor:
        total: Tensor | float = 0.0
        for _ in range(self.copies):
            kept = torch.rand(problem.shown.shape[1:], generator=problem.rng) >= self.dropped
            with torch.enable_grad():
                features, logits = self._looked_at(problem, (problem.shown * kept).requires_grad_())
                own = logits.gather(1, problem.labels[:, None]).sum()
            total = total + torch.autograd.grad(own, features)[0]
        assert isinstance(total, Tensor)
        length = total.flatten(1).norm(dim=1).clamp_min(1e-30)
        return total / length.reshape(-1, *[1] * (total.ndim - 1))

    def _looked_at(self, problem: Problem, x: Shown) -> tuple[Tensor, Tensor]:
        """The layer's output, and the logits."""
        named = dict(problem.classify.named_modules()) if isinstance(problem.classify, nn.Module) else {}
        if self.layer not in named:
            names = ", ".join(list(named)[1:9]) or "none, since it is no torch module"
            raise UsageError(f"the classifier has no layer {self.layer!r}; it has {names}")
        seen: list[Tensor] = []
        hook = named[self.layer].register_forward_hook(lambda module, given, output: seen.append(output))
        try:
            logits = problem.classify(x)
        finally:
            hook.remove()
        return seen[-1], logits
