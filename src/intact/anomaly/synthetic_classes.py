"""What methods share that learn to tell normal images from those that something was pasted into.

Such a method has two stages: a classifier is trained, then its features of the normal images give a
density, and the distance from it is the score. The map is Grad-CAM of that distance: Selvaraju,
Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice, check_halvings
from intact.anomaly.views import jitter
from intact.filters import upsample
from intact.nets.resnet import STAGES
from intact.nets.trainable import TrainableFeatures
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

WIDTHS = (512, 128)  # of the classifier's hidden layers, the first repeated
MOMENTUM, WEIGHT_DECAY = 0.9, 3e-5  # of the descent

Embeddings = Float[Tensor, "n d"]


@dataclass(eq=False)
class SyntheticClasses(Detector):
    """How far the features of a classifier of pasted images lie from those of normal ones.

    A method implements `_pasted`, `_learn` and `_distance`. Gradients are shortened to length 1.

    Args:
        hidden: Layers of 512 in the classifier, before one of 128 and the last.
        lr: Learning rate of the classifier and of stages without pretrained weights.
        pretrained_lr: Of the pretrained stages. Their batch norms do not follow the batch, and at the
            classifier's rate they forget faster than they learn.
        frozen: Steps in which the pretrained stages do not learn yet.
        jitter: Strength of the changes of brightness and colour of whole images in training.
        explained: Stage whose map Grad-CAM weighs.
    """

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    hidden: int = 1
    frozen: int = 20
    jitter: float = 0.1
    explained: str = "layer3"  # at 128 pixels as fine as layer4 at 256
    steps: int = 150
    lr: float = 0.03
    pretrained_lr: float = 3e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"
    classes: ClassVar[int]  # normal images among them

    def __post_init__(self) -> None:
        check_halvings(self.size, 5)
        check_choice("explained", self.explained, STAGES)

    @abstractmethod
    def _pasted(self, images: Images, rng: np.random.Generator) -> list[Images]:
        """The images of each class but the first, which are the normal ones."""

    @abstractmethod
    def _learn(self, embeddings: Embeddings) -> None:
        """Remember where normal images lie."""

    @abstractmethod
    def _distance(self, embeddings: Embeddings) -> Float[Tensor, "n"]:
        """How far from there others lie; differentiable."""

    def _build(self, channels: int) -> None:
        self.net = TrainableFeatures(self.backbone, STAGES)
        widths = [self.net.channels[-1], *[WIDTHS[0]] * self.hidden, WIDTHS[1]]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers, nn.Linear(WIDTHS[1], self.classes))

    def _fit(self, batches: Batches) -> None:
        self.net.load_pretrained()
        self._train(batches)
        with torch.no_grad():
            self._learn(torch.cat([self._embed(self._maps(images)[-1]) for images in batches]))

    def _train(self, batches: Batches) -> None:
        rng, colours = np.random.default_rng(self.seed), torch.Generator().manual_seed(self.seed)
        spread = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), self.jitter)

        def loss(images: Tensor) -> Tensor:
            images = jitter(images, colours, **spread)
            groups = [images, *self._pasted(images, rng)]
            logits = self.head(_pooled(self._maps(torch.cat(groups))[-1]))
            classes = torch.arange(len(groups), device=images.device).repeat_interleave(len(images))
            return F.cross_entropy(logits, classes)

        pretrained, fresh = self.net.split()
        rates: list[dict[str, Any]] = [
            {"params": pretrained, "lr": self.pretrained_lr},
            {"params": [*fresh, *self.head.parameters()], "lr": self.lr},
        ]
        optimiser = torch.optim.SGD(rates, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, [self._thawed, self._cosine])
        nets = nn.ModuleList([self.net, self.head])
        train(nets, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)

    def _cosine(self, step: int) -> float:
        """Share of the learning rate."""
        return (1.0 + math.cos(math.pi * step / self.steps)) / 2.0

    def _thawed(self, step: int) -> float:
        """Likewise, for what is frozen at first."""
        return 0.0 if step < self.frozen else self._cosine(step)

    def _score(self, images: Images) -> Scores:
        with torch.enable_grad():
            maps = self._maps(images)
            distance = self._distance(self._embed(maps[-1]))
            shown = maps[STAGES.index(self.explained)]
            (gradient,) = torch.autograd.grad(distance.sum(), shown)
        weights = gradient.float().mean(dim=(2, 3), keepdim=True)
        cam = F.relu((weights * shown.detach().float()).sum(dim=1))
        return Scores(image=distance.detach(), pixel=upsample(cam, (self.size, self.size)))

    def _maps(self, images: Images) -> list[Float[Tensor, "n _ _ _"]]:
        """All stages' maps."""
        with computing(self.precision, images.device.type):
            return self.net(images)

    def _embed(self, deepest: Float[Tensor, "n d _ _"]) -> Embeddings:
        """Mean over the positions, brought to length 1."""
        return F.normalize(_pooled(deepest), dim=1)


def _pooled(deepest: Float[Tensor, "n d _ _"]) -> Embeddings:
    return deepest.float().mean(dim=(2, 3))
