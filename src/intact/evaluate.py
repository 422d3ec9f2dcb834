"""Evaluate: findings beside the truth, as numbers with 95 % intervals.

The decision threshold is the calibrated one that screening used; nothing here is chosen by
looking at the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from intact.findings import Row
from intact.io import Unit, read
from intact.io.discover import stem_of
from intact.metrics.detection import auroc, average_precision
from intact.metrics.localisation import (
    aupro,
    dice_at_normal_fpr,
    pixel_average_precision,
    shrink_mask,
)
from intact.metrics.pixel_counts import PixelCounts
from intact.metrics.resampling import draw, interval
from intact.metrics.statistics import Interval, binomial_interval, bootstrap

NORMAL = "good"
MASK_SIDE = 128  # longest side at which pixel metrics are computed
RESAMPLES = 1000

Triple = list[float]


def evaluate_findings(rows: Sequence[Row], masks: dict[str, Path], out: Path, alpha: float) -> dict[str, Any]:
    """Measure every detector of a run.

    Args:
        rows: Findings whose "label" is "good" for normal images and a kind of finding otherwise.
        masks: Mask file of each image that has one, by the row's path.
        out: Folder of the run, which the rows' maps are relative to.
        alpha: False-alarm rate of the run.

    Returns:
        Lists of plain rows: "per_kind" (AUROC, average precision and the share flagged of each
        kind against the normals, and of all kinds together), "false_alarm_rate" and "pixel".
    """
    usable = [row for row in rows if row["error"] is None and row["score"] is not None and row["label"]]
    result: dict[str, Any] = {"per_kind": [], "false_alarm_rate": [], "pixel": []}
    for detector in dict.fromkeys(row["detector"] for row in usable):
        mine = [row for row in usable if row["detector"] == detector]
        normals = [row for row in mine if row["label"] == NORMAL]
        kinds = sorted({row["label"] for row in mine} - {NORMAL})
        if normals:
            result["false_alarm_rate"].append(_false_alarms(detector, normals, alpha))
            groups = {kind: [row for row in mine if row["label"] == kind] for kind in kinds}
            if len(kinds) > 1:
                groups["all"] = [row for row in mine if row["label"] != NORMAL]
            result["per_kind"] += [_kind(detector, k, normals, g) for k, g in groups.items()]
        if masks and (pixel := _pixel(detector, mine, masks, out)):
            result["pixel"].append(pixel)
    return result


def find_masks(units: Iterable[Unit], roots: Iterable[Path]) -> dict[str, Path]:
    """The mask of each image, in the layout of MVTec and BMAD: ground_truth/KIND/NAME[_mask].EXT.

    ground_truth/ is looked for inside and beside each root.
    """
    folders = [place / "ground_truth" for root in roots for place in (root, root.resolve().parent)]
    stems: dict[tuple[str, str], Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*/*"))):
        stems[path.parent.name, stem_of(path).removesuffix("_mask")] = path
    found = {}
    for unit in units:
        if (mask := stems.get((unit.folder, unit.stem))) is not None:
            found[unit.name] = mask
    return found


def _kind(detector: str, kind: str, normals: list[Row], abnormal: list[Row]) -> dict[str, Any]:
    scores = np.array([row["score"] for row in normals + abnormal])
    truth = np.arange(len(scores)) >= len(normals)
    groups = _patients(normals + abnormal)

    def measure(metric: Callable[..., float]) -> Triple:
        return _triple(bootstrap(metric, scores, truth, groups=groups, strata=truth, resamples=RESAMPLES))

    flagged = sum(row["flagged"] for row in abnormal)
    return {
        "detector": detector,
        "kind": kind,
        "n": len(abnormal),
        "auroc": measure(auroc),
        "average_precision": measure(average_precision),
        "flagged_rate": _triple(binomial_interval(flagged, len(abnormal))),
    }


def _false_alarms(detector: str, normals: list[Row], alpha: float) -> dict[str, Any]:
    flagged = sum(row["flagged"] for row in normals)
    rate, low, high = _triple(binomial_interval(flagged, len(normals)))
    return {"detector": detector, "n": len(normals), "flagged": flagged, "rate": rate, "lo": low, "hi": high,
            "alpha": alpha}  # fmt: skip


def _pixel(detector: str, rows: list[Row], masks: dict[str, Path], out: Path) -> dict[str, Any] | None:
    """Localisation over all images with a map: those with a mask, and the normal ones."""
    maps: list[NDArray[np.float32]] = []
    truth: list[NDArray[np.bool_]] = []
    patients: list[str] = []
    used = [
        row for row in rows if row["map"] is not None and (row["label"] == NORMAL or row["path"] in masks)
    ]
    for row, patient in zip(used, _patients(used), strict=True):
        score_map = read(out / row["map"]).pixels
        mask = np.zeros(score_map.shape, bool)
        if row["path"] in masks:
            mask = read(masks[row["path"]]).pixels.reshape(score_map.shape) > 0
        for plane, lesion in zip(_planes(score_map), _planes(mask), strict=True):
            small = (min(MASK_SIDE, plane.shape[0]), min(MASK_SIDE, plane.shape[1]))
            maps.append(resize(plane, small, order=1, anti_aliasing=True, preserve_range=True))
            truth.append(shrink_mask(lesion, small))
            patients.append(patient)
    if not any(mask.any() for mask in truth) or all(mask.any() for mask in truth):
        return None
    stacked, masked, whose = np.stack(maps), np.stack(truth), np.array(patients)
    pixels = PixelCounts.of(stacked, masked, whose)
    drawn = draw(whose, np.asarray(masked.any(axis=(1, 2))), RESAMPLES)
    return {
        "detector": detector,
        "n": len(used),
        "aupro": _triple(interval(aupro(stacked, masked), pixels.aupro(drawn))),
        "pixel_ap": _triple(
            interval(pixel_average_precision(stacked, masked), pixels.average_precision(drawn))
        ),
        "dice_at_5_fpr": _triple(
            interval(dice_at_normal_fpr(stacked, masked), pixels.dice_at_normal_fpr(drawn))
        ),
    }


def _planes(volume: NDArray[Any]) -> NDArray[Any]:
    return volume.reshape(-1, *volume.shape[-2:])


def _patients(rows: Sequence[Row]) -> NDArray[np.str_]:
    """The study stands for the patient; an image without one is its own."""
    return np.array([row["study"] or row["path"] for row in rows])


def _triple(interval: Interval) -> Triple:
    return [interval.value, interval.low, interval.high]
