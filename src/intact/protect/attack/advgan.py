"""AdvGAN: a generator learns the change, a discriminator keeps changed images like others.

Xiao, Li, Zhu, He, Liu, Song, "Generating adversarial examples with adversarial networks", IJCAI 2018:

    L = L_adv + alpha L_GAN + beta L_hinge,    L_adv = max(Z_y - max_{i != y} Z_i, -kappa),
    L_hinge = max(0, ||G(x)||_2 - c),

with the squared losses of LSGAN. Weights (10 for L_adv, 1 for L_hinge, 1 for L_GAN) are those of public
code, on a norm per pixel. Differs from the paper: changes are bounded by epsilon; the discriminator is
that of NROI-AdvGAN, which fits images of this size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.nets.perturber import Discriminator, Perturber
from intact.protect.attack.base import GREY, Classifier, Shown
from intact.protect.attack.learned import Learned, likeliest_wrong, step_of


@dataclass(eq=False)
class AdvGAN(Learned):
    """The generator of AdvGAN.

    Args:
        weight_adv: Of misleading the classifier.
        weight_hinge: Of changes that are larger than `free`.
        free: Root mean square of a change that costs nothing, as a share of epsilon; c in the paper.
        confidence: Lead in logits beyond which nothing is gained; kappa in the paper.
    """

    weight_adv: float = 10.0
    weight_hinge: float = 1.0
    free: float = 0.5
    confidence: float = 0.0

    source: ClassVar[str] = "Xiao et al., IJCAI 2018"

    def _network(self) -> nn.Module:
        return Perturber()

    def _fit(
        self,
        classify: Classifier,
        images: Shown,
        labels: Int[Tensor, "n"],
        allowed: Float[Tensor, "n 1 h w"],
    ) -> None:
        judge = self._seeded(Discriminator)
        learner = torch.optim.Adam(self.net.parameters(), self.rate)
        teacher = torch.optim.Adam(judge.parameters(), self.rate)
        for chosen in self._batches(len(images)):
            clean = images[chosen]
            changed = self._changed(clean, allowed[chosen])
            told, of_clean = judge(changed.detach()), judge(clean)
            step_of(teacher, told.square().mean() + (1 - of_clean).square().mean())
            loss = self._misled(classify(changed), labels[chosen]) + self._hinge(changed - clean)
            step_of(learner, loss + (1 - judge(changed)).square().mean())

    def _misled(self, logits: Float[Tensor, "b classes"], labels: Int[Tensor, "b"]) -> Tensor:
        """How far the true class leads, as Carlini and Wagner have it."""
        wrong = likeliest_wrong(logits, labels)
        lead = logits.gather(1, labels[:, None]) - logits.gather(1, wrong[:, None])
        return self.weight_adv * lead.clamp_min(-self.confidence).mean()

    def _hinge(self, change: Shown) -> Tensor:
        """What exceeds the free size, in shares of epsilon."""
        size = change.square().mean(dim=(1, 2, 3)).add(1e-12).sqrt() * GREY / self.epsilon
        return self.weight_hinge * F.relu(size - self.free).mean()
