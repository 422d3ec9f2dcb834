"""UAP: one change for all images.

Moosavi-Dezfooli, Fawzi, Fawzi, Frossard, "Universal adversarial perturbations", CVPR 2017: for image
after image that v does not yet mislead, the least change that takes x + v over the nearest border
(DeepFool, Moosavi-Dezfooli et al., CVPR 2016) is added to v, which is brought back into the bound; until
enough images are misled. Differs from the paper: images are taken as often as there are `steps`, and
where images differ in what may be changed, each has its own part of v.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.protect.attack.base import GREY, Classifier, Shown
from intact.protect.attack.learned import Learned

OVERSHOOT, LINEAR = 0.02, 10  # as DeepFool's authors have them: beyond the border; steps, at most


class Universal(nn.Module):
    """The same change for every image."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(1, 1, *shape))

    def forward(self, images: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
        """The change, for each image."""
        return self.change.expand(len(images), -1, -1, -1)


@dataclass(eq=False)
class UAP(Learned):
    """The universal perturbation.

    Args:
        enough: Share of the images at which learning ends.
    """

    batch: int = 1
    enough: float = 0.9

    source: ClassVar[str] = "Moosavi-Dezfooli et al., CVPR 2017"

    def _network(self) -> nn.Module:
        return Universal(self.shape_)

    def _fit(
        self,
        classify: Classifier,
        images: Shown,
        labels: Int[Tensor, "n"],
        allowed: Float[Tensor, "n 1 h w"],
    ) -> None:
        budget, change = self.epsilon / GREY, torch.zeros(1, 1, *self.shape_)
        misled: deque[bool] = deque(maxlen=len(images))  # as each image was found the last time
        for chosen in self._batches(len(images)):
            clean, own, free = images[chosen], labels[chosen], allowed[chosen]
            least = _least_change(classify, clean + change * free, own, free)
            misled.append(least is None)
            if least is not None:
                change = (change + least.mean(0, keepdim=True)).clamp(-budget, budget)
            if sum(misled) >= self.enough * len(images):
                break
        self.net.load_state_dict({"change": change / budget})


def _least_change(
    classify: Classifier, start: Shown, own: Int[Tensor, "1"], free: Float[Tensor, "1 1 h w"]
) -> Shown | None:
    """DeepFool: the shortest way over the nearest border as the slopes here tell it; None from beyond it."""
    way = torch.zeros_like(start)
    for step in range(LINEAR):
        x = (start + (1 + OVERSHOOT) * way).requires_grad_()
        logits = classify(x)[0]
        if logits.argmax() != own:
            return None if step == 0 else (1 + OVERSHOOT) * way
        ways = []
        for other in range(len(logits)):
            if other == own:
                continue
            (slope,) = torch.autograd.grad(logits[other] - logits[own[0]], x, retain_graph=True)
            slope = slope * free
            size = slope.norm().clamp_min(1e-12)
            distance = float((logits[own[0]] - logits[other]).detach().abs() / size)
            ways.append((distance, slope / size))
        distance, direction = min(ways, key=lambda pair: pair[0])
        way = way + (distance + 1e-6) * direction
    return (1 + OVERSHOOT) * way
