"""Vision transformer as in DINOv2, under its key names so that its checkpoints fit.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024,
https://arxiv.org/abs/2304.07193; those with registers: Darcet, Oquab, Mairal, Bojanowski, "Vision
Transformers Need Registers", ICLR 2024, https://arxiv.org/abs/2309.16588.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError
from intact.nets.resnet import MEAN, STD

PATCH = 14  # pixels per side of a token


class Plan(NamedTuple):
    """What tells one vision transformer from another."""

    width: int
    depth: int
    heads: int
    registers: int
    grid: int = 37  # tokens per side that its positions were learned for: 518 pixels


VITS: dict[str, Plan] = {
    "dinov2_vits14": Plan(384, 12, 6, 0),
    "dinov2_vitb14": Plan(768, 12, 12, 0),
    "dinov2_vitl14": Plan(1024, 24, 16, 0),
    "dinov2_vits14_reg4": Plan(384, 12, 6, 4),
    "dinov2_vitb14_reg4": Plan(768, 12, 12, 4),
    "dinov2_vitl14_reg4": Plan(1024, 24, 16, 4),
}


class Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        """Time grows with the square of the number of tokens."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.proj(seen.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers, four times as wide between them; dropout, if any, after each."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        """Each token on its own."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        """Same shape."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and two layers, each normed before, scaled after and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        """Same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """One token for each patch of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h2 w2"]:
        """As a map of h / 14 by w / 14."""
        return self.proj(images)


class VisionTransformer(nn.Module):
    """Tokens of images in [0, 1]: the class token, the registers, then the patches row by row.

    Args:
        plan: One of `VITS`.
        blocks: Numbers, from 0, of the blocks whose tokens to return; later ones are not built.
            Empty: none is returned and all are built.
    """

    def __init__(self, plan: Plan, blocks: tuple[int, ...] = ()) -> None:
        super().__init__()
        width = plan.width
        self.grid, self.outputs, self.prefix = plan.grid, blocks, 1 + plan.registers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + plan.grid**2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, plan.registers, width)) if plan.registers else None
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # only DINOv2's own training uses it
        self.patch_embed = PatchEmbedding(width)
        depth = max(blocks) + 1 if blocks else plan.depth
        self.blocks = nn.ModuleList(Block(width, plan.heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n t w2"]]:
        """One tensor per block asked for, shallowest first, before the last norm.

        Grey images (c = 1) feed all three channels; h and w are multiples of 14.
        """
        x = self.embed(images)
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.outputs:
                found.append(x)
        return found

    def embed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t w2"]:
        """The tokens that enter the first block. Registers have no position."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        patches = self.patch_embed(((images - mean) / std).to(self.cls_token.dtype))
        n, _, rows, columns = patches.shape
        tokens = torch.cat([self.cls_token.expand(n, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self.positions(rows, columns)
        if self.register_tokens is None:
            return tokens
        return torch.cat([tokens[:, :1], self.register_tokens.expand(n, -1, -1), tokens[:, 1:]], dim=1)

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 t w"]:
        """What is added to the class token and to each patch, resized from the grid it was learned for.

        As DINOv2's `hubconf`: with registers antialiased to the size; without, by a factor that is
        a tenth of a token too large, which its oldest weights were published with.
        """
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        learned = self.pos_embed[:, 1:].float().unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        if self.register_tokens is not None:
            resized = F.interpolate(learned, size=(rows, columns), mode="bicubic", antialias=True)
        else:
            factors = ((rows + 0.1) / self.grid, (columns + 0.1) / self.grid)
            resized = F.interpolate(learned, scale_factor=factors, mode="bicubic")
        patches = resized.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], patches], dim=1)


def plan_of(backbone: str) -> Plan:
    """The plan of a vision transformer, by name.

    Raises:
        UsageError: There is none of that name.
    """
    if backbone not in VITS:
        raise UsageError(f"{backbone!r} is no vision transformer; choose one of {', '.join(VITS)}")
    return VITS[backbone]


def check_patches(size: int) -> None:
    """Refuse a side that patches do not divide.

    Raises:
        UsageError: `size` is not a multiple of 14.
    """
    if size % PATCH or size <= 0:
        raise UsageError(f"size is {size}, which patches of {PATCH} do not divide: use a multiple of {PATCH}")
