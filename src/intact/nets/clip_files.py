"""A CLIP checkpoint in a local folder, as Hugging Face lays it out.

The folder has the backbone's name and lies in the one that `INTACT_WEIGHTS` names. It holds
`config.json`, `model.safetensors` with the keys of transformers' `CLIPModel`, and `tokenizer.json`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from intact.errors import UsageError, WeightsError
from intact.nets.clip import ImagePlan, ImageTower, TextPlan, TextTower

FILES = ("config.json", "model.safetensors", "tokenizer.json")
ACTIVATIONS = {"gelu": 0, "quick_gelu": 1}
P = TypeVar("P", ImagePlan, TextPlan)


def clip_folder(backbone: str) -> Path:
    """The folder of CLIP `backbone`.

    Raises:
        WeightsError: There is none, or it lacks a file.
    """
    given = os.environ.get("INTACT_WEIGHTS")
    folder = Path(given, backbone) if given else None
    missing = [name for name in FILES if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise WeightsError(
            f"no CLIP {backbone!r}: INTACT_WEIGHTS is {given or 'not set'}, and its folder {backbone!r} "
            f"would have to hold {', '.join(missing)}. Take {', '.join(FILES)} of a CLIPModel, such as "
            f"openai/clip-vit-base-patch16 on huggingface.co, put them into a folder named {backbone!r} and "
            "set INTACT_WEIGHTS to the folder that this one is in"
        )
    return folder


def read_plans(folder: Path) -> tuple[ImagePlan, TextPlan]:
    """How large both towers are.

    Raises:
        WeightsError: `config.json` is not that of a CLIP.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        parts = config["vision_config"], config["text_config"]
        return _plan(ImagePlan, config, parts[0]), _plan(TextPlan, config, parts[1])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} does not describe a CLIP with towers for images and text ({error!r}): "
            "take the one that came with model.safetensors"
        ) from error


def _plan(kind: type[P], config: dict[str, Any], part: dict[str, Any]) -> P:
    given = {name: int(part[name]) for name in kind._fields if name in part}
    given["projection_dim"] = int(config.get("projection_dim", 512))  # the towers' own copies do not count
    given["quick_gelu"] = ACTIVATIONS[part.get("hidden_act", "quick_gelu")]
    return kind(**given)


def load_tower(tower: ImageTower | TextTower, folder: Path) -> None:
    """Give a tower its weights, as float32.

    Raises:
        WeightsError: `model.safetensors` is of another network.
    """
    weights = {
        re.sub(r"^(vision|text)_model\.((embeddings|encoder)\.)?", "", key): tensor.float()
        for key, tensor in safetensors.torch.load_file(folder / "model.safetensors").items()
        if key.startswith(tower.keys) and not key.endswith("position_ids")  # which older files count out
    }
    wanted = tower.state_dict()
    wrong = {k for k in wanted.keys() & weights.keys() if wanted[k].shape != weights[k].shape}
    wrong |= wanted.keys() ^ weights.keys()
    if wrong:
        raise WeightsError(
            f"{folder / 'model.safetensors'} is of another network than its config.json says: {len(wrong)} "
            f"tensors are missing, too many or of another shape, first {min(wrong)!r}; give the files of one "
            "complete CLIPModel"
        )
    tower.load_state_dict(weights)


def embed_texts(texts: Sequence[str], folder: Path) -> Float[Tensor, "n d"]:
    """A vector of length 1 for each text.

    Raises:
        UsageError: A text is too long, or the package that reads `tokenizer.json` is not installed.
        WeightsError: The folder's files do not fit together.
    """
    plan = read_plans(folder)[1]
    tokens = tokenise(texts, folder)
    longest = max(range(len(texts)), key=lambda i: len(tokens[i]))
    if len(tokens[longest]) > plan.max_position_embeddings:
        raise UsageError(
            f"{texts[longest]!r} has {len(tokens[longest])} tokens, more than the "
            f"{plan.max_position_embeddings} that this CLIP reads: say it in fewer words"
        )
    tower = TextTower(plan)
    load_tower(tower, folder)
    # One by one, so that none has to be filled up to the length of others.
    return torch.cat([tower(torch.tensor([each])) for each in tokens])


def tokenise(texts: Sequence[str], folder: Path) -> list[list[int]]:
    """The numbers of each text's tokens, with those that mark begin and end.

    Raises:
        UsageError: The package `tokenizers` is not installed.
    """
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError as error:
        raise UsageError(
            "the package `tokenizers`, which reads CLIP's tokenizer.json, is not installed: `pip install "
            "tokenizers`; only fitting needs it, a saved model does not"
        ) from error
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()  # which some files ask for
    tokenizer.no_truncation()
    return [each.ids for each in tokenizer.encode_batch(list(texts))]
