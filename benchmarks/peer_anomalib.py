"""anomalib's PatchCore and PaDiM on the files and split of anomaly.py: pack x method x seed -> rows.

    python -m venv ../peer && ../peer/bin/pip install -c constraints.txt -e . anomalib==2.7.0
    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/peer_anomalib.py [--packs brain_mri]

anomalib (https://github.com/open-edge-platform/anomalib, Apache-2.0) is a peer to compare with and
no dependency of Intact, so it lives in an environment of its own. Its torch models are called
directly, without its Lightning engine, on the tensors that our detectors get: our preparation at
224 pixels, three equal channels where the image is grey, ImageNet normalisation. Both use a float32
ResNet-18 with the weights that `load_weights` finds. PatchCore: layers 2 and 3, coreset of 1 % of all
patches, 9 neighbours. PaDiM: layers 1 to 3, 100 features. What is not named here is anomalib's default.

anomalib fits on all of train/good, without a calibration hold-out: it sees every normal where our
detectors may hold some out, and its rows have no false-alarm rate. The image score is the model's
own `pred_score`, before any normalisation. `fit_s` and `screen_s` include reading and preparing the
files, not importing anomalib; no maps and no report are written, which our `screen_s` includes.
Rows go to benchmarks/results/anomaly.csv; rows of the same pack, method and seed are replaced.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomaly import PACKS, compare, store
from intact import progress
from intact.data.transforms import Preparation, choose_preparation
from intact.errors import WeightsError
from intact.fit import SAMPLE
from intact.io import Rejected, Unit, index, read_unit
from intact.model import batched
from intact.nets.resnet import MEAN, STD
from intact.nets.weights import load_weights

INSTALL = "pip install -c constraints.txt anomalib==2.7.0"
METHODS = ("anomalib_patchcore", "anomalib_padim")
SIZE = 224
BATCH = 16
BACKBONE = "resnet18"
CORESET = 0.01  # share of all patches; anomalib's default is 0.1
# Holds the operators that `_import_torchvision` declares; they go when it goes.
DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def measure(pack: Path, method: str, seed: int) -> list[dict[str, Any]]:
    """Fit on the pack's normals, score its test images, one row per kind."""
    peer()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - anomalib's coreset draws from numpy's global generator
    started = time.perf_counter()
    normals = units(pack / "train" / "good")
    preparation = preparation_for(normals, seed)
    model = fit(method, prepared(normals, preparation, "fitting"))
    fitted = time.perf_counter()
    tests = units(pack / "test")
    found = score(model, prepared(tests, preparation, "scoring"))
    seconds = {"fit_s": fitted - started, "screen_s": time.perf_counter() - fitted}
    kinds = np.array([unit.folder for unit in tests])
    groups = {kind: kinds == kind for kind in sorted(set(kinds) - {"good"})}
    if len(groups) > 1:
        groups["all"] = kinds != "good"
    good, extra = found[kinds == "good"], seconds | {"peer_version": version("anomalib")}
    return [compare(kind, good, found[members]) | extra for kind, members in groups.items()]


def fit(method: str, batches: Iterator[Tensor]) -> Any:
    """One of anomalib's models, fitted and ready to score."""
    PatchcoreModel, PadimModel = peer()
    model: Any
    if method == "anomalib_patchcore":
        model = PatchcoreModel(["layer2", "layer3"], BACKBONE, pre_trained=False, num_neighbors=9)
    else:
        model = PadimModel(BACKBONE, ["layer1", "layer2", "layer3"], pre_trained=False, n_features=100)
    load_backbone(model.feature_extractor.feature_extractor)
    for images in batches:
        model(images)  # in training mode it stores the features
    if method == "anomalib_patchcore":
        model.subsample_embedding(CORESET)
    else:
        model.fit()
    return model.eval()


@torch.no_grad()
def score(model: Any, batches: Iterator[Tensor]) -> np.ndarray:
    """The `pred_score` of every image."""
    return torch.cat([model(images).pred_score.flatten() for images in batches]).numpy()


def load_backbone(net: nn.Module) -> None:
    """Give timm's ResNet the weights that our detectors use.

    Raises:
        WeightsError: Names or shapes of the two do not agree.
    """
    weights, wanted = load_weights(BACKBONE), net.state_dict()
    counters = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}  # training only
    lacking = sorted(wanted.keys() - counters.keys() - weights.keys())
    unused = sorted(k for k in weights.keys() - wanted.keys() if not k.startswith(("layer4.", "fc.")))
    if lacking or unused:
        raise WeightsError(
            f"anomalib's {BACKBONE} and the weights do not agree: {len(lacking)} tensors are lacking "
            f"{lacking[:3]}, {len(unused)} have no place {unused[:3]}; use anomalib 2.7.0 and "
            "weights with torchvision's key names"
        )
    try:
        net.load_state_dict(counters | {k: weights[k] for k in wanted.keys() - counters.keys()}, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit anomalib's {BACKBONE}: {error}") from error


def units(folder: Path) -> list[Unit]:
    """The images below a folder; a pack holds nothing else."""
    entries = index([folder])
    if rejected := [entry for entry in entries if isinstance(entry, Rejected)]:
        raise SystemExit(f"{rejected[0].name}: {rejected[0].reason}")
    return [entry for entry in entries if isinstance(entry, Unit)]


def preparation_for(normals: Sequence[Unit], seed: int) -> Preparation:
    """What `intact.fit` chooses for these files and this seed."""
    drawn = np.random.default_rng(seed).permutation(len(normals))[:SAMPLE]
    return choose_preparation([read_unit(normals[i]) for i in drawn], SIZE)


def prepared(images: Sequence[Unit], preparation: Preparation, what: str) -> Iterator[Tensor]:
    """Batches as anomalib's models expect them: three channels, normalised for ImageNet."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    for batch in batched(progress.track(images, what, len(images)), BATCH):
        tensors = []
        for unit in batch:
            image = read_unit(unit)
            if image.planes != 1:
                raise SystemExit(f"{unit.name} is a volume; anomalib's models take single planes")
            pixels, _ = preparation.prepare(image.plane(0), preparation.limits(image))
            tensors.append((pixels.expand(3, -1, -1) - mean) / std)
        yield torch.stack(tensors)


@cache
def peer() -> tuple[Any, Any]:
    """The model classes of PatchCore and PaDiM."""
    try:
        _import_torchvision()
        from anomalib.models.image.padim.torch_model import PadimModel
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is not installed. This benchmark needs anomalib beside Intact, in an "
            f"environment of its own: {INSTALL}"
        ) from error
    return PatchcoreModel, PadimModel


def _import_torchvision() -> None:
    """Import torchvision even where its compiled operators do not load.

    A torchvision built for CUDA does not load them beside a torch for the CPU, and then fails on
    describing two that it lacks. They are declared for it; nothing here calls them.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            DECLARED.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_module("torchvision")


def _show(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked = parser.parse_args()
    for pack in asked.packs:
        for method in asked.methods:
            for seed in asked.seeds:
                with progress.showing(_show):
                    rows = measure(Path(os.environ["INTACT_DATA"]) / pack, method, seed)
                store(rows, pack, method, seed)


if __name__ == "__main__":
    main()
