"""PatchCL-AE: what comes out of an autoencoder must match what went in, patch by patch, in features.

Lu, Zhang, Guo, Liu, Li, Wang, "PatchCL-AE: Anomaly detection for medical images using patch-wise
contrastive learning-based auto-encoder", Computerized Medical Imaging and Graphics 114, 2024, 102366.
A patch of the output must be found among all patches of the input by its features: local meaning,
not grey values, teaches the network, and its absence is the score.

A reading of the paper's abstract; there is no public code. Our choice, not verified: network, depths and
contrast are those of contrastive unpaired translation (Park et al., ECCV 2020, and its code,
taesungp/contrastive-unpaired-translation), from which also come the perceptrons, 256 places per image,
the temperature and the optimiser; a small absolute error beside the contrast; all widths and steps,
chosen for two CPU cores at 128 x 128; the score (1 - cosine at every place, summed over depths).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map, info_nce
from intact.nets.translator import Translator
from intact.precision import Precision, computing
from intact.train import train

BETAS = (0.5, 0.999)  # of Adam


@dataclass(eq=False)
class PatchCLAE(FeatureMaps):
    """1 - cosine between the features of each patch before and after, at five depths."""

    size: int = 128  # side of the image in pixels, a multiple of 4
    width: int = 16  # channels at full resolution
    blocks: int = 4
    embedding: int = 64  # numbers in a patch's feature
    places: int = 256  # patches per image and depth in the contrast
    temperature: float = 0.07
    absolute: float = 0.1  # weight of the absolute error beside the contrast
    steps: int = 200
    lr: float = 2e-4
    sigma: float = 0.0
    pooling: str = "top"
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "self-supervised"
    source: ClassVar[str] = "Lu et al., CMIG 2024"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 2)

    def _build(self, channels: int) -> None:
        self.net = Translator(channels, self.width, self.blocks)
        self.perceptrons = nn.ModuleList(_perceptron(c, self.embedding) for c in self.net.channels)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        nets = nn.ModuleList([self.net, self.perceptrons])
        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr, betas=BETAS)

        def loss(images: Images) -> Float[Tensor, ""]:
            return self._loss(images, rng)

        train(nets, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _loss(self, images: Images, rng: torch.Generator) -> Float[Tensor, ""]:
        """Each patch of the output against all chosen patches of its own input, which are constants."""
        rebuilt, before, after = self._translate(images)
        total = self.absolute * (rebuilt - images).abs().mean()
        for perceptron, ours, theirs in zip(self.perceptrons, after, before, strict=True):
            chosen = torch.randperm(ours[0, 0].numel(), generator=rng)[: self.places].to(images.device)
            queries, keys = (perceptron(m.flatten(2)[..., chosen].mT) for m in (ours, theirs.detach()))
            total = total + info_nce(queries, keys.detach(), self.temperature)
        return total

    def _distances(self, images: Images) -> list[Map]:
        _, before, after = self._translate(images)
        return [
            cosine_map(*(perceptron(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for m in (ours, theirs)))
            for perceptron, ours, theirs in zip(self.perceptrons, after, before, strict=True)
        ]

    def _translate(self, images: Images) -> tuple[Images, list[Tensor], list[Tensor]]:
        """The image that comes out, and the maps of the one that went in and of this one."""
        with computing(self.precision, images.device.type):
            rebuilt, before = self.net(2.0 * images - 1.0)
            after = self.net.encode(rebuilt)
        return (rebuilt.float() + 1.0) / 2.0, [m.float() for m in before], [m.float() for m in after]


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Linear(outputs, outputs))
