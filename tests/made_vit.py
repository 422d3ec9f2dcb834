"""A tiny vision transformer under DINOv2's names, with weights made here: no test needs downloaded ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch

from intact.nets.vit import VITS, Plan, VisionTransformer

NAME = "tiny_vit14"
PLAN = Plan(width=64, depth=4, heads=2, registers=2, grid=5)


def make_weights(plan: Plan = PLAN, seed: int = 0) -> dict[str, torch.Tensor]:
    """Normal, by the number of inputs, where a network multiplies; small elsewhere, but never nought."""
    rng = torch.Generator().manual_seed(seed)
    made = {}
    for name, old in VisionTransformer(plan).state_dict().items():
        draw = torch.randn(old.shape, generator=rng)
        if old.ndim > 1 and name.endswith("weight"):
            made[name] = draw / old[0].numel() ** 0.5
        else:
            made[name] = 0.1 * draw + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        if name.endswith("gamma"):
            made[name] = 0.5 + 0.1 * draw
    return made


def write_weights(folder: Path, name: str = NAME, plan: Plan = PLAN, seed: int = 0) -> Path:
    """As a file that the name finds when `INTACT_WEIGHTS` is `folder`."""
    file = folder / f"{name}.safetensors"
    safetensors.torch.save_file(make_weights(plan, seed), file)
    return file


@contextmanager
def tiny_vit() -> Iterator[Path]:
    """In this context `tiny_vit14` is a backbone, and its weights are found; gives their folder."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        write_weights(Path(folder))
        patch.setitem(VITS, NAME, PLAN)
        patch.setenv("INTACT_WEIGHTS", folder)
        yield Path(folder)
