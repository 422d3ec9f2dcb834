import itertools
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from sklearn import metrics as oracle

from intact import forge, metrics
from intact.metrics import decisions, froc, tampering
from intact.metrics.froc import RegionScores
from intact.metrics.tampering import Confusion, CopyTransform


def square(row, column, side=16, shape=(64, 64), value=1):
    labels = np.zeros(shape, np.uint8)
    labels[row : row + side, column : column + side] = value
    return labels


def as_map(*parts, shape=(64, 64)):
    """A float map that is 0 outside the given (slices, value) parts."""
    scores = np.zeros(shape)
    for place, value in parts:
        scores[place] = value
    return scores


@pytest.fixture(params=range(8))
def sample(request):
    """A coarse map (many ties) and labels of all four values; planes and volumes."""
    rng = np.random.default_rng(request.param)
    labels = rng.choice(4, p=[0.6, 0.2, 0.1, 0.1], size=(11, 9) if request.param % 2 else (4, 7, 6))
    scores = np.round(rng.random(labels.shape) + 0.3 * (labels == 1), 1)
    return scores.astype(np.float32), labels.astype(np.uint8)


def flat(scores, labels, sources):
    """The judged pixels, one by one."""
    pairs = []
    for value, kind in zip(scores.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if kind == forge.BORDER or (kind == forge.SOURCE and not sources):
            continue
        pairs.append((value, kind != forge.GENUINE))
    values, truth = zip(*pairs, strict=True)
    return np.array(values), np.array(truth)


# Pixels


def test_labels_are_those_of_the_forgers():
    assert forge.GENUINE == 0
    for name in ("FORGED", "SOURCE", "BORDER"):
        assert getattr(tampering, name) == getattr(forge, name)


def test_a_square_against_itself_four_rows_lower():
    shifted = (square(24, 20) == 1).astype(float)
    confusion = tampering.pixel_scores(shifted, square(20, 20)).confusion
    assert confusion == Confusion(tp=192, fp=64, fn=64, tn=3776)
    assert confusion.f1 == 0.75
    assert confusion.iou == pytest.approx(0.6)
    assert confusion.mcc == pytest.approx(0.7333, abs=5e-5)
    assert (confusion.precision, confusion.recall) == (0.75, 0.75)


@pytest.mark.parametrize("sources", [False, True])
def test_pixel_scores_agree_with_scikit_learn_and_a_loop_over_thresholds(sample, sources):
    scores, labels = sample
    got = tampering.pixel_scores(scores, labels, 0.7, sources=sources)
    values, truth = flat(scores, labels, sources)
    called = values >= np.float32(0.7)
    tn, fp, fn, tp = oracle.confusion_matrix(truth, called).ravel()
    assert got.confusion == Confusion(tp, fp, fn, tn)
    assert got.confusion.f1 == pytest.approx(oracle.f1_score(truth, called))
    assert got.confusion.f1 == pytest.approx(metrics.dice(called, truth))
    assert got.confusion.iou == pytest.approx(oracle.jaccard_score(truth, called))
    assert got.confusion.mcc == pytest.approx(oracle.matthews_corrcoef(truth, called))
    assert got.confusion.precision == pytest.approx(oracle.precision_score(truth, called))
    assert got.confusion.recall == pytest.approx(oracle.recall_score(truth, called))
    assert got.confusion.false_area == pytest.approx(called[~truth].mean())
    assert got.auroc == pytest.approx(oracle.roc_auc_score(truth, values))
    assert got.average_precision == pytest.approx(oracle.average_precision_score(truth, values))
    tried = [oracle.f1_score(truth, values >= threshold) for threshold in np.unique(values)]
    assert got.oracle_f1 == pytest.approx(max(tried))
    assert got.all_forged_f1 == pytest.approx(oracle.f1_score(truth, np.ones_like(truth)))


def test_a_map_that_calls_nothing_or_everything_has_no_correlation():
    labels = square(0, 0)
    nothing = tampering.pixel_scores(np.zeros((64, 64)), labels)
    everything = tampering.pixel_scores(np.ones((64, 64)), labels)
    assert (nothing.confusion.f1, nothing.confusion.mcc, everything.confusion.mcc) == (0.0, 0.0, 0.0)
    assert math.isnan(nothing.confusion.precision)
    assert everything.confusion.f1 == everything.oracle_f1 == everything.all_forged_f1 == 2 / 17  # f = 1/16
    assert everything.auroc == 0.5


def test_the_best_threshold_of_each_image_makes_noise_look_good():
    """Random smooth maps over a random square; the numbers stand in the reference, section G2."""
    rng = np.random.default_rng(0)
    maps = [gaussian_filter(rng.normal(size=(256, 256)), 12) for _ in range(60)]
    for share, best, fixed, all_forged, within in [
        (0.005, 0.022, 0.008, 0.010, 0.006),
        (0.05, 0.12, 0.074, 0.095, 0.02),
        (0.25, 0.42, 0.30, 0.40, 0.04),  # two standard errors of 60 maps, or so
    ]:
        side = round(256 * math.sqrt(share))
        got = []
        for noise in maps:
            row, column = rng.integers(0, 257 - side, 2)
            labels = square(row, column, side, noise.shape)
            got.append(tampering.pixel_scores((noise - noise.min()) / np.ptp(noise), labels))
        oracle_f1 = np.mean([one.oracle_f1 for one in got])
        assert oracle_f1 == pytest.approx(best, abs=within)
        assert np.mean([one.confusion.f1 for one in got]) == pytest.approx(fixed, abs=within)
        assert got[0].all_forged_f1 == pytest.approx(all_forged, abs=0.001)
        assert oracle_f1 > got[0].all_forged_f1


def test_dont_care_pixels_change_nothing(sample):
    scores, labels = sample
    other = np.where(labels == forge.BORDER, 1.0 - scores, scores)
    assert tampering.pixel_scores(other, labels) == tampering.pixel_scores(scores, labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.full((8, 8), 3, np.uint8),
        np.full((8, 8), 1, np.uint8),
        square(0, 0, 2, (8, 8), value=2),
        square(0, 0, 2, (8, 8), value=4),
        square(0, 0, 2, (8, 8)).astype(int),
    ],
)
def test_labels_that_are_neither_forged_in_part_nor_authentic_are_refused(labels):
    with pytest.raises(ValueError, match=r"leave this image out|0 is genuine"):
        tampering.pixel_scores(np.zeros((8, 8)), labels)


def test_a_map_that_is_not_finite_is_refused():
    scores = np.zeros((64, 64))
    scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 values that are NaN"):
        tampering.pixel_scores(scores, square(0, 0))


# Averages


def test_mean_and_pooled_scores_differ_where_sizes_do():
    """A large forgery found whole and a small one missed."""
    large, small = square(0, 0, 32), square(0, 0, 4)
    got = tampering.over_forged(
        {
            "large": tampering.pixel_scores((large == 1).astype(float), large),
            "small": tampering.pixel_scores(np.zeros((64, 64)), small),
        }
    )
    assert got.mean.metrics["f1"].value == 0.5
    assert got.mean.missed == 1
    assert got.pooled == Confusion(tp=1024, fp=0, fn=16, tn=2 * 64 * 64 - 1040)
    assert got.pooled.f1 == pytest.approx(2048 / 2064)


def test_the_images_of_a_patient_are_averaged_first():
    hit = tampering.pixel_scores((square(0, 0) == 1).astype(float), square(0, 0))
    miss = tampering.pixel_scores(np.zeros((64, 64)), square(0, 0))
    owners = {"a": "first", "b": "first", "c": "second"}
    got = tampering.over_forged({"a": hit, "b": hit, "c": miss}, owners).mean
    assert (got.metrics["f1"].value, got.cases, got.patients) == (0.5, 3, 2)


def test_without_a_forged_image_there_is_no_mean():
    with pytest.raises(ValueError, match="at least one case"):
        tampering.over_forged({"a": tampering.pixel_scores(np.zeros((4, 4)), np.zeros((4, 4), np.uint8))})


def test_false_area_of_authentic_images():
    shares = [0, 0, 1, 5, 10]  # pixels called, of 1000
    got = {}
    for name, count in enumerate(shares):
        called = np.zeros((20, 50))
        called.ravel()[:count] = 1.0
        got[str(name)] = tampering.pixel_scores(called, np.zeros((20, 50), np.uint8))
    got["forged"] = tampering.pixel_scores(np.ones((64, 64)), square(0, 0))
    area = tampering.false_area(got)
    assert (area.images, area.above) == (5, 0.4)  # one pixel of 1000 is not more than 0.1 %
    assert area.mean == pytest.approx(0.0032)
    assert area.percentile_95 == pytest.approx(0.009)
    none = tampering.false_area({"forged": got["forged"]})
    assert none.images == 0
    assert math.isnan(none.mean)


# Pitfalls of published protocols: table G3 of the reference


def test_pitfall_authentic_images_in_pixel_f1():
    forged = tampering.pixel_scores((square(24, 20) == 1).astype(float), square(20, 20))
    authentic = tampering.pixel_scores((square(24, 20) == 1).astype(float), np.zeros((64, 64), np.uint8))
    assert math.isnan(authentic.confusion.f1)
    assert math.isnan(authentic.confusion.iou)
    assert math.isnan(authentic.confusion.mcc)
    assert math.isnan(authentic.oracle_f1)
    got = tampering.over_forged({"forged": forged, "authentic": authentic})
    assert got.mean.metrics["f1"].value == 0.75
    assert got.mean.cases == 1
    assert got.pooled == forged.confusion


def test_pitfall_per_image_best_reported_as_f1():
    labels = square(20, 20)
    scores = tampering.pixel_scores(0.1 * (labels == 1), labels)
    assert (scores.oracle_f1, scores.confusion.f1) == (1.0, 0.0)
    mean = tampering.over_forged({"a": scores}).mean.metrics
    assert (mean["f1"].value, mean["oracle_f1"].value) == (0.0, 1.0)


def test_pitfall_precision_and_recall_at_different_thresholds(sample):
    scores, labels = sample
    for threshold in np.unique(scores):
        confusion = tampering.pixel_scores(scores, labels, threshold).confusion
        both = confusion.precision + confusion.recall
        expected = 2 * confusion.precision * confusion.recall / both if both else 0.0
        assert confusion.f1 == pytest.approx(expected)


def test_pitfall_auc_of_thresholded_predictions(sample):
    scores, labels = sample
    got = tampering.pixel_scores(scores, labels, 0.7)
    values, truth = flat(scores, labels, sources=False)
    balanced = oracle.balanced_accuracy_score(truth, values >= np.float32(0.7))
    assert metrics.auroc((values >= np.float32(0.7)).astype(float), truth) == pytest.approx(balanced)
    assert got.auroc != pytest.approx(balanced)
    for cut in (scores >= 0.7, (255 * scores).astype(np.uint8)):
        with pytest.raises(ValueError, match="no threshold has cut"):
            tampering.pixel_scores(cut, labels)
    with pytest.raises(ValueError, match="not yet cut by a threshold"):
        decisions.image_scores(values >= 0.7, truth, 0.5)


def test_pitfall_padded_or_duplicated_last_batch():
    """Seven images in batches of three, the last one filled up with repeats."""
    rng = np.random.default_rng(0)
    images = {str(i): (rng.random((9, 7)), square(i, 0, 3, (9, 7))) for i in range(7)}
    direct = {name: tampering.pixel_scores(*image) for name, image in images.items()}
    batches = [["0", "1", "2"], ["3", "4", "5"], ["6", "6", "6"]]
    batched = {}
    for batch in batches:
        for name in batch:
            batched[name] = tampering.pixel_scores(*images[name])
    got = tampering.over_forged(batched)
    assert got == tampering.over_forged(direct)
    pooled = got.pooled
    assert pooled.tp + pooled.fp + pooled.fn + pooled.tn == 7 * 9 * 7
    with pytest.raises(ValueError, match="vectors of one length"):
        decisions.image_scores(rng.random(9), np.arange(7) % 2 == 0, 0.5)


@pytest.mark.parametrize("judge", [tampering.pixel_scores, froc.region_scores])
def test_pitfall_evaluation_at_resized_resolution(judge):
    with pytest.raises(ValueError, match="resize the map to it, not the labels"):
        judge(np.zeros((32, 32)), square(0, 0))


def test_pitfall_copy_source_counted_as_false_positive():
    """A method that shows both ends and one that shows the copy alone."""
    labels = square(0, 0) + square(40, 40, value=2)
    both, copy = (labels > 0).astype(float), (labels == 1).astype(float)
    for shown in (both, copy):
        assert tampering.pixel_scores(shown, labels).confusion.f1 == 1.0
        assert froc.region_scores(shown, labels).false.size == 0
    assert tampering.pixel_scores(both, labels, sources=True).confusion.f1 == 1.0
    assert tampering.pixel_scores(copy, labels, sources=True).confusion.f1 == pytest.approx(2 / 3)
    assert froc.region_scores(copy, labels, sources=True).found.tolist() == [1.0, -np.inf]


# Regions


def test_a_region_is_hit_by_overlap_or_by_its_centre():
    labels = square(20, 20, 20)
    tenth = as_map((np.s_[18:40, 20:22], 1.0))  # 40 of 404 pixels, 0.099; centre (28, 20) inside
    assert froc.region_scores(tenth, labels).found.tolist() == [1.0]
    beside = as_map((np.s_[20:42, 11:22], 1.0))  # 40 of 602, centre (30, 16) outside
    missed = froc.region_scores(beside, labels)
    assert (missed.found.tolist(), missed.false.tolist()) == ([-np.inf], [1.0])
    overlapping = as_map((np.s_[20:40, 0:25], 0.9))  # 100 of 800 pixels, centre (30, 12) outside
    assert froc.region_scores(overlapping, labels).found.tolist() == [0.9]


def test_pixels_that_touch_at_a_corner_are_one_region():
    labels = square(10, 10, 4) + square(14, 14, 4)
    assert froc.region_scores(np.zeros((64, 64)), labels).found.size == 1
    volume = np.zeros((8, 8, 8), np.uint8)
    volume[1:3, 1:3, 1:3] = volume[3:5, 3:5, 3:5] = 1
    assert froc.region_scores(np.zeros(volume.shape), volume).found.size == 1


def test_a_forged_region_keeps_the_highest_peak_and_alarms_on_dont_care_are_no_alarms():
    labels = square(10, 10) + square(50, 50, 8, value=3)
    scores = as_map((np.s_[11:15, 11:25], 0.6), (np.s_[18:24, 11:25], 0.8), (np.s_[50:58, 50:58], 0.9))
    scores[40:44, 2:6] = 0.7
    got = froc.region_scores(scores, labels)
    assert (got.found.tolist(), got.false.tolist()) == ([0.8], [0.7])


def naive_regions(scores, labels, threshold):
    """One pixel at a time, with another library's components."""
    truth = label(labels == 1, connectivity=labels.ndim)
    parts = label(scores >= threshold, connectivity=labels.ndim)
    found, false = [-math.inf] * truth.max(), []
    for part in range(1, parts.max() + 1):
        places = [tuple(p) for p in np.argwhere(parts == part)]
        peak = max(scores[p] for p in places)
        counted = {p for p in places if labels[p] in (0, 1)}
        middle = tuple(math.floor(sum(axis) / len(places) + 0.5) for axis in zip(*places, strict=True))
        any_hit = False
        for region in range(1, truth.max() + 1):
            target = {tuple(p) for p in np.argwhere(truth == region)}
            if len(counted & target) >= 0.1 * len(counted | target) or middle in target:
                any_hit, found[region - 1] = True, max(found[region - 1], peak)
        if not any_hit and len(counted) > len(places) / 2:
            false.append(peak)
    return found, false


@pytest.mark.parametrize("shape", [(24, 24), (8, 9, 10)])
@pytest.mark.parametrize("seed", range(6))
def test_region_scores_agree_with_a_loop_over_pixels(shape, seed):
    rng = np.random.default_rng(seed)
    labels = (gaussian_filter(rng.normal(size=shape), 1.2) > 0.2).astype(np.uint8)
    labels[gaussian_filter(rng.normal(size=shape), 1) > 0.25] = 3
    scores = gaussian_filter(rng.normal(size=shape), 1) + 0.1 * (labels == 1)
    found, false = naive_regions(scores, labels, 0.15)
    got = froc.region_scores(scores, labels, 0.15)
    assert got.found.tolist() == found
    assert got.false.tolist() == false


def test_froc_agrees_with_trying_every_threshold():
    rng = np.random.default_rng(0)
    for images in (1, 3, 8, 20):
        rows = {}
        for name in range(images):
            found = np.where(rng.random(2) < 0.2, -np.inf, rng.integers(0, 12, 2))
            rows[str(name)] = RegionScores(found, rng.integers(0, 9, rng.integers(0, 9)).astype(float))
        curve = froc.froc(rows)
        assert list(curve) == [0.125, 0.25, 0.5, 1, 2, 4, 8]
        found = np.concatenate([row.found for row in rows.values()])
        false = np.concatenate([row.false for row in rows.values()])
        for rate, got in curve.items():
            tried = [np.mean(found >= t) for t in range(14) if np.sum(false >= t) / images <= rate]
            assert got == pytest.approx(max(tried))


def test_authentic_images_count_in_froc_and_cannot_stand_alone():
    hit = RegionScores(np.array([0.5]), np.array([0.9]))
    clean = RegionScores(np.empty(0), np.empty(0))
    assert froc.froc({"a": hit})[0.5] == 0.0
    assert froc.froc({"a": hit, "b": clean})[0.5] == 1.0
    with pytest.raises(ValueError, match="no forged region"):
        froc.froc({"b": clean})


# Images


@pytest.fixture(params=range(6))
def answers(request):
    """Coarse scores of forged and authentic images, and abstentions."""
    rng = np.random.default_rng(request.param)
    forged = rng.random(83) < 0.4
    scores = np.clip(np.round(0.3 * forged + rng.random(83) * 0.7, 1), 0, 1)
    return scores, forged, rng.random(83) < 0.2


def naive_equal_error_rate(scores, forged):
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        points.append((flagged[~forged].mean(), 1 - flagged[forged].mean()))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        steps = np.linspace(0, 1, 20001)
        x, y = x0 + steps * (x1 - x0), y0 + steps * (y1 - y0)
        if y[-1] <= x[-1]:
            return x[np.argmax(y <= x)]
    raise AssertionError


def test_equal_error_rate_agrees_with_walking_along_the_curve(answers):
    scores, forged, _ = answers
    assert decisions.equal_error_rate(scores, forged) == pytest.approx(
        naive_equal_error_rate(scores, forged), abs=1e-4
    )


def test_equal_error_rate_of_perfect_useless_and_inverted_scores():
    forged = np.array([False, False, True, True])
    for scores, expected in [([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5), ([3, 2, 1, 0], 1.0)]:
        assert decisions.equal_error_rate(np.array(scores, float), forged) == expected


def test_image_scores_agree_with_scikit_learn_and_leave_abstentions_out(answers):
    scores, forged, abstained = answers
    unknown = np.where(abstained, np.nan, scores)
    got = decisions.image_scores(unknown, forged, 0.6, abstained)
    left, truth = scores[~abstained], forged[~abstained]
    assert got.coverage == pytest.approx(1 - abstained.mean())
    assert got.auroc == pytest.approx(oracle.roc_auc_score(truth, left))
    assert got.average_precision == pytest.approx(oracle.average_precision_score(truth, left))
    assert got.sensitivity == pytest.approx(oracle.recall_score(truth, left >= 0.6))
    false, true, _ = oracle.roc_curve(truth, left, drop_intermediate=False)
    assert got.tpr_at_fpr_1_percent == pytest.approx(true[false <= 0.01].max())
    assert got.tpr_at_fpr_01_percent == pytest.approx(true[false <= 0.001].max())
    assert got.false_alarms.value == pytest.approx(1000 * (left[~truth] >= 0.6).mean())
    assert got == decisions.image_scores(left, truth, 0.6) or got.coverage < 1


def test_tpr_at_one_and_at_a_tenth_of_a_percent_allow_ten_and_one_of_a_thousand():
    scores = np.arange(2000.0)
    forged = np.arange(2000) % 2 == 0
    got = decisions.image_scores(scores, forged, 0.0)
    assert (got.tpr_at_fpr_1_percent, got.tpr_at_fpr_01_percent) == (0.01, 0.001)


def test_pessimistically_an_abstention_is_not_detected():
    scores = np.array([0.1, 0.2, np.nan, 0.9, 0.8, np.nan])
    forged = np.array([False, False, False, True, True, True])
    kind = decisions.image_scores(scores, forged, 0.5, np.isnan(scores))
    strict = decisions.image_scores(scores, forged, 0.5, np.isnan(scores), pessimistic=True)
    assert (kind.coverage, strict.coverage) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (kind.sensitivity, strict.sensitivity) == (1.0, pytest.approx(2 / 3))
    assert (kind.auroc, strict.auroc) == (1.0, pytest.approx((2 * 3 + 0.5) / 9))
    assert strict.false_alarms.value == 0.0
    everything = decisions.image_scores(scores, forged, -5.0, np.isnan(scores), pessimistic=True)
    assert everything.sensitivity == pytest.approx(2 / 3)


def test_false_alarms_have_an_exact_interval_even_without_any():
    none = decisions.false_alarms_per_1000(0, 500)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1000 * (1 - 0.025 ** (1 / 500)))
    some = decisions.false_alarms_per_1000(3, 400)
    assert (some.value, some.low, some.high) == pytest.approx((7.5, 1.549, 21.761), abs=2e-3)
    with pytest.raises(ValueError, match="at least one trial"):
        decisions.false_alarms_per_1000(0, 0)


def test_brier_score_agrees_with_scikit_learn(answers):
    probabilities, forged, _ = answers
    assert decisions.brier_score(probabilities, forged) == pytest.approx(
        oracle.brier_score_loss(forged, probabilities)
    )


def test_calibration_error_agrees_with_a_loop_over_bins_of_equal_number():
    rng = np.random.default_rng(0)
    for size in (15, 150, 3000):
        probabilities = rng.random(size)
        forged = rng.random(size) < probabilities**2
        order = np.argsort(probabilities)
        errors = [abs(probabilities[part].mean() - forged[part].mean()) for part in np.array_split(order, 15)]
        got = decisions.expected_calibration_error(probabilities, forged)
        assert got == pytest.approx(np.mean(errors))


def test_calibration_error_does_not_depend_on_the_order_of_ties(answers):
    probabilities, forged, _ = answers
    mixed = np.random.default_rng(1).permutation(forged.size)
    expected = decisions.expected_calibration_error(probabilities, forged)
    assert decisions.expected_calibration_error(probabilities[mixed], forged[mixed]) == pytest.approx(
        expected
    )
    constant = np.full(forged.size, 0.25)
    got = decisions.expected_calibration_error(constant, forged)
    assert got == pytest.approx(abs(0.25 - forged.mean()))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    for judge in (decisions.brier_score, decisions.expected_calibration_error):
        with pytest.raises(ValueError, match="calibrate the scores first"):
            judge(np.array([0.5, wrong]), np.array([True, False]))


def test_risk_coverage_agrees_with_a_loop_over_confidences(answers):
    confidence, wrong, abstained = answers
    coverage, risk = decisions.risk_coverage(np.where(abstained, np.nan, confidence), wrong, abstained)
    levels = sorted(set(confidence[~abstained].tolist()), reverse=True)
    assert coverage.size == len(levels)
    for level, covered, share in zip(levels, coverage, risk, strict=True):
        answered = (confidence >= level) & ~abstained
        assert covered == pytest.approx(answered.mean())
        assert share == pytest.approx(wrong[answered].mean())
    assert coverage[-1] == pytest.approx(1 - abstained.mean())


def test_risk_without_any_answer_is_refused():
    with pytest.raises(ValueError, match="0 of 2 images"):
        decisions.risk_coverage(np.full(2, np.nan), np.zeros(2, bool), np.ones(2, bool))


# Copy-move


def test_transform_errors_in_px_degrees_and_percent():
    truth = CopyTransform((30.0, -40.0), angle=-178.0, scale=0.8)
    got = tampering.transform_error(CopyTransform((33.0, -36.0), angle=179.0, scale=1.0), truth)
    assert got == pytest.approx({"displacement_px": 5.0, "angle_degrees": 3.0, "scale_percent": 25.0})
    turned = CopyTransform((0.0, 0.0, 0.0), angle=540.0)
    assert tampering.transform_error(turned, CopyTransform((0.0, 0.0, 0.0)))["angle_degrees"] == 180.0


def test_transforms_that_cannot_be_compared_are_refused():
    for other in (CopyTransform((1.0, 2.0, 3.0)), CopyTransform((1.0, 2.0), scale=0.0)):
        with pytest.raises(ValueError, match="scales above 0"):
            tampering.transform_error(other, CopyTransform((1.0, 2.0)))
