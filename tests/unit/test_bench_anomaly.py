import csv
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import intact.cli_bench_anomaly as cli
from intact.anomaly import METHODS
from intact.bench import anomaly as bench
from intact.bench import cells
from intact.bench.anomaly import bench_anomaly
from intact.bench.cells import Cell, Entrant, Failed, look_up, reason
from intact.bench.differences import compare, differences
from intact.bench.measures import Scored, by_kind, decide
from intact.bench.packs import open_packs
from intact.bench.results import tell
from intact.bench.run import HELD_OUT, UNLABELLED, Task, measure, peak_memory
from intact.bench.summary import summarise
from intact.errors import UsageError
from intact.imitations import CLOUD, TASKS, UNTOUCHED
from intact.metrics import auroc, average_precision, bootstrap, paired_bootstrap
from intact.metrics.resampling import aurocs, average_precisions, draw, interval
from intact.report.reported import REPORTED
from intact.rows import read_rows, write_rows
from made_bench import KINDS, PATIENT, made_cell, write_pack

SMALL = {"padim": {"backbone": "narrow_resnet18", "size": 64, "features": 20}, "ae": {"size": 32, "steps": 8}}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("packs") / "chest")


@pytest.fixture(scope="module")
def first_run(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out"
    return bench_anomaly([pack], out, methods=["padim", "ae"], fields=SMALL)


@pytest.fixture
def out(first_run, tmp_path):
    """A copy of what the first run left."""
    return Path(shutil.copytree(first_run.out, tmp_path / "out"))


def again(pack, out):
    return bench_anomaly([pack], out, methods=["padim", "ae"], fields=SMALL)


# Measuring


def test_every_method_is_measured_with_what_it_costs(first_run):
    assert (first_run.made, first_run.failed, first_run.left_out) == (2, [], {})
    assert [(row["method"], row["kind"], row["n"]) for row in first_run.rows] == [
        ("padim", "lesion", 6),
        ("ae", "lesion", 6),
    ]
    for row in first_run.rows:
        assert 0 <= row["auroc_low"] <= row["auroc"] <= row["auroc_high"] <= 1
        assert 0 <= row["aupro"] <= 1
        assert 0 <= row["dice_at_5_fpr"] <= 1
        assert row["fit_s"] > 0
        assert row["images_per_s"] > 0
        assert row["peak_mib"] > row["imported_mib"] > 50
        assert row["model_mib"] > 0
    padim, ae = first_run.rows
    assert padim["calibrated_on"] == 24
    assert padim["flagged_rate"] <= 1
    assert ae["calibrated_on"] < 19
    assert "flagged_rate" not in ae


def test_the_tables_hold_what_was_found(first_run):
    rows = read_rows(first_run.out / "results.csv")
    assert [row["method"] for row in rows] == ["padim", "ae"]
    assert float(rows[0]["auroc"]) == pytest.approx(first_run.rows[0]["auroc"], abs=1e-5)
    scores = read_rows(first_run.out / "scores.csv")
    assert len(scores) == 2 * 12
    assert {row["image"].split("/")[0] for row in scores} == {"test"}
    of_padim = [row for row in scores if row["method"] == "padim"]
    truth = np.array([row["kind"] != "good" for row in of_padim])
    assert auroc(np.array([float(row["score"]) for row in of_padim]), truth) == first_run.rows[0]["auroc"]
    assert all(int(row["flagged"]) == (float(row["p"]) <= 0.05) for row in scores)


def test_images_of_one_patient_are_a_group_that_nobody_names(first_run):
    rows = [row for row in read_rows(first_run.out / "scores.csv") if row["method"] == "ae"]
    assert len({row["patient"] for row in rows}) == 11
    shared = [row["image"] for row in rows if [r["patient"] for r in rows].count(row["patient"]) == 2]
    assert [Path(name).suffix for name in shared] == [".dcm", ".dcm"]
    written = [path for path in first_run.out.rglob("*") if path.is_file()]
    assert len(written) == 5 + 2 * 3
    assert not any(PATIENT in path.read_text() for path in written)


def test_a_second_run_measures_nothing(pack, out, first_run):
    second = again(pack, out)
    assert second.made == 0
    assert second.rows == first_run.rows
    assert second.comparison.differences == first_run.comparison.differences


def test_another_alpha_measures_nothing(pack, out, first_run):
    second = bench_anomaly([pack], out, methods=["padim"], fields={"padim": SMALL["padim"]}, alpha=0.3)
    assert second.made == 0
    p = np.array([float(row["p"]) for row in read_rows(out / "scores.csv")])
    ill = np.array([row["kind"] != "good" for row in read_rows(out / "scores.csv")])
    assert second.rows[0]["flagged_rate"] == np.mean(p[ill] <= 0.3)


@pytest.mark.parametrize("changed", [{"fields": {"size": 32, "steps": 9}}, {"seeds": [1]}])
def test_what_was_changed_is_measured_anew_and_nothing_else(pack, out, first_run, monkeypatch, changed):
    monkeypatch.setattr(bench, "measure", lambda cell, out: Failed(cell, "would be measured"))
    fields, seeds = SMALL | {"ae": changed.get("fields", SMALL["ae"])}, changed.get("seeds", [0])
    found = bench_anomaly([pack], out, methods=["padim", "ae"], fields=fields, seeds=seeds)
    methods = ["ae"] if "fields" in changed else ["padim", "ae"]
    assert [(row["method"], row["not_measured"]) for row in found.failed] == [
        (name, "would be measured") for name in methods
    ]
    assert again(pack, out).failed == []  # what was measured before is still there


def test_what_was_not_written_whole_does_not_count(pack, out):
    found = [Cell(open_packs([pack])[0], Entrant(name, name, SMALL[name]), 0) for name in SMALL]
    assert all(look_up(cell, out) for cell in found)
    scores = found[0].folder(out) / "scores.csv"
    scores.write_bytes(scores.read_bytes()[:-3])
    record = found[1].folder(out) / "cell.json"
    record.write_text(record.read_text()[:-3])
    assert not any(look_up(cell, out) for cell in found)
    record.unlink()
    assert look_up(found[1], out) is None


@pytest.mark.parametrize("part", ["train/good", "test/good", "test/lesion", "ground_truth/lesion"])
def test_a_changed_pack_is_another(pack, tmp_path, part):
    copy = shutil.copytree(pack, tmp_path / "chest")
    assert open_packs([copy])[0].digest == open_packs([pack])[0].digest
    first = sorted((copy / part).iterdir())[0]
    first.write_bytes(first.read_bytes() + b"\0")
    assert open_packs([copy])[0].digest != open_packs([pack])[0].digest


def test_a_cell_that_fails_is_told_and_the_rest_goes_on(pack, out, tmp_path):
    lonely = tmp_path / "lonely"
    for part in ("train/good", "test/good", "test/lesion"):
        (lonely / part).mkdir(parents=True)
        shutil.copy(next((pack / part).iterdir()), lonely / part)
    found = bench_anomaly([lonely, pack], out, methods=["padim"], fields={"padim": SMALL["padim"]})
    assert [(row["pack"], row["method"]) for row in found.failed] == [("lonely", "padim")]
    assert found.failed[0]["not_measured"].startswith("TooFewNormalsError: 1 normal images cannot be split")
    assert [row["pack"] for row in found.comparison.summaries] == ["chest"]
    assert "TooFewNormalsError" in (out / "results.md").read_text()
    assert "TooFewNormalsError" in (out / "index.html").read_text()
    assert read_rows(out / "results.csv")[0]["not_measured"] == found.failed[0]["not_measured"]


def test_why_a_process_ended():
    assert reason(-9, "") == "its process was ended by SIGKILL: it may need more memory than there is"
    assert reason(1, "") == "its process ended with status 1 and did not say why"
    told = 'Traceback (most recent call last):\n  File "x"\n    f()\nFloatingPointError: the loss\nis nan\n'
    assert reason(1, "Warning: this\n" + told) == "FloatingPointError: the loss is nan"
    chained = told + "\nDuring handling:\n\n" + told.replace("FloatingPointError", "intact.errors.ModelError")
    assert reason(1, chained) == "ModelError: the loss is nan"


def test_a_process_that_dies_leaves_its_reason(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "_run", lambda task, complaints: complaints.write(b"Killed\n") and -9)
    found = cells.measure(Cell(open_packs([pack])[0], Entrant("ae", "ae"), 0), tmp_path)
    assert isinstance(found, Failed)
    assert "SIGKILL" in found.reason


def test_shuffled_labels_change_no_score_and_no_threshold(pack, tmp_path):
    shuffled = Path(shutil.copytree(pack, tmp_path / "chest"))
    good, lesion = sorted((pack / "test" / "good").iterdir()), sorted((pack / "test" / "lesion").iterdir())
    shutil.move(shuffled / "ground_truth", shuffled / "test" / "ground_truth")  # is no kind
    shutil.copy(pack / "test" / "good" / "027.png", shuffled / "test" / "stray.png")
    for path in good[:4]:
        shutil.move(shuffled / "test" / "good" / path.name, shuffled / "test" / "lesion" / path.name)
    for path in lesion[:3]:
        (shuffled / "test" / "other").mkdir(exist_ok=True)
        shutil.move(shuffled / "test" / "lesion" / path.name, shuffled / "test" / "other" / path.name)
    found = []
    for folder in (pack, shuffled):
        record, scored, _ = measure(Task(str(folder), "padim", 0, SMALL["padim"], str(tmp_path), {}))
        names = [Path(name).name for name in scored.image]
        both = zip(scored.score.tolist(), scored.p.tolist(), strict=True)
        found.append((record["kinds"], dict(zip(names, both, strict=True))))
    assert record["left_out"] == [("test/stray.png", "is in no folder of test/")]
    assert set(found[0][0]) == {"lesion"}
    assert set(found[1][0]) == {"lesion", "other", "all"}
    assert found[0][1] == found[1][1]


def test_peak_memory_is_that_of_the_process_alone():
    held = np.ones(300 * 2**20, np.uint8)
    source = inspect.getsource(peak_memory)
    code = f"import resource, sys\nfrom pathlib import Path\n{source}print(peak_memory())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 2 * 2**20 < int(told) < 150 * 2**20
    assert peak_memory() > held.nbytes


# From scores to numbers


def test_decisions_agree_with_counting_by_hand():
    kind = np.array(["good"] * 5 + ["a"] * 3 + ["b"] * 2)
    p = np.array([0.01, 0.05, 0.06, 0.5, 0.9, 0.05, 0.02, 0.2, 0.6, 0.01])  # flagged: 2 good, 2 a, 1 b
    scored = Scored(kind, kind, np.arange(10), 1 - p, p)
    found = decide(scored, 0.05, calibrated_on=99)
    assert list(found) == ["a", "b", "all"]
    assert found["a"]["accuracy"] == (2 + 3) / 8
    assert found["a"]["f1"] == 2 * 2 / (2 * 2 + 2 + 1)
    assert found["b"]["accuracy"] == (1 + 3) / 7
    assert found["b"]["f1"] == 2 * 1 / (2 * 1 + 2 + 1)
    assert found["all"]["accuracy"] == (3 + 3) / 10
    assert found["all"]["f1"] == 2 * 3 / (2 * 3 + 2 + 2)
    assert [found[kind]["flagged_rate"] for kind in found] == [2 / 3, 1 / 2, 3 / 5]
    assert {row["false_alarms"] for row in found.values()} == {2}
    assert {row["false_alarm_rate"] for row in found.values()} == {2 / 5}


def test_too_few_normals_decide_nothing():
    scored = made_cell("ae", 1.0).scored
    assert decide(scored, 0.05, calibrated_on=18)["all"] == {}
    assert decide(scored, 0.05, calibrated_on=19)["all"]["accuracy"] > 0


def test_one_kind_is_not_repeated_as_all():
    assert [kind for kind, _ in by_kind(np.array(["good", "a"]))] == ["a"]
    kinds = dict(by_kind(np.array(["good", "b", "a"])))
    assert {kind: members.tolist() for kind, members in kinds.items()} == {
        "a": [True, False, True],
        "b": [True, True, False],
        "all": [True, True, True],
    }


@pytest.mark.parametrize("decimals", [1, 8])  # with and without ties
@pytest.mark.parametrize("patients", [40, 10_000])
def test_many_resamples_at_once_are_those_of_the_bootstrap(decimals, patients):
    rng = np.random.default_rng(decimals)
    truth = rng.random(90) < 0.6
    first, second = (np.round(rng.normal(size=90) + lift * truth, decimals) for lift in (0.5, 1.0))
    groups = rng.integers(0, patients, 90)  # some hold images of both classes
    counts = draw(groups, truth, 200, seed=5)
    same = {"groups": groups, "strata": truth, "resamples": 200, "seed": 5}
    for one, many in ((auroc, aurocs), (average_precision, average_precisions)):
        found = interval(one(first, truth), many(first, truth, counts))
        expected = bootstrap(one, first, truth, **same)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    found = interval(0.0, aurocs(first, truth, counts) - aurocs(second, truth, counts))
    expected = paired_bootstrap(auroc, first, second, truth, **same)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_resamples_refuse_what_cannot_be_ranked():
    truth = np.array([True, False])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        aurocs(np.array([np.nan, 1.0]), truth, np.ones((3, 2), np.int32))


# Which differences are real


def test_equal_methods_are_not_told_apart_and_different_ones_are():
    seeds = (0, 1, 2)
    found = [
        made_cell(name, lift, seed=seed)
        for name, lift in (("patchcore", 1.5), ("padim", 1.5), ("ae", 0.3), ("dae", 3.0))
        for seed in seeds
    ]
    rows = differences(found, "patchcore")
    assert [(row["method"], row["kind"]) for row in rows[:3]] == [
        ("padim", "effusion"),
        ("padim", "nodule"),
        ("padim", "all"),
    ]
    verdicts = {
        (row["method"], row["verdict"], row["difference"] > 0) for row in rows if row["method"] != "padim"
    }
    assert verdicts == {("ae", "real", False), ("dae", "real", True)}
    assert {row["verdict"] for row in rows if row["method"] == "padim"} == {"not told apart"}
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)


def test_a_method_does_not_differ_from_itself():
    scores, truth = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) >= 30
    found = compare(scores, scores.copy(), truth, np.arange(60))
    assert found.value == 0
    assert found.low < 0 < found.high  # its seeds differ
    alone = compare(scores[:, :1], scores[:, :1].copy(), truth, np.arange(60))
    assert (alone.value, alone.low, alone.high, alone.p) == (0, 0, 0, 1)


def test_chance_in_training_widens_the_interval():
    rng = np.random.default_rng(0)
    truth, shared = np.arange(200) >= 100, rng.normal(size=200)
    steady = np.stack([shared + lift * truth for lift in (1.0, 1.0, 1.0)], axis=1)
    moody = np.stack([shared + lift * truth for lift in (0.2, 1.0, 1.8)], axis=1)
    other = (shared + 0.8 * truth)[:, None]
    narrow, wide = (compare(one, other, truth, np.arange(200)) for one in (steady, moody))
    assert narrow.p < 0.05 < wide.p
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_luck_in_many_comparisons_is_not_called_real():
    kinds = {"good": 30, "nodule": 30}
    found = [
        made_cell(name, 1.0, seed=seed, own=0.8, pack=f"pack{seed}", kinds=kinds, ranked=False)
        for seed in range(30)
        for name in ("patchcore", "ae")
    ]
    rows = differences(found, "patchcore")
    assert sum(row["p"] < 0.05 for row in rows) > 0  # some are lucky
    assert sum(row["verdict"] == "real" for row in rows) == 0


def test_scores_of_other_images_are_not_compared():
    ours, other = made_cell("ae", 1.0), made_cell("patchcore", 1.0, kinds=KINDS | {"nodule": 29})
    with pytest.raises(ValueError, match="not measured on the same images"):
        differences([ours, other], "patchcore")


def test_seeds_and_intervals_are_told_apart():
    found = [made_cell("ae", lift, seed=seed) for seed, lift in enumerate((0.5, 1.0, 1.5))]
    row = summarise(found, 0.05)[-1]
    each = [one.record["kinds"]["all"]["auroc"] for one in found]
    assert (row["auroc"], row["auroc_least"], row["auroc_most"]) == pytest.approx(
        (np.mean(each), min(each), max(each))
    )
    assert row["auroc_least"] < row["auroc_low"] < row["auroc"] < row["auroc_high"] < row["auroc_most"]
    alone = summarise(found[:1], 0.05)[-1]
    assert (alone["auroc_low"], alone["auroc_high"]) == pytest.approx(
        (found[0].record["kinds"]["all"]["auroc_low"], found[0].record["kinds"]["all"]["auroc_high"])
    )


# What is written


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    out = tmp_path_factory.mktemp("told")
    found = [
        made_cell(name, lift, pack=pack, seed=seed)
        for pack in ("brain", "chest")
        for name, lift in (("patchcore", 1.5), ("ae", 0.4), ("a|b <i>", 2.5))
        for seed in (0, 1)
    ]
    found[3] = Failed(found[3].cell, "ValueError: no <b>scores</b> | none")
    return tell(found, out, alpha=0.05, reference="patchcore", made=12, started=0.0)


def test_the_page_holds_every_method_and_runs_nothing(told):
    page = (told.out / "index.html").read_text()
    for words in (
        "patchcore",
        ">ae<",
        "a|b &lt;i&gt;",
        "brain",
        "chest",
        "no &lt;b&gt;scores&lt;/b&gt; | none",
    ):
        assert words in page
    assert "<i>" not in page.replace("</i>", "")
    assert "<b>scores" not in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "1 of 2 seeds" in page
    assert page.count("<svg xmlns") == 2 * 3
    assert "0.868" in page  # AE on OCT2017, reported


def test_the_markdown_tables_are_well_formed(told):
    lines = (told.out / "results.md").read_text().splitlines()
    heads = width = 0
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            columns = line.replace("\\|", "").count("|")
            heads += not before.startswith("|")
            assert columns == width or not before.startswith("|")
            width = columns
    assert heads == sum(line.startswith("| --- |") for line in lines) == 2 * 5 + 2
    assert "## Not measured" in lines


def test_the_command_line_tells_all_as_json(told):
    text = json.dumps({"made": told.made} | cli.dataclasses.asdict(told.comparison))
    assert json.loads(text)["run"]["cells"] == 12


def test_reported_methods_have_a_number_for_each_set():
    for row in REPORTED.values():
        assert len(row.auroc) == len(row.accuracy) == 6
        assert all(50 < value < 100 for value in row.auroc + row.accuracy)
    assert "padim" in METHODS.keys() & REPORTED.keys()


def test_rows_come_back_as_they_were(tmp_path):
    rows = [{"a": 0.1 + 0.2, "b": 'x,\n"y"'}, {"a": 1e-17, "c": None}]
    back = read_rows(write_rows(tmp_path / "rows.csv", rows, exact=True))
    assert [float(row["a"]) for row in back] == [0.1 + 0.2, 1e-17]
    assert back[0]["b"] == rows[0]["b"]
    assert back[1]["b"] == back[1]["c"] == ""
    with write_rows(tmp_path / "rows.csv", rows).open(newline="") as file:
        assert next(csv.DictReader(file))["a"] == "0.3"


# What is refused, and the command line


@pytest.mark.parametrize("part", ["train/good", "test/good", "test/lesion"])
def test_a_pack_that_lacks_a_folder_is_named(pack, tmp_path, part):
    copy = Path(shutil.copytree(pack, tmp_path / "mine"))
    shutil.rmtree(copy / part)
    with pytest.raises(UsageError, match=f"{copy}.*{'no images in test/' if 'lesion' in part else part}"):
        open_packs([copy])
    (copy / part).mkdir()
    with pytest.raises(UsageError, match=f"{copy}.*({part}|no images in test/)"):
        open_packs([copy])


def test_a_kind_called_all_is_refused(pack, tmp_path):
    copy = Path(shutil.copytree(pack, tmp_path / "mine"))
    (copy / "test" / "lesion").rename(copy / "test" / "all")
    with pytest.raises(UsageError, match="rename its folder test/all"):
        open_packs([copy])


def test_packs_that_cannot_be_told_apart_are_refused(pack, tmp_path):
    with pytest.raises(UsageError, match="two packs are called chest"):
        open_packs([pack, Path(shutil.copytree(pack, tmp_path / "chest"))])
    with pytest.raises(UsageError, match="there is no such folder"):
        open_packs([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"methods": ["nothing"]}, "unknown method 'nothing'"),
        ({"methods": ["ae"], "fields": {"ae": {"stepz": 1}}}, "no field 'stepz'"),
        ({"methods": ["ae"], "fields": {"padim": {"size": 1}}}, "fields are set for 'padim'"),
        ({"methods": ["ae", "ae"]}, "ae enters twice"),
        ({"methods": ["ae"], "reference": "padim"}, "reference 'padim' is not measured"),
        ({"methods": ["ae"], "seeds": []}, "seeds are"),
        ({"methods": ["ae"], "seeds": [1, 1]}, "seeds are"),
        ({"methods": ["ae"], "alpha": 5.0}, "alpha is 5"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_measured(pack, tmp_path, asked, words):
    with pytest.raises(UsageError, match=words):
        bench_anomaly([pack], tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_the_command_takes_seeds_and_fields_as_it_says():
    assert cli._seeds("3") == [0, 1, 2]
    assert cli._seeds("0,7,11") == [0, 7, 11]
    assert cli._seeds("7,") == [7]
    with pytest.raises(UsageError, match="--seeds three"):
        cli._seeds("three")
    assert cli.by_method(["ae.steps=9", "ae.lr=0.1", 'own.layers=["a"]']) == {
        "ae": {"steps": 9, "lr": 0.1},
        "own": {"layers": ("a",)},
    }
    with pytest.raises(UsageError, match=r"METHOD\.FIELD=VALUE"):
        cli.by_method(["steps=9"])


def test_the_command_prints_what_was_measured_before(pack, out):
    fields = [f"{name}.{field}={value}" for name, own in SMALL.items() for field, value in own.items()]
    options = [word for field in fields for word in ("--set", field)]
    options += ["--method", "padim", "--method", "ae", "-o", str(out)]
    done = CliRunner().invoke(cli.bench_app, ["anomaly", str(pack), *options])
    assert done.exit_code == 0, done.output
    assert "2 measurements, 0 made now, 0 could not be made" in done.output
    assert "padim" in done.output
    told = CliRunner().invoke(cli.bench_app, ["anomaly", str(pack), *options, "--json"])
    assert json.loads(told.stdout)["run"]["reference"] == "padim"


def test_the_help_teaches_by_an_example():
    told = CliRunner().invoke(cli.bench_app, ["anomaly", "--help"], env={"COLUMNS": "200"}).output
    assert "intact bench anomaly brain/ chest/ -o compared" in told


def test_one_method_may_enter_twice_under_other_names(pack, out):
    twice = ["padim", "again=padim"]
    fields = {"padim": SMALL["padim"], "again": SMALL["padim"]}
    found = bench_anomaly([pack], out, methods=twice, fields=fields)
    assert found.made == 0
    assert [row["method"] for row in found.rows] == ["padim", "again"]
    assert {row["p"] for row in found.comparison.differences} == {1.0}


def test_scores_of_held_out_normals_and_imitations_are_kept(first_run):
    """Nobody's name is among them: images are numbered as the model's calibration holds them."""
    for folder in (first_run.out / "cells").iterdir():
        rows = read_rows(folder / UNLABELLED)
        tasks = {row["task"] for row in rows}
        assert tasks == {HELD_OUT, UNTOUCHED, CLOUD, *TASKS}
        held_out = [float(row["score"]) for row in rows if row["task"] == HELD_OUT]
        untouched = [float(row["score"]) for row in rows if row["task"] == UNTOUCHED]
        assert len(held_out) > 2 and set(untouched) <= set(held_out)
        assert {int(row["image"]) for row in rows} <= set(range(len(held_out)))
