"""Scores of every method on fixed phantoms, stored: a change that moves them is seen.

Renew with `INTACT_RENEW_GOLDEN=1 pytest tests/golden`, and say in CHANGELOG.md, under "Scores
changed", why they moved.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from intact.anomaly import METHODS
from intact.data.phantom import brain_mr
from intact.data.transforms import Preparation
from made_clip import tiny_clip
from made_vit import tiny_vit

STORED = Path(__file__).with_name("scores.json")
# Rounding differs between processors and training amplifies it: a few steps only, looser bounds.
TRAINED, FEATURES = 0.05, 1e-3
OWN = {"cevae": 0.1, "p_vq": 0.2}  # an absolute error's gradient jumps, and so does the choice of a code
FIELDS = {
    "anatpaste": {"size": 64, "backbone": "narrow_resnet18", "frozen": 1, "steps": 3},
    "cutpaste": {"size": 64, "backbone": "narrow_resnet18", "hidden": 1, "frozen": 1, "steps": 3},
    "destseg": {"size": 32, "backbone": "narrow_resnet18", "head_width": 8, "student_steps": 4, "steps": 6},
    "draem": {"size": 32, "width": 4, "segmenter_width": 4, "steps": 12, "lr": 0.005},
    "fpi": {"size": 32, "steps": 5},
    "glass": {"size": 64, "backbone": "narrow_resnet18", "dimensions": 48, "hidden": 24, "steps": 3},
    "msc": {"size": 64, "backbone": "narrow_resnet18", "steps": 3},
    "nsa": {"size": 64, "backbone": "narrow_resnet18", "steps": 3},
    "patchcl": {"size": 32, "width": 4, "blocks": 2, "embedding": 16, "places": 64, "steps": 4},
    "pii": {"size": 32, "steps": 5},
    "pmsacl": {"size": 64, "backbone": "narrow_resnet18", "features": 20, "steps": 2},
    "realnet": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "layers": ("layer1", "layer2"),
        "kept": (1.0, 0.5),
        "selection": 2,
        "chosen": 8,
        "steps": 2,
    },
    "salad": {"size": 16, "width": 8, "latent": 16, "steps": 10},
    "simplenet": {"size": 64, "backbone": "narrow_resnet18", "dimensions": 48, "hidden": 24, "steps": 3},
    "sohn_two_stage": {"size": 64, "head": "kde", "depth": 2, "steps": 3, "lr": 0.0001},
    "anomaly_dino": {"size": 112, "backbone": "tiny_vit14", "shots": 4},
    "winclip": {"size": 64, "backbone": "tiny-clip", "shots": 4},
    "dinomaly": {"size": 56, "backbone": "tiny_vit14", "blocks": (0, 1, 2, 3), "steps": 4},
    "inp_former": {"size": 56, "backbone": "tiny_vit14", "blocks": (0, 1, 2, 3), "steps": 4},
    "squid": {"size": 64, "width": 4, "slots": 6, "verdict": "residual", "steps": 3},
    "pddpm": {"size": 32, "patch": 16, "width": 4, "multipliers": (1, 2), "frequency": 21.0, "steps": 4},
    "anoddpm": {
        "size": 16,
        "width": 4,
        "multipliers": (1, 2),
        "attention": (8,),
        "frequency": 8.0,
        "steps": 4,
        "stride": 125,
    },
    "p_vq": {"size": 32, "width": 16, "patch": 1, "dimensions": 8, "codes": 32, "steps": 10},
    "ae_flow": {"size": 64, "backbone": "narrow_resnet18", "couplings": 4, "steps": 5},
    "uniad": {
        "size": 64,
        "backbone": "narrow_resnet18",
        "width": 32,
        "hidden": 64,
        "depth": 2,
        "neighbours": 3,
        "steps": 10,
    },
    "fastflow": {"size": 64, "backbone": "narrow_resnet18", "couplings": 2, "steps": 5},
    "recontrast": {"size": 64, "backbone": "narrow_resnet18", "steps": 2},
    "edc": {"size": 64, "backbone": "narrow_resnet18", "steps": 2},
    "ea2d": {"size": 64, "backbone": "narrow_resnet18", "steps": 2},
    "many_tasks": {"size": 32, "width": 4, "depth": 3, "steps": 8, "checks": 2},
    "memae": {"size": 32, "steps": 10, "latent": 8, "lr": 1e-4},
    "aae": {"size": 32, "steps": 10, "latent": 8, "lr": 1e-4, "width": 64},
    "cevae": {"size": 32, "steps": 10, "latent": 8, "lr": 1e-4},
    "vae": {"size": 32, "steps": 10, "latent": 8, "lr": 1e-4},
    "ganomaly": {"size": 16, "width": 8, "steps": 20},
    "f_anogan": {
        "size": 16,
        "width": 8,
        "latent": 8,
        "steps": 10,
        "encoder_steps": 10,
        "lr": 1e-4,
        "encoder_lr": 1e-4,
    },
    "ae": {"size": 32, "steps": 8, "latent": 8},
    "dae": {"size": 32, "steps": 8, "width": 8, "depth": 3, "noise_side": 8},
    "padim": {"size": 64, "backbone": "narrow_resnet18", "features": 20},
    "patchcore": {"size": 64, "backbone": "narrow_resnet18", "coreset": 100},
    "rd4ad": {"size": 64, "backbone": "narrow_resnet18", "steps": 2},
    "skip_ts": {"size": 64, "backbone": "narrow_resnet18", "steps": 3},
    "stfpm": {"size": 64, "backbone": "narrow_resnet18", "steps": 2, "lr": 0.05},
}


@pytest.fixture(autouse=True, scope="module")
def _made_backbone():
    """A vision transformer and a CLIP, of which no weights are shipped."""
    with tiny_vit() as folder, tiny_clip(folder):
        yield


def phantoms(seeds: range, size: int, lesion: bool) -> torch.Tensor:
    preparation = Preparation(size)
    images = [brain_mr(seed, shape=(1, 96, 96), lesion=lesion)[0] for seed in seeds]
    return torch.stack([preparation.prepare(image, preparation.limits(image))[0] for image in images])


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_stored(method):
    detector = METHODS[method](**FIELDS[method])
    detector.fit([phantoms(range(8), detector.size, False), phantoms(range(8, 16), detector.size, False)])
    found = detector.score(phantoms(range(100, 104), detector.size, True)).image.tolist()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if os.environ.get("INTACT_RENEW_GOLDEN"):
        STORED.write_text(json.dumps(stored | {method: [float(f"{s:.6g}") for s in found]}, indent=1) + "\n")
        pytest.fail(f"renewed {method}; run again without INTACT_RENEW_GOLDEN")
    np.testing.assert_allclose(
        found, stored[method], rtol=OWN.get(method, TRAINED if detector.trains else FEATURES)
    )
