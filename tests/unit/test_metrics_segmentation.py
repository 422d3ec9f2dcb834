import itertools
import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact import metrics

SURFACE = ("hausdorff_95", "assd", "nsd")
NAMES = {
    *("dice", "iou", "sensitivity", "specificity", "precision", "pixel_accuracy"),
    *SURFACE,
    "volume_error",
}


def square(row, column, side=10, shape=(30, 30)):
    mask = np.zeros(shape, bool)
    mask[row : row + side, column : column + side] = True
    return mask


def ball(centre, radius, shape):
    return np.linalg.norm(np.stack(np.indices(shape), -1) - np.array(centre), axis=-1) <= radius


def pairs():
    """Discs, cubes, masks at the border, and noise; planes and volumes, each with a spacing."""
    rng = np.random.default_rng(0)
    yield square(5, 5), square(6, 5), (1.0, 1.0)
    yield square(0, 0), square(20, 20), (0.7, 1.3)
    yield ball((12, 14), 6, (26, 30)), ball((14, 13), 5, (26, 30)), (2.0, 0.5)
    yield ball((6, 8, 8), 5, (12, 16, 17)), ball((7, 8, 7), 4, (12, 16, 17)), (3.0, 1.0, 1.0)
    cube = np.zeros((9, 9, 9), bool)
    cube[2:7, 2:7, 2:7] = True
    yield cube, np.roll(cube, 2, axis=0), (1.5, 1.0, 0.8)
    yield np.ones((6, 7), bool), square(2, 2, side=1, shape=(6, 7)), (1.0, 2.0)
    for share in (0.02, 0.5, 0.9):
        for shape, spacing in (((15, 11), (1.0, 2.5)), ((5, 8, 7), (2.5, 0.9, 0.9))):
            yield rng.random(shape) < share, rng.random(shape) < share, spacing


def slow_surface(mask):
    """Indices of the mask's voxels that have a face neighbour outside it, by one loop per voxel."""
    found = []
    for place in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = place.copy()
            other[axis] += step
            inside = (other >= 0).all() and (other < mask.shape).all()
            if not (inside and mask[tuple(other)]):
                found.append(place)
                break
    return np.array(found)


def slow_distances(predicted, truth, spacing):
    ours, theirs = (slow_surface(mask) * np.array(spacing) for mask in (predicted, truth))
    there = [min(math.dist(p, t) for t in theirs) for p in ours]
    back = [min(math.dist(p, t) for p in ours) for t in theirs]
    return there, back


@pytest.mark.parametrize(("predicted", "truth", "spacing"), [*pairs()])
def test_surface_metrics_agree_with_one_loop_per_voxel(predicted, truth, spacing):
    there, back = slow_distances(predicted, truth, spacing)
    expected = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    assert metrics.hausdorff_95(predicted, truth, spacing) == pytest.approx(expected)
    assert metrics.assd(predicted, truth, spacing) == pytest.approx(np.mean(there + back))
    for tolerance in (0.0, 1.0, 2.0):
        expected = np.mean([gap <= tolerance for gap in there + back])
        assert metrics.nsd(predicted, truth, spacing, tolerance) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore")  # MONAI's imports
@pytest.mark.parametrize(("predicted", "truth", "spacing"), [*pairs()])
def test_surface_metrics_agree_with_monai(predicted, truth, spacing):
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    one, other = (torch.from_numpy(mask)[None, None] for mask in (predicted, truth))
    options = {"include_background": True, "spacing": spacing}
    expected = {
        "hausdorff_95": monai.compute_hausdorff_distance(one, other, percentile=95, **options),
        "assd": monai.compute_average_surface_distance(one, other, symmetric=True, **options),
        "nsd": monai.compute_surface_dice(one, other, [max(2.0, *spacing)], **options),
    }
    found = metrics.compare(predicted, truth, spacing)
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize(("predicted", "truth", "spacing"), [*pairs()])
def test_counts_agree_with_scikit_learn(predicted, truth, spacing):
    from sklearn import metrics as peer

    found = metrics.compare(predicted, truth, spacing)
    flat = truth.ravel(), predicted.ravel()
    assert found["dice"] == pytest.approx(peer.f1_score(*flat))
    assert found["iou"] == pytest.approx(peer.jaccard_score(*flat))
    assert found["sensitivity"] == pytest.approx(peer.recall_score(*flat))
    assert found["precision"] == pytest.approx(peer.precision_score(*flat))
    assert found["pixel_accuracy"] == pytest.approx(peer.accuracy_score(*flat))
    assert found["specificity"] == pytest.approx(peer.recall_score(~flat[0], ~flat[1]))
    assert found["volume_error"] == pytest.approx(predicted.sum() / truth.sum() - 1)


def test_a_square_shifted_by_one_pixel():
    found = metrics.compare(square(5, 6), square(5, 5), (1.0, 1.0))
    assert found.keys() == NAMES
    assert found["dice"] == found["precision"] == found["sensitivity"] == pytest.approx(0.9)
    assert found["iou"] == pytest.approx(90 / 110)
    assert found["pixel_accuracy"] == pytest.approx(1 - 20 / 900)
    assert found["specificity"] == pytest.approx(1 - 10 / 800)
    assert (found["hausdorff_95"], found["assd"], found["volume_error"]) == (1.0, 0.5, 0.0)
    assert metrics.nsd(square(5, 6), square(5, 5), tolerance=1.0) == 1.0
    assert metrics.nsd(square(5, 6), square(5, 5), tolerance=0.5) == 0.5


def test_a_shift_counts_in_millimetres_of_its_axis():
    assert metrics.hausdorff_95(square(6, 5), square(5, 5), (3.0, 1.0)) == 3.0
    assert metrics.hausdorff_95(square(5, 6), square(5, 5), (3.0, 1.0)) == 1.0


@pytest.mark.parametrize("spacing", [(3.3, 1.0), (2.1, 0.7), (5.0, 5.0), (1.0, 1.0)])
def test_the_default_tolerance_is_two_millimetres_or_a_voxel(spacing):
    truth = square(5, 5)
    shift = max(1, int(2.0 // spacing[0]))
    assert metrics.nsd(np.roll(truth, shift, axis=0), truth, spacing) == 1.0
    assert metrics.nsd(np.roll(truth, shift + 1, axis=0), truth, spacing) < 1.0


def test_a_distance_of_the_tolerance_is_within_it_whatever_the_rounding():
    line, moved = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    line[0, 1], moved[0, 4] = True, True
    assert 3 * 0.1 > 0.3
    assert metrics.nsd(line, moved, (0.1, 0.1), tolerance=0.3) == 1.0


masks = arrays.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(*[arrays.arrays(bool, shape)] * 2)
)


@settings(deadline=None)
@given(masks)
def test_symmetric_metrics_do_not_care_which_mask_is_the_truth(two):
    one, other = two
    there, back = metrics.compare(one, other), metrics.compare(other, one)
    for name in ("dice", "iou", "pixel_accuracy"):
        assert there[name] == back[name] or not (one.any() or other.any())
    if one.any() and other.any():
        assert [there[name] for name in SURFACE] == pytest.approx([back[name] for name in SURFACE])
        assert there["sensitivity"] == back["precision"]
        assert there["assd"] <= math.hypot(*one.shape)


@settings(deadline=None)
@given(masks, st.integers(1, 3))
def test_a_larger_image_changes_no_surface_metric(two, edge):
    one, other = two
    if one.any() and other.any():
        small, large = metrics.compare(one, other), metrics.compare(np.pad(one, edge), np.pad(other, edge))
        assert [small[name] for name in SURFACE] == [large[name] for name in SURFACE]


def test_a_perfect_mask():
    found = metrics.compare(square(3, 4), square(3, 4), (0.5, 0.5))
    assert [found.pop(name) for name in ("hausdorff_95", "assd", "volume_error")] == [0.0, 0.0, 0.0]
    assert set(found.values()) == {1.0}


EMPTY = np.zeros((30, 40), bool)
LESION = square(5, 5, shape=(30, 40))


def test_nothing_found_where_nothing_is_has_no_value():
    found = metrics.compare(EMPTY, EMPTY)
    assert {name for name, value in found.items() if not np.isnan(value)} == {"specificity", "pixel_accuracy"}
    assert found["specificity"] == found["pixel_accuracy"] == 1.0


def test_a_false_positive_has_no_overlap_and_no_surface_to_compare():
    found = metrics.compare(LESION, EMPTY)
    assert found["dice"] == found["iou"] == found["precision"] == 0.0
    assert np.isnan([found[name] for name in (*SURFACE, "sensitivity", "volume_error")]).all()


def test_a_miss_is_as_far_off_as_the_image_is_wide():
    found = metrics.compare(EMPTY, LESION, (1.0, 2.0))
    assert found["dice"] == found["iou"] == found["sensitivity"] == found["nsd"] == 0.0
    assert found["hausdorff_95"] == found["assd"] == math.hypot(30, 80)
    assert found["volume_error"] == -1.0
    assert np.isnan(found["precision"])


def test_arguments_are_left_unchanged():
    one, other = square(5, 6), square(5, 5)
    metrics.compare(one, other)
    assert np.array_equal(one, square(5, 6))
    assert np.array_equal(other, square(5, 5))


def cases():
    """Two slices of patient a, one each of b, c, d and e: hit, miss, hit, empty, false positive, empty."""
    half = LESION.copy()
    half[10:] = False
    seen = [
        (LESION, LESION),
        (EMPTY, LESION),
        (half, LESION),
        (EMPTY, EMPTY),
        (LESION, EMPTY),
        (EMPTY, EMPTY),
    ]
    return [metrics.compare(*two) for two in seen], ["a", "a", "b", "c", "d", "e"]


def test_patients_are_averaged_before_the_mean_is_taken():
    summary = metrics.aggregate(*cases())
    assert (summary.cases, summary.patients) == (6, 5)
    half = 2 * 50 / 150
    assert summary.metrics["dice"].value == pytest.approx(np.mean([0.5, half, 0.0]))
    assert summary.metrics["sensitivity"].value == pytest.approx(np.mean([0.5, 0.5]))
    # The false positive and the empty cases have no surface; the miss counts the diagonal, 50 mm.
    assert summary.metrics["hausdorff_95"].value == pytest.approx(np.mean([25.0, 5.0]))
    assert metrics.aggregate(cases()[0]).metrics["dice"].value == pytest.approx(np.mean([1, 0, half, 0]))


def test_empty_cases_are_counted():
    summary = metrics.aggregate(*cases())
    assert (summary.correct_empty, summary.false_positive, summary.missed) == (2, 1, 1)
    assert summary.case_specificity == pytest.approx(2 / 3)
    alone = metrics.aggregate([metrics.compare(LESION, LESION)])
    assert np.isnan(alone.case_specificity)


def test_the_interval_is_the_bootstrap_of_the_patients_means():
    rng = np.random.default_rng(1)
    found = [metrics.compare(rng.random((8, 8)) < 0.5, rng.random((8, 8)) < 0.5) for _ in range(12)]
    summary = metrics.aggregate(found, list("aabbccddeeff"), resamples=200, seed=3, level=0.8)
    means = np.array([case["dice"] for case in found]).reshape(6, 2).mean(axis=1)
    expected = metrics.bootstrap(lambda values: float(values.mean()), means, resamples=200, seed=3, level=0.8)
    assert summary.metrics["dice"] == expected
    assert expected.low < expected.value < expected.high


def test_a_metric_without_any_value_stays_nan():
    summary = metrics.aggregate([metrics.compare(EMPTY, EMPTY)])
    assert np.isnan(summary.metrics["dice"].value)
    assert summary.metrics["specificity"].value == 1.0


@pytest.mark.parametrize(
    ("predicted", "truth", "spacing", "message"),
    [
        (EMPTY, EMPTY[:5], None, "one grid"),
        (EMPTY.astype(np.uint8), EMPTY, None, "to bool"),
        (LESION, LESION, (1.0,), "one number above 0 per axis"),
        (LESION, LESION, (1.0, 0.0), "one number above 0 per axis"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(predicted, truth, spacing, message):
    with pytest.raises(ValueError, match=message):
        metrics.compare(predicted, truth, spacing)


@pytest.mark.parametrize(("found", "patients"), [([], None), ([{"dice": 1.0}], ["a", "b"])])
def test_a_mean_of_nothing_is_refused(found, patients):
    with pytest.raises(ValueError, match="at least one case"):
        metrics.aggregate(found, patients)
