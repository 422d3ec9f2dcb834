"""UniAD: a transformer rebuilds features from distant ones; what it cannot rebuild is abnormal.

You, Cui, Shen, Yang, Lu, Zheng, Le, "A Unified Model for Multi-class Anomaly Detection", NeurIPS
2022, https://arxiv.org/abs/2206.03687; details from the authors' code, zhiyuanyou/UniAD.

Differs from the paper: ResNet-18 up to layer3 instead of EfficientNet-B4, whose weights are not at
hand; 128 x 128 images instead of 224 x 224, with squares of 5 hidden tokens instead of 7, half the
width, and 300 steps at 2e-3 instead of 1,000 epochs at 1e-4, so that it trains on two CPU cores in
minutes (these are fields). Batches are as large as they come, there 8 per device. Maps are resized by
the areas of their pixels, there by the corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.features import FrozenFeatures
from intact.nets.token_transformer import TokenTransformer
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

STRIDE = 16  # pixels per token
POOLED = 16  # side of the window whose mean, where it is highest, is the image's score


@dataclass(eq=False)
class UniAD(Detector):
    """Distance of features from what a neighbour-masked transformer rebuilds of them.

    One model can learn several kinds of images at once. What belongs where is learned, too: images
    of a kind should be roughly aligned.
    """

    size: int = 128  # side of the image in pixels, a multiple of 16
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    width: int = 128  # of a token in the transformer
    heads: int = 8
    hidden: int = 512  # width between the linear layers of each block
    depth: int = 4  # layers of the encoder, and of the decoder
    neighbours: int = 5  # side, in tokens, of the square around a token that it is not rebuilt from
    dropout: float = 0.1
    jitter: float = 20.0  # noise on the tokens in training
    steps: int = 300
    lr: float = 2e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "You et al., NeurIPS 2022"

    def __post_init__(self) -> None:
        check_halvings(self.size, 4)
        side = self.size // STRIDE
        if side <= self.neighbours:
            raise UsageError(
                f"size {self.size} makes {side} x {side} tokens, and with neighbours={self.neighbours} those "
                "in the middle would see nothing: use a larger size or fewer neighbours"
            )

    def _build(self, channels: int) -> None:
        self.eyes = FrozenFeatures(self.backbone, self.layers, self.precision)
        self.net = TokenTransformer(
            sum(self.eyes.channels),
            self.size // STRIDE,
            width=self.width,
            heads=self.heads,
            hidden=self.hidden,
            depth=self.depth,
            neighbours=self.neighbours,
            dropout=self.dropout,
        )

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            tokens = self._tokens(images)
            return F.mse_loss(self._rebuild(jittered(tokens, self.jitter)), tokens)

        optimiser = torch.optim.AdamW(self.net.parameters(), lr=self.lr, weight_decay=1e-4)
        # The authors' code: a tenth of the rate for the last fifth, gradients no longer than 0.1.
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, max(1, self.steps * 4 // 5))
        with torch.random.fork_rng(devices=[]):  # which dropout and jitter draw from
            torch.manual_seed(self.seed)
            train(
                self.net,
                loss,
                batches,
                steps=self.steps,
                optimiser=optimiser,
                schedule=schedule,
                max_norm=0.1,
            )

    def _score(self, images: Images) -> Scores:
        tokens = self._tokens(images)
        distance = (self._rebuild(tokens) - tokens).norm(dim=2)
        side = self.size // STRIDE
        pixel = upsample(distance.unflatten(1, (side, side)), (self.size, self.size))
        image = F.avg_pool2d(pixel[:, None], POOLED, stride=1).amax(dim=(1, 2, 3))
        return Scores(image=image, pixel=pixel)

    def _tokens(self, images: Tensor) -> Float[Tensor, "n t c"]:
        """The maps of all stages at one side, stacked; row by row."""
        side = self.size // STRIDE
        maps = [
            F.interpolate(m.float(), size=(side, side), mode="bilinear", align_corners=False)
            for m in self.eyes(images)
        ]
        return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)

    def _rebuild(self, tokens: Tensor) -> Float[Tensor, "n t c"]:
        with computing(self.precision, tokens.device.type):
            return self.net(tokens).float()


def jittered(tokens: Float[Tensor, "n t c"], scale: float) -> Float[Tensor, "n t c"]:
    """With Gaussian noise of deviation `scale` · |token| / c, so that copying does not pay."""
    deviation = scale * tokens.norm(dim=2, keepdim=True) / tokens.shape[2]
    return tokens + deviation * torch.randn_like(tokens)
