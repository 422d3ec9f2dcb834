"""Whole runs side by side: from files to decisions, with `intact screen` and anomalib's Engine.

    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/peer_screen.py [--pack lung_ct]

Environment as for peer_anomalib.py. Both sides fit on the pack's normals and then screen an archive,
its test images several times over, from their files with the same ResNet-18 weights: so many files
that the seconds in which `intact screen` starts its processes do not decide; they are counted. Each
does what its users get: we read at full depth, calibrate, write findings and heat maps at the
image's own size; anomalib's Engine reads 8-bit RGB, scores, normalises and hands tensors back (its
pictures are switched off, and it is given batches, which alone it makes only of images of one size).
Then both get a DICOM series of 4,096 grey levels (an MR diffusion map of 20 slices). The pack is a
small one: of the others, anomalib's PatchCore takes up to an hour to choose its coreset.
Rows go to benchmarks/results/peer_screen.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

import intact
from peer_anomalib import BACKBONE, BATCH, CORESET, LAYERS, import_anomalib, load_backbone
from results import environment, replace_rows

SIZE = 224
HELD_OUT = 0.25  # of the normals, for anomalib to normalise its scores by
COPIES = 6


def make_archive(pack: Path, folder: Path) -> Path:
    """The pack's test images, each under `COPIES` names."""
    for copy in range(COPIES):
        shutil.copytree(pack / "test", folder / str(copy))
    return folder


def ours(method: str, pack: Path, archive: Path, series: Path, folder: Path) -> dict[str, Any]:
    """Seconds to fit, images screened per second, and how many slices of the series were scored."""
    started = time.perf_counter()
    intact.fit([pack / "train" / "good"], method=method).model.save(folder / "model")
    fitted = time.perf_counter()
    outcome = intact.screen([archive], folder / "out", models=[folder / "model"])
    done = time.perf_counter()
    on_series = intact.screen([series], folder / "series", models=[folder / "model"])
    return {
        "fit_s": fitted - started,
        "images": outcome.run["counts"]["images"],
        "images_s": outcome.run["counts"]["images"] / (done - fitted),
        "dicom_series": "not read" if on_series.errors else "read as one volume and scored",
    }


def theirs(method: str, pack: Path, archive: Path, series: Path, folder: Path) -> dict[str, Any]:
    """The same with anomalib's models, folder dataset and Engine."""
    import_anomalib()
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore
    from torchvision.transforms.v2 import Resize

    def images_of(folder: Path) -> DataLoader:
        """In batches, which its Engine would not make of images of different sizes."""
        dataset = PredictDataset(folder, Resize((SIZE, SIZE), antialias=True))
        return DataLoader(dataset, BATCH, collate_fn=dataset.collate_fn)

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
    started = time.perf_counter()
    engine.fit(model, data)
    fitted = time.perf_counter()
    found = engine.predict(model, dataloaders=images_of(archive), return_predictions=True)
    done = time.perf_counter()
    try:
        engine.predict(model, dataloaders=images_of(series), return_predictions=True)
        told = "scored"
    except Exception as error:  # whatever it says is the finding
        told = f"{type(error).__name__}: {error}".splitlines()[0].replace(str(series), series.name)
    images = sum(len(batch.pred_score) for batch in found)
    speed = images / (done - fitted)
    return {"fit_s": fitted - started, "images": images, "images_s": speed, "dicom_series": told}


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
        rows = []
        for side in (ours, theirs):
            with tempfile.TemporaryDirectory() as folder:
                archive = make_archive(pack, Path(folder, "archive"))
                measured = side(method, pack, archive, series, Path(folder))
            rows.append({"side": "intact" if side is ours else "anomalib"} | measured)
            print(pack.name, method, rows[-1], flush=True)
        keys = {"pack": asked.pack, "method": method}
        told = {"peer_version": version("anomalib")} | environment()
        replace_rows("peer_screen.csv", keys, [keys | row | told for row in rows])


if __name__ == "__main__":
    main()
