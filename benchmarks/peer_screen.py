"""Whole runs side by side: from files to decisions, with `intact screen` and anomalib's Engine.

    INTACT_DATA=... INTACT_WEIGHTS=... ../peer/bin/python benchmarks/peer_screen.py [--pack chest_xray]

Environment as for peer_anomalib.py. Both sides fit on the pack's normals and then predict its test
images from their files with the same ResNet-18 weights; each does what its users get: we read at
full depth, calibrate, write findings and heat maps at the image's own size; anomalib's Engine
reads 8-bit RGB, scores, normalises and hands tensors back (its pictures are switched off). Then both
get a DICOM series of 4,096 grey levels (an MR diffusion map of 20 slices).
Rows go to benchmarks/results/peer_screen.csv.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import intact
from peer_anomalib import BACKBONE, CORESET, LAYERS, import_anomalib, load_backbone
from results import environment, replace_rows

SIZE = 224


def ours(method: str, pack: Path, series: Path, folder: Path) -> dict[str, Any]:
    """Seconds to fit, images screened per second, and how many slices of the series were scored."""
    started = time.perf_counter()
    intact.fit([pack / "train" / "good"], method=method).model.save(folder / "model")
    fitted = time.perf_counter()
    outcome = intact.screen([pack / "test"], folder / "out", models=[folder / "model"])
    done = time.perf_counter()
    on_series = intact.screen([series], folder / "series", models=[folder / "model"])
    return {
        "fit_s": fitted - started,
        "images_s": outcome.run["counts"]["images"] / (done - fitted),
        "dicom_series": "not read" if on_series.errors else "read as one volume and scored",
    }


def theirs(method: str, pack: Path, series: Path, folder: Path) -> dict[str, Any]:
    """The same with anomalib's models, folder dataset and Engine."""
    import_anomalib()
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore

    plain = {"visualizer": False, "evaluator": False}
    if method == "padim":
        model = Padim(BACKBONE, LAYERS, pre_trained=False, n_features=100, **plain)
    else:
        model = Patchcore(BACKBONE, LAYERS[1:], pre_trained=False, coreset_sampling_ratio=CORESET, **plain)
    load_backbone(model.model.feature_extractor.feature_extractor)
    data = Folder(
        pack.name, "train/good", root=pack, train_batch_size=32, eval_batch_size=32, num_workers=0,
        test_split_mode="none", val_split_mode="none",
    )  # fmt: skip
    engine = Engine(default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False)
    started = time.perf_counter()
    engine.fit(model, data)
    fitted = time.perf_counter()
    found = engine.predict(
        model, dataset=PredictDataset(pack / "test", (SIZE, SIZE)), return_predictions=True
    )
    done = time.perf_counter()
    try:
        engine.predict(model, dataset=PredictDataset(series, (SIZE, SIZE)), return_predictions=True)
        told = "scored"
    except Exception as error:  # whatever it says is the finding
        told = f"{type(error).__name__}: {error}".splitlines()[0]
    images = sum(len(batch.pred_score) for batch in found)
    return {"fit_s": fitted - started, "images_s": images / (done - fitted), "dicom_series": told}


def main() -> None:
    """Measure both sides and store a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pack", default="chest_xray")
    parser.add_argument("--methods", nargs="+", default=("padim", "patchcore"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # anomalib's dependencies warn on every import
    pack = Path(os.environ["INTACT_DATA"]) / asked.pack
    series = Path(os.environ["INTACT_DATA"]) / "dicom" / "series_mr_adc_prostate"
    for method in asked.methods:
        rows = []
        for side in (ours, theirs):
            with tempfile.TemporaryDirectory() as folder:
                measured = side(method, pack, series, Path(folder))
            rows.append({"side": "intact" if side is ours else "anomalib"} | measured)
            print(pack.name, method, rows[-1], flush=True)
        keys = {"pack": asked.pack, "method": method}
        told = {"peer_version": version("anomalib")} | environment()
        replace_rows("peer_screen.csv", keys, [keys | row | told for row in rows])


if __name__ == "__main__":
    main()
