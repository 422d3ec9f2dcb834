"""Intact and anomalib side by side, method by method, in one run: pack x method x seed -> rows.

    python -m venv ../peer && ../peer/bin/pip install -c constraints.txt -e . anomalib==2.7.0
    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/peer_anomalib.py [--packs brain_mri]

anomalib (https://github.com/open-edge-platform/anomalib, Apache-2.0) is a peer to compare with and
no dependency of Intact, so it lives in an environment of its own. Both sides get the same files and
split (all of train/good to learn from, no hold-out), the same tensors (our preparation at the
method's size, batches of 32 to train on), the same ResNet-18 with the weights that `load_weights`
finds, the same number of training steps and the same processor. Ours runs with its defaults in the
best number format of this processor, as `intact.fit` chooses it; theirs in float32 with the losses,
optimisers and scores of its own models and training steps, called without its Lightning engine.
PatchCore's coreset is 1 % of all patches there (its default of 10 % takes hours) and 2,000 here.
GANomaly sees its own default of three channels there.

Each side runs in a process of its own. `fit_s` is learning, `images_s` images scored per second
(maps included where the model makes them), both from prepared tensors in memory; `peak_mib` is the
highest resident memory of the whole process. Whole runs, from files to decisions, are compared by
peer_screen.py. AUROC differences carry a paired bootstrap interval.
Rows go to benchmarks/results/peer_anomalib.csv; rows of the same pack, method and seed are replaced.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomaly import PACKS
from intact.anomaly import METHODS
from intact.bench.run import MIB, peak_memory
from intact.cli_shared import showing_progress
from intact.configure import configure
from intact.data.transforms import Preparation, choose_preparation
from intact.errors import WeightsError
from intact.fit import SAMPLE
from intact.io import Rejected, Unit, index, read_unit
from intact.metrics.detection import auroc
from intact.metrics.statistics import bootstrap, paired_bootstrap
from intact.nets.resnet import MEAN, STD
from intact.nets.weights import load_weights
from intact.precision import best_precision
from intact.train import forever
from results import environment, replace_rows, spread

INSTALL = "pip install -c constraints.txt anomalib==2.7.0"
BOTH_HAVE = ("padim", "patchcore", "stfpm", "rd4ad", "fastflow", "ganomaly")
BATCH = 32
BACKBONE = "resnet18"
LAYERS = ["layer1", "layer2", "layer3"]
CORESET = 0.01  # share of all patches; anomalib's default is 0.1
# Holds the operators that `import_torchvision` declares; they go when it goes.
DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def compare(pack: Path, method: str, seed: int) -> list[dict[str, Any]]:
    """Both sides on one pack, each in a process of its own; one row per kind of finding."""
    sides = []
    for side in (ours, theirs):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            sides.append(pool.submit(measured, side, pack, method, seed).result())
    return [row | {"peer_version": version("anomalib")} for row in rows_of(pack, *sides, "anomalib")]


def rows_of(pack: Path, mine: dict[str, Any], peer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Two sides as rows: AUROC of each kind with intervals, cost with ratios."""
    kinds = np.array([unit.folder for unit in units(pack / "test")])
    groups = {kind: kinds == kind for kind in sorted(set(kinds) - {"good"})}
    if len(groups) > 1:
        groups["all"] = kinds != "good"
    cost = {}
    for key in ("fit_s", "images_s", "peak_mib"):
        cost |= {f"{key}_ours": mine[key], f"{key}_{name}": peer[key], f"{key}_ratio": mine[key] / peer[key]}
    rows = []
    for kind, members in groups.items():
        both = members | (kinds == "good")
        truth = members[both]
        row: dict[str, Any] = {"kind": kind, "n": int(members.sum())}
        for side, scores in (("ours", mine["scores"]), (name, peer["scores"])):
            row |= spread(f"auroc_{side}", bootstrap(auroc, scores[both], truth, strata=truth))
        gain = paired_bootstrap(auroc, mine["scores"][both], peer["scores"][both], truth, strata=truth)
        rows.append(row | spread("auroc_gain", gain) | cost)
    return rows


def measured(
    side: Callable[[str, Tensor, int], Callable[[Tensor], np.ndarray]], pack: Path, method: str, seed: int
) -> dict[str, Any]:
    """Learn from the pack's normals and score its test images, with what that cost."""
    size = METHODS[method].__dataclass_fields__["size"].default
    normals = units(pack / "train" / "good")
    preparation = preparation_for(normals, size, seed)
    learned, test = (torch.stack(list(prepared(u, preparation))) for u in (normals, units(pack / "test")))
    started = time.perf_counter()
    score = side(method, learned, seed)
    fitted = time.perf_counter()
    scores = score(test)
    done = time.perf_counter()
    return {
        "scores": scores,
        "fit_s": fitted - started,
        "images_s": len(test) / (done - fitted),
        "peak_mib": peak_memory() / MIB,
    }


def ours(method: str, normals: Tensor, seed: int) -> Callable[[Tensor], np.ndarray]:
    """Intact's detector with its defaults."""
    fields = {"seed": seed}
    if "precision" in METHODS[method].__dataclass_fields__:
        fields["precision"] = best_precision()
    detector = configure(METHODS, method, fields)
    with showing_progress():
        detector.fit(Shuffled(normals, seed))
    return lambda images: np.concatenate([detector.score(b).image.numpy() for b in images.split(BATCH)])


@torch.no_grad()
def _predict(model: Any, images: Tensor) -> np.ndarray:
    batches = (normalised(batch) for batch in images.split(BATCH))
    return torch.cat([model(batch).pred_score.flatten() for batch in batches]).numpy()


def theirs(method: str, normals: Tensor, seed: int) -> Callable[[Tensor], np.ndarray]:
    """Anomalib's model, trained by its own losses and optimisers."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - anomalib's coreset draws from numpy's global generator
    peers = import_anomalib()
    size = (normals.shape[-1],) * 2
    model: Any
    if method == "patchcore":
        model = peers("patchcore").PatchcoreModel(LAYERS[1:], BACKBONE, pre_trained=False, num_neighbors=9)
        load_backbone(model.feature_extractor.feature_extractor)
        remember(model, normals)
        model.subsample_embedding(CORESET)
    elif method == "padim":
        model = peers("padim").PadimModel(BACKBONE, LAYERS, pre_trained=False, n_features=100)
        load_backbone(model.feature_extractor.feature_extractor)
        remember(model, normals)
        model.fit()
    else:
        model = {"stfpm": stfpm, "rd4ad": rd4ad, "fastflow": fastflow, "ganomaly": ganomaly}[method](
            peers, size, Shuffled(normals, seed), METHODS[method].__dataclass_fields__["steps"].default
        )
    return partial(_predict, model.eval())


def remember(model: Any, normals: Tensor) -> None:
    """Show a memory-bank model the normals; in training mode it stores their features."""
    for batch in normals.split(BATCH):
        model(normalised(batch))


def stfpm(peers: Any, size: tuple[int, int], batches: Shuffled, steps: int) -> Any:
    """Student-teacher feature pyramid matching."""
    import timm

    create = timm.create_model
    timm.create_model = lambda *args, **given: create(*args, **given | {"pretrained": False})  # no download
    model = peers("stfpm").STFPMModel(LAYERS, BACKBONE)
    timm.create_model = create
    load_backbone(model.teacher_model.feature_extractor)
    loss = import_module("anomalib.models.image.stfpm.loss").STFPMLoss()
    optimiser = torch.optim.SGD(model.student_model.parameters(), lr=0.4, momentum=0.9, weight_decay=0.001)
    return descend(model, lambda images: loss(*model(images)), optimiser, batches, steps)


def rd4ad(peers: Any, size: tuple[int, int], batches: Shuffled, steps: int) -> Any:
    """Reverse distillation."""
    package = peers("reverse_distillation")
    mode = import_module(
        "anomalib.models.image.reverse_distillation.anomaly_map"
    ).AnomalyMapGenerationMode.ADD
    model = package.ReverseDistillationModel(BACKBONE, size, LAYERS, mode, pre_trained=False)
    load_backbone(model.encoder.feature_extractor)
    loss = import_module("anomalib.models.image.reverse_distillation.loss").ReverseDistillationLoss()
    learned = [*model.decoder.parameters(), *model.bottleneck.parameters()]
    optimiser = torch.optim.Adam(learned, lr=0.005, betas=(0.5, 0.99))
    return descend(model, lambda images: loss(*model(images)), optimiser, batches, steps)


def fastflow(peers: Any, size: tuple[int, int], batches: Shuffled, steps: int) -> Any:
    """Normalising flows on feature maps."""
    model = peers("fastflow").FastflowModel(size, BACKBONE, pre_trained=False)
    load_backbone(model.feature_extractor)
    loss = import_module("anomalib.models.image.fastflow.loss").FastflowLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001, weight_decay=1e-5)
    return descend(model, lambda images: loss(*model(images)), optimiser, batches, steps)


def ganomaly(peers: Any, size: tuple[int, int], batches: Shuffled, steps: int) -> Any:
    """Encoder, decoder, encoder with a discriminator."""
    model = peers("ganomaly").GanomalyModel(
        size,
        num_input_channels=3,
        n_features=64,
        latent_vec_size=100,
        extra_layers=0,
        add_final_conv_layer=True,
    )
    package = import_module("anomalib.models.image.ganomaly.loss")
    for_generator, for_discriminator = package.GeneratorLoss(), package.DiscriminatorLoss()
    first, second = (
        torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for part in (model.generator, model.discriminator)
    )
    model.train()
    for _, images in zip(range(steps), forever(batches), strict=False):
        padded, fake, code, again = model(normalised(images))
        real, _ = model.discriminator(padded)
        made, _ = model.discriminator(fake)
        first.zero_grad()
        for_generator(code, again, padded, fake, real, made).backward(retain_graph=True)
        first.step()
        made, _ = model.discriminator(fake.detach())
        second.zero_grad()
        for_discriminator(model.discriminator(padded)[0], made).backward()
        second.step()
    return model


def descend(
    model: Any,
    loss: Callable[[Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    batches: Shuffled,
    steps: int,
) -> Any:
    """Train one of anomalib's models as its own training step does."""
    model.train()
    for _, images in zip(range(steps), forever(batches), strict=False):
        value = loss(normalised(images))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return model


class Shuffled:
    """Batches of the images in a new order each time."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.images, self.rng = images, torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.images), generator=self.rng)
        return (self.images[members] for members in order.split(BATCH) if len(members) > 1)


def normalised(images: Tensor) -> Tensor:
    """As anomalib's models expect them: three channels, normalised for ImageNet."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.expand(-1, 3, -1, -1) - mean) / std


def load_backbone(net: nn.Module) -> None:
    """Give timm's ResNet the weights that our detectors use.

    Raises:
        WeightsError: Names or shapes of the two do not agree.
    """
    weights, wanted = load_weights(BACKBONE), net.state_dict()
    counters = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}  # training only
    lacking = sorted(wanted.keys() - counters.keys() - weights.keys())
    if lacking := [key for key in lacking if not key.startswith(("layer4.", "fc."))]:
        raise WeightsError(
            f"anomalib's {BACKBONE} and the weights do not agree: {len(lacking)} tensors are lacking "
            f"{lacking[:3]}; use anomalib 2.7.0 and weights with torchvision's key names"
        )
    net.load_state_dict({k: v for k, v in weights.items() if k in wanted}, strict=False)


def units(folder: Path) -> list[Unit]:
    """The images below a folder; a pack holds nothing else."""
    entries = index([folder])
    if rejected := [entry for entry in entries if isinstance(entry, Rejected)]:
        raise SystemExit(f"{rejected[0].name}: {rejected[0].reason}")
    return [entry for entry in entries if isinstance(entry, Unit)]


def preparation_for(normals: Sequence[Unit], size: int, seed: int) -> Preparation:
    """What `intact.fit` chooses for these files and this seed."""
    drawn = np.random.default_rng(seed).permutation(len(normals))[:SAMPLE]
    return choose_preparation([read_unit(normals[i]) for i in drawn], size)


def prepared(images: Sequence[Unit], preparation: Preparation) -> Iterator[Tensor]:
    """Images in [0, 1] at the size of `preparation`."""
    for unit in images:
        image = read_unit(unit)
        if image.planes != 1:
            raise SystemExit(f"{unit.name} is a volume; anomalib's models take single planes")
        yield preparation.prepare(image.plane(0), preparation.limits(image))[0]


def import_anomalib() -> Callable[[str], Any]:
    """A function that gives a model's module by its name."""
    try:
        import_torchvision()
        import_module("anomalib.models.image.padim.torch_model")
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is not installed. This benchmark needs anomalib beside Intact, in an "
            f"environment of its own: {INSTALL}"
        ) from error
    return lambda name: import_module(f"anomalib.models.image.{name}.torch_model")


def import_torchvision() -> None:
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


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--methods", nargs="+", default=BOTH_HAVE, choices=BOTH_HAVE)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked = parser.parse_args()
    for pack in asked.packs:
        for method in asked.methods:
            for seed in asked.seeds:
                rows = compare(Path(os.environ["INTACT_DATA"]) / pack, method, seed)
                keys = {"pack": pack, "method": method, "seed": seed}
                replace_rows("peer_anomalib.csv", keys, [keys | row | environment() for row in rows])
                for row in rows:
                    print(
                        f"{pack} {method} seed {seed} {row['kind']}: AUROC {row['auroc_ours']:.3f}, anomalib "
                        f"{row['auroc_anomalib']:.3f}; {row['images_s_ratio']:.1f} x images/s, "
                        f"{row['fit_s_ratio']:.2f} x fit time, {row['peak_mib_ratio']:.2f} x memory",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
