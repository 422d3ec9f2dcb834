"""StableAdamW, and a learning rate that warms up and then falls: how transformers here are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class StableAdamW(torch.optim.Optimizer):
    """AdamW that takes shorter steps where gradients have outgrown their running mean square.

    Wortsman, Dettmers, Zettlemoyer, Morcos, Farhadi, Schmidt, "Stable and low-precision training for
    large-scale vision-language models", NeurIPS 2023, https://arxiv.org/abs/2304.13013: each tensor's
    rate is divided by the root mean square of gradient / denominator, where that is above 1. As
    Dinomaly has it: AMSGrad's largest mean square so far in the denominator, and bias correction.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step down every gradient; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["count"] = 0
            for name in ("mean", "square", "largest"):
                state[name] = torch.zeros_like(parameter)
        state["count"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        torch.maximum(state["largest"], state["square"], out=state["largest"])
        correction = math.sqrt(1 - second ** state["count"])
        denominator = (state["largest"].sqrt() / correction).add_(group["eps"])
        surprise = (gradient / denominator).square().mean().sqrt().clamp(min=1.0)
        rate = group["lr"] / (1 - first ** state["count"]) / surprise
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(rate * state["mean"] / denominator)


def warm_cosine(
    optimiser: torch.optim.Optimizer, *, steps: int, warm: int, last: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """The rate rises in a line from 0 in `warm` steps, then falls along a cosine.

    Args:
        optimiser: With the highest rate.
        steps: In all.
        warm: Of them, the rising ones.
        last: The rate at the end, as a share of the highest.
    """

    def share(step: int) -> float:
        if step < warm:
            return step / max(1, warm - 1)
        return last + (1 - last) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)
