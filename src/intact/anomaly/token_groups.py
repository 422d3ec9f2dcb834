"""What Dinomaly and INP-Former share: a frozen vision transformer whose blocks are rebuilt in groups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.anomaly.stable_adamw import StableAdamW, warm_cosine
from intact.errors import UsageError
from intact.losses import cosine_map, flat_cosine
from intact.nets.frozen_tokens import FrozenTokens
from intact.nets.vit import PATCH, check_patches
from intact.precision import Precision
from intact.train import train

# From Dinomaly's code for images of one kind, 5,000 steps of which 100 warm up; INP-Former's is alike.
WARM = 0.02  # share of the steps in which the rate rises
LAST = 0.1  # the rate at the end, as a share of the highest
MAX_NORM = 0.1


@dataclass(eq=False)
class TokenGroups(FeatureMaps):
    """1 - cosine of the means over groups of an encoder's blocks and of a decoder's, at each token.

    The decoder has as many blocks as are collected from the encoder. It runs backwards: its last
    blocks rebuild the encoder's first ones. A method implements `_rebuild`.

    Args:
        backbone: Key in `intact.nets.vit.VITS`.
        blocks: Of the encoder, counted from 0, whose tokens are collected.
        groups: Equal parts into which they are divided.
    """

    size: int = 140  # side of the image in pixels, a multiple of 14
    backbone: str = "dinov2_vits14_reg4"
    blocks: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9)
    groups: int = 2
    fusion: str = "mean"
    sigma: float = 0.75  # of the map, in pixels; the paper's kernel has 1.4 of 256
    pooling: str = "top"
    precision: Precision = "float32"
    seed: int = 0

    fused_at: ClassVar[str] = "finest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patches(self.size)
        if self.groups < 1 or len(self.blocks) % self.groups:
            raise UsageError(f"groups={self.groups} does not divide the {len(self.blocks)} blocks collected")

    @abstractmethod
    def _rebuild(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of the encoder's blocks and of the decoder's, each in its own order, in float32."""

    def _eyes(self) -> FrozenTokens:
        return FrozenTokens(self.backbone, self.blocks, self.precision)

    def _train(
        self, net: nn.Module, loss: Callable[[Tensor], Tensor], batches: Batches, *, steps: int, lr: float
    ) -> None:
        optimiser = StableAdamW(net.parameters(), lr)
        schedule = warm_cosine(optimiser, steps=steps, warm=round(WARM * steps), last=LAST)
        with torch.random.fork_rng(devices=[]):  # which dropout draws from
            torch.manual_seed(self.seed)
            train(net, loss, batches, steps=steps, optimiser=optimiser, schedule=schedule, max_norm=MAX_NORM)

    def _distances(self, images: Images) -> list[Map]:
        return [cosine_map(e, d) for e, d in zip(*self._grouped(images), strict=True)]

    def _grouped(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """Per group, the mean over the encoder's blocks and over those that rebuild them, as maps."""
        encoded, decoded = self._rebuild(images)
        return self._means(encoded), self._means(decoded[::-1])

    def _means(self, tokens: Sequence[Tensor]) -> list[Float[Tensor, "n c h w"]]:
        side = self.size // PATCH
        each = len(tokens) // self.groups
        means = [torch.stack(list(tokens[i : i + each])).mean(dim=0) for i in range(0, len(tokens), each)]
        return [m[:, -side * side :].transpose(1, 2).unflatten(2, (side, side)) for m in means]


def mined_cosine(
    target: Float[Tensor, "n c h w"], rebuilt: Float[Tensor, "n c h w"], weigh: Callable[[Map], Map]
) -> Float[Tensor, ""]:
    """`flat_cosine`, averaged, with the gradient at each position multiplied by a weight.

    Args:
        target: Gets no gradient.
        rebuilt: Gets it.
        weigh: Makes the weights of the distances, 1 - cosine, of all positions of the batch.
    """
    target, held = target.detach(), rebuilt.detach()
    weight = weigh(cosine_map(target, held))[:, None]
    return flat_cosine(target, held + (rebuilt - held) * weight).mean()
