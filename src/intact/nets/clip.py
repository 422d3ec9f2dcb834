"""CLIP's image and text towers, close to the key names of transformers' `CLIPModel`.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
https://arxiv.org/abs/2103.00020. The part of the image tower that looks through windows is that of
Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023,
https://arxiv.org/abs/2303.14814.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

# Of the images that CLIP was trained on, per channel; values in [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class ImagePlan(NamedTuple):
    """What tells one image tower from another; names and defaults are those of `config.json`."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    projection_dim: int = 512
    quick_gelu: int = 1  # 0: the exact one
    image_size: int = 224
    patch_size: int = 32


class TextPlan(NamedTuple):
    """What tells one text tower from another; names and defaults are those of `config.json`."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    projection_dim: int = 512
    quick_gelu: int = 1  # 0: the exact one
    vocab_size: int = 49408
    max_position_embeddings: int = 77


class Seen(NamedTuple):
    """What an image tower makes of images; every vector has length 1."""

    image: Float[Tensor, "n d"]
    windows: list[Float[Tensor, "n w d"]]  # one tensor for each width, windows row by row
    patches: Float[Tensor, "n p width"]  # of the last layer, before the projection


class Attention(nn.Module):
    """Every token looks at every token or, if `causal`, at those before it and itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "n t w"], causal: bool) -> Float[Tensor, "n t w"]:
        """Time grows with the square of the number of tokens."""
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers; between them a GELU or, if `quick`, CLIP's cheaper x sigmoid(1.702 x)."""

    def __init__(self, width: int, hidden: int, quick: bool) -> None:
        super().__init__()
        self.quick = quick
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        """Each token on its own."""
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class Layer(nn.Module):
    """Attention and two layers, each normed before and added."""

    def __init__(self, plan: ImagePlan | TextPlan) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(plan.hidden_size)
        self.self_attn = Attention(plan.hidden_size, plan.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(plan.hidden_size)
        self.mlp = Mlp(plan.hidden_size, plan.intermediate_size, bool(plan.quick_gelu))

    def forward(self, x: Float[Tensor, "n t w"], causal: bool = False) -> Float[Tensor, "n t w"]:
        """Same shape."""
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class ImageTower(nn.Module):
    """Images to vectors that can be compared with those of sentences; never trained."""

    keys: ClassVar[tuple[str, str]] = ("vision_model.", "visual_projection.")  # how its weights' names begin

    def __init__(self, plan: ImagePlan) -> None:
        super().__init__()
        width = plan.hidden_size
        self.learned = plan.image_size // plan.patch_size  # patches per side that have a position
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, plan.patch_size, plan.patch_size, bias=False)
        self.position_embedding = nn.Embedding(1 + self.learned**2, width)
        self.pre_layrnorm = nn.LayerNorm(width)  # the checkpoints' spelling
        self.layers = nn.ModuleList(Layer(plan) for _ in range(plan.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(width)
        self.visual_projection = nn.Linear(width, plan.projection_dim, bias=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Float[Tensor, "n c s s"], windows: tuple[int, ...] = ()) -> Seen:
        """The whole image, all windows of so many patches a side, and the patches.

        A window's vector is what the tower says when it gets no other tokens than the window's, each
        with its position in the whole image, and the class token. Grey images (c = 1) feed all three
        channels; the side is a multiple of a patch's. Values are in [0, 1].
        """
        tokens = self._embed(images)
        encoded = self._encode(tokens)
        return Seen(
            F.normalize(self.visual_projection(encoded[:, 0]), dim=1),
            [self._through_windows(tokens, width) for width in windows],
            F.normalize(encoded[:, 1:], dim=2),
        )

    def _embed(self, images: Float[Tensor, "n c s s"]) -> Float[Tensor, "n t w"]:
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        patches = self.patch_embedding((images - mean) / std)
        n, _, side, _ = patches.shape
        tokens = torch.cat([self.class_embedding.expand(n, 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return self.pre_layrnorm(tokens + self._positions(side))

    def _positions(self, side: int) -> Float[Tensor, "t w"]:
        """Resized from the grid they were learned for, as transformers does."""
        known = self.position_embedding.weight
        if side == self.learned:
            return known
        grid = known[1:].T.unflatten(1, (self.learned, self.learned))
        resized = F.interpolate(grid[None], size=(side, side), mode="bicubic", align_corners=False)
        return torch.cat([known[:1], resized[0].flatten(1).T])

    def _encode(self, tokens: Float[Tensor, "n t w"]) -> Float[Tensor, "n t w"]:
        for layer in self.layers:
            tokens = layer(tokens)
        return self.post_layernorm(tokens)

    def _through_windows(self, tokens: Float[Tensor, "n t w"], width: int) -> Float[Tensor, "n windows d"]:
        held = window_patches(math.isqrt(tokens.shape[1] - 1), width)
        first = tokens[:, None, :1].expand(-1, len(held), -1, -1)
        each = torch.cat([first, tokens[:, 1:][:, held]], dim=2)
        seen = self.visual_projection(self._encode(each.flatten(0, 1))[:, 0])
        return F.normalize(seen, dim=1).unflatten(0, each.shape[:2])


class TextTower(nn.Module):
    """Sentences to vectors that can be compared with those of images; never trained."""

    keys: ClassVar[tuple[str, str]] = ("text_model.", "text_projection.")  # how its weights' names begin

    def __init__(self, plan: TextPlan) -> None:
        super().__init__()
        width = plan.hidden_size
        self.token_embedding = nn.Embedding(plan.vocab_size, width)
        self.position_embedding = nn.Embedding(plan.max_position_embeddings, width)
        self.layers = nn.ModuleList(Layer(plan) for _ in range(plan.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(width)
        self.text_projection = nn.Linear(width, plan.projection_dim, bias=False)
        self.requires_grad_(False).eval()

    def forward(self, tokens: Int[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """One vector of length 1 per sentence, from its last token, which says that it ends."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, causal=True)
        return F.normalize(self.text_projection(self.final_layer_norm(x[:, -1])), dim=1)


def window_patches(side: int, width: int) -> Int[Tensor, "windows patches"]:
    """Numbers of the patches in each window of `width` x `width` on a grid of `side` x `side`."""
    numbers = torch.arange(side**2).view(side, side)
    return numbers.unfold(0, width, 1).unfold(1, width, 1).flatten(0, 1).flatten(1)
