"""The main job on real images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import intact
from intact.metrics.statistics import false_alarm_acceptance

pytestmark = pytest.mark.real


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


def test_every_dicom_file_is_read_or_named_with_a_reason(data_folder, tmp_path):
    outcome = intact.screen([data_folder / "dicom"], tmp_path / "out", forensics=False)
    rows = rows_of(tmp_path / "out")
    with (data_folder / "dicom" / "index.csv").open() as file:
        listed = list(csv.DictReader(file))
    # Each file of the pack and the index itself is in exactly one row; a series is one row.
    assert sum(row["files"] for row in rows) == len(listed) + 1
    assert outcome.errors > 0
    failed = {Path(row["path"]).name: row["error"] for row in rows if row["error"]}
    decodable = {Path(row["file"]).name for row in listed if row["pixel_decode"] == "ok"}
    assert not decodable & set(failed)
    assert all(len(reason) > 15 for reason in failed.values())
    depths = {Path(row["path"]).name: row["bits"] for row in rows}
    assert depths["MR4_UNC.dcm"] == 12 and depths["RG1_J2KI.dcm"] == 15
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


def test_a_real_series_is_examined_and_not_accused(data_folder, tmp_path):
    outcome = intact.screen([data_folder / "dicom" / "series_ct_3slice"], tmp_path / "out")
    [row] = [row for row in rows_of(tmp_path / "out") if row["detector"] == "forensics"]
    assert outcome.flagged == 0 and len(row["silent"]) > 5 and row["p_value"] == 1


@pytest.mark.timeout(900)  # five fits of 441 images; the promise is the same for any backbone
@pytest.mark.parametrize("backbone", ["narrow_resnet18"])
def test_false_alarms_on_fresh_normals_keep_to_alpha(data_folder, weights_folder, tmp_path, backbone):
    pack = data_folder / "brain_mri"
    model = intact.fit(
        [pack / "train" / "good"], fields={"size": 128, "coreset": 500, "backbone": backbone}
    ).model
    model.save(tmp_path / "model")
    outcome = intact.screen(
        [pack / "test"],
        tmp_path / "out",
        models=[tmp_path / "model"],
        alpha=0.05,
        labels="folder",
        forensics=False,
    )
    alarms = outcome.run["labels"]["false_alarm_rate"][0]
    low, high = false_alarm_acceptance(0.05, model.card.normals_calibrated, alarms["n"])
    assert low <= alarms["flagged"] <= high
    matched = next(r for r in outcome.run["labels"]["per_kind"] if r["kind"] == "tumor_matched")
    assert matched["auroc"][0] > 0.65
