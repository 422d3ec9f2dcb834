"""Whole runs side by side: from files to decisions, with `intact screen` and anomalib's Engine.

    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/peer_screen.py [--methods patchcore]

Environment as for peer_anomalib.py. Both sides fit on the pack's normals and then screen an archive,
its test images several times over, from their files with the same ResNet-18 weights: so many files
that what each needs to start does not decide. Each does what its users get: we read at full depth,
calibrate, write findings and heat maps at the image's own size; anomalib's Engine reads 8-bit RGB,
scores, normalises and hands tensors back (its pictures are switched off, and it is given batches,
which alone it makes only of images of one size). The sides take turns, several times over, because
a machine is not equally fast at every minute. Then both get a DICOM series of 4,096 grey levels (an
MR diffusion map of 20 slices). The pack is a small one: of the others, anomalib's PatchCore takes up
to an hour to choose its coreset. Rows go to benchmarks/results/peer_screen.csv.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from torch.utils.data import DataLoader

import intact
from peer_anomalib import BACKBONE, BATCH, CORESET, LAYERS, import_anomalib, load_backbone
from results import environment, replace_rows

SIZE = 224
HELD_OUT = 0.25  # of the normals, for anomalib to normalise its scores by
COPIES = 6
ROUNDS = 3
Screen = Callable[[Path], int]  # screens a folder; how many images were scored


def make_archive(pack: Path, folder: Path) -> Path:
    """The pack's test images, each under `COPIES` names."""
    for copy in range(COPIES):
        shutil.copytree(pack / "test", folder / str(copy))
    return folder


def ours(method: str, pack: Path, folder: Path) -> Screen:
    """Fit with `intact fit`'s defaults."""
    intact.fit([pack / "train" / "good"], method=method).model.save(folder / "model")
    runs = itertools.count()

    def screen(files: Path) -> int:
        outcome = intact.screen(
            [files], folder / f"run {next(runs)}", models=[folder / "model"], forensics=False
        )
        return int(outcome.run["counts"]["images"])

    return screen


def theirs(method: str, pack: Path, folder: Path) -> Screen:
    """Fit anomalib's model with its folder dataset and Engine."""
    import_anomalib()
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore
    from torchvision.transforms.v2 import Resize

    plain = {
        "visualizer": False,
        "evaluator": False,
        "pre_processor": Padim.configure_pre_processor((SIZE, SIZE)),
    }
    if method == "padim":
        model = Padim(BACKBONE, LAYERS, pre_trained=False, n_features=100, **plain)
    else:
        model = Patchcore(BACKBONE, LAYERS[1:], pre_trained=False, coreset_sampling_ratio=CORESET, **plain)
    load_backbone(model.model.feature_extractor.feature_extractor)
    data = Folder(
        pack.name, "train/good", root=pack, train_batch_size=BATCH, eval_batch_size=BATCH, num_workers=0,
        test_split_mode="none", val_split_mode="from_train", val_split_ratio=HELD_OUT,
    )  # fmt: skip
    engine = Engine(default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False)
    engine.fit(model, data)

    def screen(files: Path) -> int:
        dataset = PredictDataset(files, Resize((SIZE, SIZE), antialias=True))
        # In batches, which its Engine would not make of images of different sizes.
        images = DataLoader(dataset, BATCH, collate_fn=dataset.collate_fn)
        found = engine.predict(model, dataloaders=images, return_predictions=True)
        return sum(len(batch.pred_score) for batch in found)

    return screen


def main() -> None:
    """Measure both sides and store a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pack", default="lung_ct")
    parser.add_argument("--methods", nargs="+", default=("padim", "patchcore"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # anomalib's dependencies warn on every import
    pack = Path(os.environ["INTACT_DATA"]) / asked.pack
    series = Path(os.environ["INTACT_DATA"]) / "dicom" / "series_mr_adc_prostate"
    for method in asked.methods:
        with tempfile.TemporaryDirectory() as folder:
            rows = compare(method, pack, series, Path(folder))
        keys = {"pack": asked.pack, "method": method}
        told = {"peer_version": version("anomalib")} | environment()
        replace_rows("peer_screen.csv", keys, [keys | row | told for row in rows])


def compare(method: str, pack: Path, series: Path, folder: Path) -> list[dict[str, Any]]:
    """A row of each side: seconds to fit, images screened per second, what the series came to."""
    archive = make_archive(pack, folder / "archive")
    screens: dict[str, Screen] = {}
    rows: dict[str, dict[str, Any]] = {}
    for side, fit in (("intact", ours), ("anomalib", theirs)):
        (folder / side).mkdir()
        started = time.perf_counter()
        screens[side] = fit(method, pack, folder / side)
        rows[side] = {"side": side, "fit_s": time.perf_counter() - started}
    speeds: dict[str, list[float]] = {side: [] for side in screens}
    for _ in range(ROUNDS):
        for side, screen in screens.items():
            started = time.perf_counter()
            rows[side]["images"] = screen(archive)
            speeds[side].append(rows[side]["images"] / (time.perf_counter() - started))
            print(pack.name, method, side, f"{speeds[side][-1]:.1f} images/s", flush=True)
    for side, screen in screens.items():
        rows[side] |= {
            "images_s": median(speeds[side]),
            "images_s_least": min(speeds[side]),
            "images_s_most": max(speeds[side]),
            "dicom_series": answer(screen, series),
        }
    return list(rows.values())


def answer(screen: Screen, series: Path) -> str:
    """What a program says to a folder with the slices of a volume."""
    try:
        found = screen(series)
    except Exception as error:  # whatever it says is the finding
        return f"{type(error).__name__}: {error}".splitlines()[0].replace(str(series), series.name)
    return "read as one volume and scored" if found == 1 else f"scored as {found} images"


if __name__ == "__main__":
    main()
