"""Examiners that are taught: from genuine images to a model that screening and benchmarks ask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_archive import write_png
from scipy import ndimage

import intact
from intact.errors import ModelError, UsageError
from intact.examiner_model import ExaminerModel
from intact.forge.after import parse_after
from intact.forge.cases import read_cases
from intact.forge.folds import folds_of_cases
from intact.forge.pack import Asked, make_pack
from intact.metrics import auroc

DONE, FLAGGED, WRONG_USE, UNREADABLE = range(4)
SMALL = ("--set", "steps=60", "--set", "crop=48", "--set", "width=8", "--set", "batch=4")
PATIENTS = 30


def tissue(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (96, 96)), 7)
    return np.clip(2000 + 300 * smooth / smooth.std() + rng.normal(0, 60, (96, 96)), 0, 4095).astype(
        np.uint16
    )


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genuine")
    for seed in range(PATIENTS):
        write_png(folder / f"{seed}.png", tissue(seed))
    return folder


@pytest.fixture(scope="module")
def taught(genuine, tmp_path_factory):
    """An examiner that knows blurred regions, and the folder it was saved to."""
    fields = {"steps": 60, "crop": 48, "width": 8, "batch": 4}
    made = intact.teach([genuine], kinds=["blur"], after=[], fields=fields)
    folder = tmp_path_factory.mktemp("models") / "blurred"
    made.model.save(folder)
    return made.model, folder


def blurred(seed):
    plane = tissue(seed).astype(np.float32)
    plane[30:60, 40:70] = ndimage.gaussian_filter(plane, 2)[30:60, 40:70]
    return plane.astype(np.uint16)


def test_a_fifth_of_the_patients_is_never_learned_from(taught):
    card = taught[0].card
    assert card.genuine == 24 and card.forged == 24 and card.calibrated == 6
    assert card.operators == ("blur",) and len(card.f1) == len(card.auroc) == 3


def test_what_was_saved_says_the_same_and_knows_genuine_images(taught):
    model, folder = taught
    again = ExaminerModel.load(folder)
    image = intact.Image(blurred(1000), bits=12)
    one, other = model.examine(image), again.examine(image)
    assert one.score == other.score and one.p_value == other.p_value == 1 / 7
    assert np.array_equal(one.map, other.map)
    scores = [model.examine(intact.Image(plane, bits=12)).score
              for plane in [blurred(seed) for seed in range(1000, 1012)]
              + [tissue(seed) for seed in range(1000, 1012)]]  # fmt: skip
    assert auroc(np.array(scores), np.arange(24) < 12) > 0.9


def test_planes_of_a_volume_count_against_it(taught):
    model = taught[0]
    plane = intact.Image(blurred(1000), bits=12)
    volume = intact.Image(np.stack([tissue(1), blurred(1000), tissue(2)]), bits=12)
    assert model.examine(volume).score == pytest.approx(model.examine(plane).score)
    assert model.examine(volume).p_value == pytest.approx(3 * model.examine(plane).p_value)


def test_teaching_through_the_command_line(run, genuine, tmp_path):
    model = tmp_path / "model"
    answer = run("teach", genuine, "-o", model, "--kind", "blur", "--kind", "noise", *SMALL, "--json")
    assert answer.code == DONE
    card = json.loads(answer.out)
    assert card["method"] == "backbone" and card["operators"] == ["blur", "noise"]
    assert card["genuine"] + card["calibrated"] == PATIENTS and card["forged"] == 2 * card["genuine"]
    answer = run("teach", genuine, "-o", model, "--kind", "blur", *SMALL)
    assert answer.code == DONE and "AUROC of images" in answer.out and "F1 of pixels" in answer.out


def test_screening_asks_a_taught_examiner(run, rows, taught, tmp_path):
    folder = tmp_path / "in"
    write_png(folder / "blurred.png", blurred(1000))
    write_png(folder / "genuine.png", tissue(1001))
    answer = run(
        "screen", folder, "-o", tmp_path / "out", "--model", taught[1], "--alpha", 0.9, "--workers", 0
    )
    assert answer.code == FLAGGED
    found = {
        row["path"].split("/")[-1]: row for row in rows(tmp_path / "out") if row["family"] == "forensics"
    }
    told = {one["method"]: one for one in found["blurred.png"]["evidence"]}
    assert told["blurred"]["p_value"] == 1 / 7 and "taught to call forged" in told["blurred"]["explanation"]
    run_record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run_record["examiners"][0]["method"] == "backbone" and run_record["models"] == []


def test_a_benchmark_measures_a_taught_examiner(run, taught, tmp_path):
    folder = tmp_path / "others"
    for seed in range(2000, 2012):
        write_png(folder / f"{seed}.png", tissue(seed))
    answer = run(
        "bench", "forensics", folder, "-o", tmp_path / "out", "--kind", "blur", "--model", taught[1],
        "--set", "blur.diameter=30", "--workers", 0, "--json",
    )  # fmt: skip
    assert answer.code == DONE
    rows = {row["method"]: row for row in json.loads(answer.out)["results"] if row["slice"] == "all"}
    assert rows["blurred"]["auroc"] > 0.8 and rows["blurred"]["pixel_auroc"] > 0.8
    assert "blurred" in (tmp_path / "out" / "results.md").read_text()


def test_a_pack_of_cases_teaches_too_and_no_patient_is_on_both_sides(genuine, tmp_path):
    asked = Asked(["blur", "copy_move"], {}, parse_after(["jpeg=90"]), 0, 0, in_turn=True)
    pack, _ = make_pack([genuine], tmp_path, asked)
    cases = read_cases(pack)
    assert len(cases) == 3 * PATIENTS
    for operator in ("", "blur", "copy_move"):
        some = [case.processing for case in cases if case.operator == operator]
        assert {some.count(processing) for processing in set(some)} == {15} and len(set(some)) == 2
    fold = folds_of_cases(cases, 0, members=2)
    groups = [{case.group for case, part in zip(cases, fold, strict=True) if (part == 0) == held}
              for held in (True, False)]  # fmt: skip
    assert not groups[0] & groups[1] and all(groups)
    fields = {"steps": 2, "crop": 32, "width": 4, "batch": 2}
    card = intact.teach([pack], fields=fields).model.card
    assert card.operators == ("blur", "copy_move") and card.genuine + card.calibrated == PATIENTS


@pytest.mark.parametrize(("kwargs", "words"), [
    ({"method": "patchcore"}, "unknown method 'patchcore'"),
    ({"fields": {"stops": 3}}, "has no field 'stops'"),
    ({"kinds": ["untouched"]}, "untouched is no forgery"),
    ({"images": 2}, "too few"),
])  # fmt: skip
def test_what_cannot_be_taught_is_told(genuine, kwargs, words):
    with pytest.raises(UsageError, match=words):
        intact.teach([genuine], **{"kinds": ["blur"], **kwargs})


def test_models_that_do_not_belong_are_refused(run, genuine, taught, model, tmp_path):
    with pytest.raises(ModelError, match="no taught examiner"):
        ExaminerModel.load(model)
    answer = run("screen", genuine, "-o", tmp_path / "out", "--model", taught[1], "--no-forensics")
    assert answer.code == WRONG_USE and "is a taught examiner" in answer.err
    answer = run("bench", "forensics", genuine, "-o", tmp_path / "b", "--kind", "blur", "--model", model)
    assert answer.code == WRONG_USE and "no taught examiner" in answer.err
