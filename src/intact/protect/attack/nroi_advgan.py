"""NROI-AdvGAN: a generator draws the change, outside the region of interest alone.

"Reversible adversarial examples of medical images", J. Univ. Shanghai Sci. Technol. 2025, 47(5),
590-602, equations 7-14:

    L_G = 10 L_cls + l2 L_adv + 10 L_mse + L_1-ssim,    L_cls = CE(F(x'), likeliest wrong class),
    L_adv = -ln(1 - D(x')),    L_D = -ln D(x') - ln(1 - D(x)),

where D tells how likely an image was changed; l2 is 0 until four of five validation images mislead
the classifier, then 1. The rate starts at 0.001 and falls on a plateau to 0.0001.

The paper gives no kernels and channels of its generator: those here follow the layers of the
generator that it builds on, with CBAM in the skips. Differs from the paper: values go from 0 to 1 in
equations 10 (where no scale is given) and 11; norms are those of each image; a tenth of the images
validates, every 100 steps; changes are rounded to whole stored values afterwards, since a file holds
no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.nets.perturber import Discriminator, Perturber
from intact.protect.attack.base import Classifier, Shown
from intact.protect.attack.learned import Learned, likeliest_wrong, step_of

WIDTHS = (8, 16, 32, 64)
SLOWEST, PATIENCE, EVERY = 1e-4, 3, 100  # least rate; looks without progress before it halves; steps


@dataclass(eq=False)
class NROIAdvGAN(Learned):
    """The generator of NROI-AdvGAN.

    Args:
        discriminator: Learn against a discriminator.
        weight_mse: Of the squared difference.
        weight_ssim: Of the lost similarity of structure.
    """

    batch: int = 1
    discriminator: bool = True
    weight_mse: float = 10.0
    weight_ssim: float = 1.0

    source: ClassVar[str] = "J. USST 47(5), 2025"

    def _network(self) -> nn.Module:
        return Perturber(WIDTHS, skips=True)

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
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            learner, factor=0.5, patience=PATIENCE, min_lr=SLOWEST
        )
        looks, against = max(1, len(images) // 10), False
        for step, chosen in enumerate(self._batches(len(images) - looks)):
            chosen = chosen + looks  # the first validate
            clean, free, own = images[chosen], allowed[chosen], labels[chosen]
            changed = self._changed(clean, free)
            if self.discriminator:
                step_of(teacher, _judging(judge, clean, changed.detach()))
            loss = self._loss(classify(changed), own, clean, changed)
            if against:
                loss = loss + F.softplus(judge(changed)).mean()  # -ln(1 - D)
            step_of(learner, loss)
            if (step + 1) % EVERY == 0:
                missed, fooled = self._validate(classify, images[:looks], labels[:looks], allowed[:looks])
                plateau.step(missed)
                against = against or (self.discriminator and fooled >= 0.8)

    def _loss(
        self, logits: Float[Tensor, "b classes"], labels: Int[Tensor, "b"], clean: Shown, changed: Shown
    ) -> Tensor:
        """Equation 7 without its second term."""
        from monai.losses.ssim_loss import SSIMLoss  # takes seconds, and only learning needs it

        loss = 10 * F.cross_entropy(logits, likeliest_wrong(logits, labels))
        loss = loss + self.weight_mse * F.mse_loss(changed, clean)
        return loss + self.weight_ssim * SSIMLoss(spatial_dims=2)(changed, clean)

    @torch.no_grad()
    def _validate(
        self, classify: Classifier, images: Shown, labels: Int[Tensor, "k"], allowed: Float[Tensor, "k 1 h w"]
    ) -> tuple[float, float]:
        """The loss, and the share of images that mislead the classifier."""
        losses, fooled = 0.0, 0
        for clean, own, free in zip(images.split(8), labels.split(8), allowed.split(8), strict=True):
            changed = self._changed(clean, free)
            logits = classify(changed)
            losses += float(self._loss(logits, own, clean, changed)) * len(clean)
            fooled += int((logits.argmax(1) != own).sum())
        return losses / len(images), fooled / len(images)


def _judging(judge: nn.Module, clean: Shown, changed: Shown) -> Tensor:
    """Equations 12 to 14: 1 for changed images, 0 for clean ones."""
    return F.softplus(-judge(changed)).mean() + F.softplus(judge(clean)).mean()
