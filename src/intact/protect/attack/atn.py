"""ATN: a network learns to change images as little as the classifier's answer allows.

Baluja and Fischer, "Learning to attack: adversarial transformation networks", AAAI 2018, with a
residual output (P-ATN):

    L = beta ||g(x) - x||_2^2 + ||f(g(x)) - r(f(x), t)||_2^2,

where f gives probabilities and the reranked answer r puts class t in front, at alpha times the largest
probability, keeps the others in their order and is normalised. The paper trains a network for each
target t; here t is the likeliest wrong class of each image, and changes are bounded by epsilon. Both
terms are means, of values and classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.nets.perturber import Perturber
from intact.protect.attack.base import Classifier, Shown
from intact.protect.attack.learned import Learned, likeliest_wrong, step_of


@dataclass(eq=False)
class ATN(Learned):
    """The adversarial transformation network.

    Args:
        beta: Weight of the change.
        alpha: How much more than the largest probability the target is to have.
    """

    beta: float = 1.0
    alpha: float = 1.5

    source: ClassVar[str] = "Baluja and Fischer, AAAI 2018"

    def _network(self) -> nn.Module:
        return Perturber()

    def _fit(
        self,
        classify: Classifier,
        images: Shown,
        labels: Int[Tensor, "n"],
        allowed: Float[Tensor, "n 1 h w"],
    ) -> None:
        learner = torch.optim.Adam(self.net.parameters(), self.rate)
        for chosen in self._batches(len(images)):
            clean, own = images[chosen], labels[chosen]
            with torch.no_grad():
                logits = classify(clean)
            wanted = reranked(logits.softmax(1), likeliest_wrong(logits, own), self.alpha)
            changed = self._changed(clean, allowed[chosen])
            answer = classify(changed).softmax(1)
            step_of(learner, self.beta * F.mse_loss(changed, clean) + F.mse_loss(answer, wanted))


def reranked(
    probabilities: Float[Tensor, "b classes"], target: Int[Tensor, "b"], alpha: float
) -> Float[Tensor, "b classes"]:
    """Probabilities with the target in front, normalised."""
    largest = alpha * probabilities.amax(1, keepdim=True)
    return F.normalize(probabilities.scatter(1, target[:, None], largest), p=1, dim=1)
