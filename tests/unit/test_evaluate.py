import numpy as np
import pytest

import intact
from intact.evaluate import evaluate_findings, find_masks
from intact.image import Image
from intact.io import index


def row(path, label, score, flagged=False, score_map=None):
    return {
        "path": path, "label": label, "score": score, "flagged": flagged, "error": None,
        "detector": "m", "study": "", "map": score_map,
    }  # fmt: skip


def test_kinds_are_compared_with_the_normals_only():
    rows = [row(f"n{i}", "good", float(i), flagged=i == 9) for i in range(10)]
    rows += [row(f"a{i}", "far", 100.0 + i, flagged=True) for i in range(5)]
    rows += [row(f"b{i}", "like", float(i) + 0.5) for i in range(10)]
    rows += [{**row("broken", "far", None), "error": "truncated"}]
    labels = evaluate_findings(rows, {}, None, 0.05)
    by_kind = {r["kind"]: r for r in labels["per_kind"]}
    assert by_kind["far"]["auroc"] == pytest.approx([1.0, 1.0, 1.0]) and by_kind["far"]["n"] == 5
    assert by_kind["far"]["flagged_rate"][0] == 1.0
    assert by_kind["like"]["auroc"][0] == pytest.approx(0.55)
    assert by_kind["like"]["auroc"][1] < 0.55 < by_kind["like"]["auroc"][2]
    assert by_kind["all"]["n"] == 15
    assert labels["false_alarm_rate"][0]["rate"] == 0.1
    assert labels["pixel"] == []


def test_masks_are_found_by_kind_and_name_and_measured(tmp_path):
    rows = []
    (tmp_path / "out" / "maps").mkdir(parents=True)
    for i, kind in enumerate(["good", "good", "blob", "blob"]):
        for folder in (tmp_path / "test" / kind, tmp_path / "ground_truth" / kind):
            folder.mkdir(parents=True, exist_ok=True)
        path = tmp_path / "test" / kind / f"{i}.png"
        intact.write(Image(np.full((32, 32), i, np.uint8)), path)
        score_map = np.random.default_rng(i).random((32, 32)).astype(np.float32)
        if kind == "blob":
            mask = np.zeros((32, 32), np.uint8)
            mask[4 * i : 4 * i + 6, 8:16] = 255
            intact.write(Image(mask), tmp_path / "ground_truth" / kind / f"{i}_mask.png")
            score_map[mask > 0] += 5
        intact.write(Image(score_map), tmp_path / "out" / "maps" / f"{i}.tif")
        rows.append(row(str(path), kind, float(i), score_map=f"maps/{i}.tif"))
    masks = find_masks(index([tmp_path / "test"]), [tmp_path / "test"])
    assert {p.split("/")[-1] for p in masks} == {"2.png", "3.png"}
    (pixel,) = evaluate_findings(rows, masks, tmp_path / "out", 0.05)["pixel"]
    assert pixel["n"] == 4
    assert pixel["aupro"][0] == pytest.approx(1.0, abs=1e-6)
    assert pixel["pixel_ap"][0] == pytest.approx(1.0)


def test_planes_of_a_volume_are_one_image_drawn_as_a_whole(tmp_path):
    """Two volumes of each kind: of lesions' planes, one is found and one is not."""
    rows, rng = [], np.random.default_rng(0)
    (tmp_path / "out" / "maps").mkdir(parents=True)
    masks = {}
    for i, kind in enumerate(["good", "good", "blob", "blob"]):
        score_map, mask = rng.random((6, 16, 16)).astype(np.float32), np.zeros((6, 16, 16), np.uint8)
        if kind == "blob":
            mask[1:5, 4:8, 4:8] = 1
            score_map[mask > 0] += 5 * (i == 2)
            masks[f"{i}"] = tmp_path / f"{i}_mask.nii.gz"
            intact.write(Image(mask), masks[f"{i}"])
        intact.write(Image(score_map), tmp_path / "out" / "maps" / f"{i}.nii.gz")
        rows.append(row(f"{i}", kind, float(i), score_map=f"maps/{i}.nii.gz"))
    (pixel,) = evaluate_findings(rows, masks, tmp_path / "out", 0.05)["pixel"]
    assert pixel["n"] == 4
    low, high = pixel["aupro"][1:]
    assert low < 0.4 and high > 0.95  # both volumes may be drawn twice; single planes would even out
