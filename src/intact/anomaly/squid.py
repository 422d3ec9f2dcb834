"""SQUID: rebuild the image from remembered normal anatomy, and ask a judge whether the result looks true.

Xiang, Zhang, Lu, Yuille, Zhang, Cai, Zhou, "SQUID: Deep Feature In-Painting for Unsupervised Anomaly
Detection", CVPR 2023, arXiv:2111.13495, with the details of the authors' code: of the five codes
that the paper reads from a memory the fifth gets no weight, the quarters that the learned memories
replace are those of each window, and the judge normalises a tested image by its own statistics.

Differs from the paper: 8 instead of 32 channels, 400 batches instead of 200 epochs, the generator
at 1e-3 instead of 1e-4, so that it trains on a CPU in minutes (all are fields); no augmentation. The
authors keep the epoch in which labelled images are told apart best; here the last one counts. The
map is the absolute difference to the rebuilt image and ours; so is its mean, as another verdict.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_choice, check_halvings
from intact.errors import UsageError
from intact.nets.squid import InPainter, Judge
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import descend, take_steps

NORMALS = 200  # training images whose verdicts give the mean and deviation of normal ones, about


@dataclass(eq=False)
class SQUID(Detector):
    """How much less true the rebuilt image looks to the discriminator than rebuilt normal images.

    Needs aligned images: every window has memories of its own.
    """

    size: int = 128  # side of the image in pixels, a multiple of 32 from 64 on
    width: int = 8  # channels at full resolution, a multiple of 4
    slots: int = 200  # codes per memory
    kept: int = 4  # codes that make up what is read from a memory
    verdict: str = "judge"  # or residual
    steps: int = 400  # batches, from each of which the judge learns
    turns: int = 2  # of the judge for one of the generator
    lr: float = 1e-3
    judge_lr: float = 1e-4
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Xiang et al., CVPR 2023"

    def __post_init__(self) -> None:
        check_halvings(self.size, 5)
        if self.size < 64:
            raise UsageError(f"size is {self.size}: use at least 64")
        check_choice("verdict", self.verdict, ("judge", "residual"))

    def _build(self, channels: int) -> None:
        self.net = InPainter(channels, self.size, self.width, self.slots, self.kept)
        self.judge = Judge(channels, self.size, self.width)

    def _fit(self, batches: Batches) -> None:
        with torch.random.fork_rng(devices=[]):  # in training the networks skip memories at random
            torch.manual_seed(self.seed)
            self._train(batches)
        enough = math.ceil(NORMALS / len(next(iter(batches))))
        with torch.no_grad():
            found = [self._logits(self._rebuild(images)) for images in itertools.islice(batches, enough)]
        logits = torch.cat(found)
        self.mean_, self.deviation_ = logits.mean(), logits.std(correction=0).clamp(min=1e-6)

    def _train(self, batches: Batches) -> None:
        betas = (0.5, 0.999)
        learner = torch.optim.Adam(self.net.parameters(), self.lr, betas, eps=1e-7, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(learner, 3 * self.steps // 2, 0.1 * self.lr)
        judging = torch.optim.Adam(self.judge.parameters(), self.judge_lr, betas)
        turns = itertools.cycle(range(self.turns))

        def step(images: Tensor) -> None:
            descend(self._judge_loss(images), judging, math.inf)
            if next(turns) == 0:
                loss, codes = self._loss(images)
                descend(loss, learner, math.inf)
                self.net.paint.push(codes)
            schedule.step()

        take_steps([self.net, self.judge], step, batches, steps=self.steps)

    def _judge_loss(self, images: Images) -> Tensor:
        """Cross-entropy of telling images from what they are rebuilt as; each kind is a batch of its own."""
        with torch.no_grad():
            rebuilt = self._rebuild(images)
        return 0.005 * (F.softplus(-self.judge(images)).mean() + F.softplus(self.judge(rebuilt)).mean())

    def _loss(self, images: Images) -> tuple[Tensor, Float[Tensor, "n p d"]]:
        """What the generator minimises, and the codes for its queues."""
        with computing(self.precision, images.device.type):
            rebuilt, taught, apart, codes = self.net.learn(images)
        fooled = F.softplus(-self.judge(rebuilt.float())).mean()
        error, taught_error = F.mse_loss(rebuilt, images), F.mse_loss(taught, images)
        return 10.0 * error + 0.01 * taught_error + 0.001 * apart + 0.005 * fooled, codes

    def _score(self, images: Images) -> Scores:
        rebuilt = self._rebuild(images)
        pixel = (images - rebuilt).abs().mean(dim=1)
        if self.verdict == "residual":
            return Scores(image=pixel.mean(dim=(1, 2)), pixel=pixel)
        # 1 - sigmoid((D - mean) / deviation), without losing small values to rounding.
        return Scores(torch.sigmoid((self.mean_ - self._logits(rebuilt)) / self.deviation_), pixel)

    def _rebuild(self, images: Images) -> Images:
        with computing(self.precision, images.device.type):
            return self.net(images).float()

    def _logits(self, images: Images) -> Float[Tensor, "n"]:
        """The judge on each image alone, since its normalisation would mix the batch."""
        return torch.cat([self.judge(image[None]) for image in images])
