import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Raster
from scipy import ndimage

from intact import read
from intact.bench import forensics as bench
from intact.bench.forensics import bench_forensics
from intact.bench.forensics_leaks import audit, refuse_leaks
from intact.bench.forensics_summary import BASELINE, Examined, called, sensitivities, summarise
from intact.errors import UsageError
from intact.forensics import METHODS, Examiner
from intact.forensics.base import Evidence
from intact.forge import pack as make
from intact.forge.after import After, parse_after
from intact.forge.cases import Case, read_cases, write_cases
from intact.forge.folds import folds_of, folds_of_cases, leave_one_operator_out
from intact.forge.pack import MARK, Asked, bin_of, make_pack
from intact.image import Identity, Image
from intact.io import write
from intact.metrics import auroc, bootstrap, sensitivity_at_specificity
from intact.metrics.resampling import draw
from intact.metrics.tampering import Confusion, PixelScores, over_forged, pixel_scores
from intact.rows import read_rows

SIDE = 96
BRIGHT = 250  # what the forgeries of these tests are painted with


@dataclass(eq=False)
class Bright(Examiner):
    """Finds what is painted bright, without a p-value."""

    kind = "splice"
    source = "these tests"
    level: int = BRIGHT

    def _examine(self, plane, valid, image):
        found = (plane >= self.level).astype(np.float32)
        if plane[0, 0] == 0:
            return self._abstain("its first pixel is 0")
        return Evidence(self.kind, float(found.sum()), 0.8 * found, "Bright pixels.")


@dataclass(eq=False)
class Shared(Examiner):
    """Says of everything the same, and fails where the last pixel is 1."""

    kind = "noise"
    source = "these tests"

    def _examine(self, plane, valid, image):
        if plane[-1, -1] == 1:
            raise UsageError("its last pixel is 1")
        return Evidence(self.kind, 1.0, np.full(plane.shape, 0.3, np.float32), "All alike.", p_value=0.5)


@pytest.fixture(scope="module", autouse=True)
def methods():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "bright", Bright)
        patch.setitem(METHODS, "shared", Shared)
        yield


def tissue(seed):
    """Textured 8-bit tissue on air, of varying level and contrast."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    inside = np.hypot(y / rng.uniform(0.75, 0.9), x / rng.uniform(0.75, 0.9)) < 1
    texture = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2) * rng.uniform(60, 120)
    grey = rng.uniform(70, 140) + texture + rng.normal(0, rng.uniform(2, 6), (SIDE, SIDE))
    return np.clip(np.where(inside, grey, 8 + rng.normal(0, 1.5, (SIDE, SIDE))), 1, 240).astype(np.uint8)


def painted(seed, count):
    """A forged copy and its mask: a bright square of so many pixels a side."""
    pixels, mask = tissue(seed).copy(), np.zeros((SIDE, SIDE), np.uint8)
    top, left = np.random.default_rng(seed).integers(20, SIDE - 40, 2)
    pixels[top : top + count, left : left + count] = BRIGHT
    mask[top : top + count, left : left + count] = 255
    return pixels, mask


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Raster.fromarray(pixels).save(path, **options)


def write_pack(folder, number=16, *, genuine=None, forged=None, ending=".png", options=None, paired=True):
    """Genuine images and bright forgeries of them; `genuine` and `forged` change what is saved."""
    same = lambda pixels: pixels  # noqa: E731
    rows = []
    for at in range(number):
        pixels, mask = painted(at if paired else 1000 + at, 6 + at % 5)
        save(folder / "images" / f"{at:02d}.png", (genuine or same)(tissue(at)))
        save(folder / "forged" / f"{at:02d}{ending}", (forged or same)(pixels), **(options or {}))
        save(folder / "masks" / f"{at:02d}.png", mask)
        pair = {"pair": str(at)} if paired else {}
        group = {"group": f"patient {at}"}
        rows.append({"image": f"images/{at:02d}.png", "label": "genuine"} | pair | group)
        truth = {"mask": f"masks/{at:02d}.png", "label": "forged", "operator": "paint"}
        owner = group if paired else {"group": f"other {at}"}
        rows.append({"image": f"forged/{at:02d}{ending}"} | truth | pair | owner)
    write_cases(folder, rows)
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genuine")
    for at in range(10):
        save(folder / f"{at}.png", tissue(at))
    return folder


@pytest.fixture(scope="module")
def made(genuine, tmp_path_factory):
    asked = Asked(["copy_move", "splice"], {}, parse_after(["jpeg=90", "scale"]), 0, 0)
    return make_pack([genuine], tmp_path_factory.mktemp("packs"), asked)


# Cases that are made


def test_genuine_images_stand_beside_their_forgeries_and_are_written_alike(made):
    folder, left_out = made
    cases = read_cases(folder)
    assert left_out == {} and len(cases) == 10 * 3 * 3
    assert {case.processing for case in cases} == {"none", "jpeg 90", "scale 0.9"}
    for pair in {case.pair for case in cases}:
        own = [case for case in cases if case.pair == pair and case.processing == "none"]
        assert sorted(case.operator for case in own) == ["", "copy_move", "splice"]
        assert len({case.group for case in own}) == 1
        images = {case.operator: read(case.image) for case in own}
        assert {image.made for image in images.values()} == {MARK}
        for case in own:
            labels = case.labels(images[""].shape)
            changed = images[case.operator].pixels != images[""].pixels
            assert changed.any() == case.forged and not changed[labels == 0].any()


def test_sizes_are_spread_over_the_bins(made):
    cases = [
        case for case in read_cases(made[0]) if case.operator == "copy_move" and case.processing == "none"
    ]
    shares = [float((case.labels((SIDE, SIDE)) == 1).mean()) for case in cases]
    assert len({bin_of(share) for share in shares}) >= 4
    assert min(shares) < 0.005 and max(shares) > 0.01
    assert [bin_of(share) for share in (0.0005, 0.001, 0.007, 0.03, 0.05)] == [
        "0 to 0.1 %", "0.1 to 0.5 %", "0.5 to 1 %", "1 to 5 %", "5 % and more"]  # fmt: skip


def test_foreign_parts_come_from_other_patients_of_the_same_fold(genuine, tmp_path, monkeypatch):
    given = {}
    forged = make._forged

    def spied(image, forger, asked, at, donors):
        given[at] = {Path(unit.name).stem for unit in donors}
        return forged(image, forger, asked, at, donors)

    monkeypatch.setattr(make, "_forged", spied)
    pack, _ = make_pack([genuine], tmp_path, Asked(["splice"], {}, [], 0, 0))
    group = {case.image.stem: case.group for case in read_cases(pack) if not case.forged}
    names = sorted(group)
    cases = [case for case in read_cases(pack) if not case.forged]
    dealt = folds_of_cases(cases, 0, members=2).tolist()
    fold = {case.image.stem: part for case, part in zip(cases, dealt, strict=True)}
    assert len(set(fold.values())) > 1
    for at, donors in given.items():
        own = names[at]
        assert donors == {n for n in names if group[n] != group[own] and fold[n] == fold[own]} and donors


def test_cases_are_dealt_as_their_patients_were():
    """More than ten patients: the tenth is not dealt before the second."""
    patients = [f"patient {at:03d}" for at in range(25) for _ in range(1 + at % 2)]
    numbers = np.unique(patients, return_inverse=True)[1]
    cases = [Case(f"{at}", Path(), None, "", str(number)) for at, number in enumerate(numbers)]
    np.testing.assert_array_equal(folds_of_cases(cases, 3, members=2), folds_of(patients, 3, members=2))


def test_the_same_seed_makes_the_same_cases(genuine, tmp_path):
    asked = Asked(["copy_move"], {}, parse_after(["noise"]), 4, 0)
    one, _ = make_pack([genuine], tmp_path / "one", asked)
    again, _ = make_pack([genuine], tmp_path / "again", asked)
    other, _ = make_pack([genuine], tmp_path / "other", replace(asked, seed=1))
    assert again.name == one.name != other.name
    for case in read_cases(one):
        assert (again / case.name).read_bytes() == case.image.read_bytes()


def test_labels_follow_the_pixels_when_an_image_is_scaled():
    pixels, mask = painted(3, 20)
    image, labels = After("scale", 0.8).apply(Image(pixels), (mask > 0).astype(np.uint8), 0)
    bright = image.pixels > (BRIGHT + 120) / 2
    assert (bright & (labels > 0)).sum() / (bright | (labels > 0)).sum() > 0.9
    assert (labels > 0).sum() == pytest.approx(0.64 * 400, rel=0.1)


def test_what_cannot_be_forged_in_every_way_is_left_out_and_named(genuine, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(genuine, folder)
    save(folder / "black.png", np.zeros((SIDE, SIDE), np.uint8))
    (folder / "notes.txt").write_text("no image")
    pack, left_out = make_pack([folder], tmp_path / "out", Asked(["copy_move"], {}, [], 0, 0))
    assert {Path(name).name for name in left_out} == {"black.png", "notes.txt"}
    assert not any("black" in case.name for case in read_cases(pack))


def test_volumes_keep_their_format(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for at in range(4):
        pixels = (1000 + 40 * rng.normal(size=(24, 40, 40))).astype(np.int16)
        image = Image(pixels, spacing=(2.0, 1.0, 1.0), modality="CT", identity=Identity(patient=f"P{at}"))
        write(image, tmp_path / "in" / f"{at}.nii.gz")
    pack, left_out = make_pack([tmp_path / "in"], tmp_path / "out", Asked(["remove"], {}, [], 0, 0))
    assert not left_out
    forged = next(case for case in read_cases(pack) if case.forged)
    assert forged.name.endswith(".nii.gz") and read(forged.image).shape == (24, 40, 40)
    assert (forged.labels((24, 40, 40)) == 1).any()


# Packs that others made


def test_a_pack_without_a_list_is_told_by_its_folders(tmp_path):
    for at in range(3):
        pixels, mask = painted(at, 8)
        save(tmp_path / "images" / "good" / f"g{at}.png", tissue(at))
        save(tmp_path / "images" / "paint" / f"f{at}.png", pixels)
        save(tmp_path / "masks" / f"f{at}_mask.png", mask)
    cases = {case.name: case for case in read_cases(tmp_path)}
    assert [case.operator for case in cases.values()] == [""] * 3 + ["paint"] * 3
    assert cases["images/paint/f1.png"].labels((SIDE, SIDE)).sum() == 64
    # A forgery and the image it was made of look alike, so they are taken for one patient.
    assert len({case.group for case in cases.values()}) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"image": "a.png", "label": "genuine"}], "0 of 1 images are forged"),
        ([{"image": "a.png", "label": "real"}], 'has an image, and "genuine" or "forged"'),
        ([{"image": "b.png", "label": "genuine"}], "b.png: there is no such file"),
        ([{"image": "a.png", "mask": "m.png", "label": "forged"}], "m.png: there is no such file"),
        ([{"image": "a.png", "label": x} for x in ("genuine", "forged")], "a.png is listed twice"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, rows, said):
    save(tmp_path / "a.png", tissue(0))
    (tmp_path / "cases.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=said):
        read_cases(tmp_path)


def test_what_is_no_pack_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no cases"):
        read_cases(tmp_path)
    (tmp_path / "cases.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        read_cases(tmp_path)


# Leaks


def leaks(folder):
    return {one.name for one in audit(read_cases(folder)) if one.leaks}


def resaved(pixels):
    """Through a JPEG file and back."""
    import io

    file = io.BytesIO()
    Raster.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Raster.open(file))


def stretched(pixels):
    return np.clip(np.rint((pixels.astype(float) - 8) * 1.3), 0, 255).astype(np.uint8)


def test_what_the_same_program_wrote_passes(pack, made):
    assert leaks(pack) == set()
    assert leaks(made[0]) == set()
    found = audit(read_cases(made[0]))
    assert {one.operator for one in found} == {"copy_move", "splice"}
    assert all(
        one.auroc == 0.5 and not one.telling for one in found if one.name in ("format and header", "size")
    )


def test_genuine_png_beside_forged_tiff_leaks_by_its_format(tmp_path):
    folder = write_pack(tmp_path, ending=".tif")
    assert leaks(folder) == {"format and header"}
    with pytest.raises(UsageError, match=r"told from genuine ones by format and header alone \(AUROC 1.00"):
        refuse_leaks("pack", audit(read_cases(folder)))


def test_another_setting_of_one_writer_leaks(tmp_path):
    assert leaks(write_pack(tmp_path, options={"compress_level": 1})) == {"format and header"}


def test_forged_images_alone_saved_anew_leak_by_their_compression(tmp_path):
    assert "compression and noise" in leaks(write_pack(tmp_path / "a", forged=resaved))
    assert "compression and noise" in leaks(write_pack(tmp_path / "b", genuine=resaved))
    assert leaks(write_pack(tmp_path / "c", genuine=resaved, forged=resaved)) == set()


def test_another_export_leaks_by_its_histogram(tmp_path):
    assert "histogram" in leaks(write_pack(tmp_path, forged=stretched))


def test_another_size_leaks(tmp_path):
    assert "size" in leaks(write_pack(tmp_path, genuine=lambda pixels: pixels[:90]))


def test_forgeries_that_are_always_in_the_middle_leak(tmp_path):
    def middle(pixels):
        changed = pixels.copy()
        changed[40:56, 40:56] = BRIGHT
        return changed

    assert leaks(write_pack(tmp_path, forged=middle)) >= {"corners and centre"}


def test_a_forgery_that_fills_the_gaps_of_a_histogram_is_no_leak(tmp_path):
    combed = lambda pixels: pixels // 4 * 4  # noqa: E731

    def filled(pixels):
        return np.where(pixels == BRIGHT, 101 + np.arange(SIDE)[:, None] % 2, combed(pixels)).astype(np.uint8)

    assert leaks(write_pack(tmp_path, genuine=combed, forged=filled)) == set()


def test_chance_and_few_patients_refuse_nothing(tmp_path):
    assert leaks(write_pack(tmp_path / "other", paired=False)) == set()
    assert leaks(write_pack(tmp_path / "few", 3, ending=".tif")) == set()


# Splits


def some_cases(patients=12, operators=("copy", "paste")):
    return [
        Case(f"{n}{operator}", Path(), None, operator, f"p{n}")
        for n in range(patients)
        for operator in ("", *operators)
    ]


def test_no_patient_is_on_both_sides_and_the_operator_is_new():
    cases = some_cases()
    groups = np.array([case.group for case in cases])
    operator = np.array([case.operator for case in cases])
    fold = folds_of(groups.tolist(), 0)
    found = list(leave_one_operator_out(cases, fold))
    assert len(found) == 5 * 2
    for split in found:
        assert not set(groups[split.train]) & set(groups[split.test])
        assert split.operator not in operator[split.train]
        assert set(operator[split.test]) == {"", split.operator}
        assert set(operator[split.train]) == {"", *({"copy", "paste"} - {split.operator})}
    for name in ("copy", "paste"):
        judged = sum(split.test.astype(int) for split in found if split.operator == name)
        assert (judged == np.isin(operator, ["", name])).all()
    alone = some_cases(operators=("copy",))
    assert all(split.operator == "" and split.train.any() for split in leave_one_operator_out(
        alone, folds_of([case.group for case in alone], 0)))  # fmt: skip


def test_too_few_patients_are_one_fold():
    assert not list(leave_one_operator_out(some_cases(3), np.zeros(9, int)))
    assert folds_of(["a", "a"], 0).tolist() == [0, 0]
    assert folds_of(["a", "b", "c"], 0, members=2).tolist() == [0, 0, 0]
    assert len(set(folds_of(["a", "b", "c"], 0).tolist())) == 3


# Numbers


@pytest.fixture(scope="module")
def benched(pack, tmp_path_factory):
    return bench_forensics(
        [pack], tmp_path_factory.mktemp("out"), methods=["bright", "shared"], alpha=0.1, workers=0
    )


def row_of(rows, method, kind="all", value=""):
    (row,) = [r for r in rows if (r["method"], r["slice"], r["value"]) == (method, kind, value)]
    return row


def test_numbers_are_those_of_the_metrics(benched, pack):
    cases = read_cases(pack)
    row = row_of(benched.rows, "bright")
    assert (row["forged"], row["genuine"], row["patients"]) == (16, 16, 16)
    assert row["auroc"] == row["tpr_at_fpr_1"] == row["f1"] == row["iou"] == row["f1_best"] == 1
    assert (row["decided_by"], row["sensitivity"], row["alarms"]) == ("genuine images", 1, 0)
    assert row["false_alarms_per_1000"] == 0 and row["false_alarms_per_1000_high"] == pytest.approx(
        205.9, abs=0.1
    )
    shared = row_of(benched.rows, "shared")
    assert shared["auroc"] == 0.5 and shared["decided_by"] == "its p-value" and shared["sensitivity"] == 0
    maps = {c.name: np.full((SIDE, SIDE), 0.3, np.float32) for c in cases if c.forged}
    labels = {c.name: c.labels((SIDE, SIDE)) for c in cases if c.forged}
    judged = {name: pixel_scores(maps[name], labels[name]) for name in maps}
    summary = over_forged(judged, {c.name: c.group for c in cases})
    assert shared["f1"] == summary.mean.metrics["f1"].value == 0
    assert shared["f1_best"] == pytest.approx(summary.mean.metrics["oracle_f1"].value)
    assert shared["f1_pooled"] == summary.pooled.f1
    shares = np.array([(mask == 1).mean() for mask in labels.values()])
    assert shared["f1_any"] == pytest.approx(np.mean(2 * shares / (1 + shares)))


def test_all_forged_is_the_line_to_beat(benched, pack):
    shares = np.array([(c.labels((SIDE, SIDE)) == 1).mean() for c in read_cases(pack) if c.forged])
    for kind, value in {(row["slice"], row["value"]) for row in benched.rows}:
        row = row_of(benched.rows, BASELINE, kind, value)
        assert row["auroc"] == 0.5 and row["mcc"] == 0 and row["false_area"] == 1
    row = row_of(benched.rows, BASELINE)
    assert row["f1"] == row["f1_best"] == pytest.approx(np.mean(2 * shares / (1 + shares)))
    assert row["f1_pooled"] == pytest.approx(2 * shares.mean() / (1 + shares.mean()))


def test_there_is_a_table_per_operator_and_area(benched):
    found = {(row["slice"], row["value"]): row["forged"] for row in benched.rows}
    assert found["operator", "paint"] == 16
    areas = {value: count for (kind, value), count in found.items() if kind == "area"}
    assert set(areas) == {"0.1 to 0.5 %", "0.5 to 1 %", "1 to 5 %"} and sum(areas.values()) == 16


def test_abstentions_and_failures_count_as_not_detected(tmp_path):
    def silenced(pixels):
        changed = pixels.copy()
        if (pixels == BRIGHT).sum() >= 80:  # the largest forgeries
            changed[0, 0] = 0
            changed[-1, -1] = 1
        return changed

    folder = write_pack(tmp_path / "pack", 10, forged=silenced)
    found = bench_forensics([folder], tmp_path / "out", methods=["bright", "shared"], workers=0)
    row = row_of(found.rows, "bright")
    lost = 4
    assert row["answered"] == 1 - lost / 20 and row["answered_forged"] == 1 - lost / 10
    assert row["auroc"] == 1 - lost / 10 and row["auroc_answered"] == 1
    assert row["f1"] == row["iou"] == 1 - lost / 10
    assert row["decided_by"] == ""  # 8 genuine images of others are too few for 1 %
    shared = row_of(found.rows, "shared")
    assert shared["errors"] == lost and len(found.failed) == lost
    assert found.failed[0]["case"].startswith("forged/") and "last pixel is 1" in found.failed[0]["reason"]
    assert shared["f1_any"] < row_of(found.rows, BASELINE)["f1"]


def finding(score, truth_pixels=(0, 0, 4, 12), **more):
    of = {"fixed": list(truth_pixels), "any": list(truth_pixels), "best_f1": 0.4, "auroc": 0.5,
          "average_precision": 0.25, "all_forged_f1": 0.4}  # fmt: skip
    return {"score": score, "p_value": None, "error": None, "share": 0.25, "seconds": 1.0,
            "pixels": {"target": of}} | more  # fmt: skip


def test_an_examiner_without_p_values_is_compared_with_other_patients():
    cases = [Case(f"g{n}", Path(), None, "", f"p{n}") for n in range(40)]
    cases += [Case(f"f{n}", Path(), None, "paint", f"p{n}") for n in range(40)]
    scores = [float(n) for n in range(40)] + [39.5] * 40
    one = Examined("x", [finding(score) | {"path": c.name} for score, c in zip(scores, cases, strict=True)])
    folds = np.array([n % 2 for n in range(40)] * 2)
    flagged, how = called(one, cases, folds, 0.05)
    # Of 20 genuine images of the other fold the highest has 38 or 39: only what is above gets 1/21.
    assert how == "genuine images" and flagged[40:].all() and flagged[:40].nonzero()[0].tolist() == [39]
    assert called(one, cases, folds, 0.01)[1] == ""


@pytest.mark.parametrize("decimals", [1, 8])  # with and without ties
def test_many_resamples_at_once_are_those_of_the_bootstrap(decimals):
    rng = np.random.default_rng(decimals)
    truth, groups = rng.random(150) < 0.3, rng.integers(0, 60, 150)
    scores = np.round(rng.normal(size=150) + truth, decimals)
    found = np.quantile(sensitivities(scores, truth, draw(groups, truth, 100, seed=5)), [0.025, 0.975])
    same = {"groups": groups, "strata": truth, "resamples": 100, "seed": 5}
    expected = bootstrap(lambda s, t: sensitivity_at_specificity(s, t, 0.99), scores, truth, **same)
    assert found == pytest.approx([expected.low, expected.high])


def test_patients_weigh_the_same_and_pixels_are_pooled():
    cases = [Case("g", Path("x"), None, "", "c"), *(
        Case(f"f{n}", Path("x"), Path("m"), "paint", group) for n, group in enumerate("aab"))]  # fmt: skip
    counts = [(0, 0, 0, 16), (4, 0, 0, 12), (0, 0, 4, 12), (4, 4, 0, 8)]
    rows = [
        finding(float(n), of) | {"path": case.name}
        for n, (case, of) in enumerate(zip(cases, counts, strict=True))
    ]
    row = summarise(cases, np.zeros(4, int), [Examined("x", rows)], 0.1)[0]
    scores = {case.name: PixelScores(Confusion(*of)) for case, of in zip(cases, counts, strict=True)}
    expected = over_forged(scores, {case.name: case.group for case in cases})
    for name in ("f1", "iou", "mcc"):
        assert row[name] == pytest.approx(expected.mean.metrics[name].value)
        assert row[f"{name}_pooled"] == pytest.approx(getattr(expected.pooled, name))
    assert (row["f1_low"], row["f1_high"]) == (
        expected.mean.metrics["f1"].low,
        expected.mean.metrics["f1"].high,
    )
    assert row["auroc"] == auroc(np.arange(4.0), np.arange(4) > 0)


def test_copies_have_two_scores(genuine, tmp_path):
    found = bench_forensics(
        [genuine], tmp_path, kinds=["copy_move"], methods=["shared"], workers=0, after=["jpeg=60"]
    )
    row, baseline = row_of(found.rows, "shared"), row_of(found.rows, BASELINE)
    assert baseline["f1_with_source"] == pytest.approx(2 * baseline["f1"], rel=0.2)
    assert row["f1_any_with_source"] == pytest.approx(baseline["f1_with_source"])
    processed = row_of(found.rows, "shared", "processing", "jpeg 60")
    assert (processed["forged"], processed["genuine"]) == (10, 10)


# Going on, and what is written


def test_a_run_goes_on_and_asks_only_what_is_new(pack, tmp_path, benched, monkeypatch):
    shutil.copytree(benched.out, tmp_path / "out")
    asked = []
    work = bench.Worker.__call__

    def counted(worker, cases):
        asked.extend((worker.method, case.name) for case in cases)
        return work(worker, cases)

    monkeypatch.setattr(bench.Worker, "__call__", counted)
    monkeypatch.setattr(bench, "audit", lambda cases: pytest.fail("was audited before"))
    again = {"methods": ["bright", "shared"], "alpha": 0.1, "workers": 0}
    assert bench_forensics([pack], tmp_path / "out", **again).rows == benched.rows and asked == []
    (cell,) = (tmp_path / "out" / "cells").glob("bright-*")
    lines = (cell / "findings.jsonl").read_text().splitlines(keepends=True)
    (cell / "findings.jsonl").write_text("".join(lines[:-3]) + lines[-3][:20])
    other = bench_forensics([pack], tmp_path / "out", **again)
    assert [name for name, _ in asked] == ["bright"] * 3
    seconds = {"seconds"}
    for before, after in zip(benched.rows, other.rows, strict=True):
        assert {k: v for k, v in before.items() if k not in seconds} == {
            k: v for k, v in after.items() if k not in seconds}  # fmt: skip
    changed = bench_forensics([pack], tmp_path / "out", fields={"bright": {"level": 251}}, **again)
    assert len(asked) == 3 + 32 and row_of(changed.rows, "bright")["auroc"] == 0.5


def test_tables_and_page_hold_what_was_found(benched, pack):
    out = benched.out
    rows = read_rows(out / "results.csv")
    assert float(row_of(rows, "bright")["auroc"]) == 1
    assert len(read_rows(out / "scores.csv")) == 2 * 32
    assert [row["leaks"] for row in read_rows(out / "audit.csv")] == ["0"] * 5
    assert sum(int(row["test_forged"]) for row in read_rows(out / "splits.csv")) == 16
    run = json.loads((out / "run.json").read_text())
    assert run["methods"] == {"bright": {"level": BRIGHT}, "shared": {}} and run["cases"] == 32
    page, text = (out / "index.html").read_text(), (out / "results.md").read_text()
    for words in (
        "bright",
        BASELINE,
        "Forged by paint: 16 forged, 16 genuine",
        "F1-best (oracle)",
        "these tests",
    ):
        assert words in page and (words == "these tests" or words in text)
    assert "<script" not in page and "http://" not in page and "patient 3" not in page + text
    width = 0
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("|"):
            assert line.count("|") == width or not before.startswith("|")
            width = line.count("|")


def test_nothing_is_measured_on_a_pack_that_leaks(tmp_path):
    folder = write_pack(tmp_path / "pack", ending=".tif")
    with pytest.raises(UsageError, match=r"pack leaks: its paint images .* by format and header"):
        bench_forensics([folder], tmp_path / "out", methods=["bright"], workers=0)
    assert not list((tmp_path / "out" / "cells").glob("bright-*"))
    assert "1" in {row["leaks"] for row in read_rows(tmp_path / "out" / "audit.csv")}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ["brigth"]}, "unknown method 'brigth'"),
        ({"kinds": ["copymove"]}, "unknown method 'copymove'"),
        ({"kinds": ["untouched"]}, "untouched is no forgery"),
        ({"kinds": ["drop_slice"]}, "drop_slice edits the files of a series"),
        ({"fields": {"splice": {"form": "blob"}}}, "neither a method nor a kind of this run"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"after": ["jpeg"]}, "without --kind"),
        ({"kinds": ["copy_move"], "after": ["jpeg=none"]}, "its value is a number above 0"),
        ({"kinds": ["copy_move"], "after": ["sepia"]}, "choose one of jpeg, noise, scale"),
    ],
)
def test_wrong_use_is_refused(pack, tmp_path, asked, said):
    with pytest.raises(UsageError, match=said):
        bench_forensics([pack], tmp_path / "out", workers=0, **asked)
