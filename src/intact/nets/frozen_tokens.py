"""`FrozenTokens`: tokens of a fixed vision transformer, by name; what `FrozenFeatures` is to ResNets."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError, WeightsError
from intact.nets.vit import VisionTransformer, plan_of
from intact.nets.weights import load_weights
from intact.precision import Precision


class FrozenTokens(nn.Module):
    """Tokens of a fixed vision transformer, after the blocks asked for, never trained.

    Pretrained weights are fetched at the first forward pass, unless `load_state_dict` brought them
    first: a saved detector carries its backbone and needs no other file.

    Args:
        backbone: One of `VITS`.
        blocks: Numbers of blocks, from 0; -1 is the last one.
        precision: Number format of weights and tokens: fit and score with the same one.

    Raises:
        UsageError: An unknown backbone or block.
        WeightsError: At the first forward pass, when no weights can be found or they do not fit.
    """

    loaded: Tensor

    def __init__(self, backbone: str, blocks: tuple[int, ...], precision: Precision) -> None:
        super().__init__()
        self.backbone = backbone
        self.plan = plan_of(backbone)
        depth = self.plan.depth
        chosen = tuple(sorted({block % depth for block in blocks if -depth <= block < depth}))
        if not chosen or len(chosen) < len(blocks):
            raise UsageError(
                f"blocks {blocks} of {backbone!r}: it has {depth}, counted from 0; name each one once"
            )
        self.net = VisionTransformer(self.plan, chosen).to(getattr(torch, precision))
        self.prefix = self.net.prefix  # tokens before the first patch
        self.register_buffer("loaded", torch.tensor(False))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"], normed: bool = False) -> list[Tensor]:
        """(n, tokens, width) per block, shallowest first; `normed` by the network's last layer."""
        if not self.loaded:
            self._load_pretrained()
        tokens = self.net(images)
        return [self.net.norm(x) for x in tokens] if normed else tokens

    def _load_pretrained(self) -> None:
        weights = _dinov2_keys(load_weights(self.backbone), self.plan.width)
        with torch.device("meta"):
            whole = VisionTransformer(self.plan).state_dict()
        wrong = {k for k in whole.keys() & weights.keys() if whole[k].shape != weights[k].shape}
        wrong |= whole.keys() ^ weights.keys()
        if wrong:
            raise WeightsError(
                f"the weights found for {self.backbone!r} are of another network: {len(wrong)} tensors are "
                f"missing, too many or of another shape, first {min(wrong)!r}; give its complete checkpoint"
            )
        self.net.load_state_dict({k: weights[k] for k in self.net.state_dict()})
        self.loaded.fill_(True)


def _dinov2_keys(weights: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """DINOv2's names for weights that may come under timm's, as the hub has them.

    timm leaves the mask token out. With registers it gives their tokens another name and adds the
    class token's position to the class token.
    """
    named = {k: v for k, v in weights.items() if k != "reg_token"}
    named.setdefault("mask_token", torch.zeros(1, width))
    if "reg_token" in weights:
        named["register_tokens"] = weights["reg_token"]
        place = weights["pos_embed"]
        named["pos_embed"] = torch.cat([torch.zeros_like(place[:, :1]), place], dim=1)
    return named
