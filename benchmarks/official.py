"""The authors' own code beside ours, on the same files, split, size, weights and steps.

    python -m venv ../peer
    ../peer/bin/pip install -c constraints.txt -e . anomalib==2.7.0 medpy pandas thop wandb
    git clone https://github.com/hq-deng/RD4AD ../official/RD4AD             # MIT
    git clone https://github.com/guojiajeremy/ReContrast ../official/ReContrast   # no licence file
    git clone https://github.com/caiyu6666/MedIAnomaly ../official/MedIAnomaly    # MIT
    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/official.py ../official

What is theirs: networks, losses, optimisers and scores, called from their modules. What is ours: the
loop around them (theirs ask for CUDA or keep the step that is best on the test set), the tensors, the
number of steps, batches of 32, and ResNet-18 where the authors use Wide-ResNet-50-2, with the weights
that `load_weights` finds.

Not run here: EDC and EA2D (their networks are ResNet-50 only, whose weights are not at hand), f-AnoGAN
(TensorFlow 1.2), GANomaly (asks for visdom and torch 1.2; anomalib's port is in peer_anomalib.py),
UniAD (EfficientNet-B4 weights), AnoDDPM, pDDPM and SQUID (networks sized for days on a GPU),
STFPM (GPL; anomalib's port is in peer_anomalib.py), FastFlow, AE-FLOW, P-VQ (the authors published
none), AAE, ceVAE and Skip-TS (for time).

Rows go to benchmarks/results/official.csv; rows of the same pack, method and seed are replaced.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomaly import PACKS
from intact.anomaly import METHODS
from intact.nets.weights import load_weights
from intact.train import forever
from peer_anomalib import BATCH, Shuffled, import_torchvision, measured, normalised, ours, rows_of
from results import environment, replace_rows

REPOSITORIES = {
    "rd4ad": "RD4AD",
    "recontrast": "ReContrast",
    "ae": "MedIAnomaly/reconstruction",
    "vae": "MedIAnomaly/reconstruction",
    "memae": "MedIAnomaly/reconstruction",
}


def official(repositories: Path, method: str, normals: Tensor, seed: int) -> Callable[[Tensor], np.ndarray]:
    """The authors' networks, trained; a function that scores images."""
    sys.path.insert(0, str(repositories / REPOSITORIES[method]))
    import_torchvision()
    torch.manual_seed(seed)
    steps = METHODS[method].__dataclass_fields__["steps"].default
    make = {"rd4ad": rd4ad, "recontrast": recontrast}.get(method, partial(medianomaly, method))
    return make(Shuffled(normals, seed), steps)


def rd4ad(batches: Shuffled, steps: int) -> Callable[[Tensor], np.ndarray]:
    """hq-deng/RD4AD: resnet.py, de_resnet.py, main.loss_fucntion, test.cal_anomaly_map."""
    teacher, embedding = import_module("resnet").resnet18(pretrained=False)
    teacher.load_state_dict(load_weights("resnet18"), strict=False)
    student = import_module("de_resnet").de_resnet18(pretrained=False)
    loss = import_module("main").loss_fucntion
    teacher.eval()
    optimiser = torch.optim.Adam(
        [*student.parameters(), *embedding.parameters()], lr=0.005, betas=(0.5, 0.999)
    )
    for _, images in zip(range(steps), forever(batches), strict=False):
        with torch.no_grad():
            wanted = teacher(normalised(images))
        _step(loss(wanted, student(embedding(wanted))), optimiser)
    embedding.eval(), student.eval()

    def maps(images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        wanted = teacher(images)
        return wanted, student(embedding(wanted))

    return partial(_worst, maps, import_module("test").cal_anomaly_map)


def recontrast(batches: Shuffled, steps: int) -> Callable[[Tensor], np.ndarray]:
    """guojiajeremy/ReContrast: models/, utils.global_cosine_hm, utils.cal_anomaly_map."""
    encoder, embedding = import_module("models.resnet").resnet18(pretrained=False)
    encoder.load_state_dict(load_weights("resnet18"), strict=False)
    decoder = import_module("models.de_resnet").de_resnet18(pretrained=False, output_conv=2)
    model = import_module("models.recontrast").ReContrast(encoder, copy.deepcopy(encoder), embedding, decoder)
    utils = import_module("utils")
    adam = partial(torch.optim.AdamW, betas=(0.9, 0.999), weight_decay=1e-5)
    first = adam([*decoder.parameters(), *embedding.parameters()], lr=2e-3)
    second = adam(encoder.parameters(), lr=1e-5)
    # The weights at hand hold their batch norms folded, which only the authors' evaluation mode (their
    # choice for OCT) leaves as they are.
    model.train(encoder_bn_train=False)
    for step, images in zip(range(steps), forever(batches), strict=False):
        wanted, rebuilt = model(normalised(images))
        alpha = min(-3 + 4 * step / (steps * 0.1), 1)
        loss = sum(
            utils.global_cosine_hm(wanted[part], rebuilt[part], alpha=alpha, factor=0.0) / 2
            for part in (slice(3), slice(3, 6))
        )
        second.zero_grad()
        _step(loss, first)
        second.step()
    model.eval()
    return partial(_worst, model, utils.cal_anomaly_map)


def medianomaly(method: str, batches: Shuffled, steps: int) -> Callable[[Tensor], np.ndarray]:
    """caiyu6666/MedIAnomaly: networks/, utils/losses.py, with its default sizes."""
    module, name, loss = {
        "ae": ("networks.ae", "AE", "AELoss"),
        "vae": ("networks.vae", "VAE", "VAELoss"),
        "memae": ("networks.mem_ae", "MemAE", "MemAELoss"),
    }[method]
    net = getattr(import_module(module), name)(mid_num=1024, en_num_layers=1, de_num_layers=1)
    criterion = getattr(import_module("utils.losses"), loss)()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    net.train()
    for _, images in zip(range(steps), forever(batches), strict=False):
        x = 2 * images - 1
        value = criterion(x, net(x))
        _step(value[0] if isinstance(value, tuple) else value, optimiser)
    net.eval()

    @torch.no_grad()
    def score(images: Tensor) -> np.ndarray:
        batches = (2 * batch - 1 for batch in images.split(BATCH))
        return torch.cat([criterion(x, net(x), anomaly_score=True) for x in batches]).numpy()

    return score


def _step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def _worst(maps: Callable[..., Any], fuse: Callable[..., Any], images: Tensor) -> np.ndarray:
    """Highest point of the smoothed map, image by image, as both repositories do it."""
    from scipy.ndimage import gaussian_filter

    scores = []
    for image in images.split(1):
        fused, _ = fuse(*maps(normalised(image)), image.shape[-1], amap_mode="a")
        scores.append(gaussian_filter(fused, sigma=4).max())
    return np.array(scores)


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("repositories", type=Path, help="folder with RD4AD, ReContrast and MedIAnomaly")
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--methods", nargs="+", default=list(REPOSITORIES), choices=REPOSITORIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked = parser.parse_args()
    theirs = partial(official, asked.repositories.resolve())
    spawn = get_context("spawn")
    for name in asked.packs:
        pack = Path(os.environ["INTACT_DATA"]) / name
        for method in asked.methods:
            for seed in asked.seeds:
                sides = []
                for side in (ours, theirs):
                    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                        sides.append(pool.submit(measured, side, pack, method, seed).result())
                keys = {"pack": name, "method": method, "seed": seed}
                rows = rows_of(pack, *sides, "official")
                replace_rows("official.csv", keys, [keys | row | environment() for row in rows])
                for row in rows:
                    print(f"{name} {method} seed {seed} {row['kind']}: AUROC {row['auroc_ours']:.3f}, "
                          f"official {row['auroc_official']:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
