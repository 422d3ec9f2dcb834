"""A tiny CLIP in Hugging Face's layout, with weights made here: no test needs downloaded ones."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import safetensors.torch
import torch

NAME = "tiny-clip"
WORDS = 97  # numbers that words may get; then those that mark begin and end
WIDTHS = {"vision": 32, "text": 24}
PROJECTED = 16
CONFIG = {
    "projection_dim": PROJECTED,
    "vision_config": {
        "hidden_size": WIDTHS["vision"],
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 512,
    },
    "text_config": {
        "hidden_size": WIDTHS["text"],
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "hidden_act": "quick_gelu",
        "vocab_size": WORDS + 2,
        "max_position_embeddings": 20,
    },
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of such a `CLIPModel`, under transformers' names."""
    image, text = WIDTHS["vision"], WIDTHS["text"]
    made: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "vision_model.embeddings.class_embedding": (image,),
        "vision_model.embeddings.patch_embedding.weight": (image, 3, 8, 8),
        "vision_model.embeddings.position_embedding.weight": (1 + 4 * 4, image),
        "visual_projection.weight": (PROJECTED, image),
        "text_model.embeddings.token_embedding.weight": (WORDS + 2, text),
        "text_model.embeddings.position_embedding.weight": (20, text),
        "text_projection.weight": (PROJECTED, text),
    }
    norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"]
    layers = {}
    for tower, width in WIDTHS.items():
        for i in range(2):
            layer = f"{tower}_model.encoder.layers.{i}"
            norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
            layers |= {f"{layer}.self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
            layers |= {f"{layer}.mlp.fc1": (2 * width, width), f"{layer}.mlp.fc2": (width, 2 * width)}
    for name, shape in layers.items():
        made |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        width = WIDTHS[name.split("_")[0]]
        made |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return made


def make_weights(seed: int = 0, words: float = 1.0) -> dict[str, torch.Tensor]:
    """Normal, by the number of inputs, where a network multiplies; small elsewhere, but never nought.

    Args:
        seed: Of the random numbers.
        words: How much words say; with little, all sentences look alike.
    """
    rng = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes().items():
        draw = torch.randn(shape, generator=rng)
        if "embedding" in name and "patch" not in name:
            made[name] = 0.5 * draw
        elif len(shape) > 1:
            made[name] = draw / draw[0].numel() ** 0.5
        else:
            made[name] = 0.1 * draw + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    for name in ("token", "position"):
        made[f"text_model.embeddings.{name}_embedding.weight"][:WORDS] *= words
    return made


def write_clip(folder: Path, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """All three files of a checkpoint, into a new folder below this one."""
    made = folder / NAME
    made.mkdir()
    safetensors.torch.save_file(make_weights() if weights is None else weights, made / "model.safetensors")
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "tokenizer.json").write_text(json.dumps({"words": WORDS}))
    return made


def numbers(text: str) -> list[int]:
    """The tokens of a text: one for each word, between those that mark begin and end."""
    return [WORDS, *(zlib.crc32(word.encode()) % WORDS for word in text.split()), WORDS + 1]


class Tokenizer:
    """As much of the one in the package `tokenizers` as is needed, which may not be installed.

    As some files ask for, it fills texts up to the longest and cuts them, unless it is told not to.
    """

    padding = truncation = True

    @staticmethod
    def from_file(path: str) -> Tokenizer:
        assert json.loads(Path(path).read_text()) == {"words": WORDS}
        return Tokenizer()

    def no_padding(self) -> None:
        self.padding = False

    def no_truncation(self) -> None:
        self.truncation = False

    def encode_batch(self, texts: list[str]) -> list[SimpleNamespace]:
        made = [numbers(text) for text in texts]
        if self.truncation:
            made = [[*ids[:19], WORDS + 1] if len(ids) > 20 else ids for ids in made]
        longest = max(map(len, made)) if self.padding else 0
        return [SimpleNamespace(ids=ids + [WORDS + 1] * (longest - len(ids))) for ids in made]


@contextmanager
def tiny_clip(folder: Path, weights: dict[str, torch.Tensor] | None = None) -> Iterator[Path]:
    """In this context `tiny-clip` is found in `folder` and its texts can be read; gives its own folder."""
    package = ModuleType("tokenizers")
    vars(package)["Tokenizer"] = Tokenizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTACT_WEIGHTS", str(folder))
        patch.setitem(sys.modules, "tokenizers", package)
        yield write_clip(folder, weights)
