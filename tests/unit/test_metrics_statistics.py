import numpy as np
import pytest
from scipy import stats

from intact import metrics

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=200)


def two_detectors():
    """A good and a slightly worse detector whose errors are mostly the same."""
    rng = np.random.default_rng(1)
    abnormal = np.arange(120) < 40
    shared = rng.normal(size=120) + 1.5 * abnormal
    return shared, shared + 0.3 * rng.normal(size=120), abnormal


def test_the_interval_of_a_mean_is_what_theory_says():
    found = metrics.bootstrap(np.mean, VALUES, resamples=4000)
    half = 1.96 * VALUES.std() / np.sqrt(VALUES.size)
    assert found.value == VALUES.mean()
    assert found.low == pytest.approx(VALUES.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(VALUES.mean() + half, abs=0.1 * half)


def test_a_lower_level_gives_a_narrower_interval():
    wide = metrics.bootstrap(np.mean, VALUES, level=0.95)
    narrow = metrics.bootstrap(np.mean, VALUES, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_seed_decides():
    assert metrics.bootstrap(np.mean, VALUES, seed=3) == metrics.bootstrap(np.mean, VALUES, seed=3)
    assert metrics.bootstrap(np.mean, VALUES, seed=3) != metrics.bootstrap(np.mean, VALUES, seed=4)


def test_copies_of_an_image_add_no_certainty_when_patients_are_drawn():
    copies, patients = np.repeat(VALUES, 5), np.repeat(np.arange(200), 5)
    alone = metrics.bootstrap(np.mean, VALUES)
    grouped = metrics.bootstrap(np.mean, copies, groups=patients)
    assert grouped.low == pytest.approx(alone.low)
    assert grouped.high == pytest.approx(alone.high)
    fooled = metrics.bootstrap(np.mean, copies)
    assert fooled.high - fooled.low < 0.6 * (alone.high - alone.low)


def test_a_patient_is_drawn_whole():
    patients = np.array(["b", "a", "b", "c", "a", "b"])

    def whole(drawn):
        names, counts = np.unique(drawn, return_counts=True)
        size = {"a": 2, "b": 3, "c": 1}
        assert all(count % size[name] == 0 for name, count in zip(names, counts, strict=True))
        return 0.0

    metrics.bootstrap(whole, patients, groups=patients, resamples=50)


def test_strata_keep_both_classes_in_every_resample():
    abnormal = np.arange(40) < 2
    scores = RNG.normal(size=40)
    with pytest.raises(ValueError, match="add the missing class"):
        metrics.bootstrap(metrics.auroc, scores, abnormal)
    counts = []

    def auroc(scores, abnormal):
        counts.append(abnormal.sum())
        return metrics.auroc(scores, abnormal)

    metrics.bootstrap(auroc, scores, abnormal, strata=abnormal)
    assert set(counts) == {2}


def test_a_patient_with_both_classes_is_a_stratum_of_its_own_kind():
    patients = np.array([0, 0, 1, 2, 3])
    abnormal = np.array([True, False, False, False, True])
    for_each = []

    def record(patients):
        for_each.append((np.sum(patients == 0), np.sum(patients == 3)))
        return 0.0

    metrics.bootstrap(record, patients, groups=patients, strata=abnormal, resamples=20)
    assert set(for_each) == {(2, 1)}


def test_a_detector_does_not_differ_from_itself():
    scores, _, abnormal = two_detectors()
    found = metrics.paired_bootstrap(metrics.auroc, scores, scores, abnormal, strata=abnormal)
    assert found == metrics.Interval(0.0, 0.0, 0.0)


def test_a_paired_difference_is_surer_than_two_separate_intervals():
    first, second, abnormal = two_detectors()
    paired = metrics.paired_bootstrap(metrics.auroc, first, second, abnormal, strata=abnormal)
    alone = metrics.bootstrap(metrics.auroc, first, abnormal, strata=abnormal)
    assert paired.value == metrics.auroc(first, abnormal) - metrics.auroc(second, abnormal)
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_maps_are_resampled_by_image():
    maps = RNG.random((6, 4, 4))
    found = metrics.bootstrap(lambda maps: maps.shape[0] + maps.mean(), maps, resamples=20)
    assert 6.0 < found.low < found.high < 7.0


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"lengths \[200, 3\]"):
        metrics.bootstrap(np.mean, VALUES, groups=np.arange(3))
    with pytest.raises(ValueError, match=r"lengths \[0\]"):
        metrics.bootstrap(np.mean, VALUES[:0])


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_an_impossible_level_is_refused(level):
    for call in (
        lambda: metrics.bootstrap(np.mean, VALUES, level=level),
        lambda: metrics.binomial_interval(1, 2, level),
        lambda: metrics.binomial_acceptance(0.5, 2, level),
        lambda: metrics.false_alarm_acceptance(0.05, 99, 100, level),
    ):
        with pytest.raises(ValueError, match="level"):
            call()


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="resamples is 0"):
        metrics.bootstrap(np.mean, VALUES, resamples=0)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 20), (3, 20), (20, 20), (5, 1000)])
def test_the_binomial_interval_agrees_with_scipy(successes, n, level):
    found = metrics.binomial_interval(successes, n, level)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((successes / n, expected.low, expected.high))


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match="check the counts"):
        metrics.binomial_interval(successes, n)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("p", "n"), [(0.05, 300), (0.5, 7), (0.01, 10), (0.0, 5), (1.0, 5)])
def test_the_accepted_counts_agree_with_scipy_and_hold_the_level(p, n, level):
    low, high = metrics.binomial_acceptance(p, n, level)
    assert (low, high) == stats.binom.interval(level, n, p)
    counts = stats.binom(n, p)
    assert counts.cdf(high) - counts.cdf(low - 1) >= level - 1e-12


def test_impossible_trials_are_refused():
    with pytest.raises(ValueError, match=r"p is 1\.5"):
        metrics.binomial_acceptance(1.5, 10)


@pytest.mark.parametrize(("alpha", "calibration", "n"), [(0.05, 19, 300), (0.05, 399, 300)])
def test_false_alarms_of_real_conformal_p_values_are_accepted(alpha, calibration, n):
    rng = np.random.default_rng(0)
    accepted = metrics.false_alarm_acceptance(alpha, calibration, n)
    k = round(alpha * (calibration + 1))
    assert accepted == stats.betabinom.interval(0.95, n, k, calibration + 1 - k)
    counts = []
    for _ in range(2000):
        normals, new = rng.normal(size=calibration), rng.normal(size=n)
        p_values = (1 + (normals[:, None] >= new).sum(axis=0)) / (calibration + 1)
        counts.append(np.sum(p_values <= alpha))
    inside = np.mean([(low <= c <= high) for c in counts for low, high in [accepted]])
    assert inside > 0.94
    low, high = metrics.binomial_acceptance(alpha, n)
    assert np.mean([(low <= c <= high) for c in counts]) < inside


def test_too_few_normals_never_flag():
    assert metrics.false_alarm_acceptance(0.01, 98, 500) == (0, 0)
    assert metrics.false_alarm_acceptance(0.01, 99, 500)[1] > 0


def test_impossible_false_alarm_rates_are_refused():
    for alpha, calibration, n in [(0.0, 99, 10), (1.0, 99, 10), (0.05, -1, 10), (0.05, 99, -1)]:
        with pytest.raises(ValueError, match="check the arguments"):
            metrics.false_alarm_acceptance(alpha, calibration, n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("q", [0.01, 0.1, 0.5, 1.0])
def test_benjamini_hochberg_agrees_with_scipy(seed, q):
    rng = np.random.default_rng(seed)
    p_values = np.concatenate([rng.random(50), rng.random(10) * 0.01, [0.005, 0.005]])
    expected = stats.false_discovery_control(p_values) <= q
    np.testing.assert_array_equal(metrics.benjamini_hochberg(p_values, q), expected)


def test_benjamini_hochberg_follows_the_example_of_its_paper():
    p_values = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
                         0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000])  # fmt: skip
    assert metrics.benjamini_hochberg(p_values, 0.05).tolist() == 4 * [True] + 11 * [False]


def test_benjamini_hochberg_finds_nothing_in_nothing():
    assert metrics.benjamini_hochberg(np.zeros(0), 0.05).shape == (0,)
    assert not metrics.benjamini_hochberg(np.ones(4), 0.05).any()


@pytest.mark.parametrize(("p", "q"), [(-0.1, 0.05), (1.2, 0.05), (np.nan, 0.05), (0.5, 0.0)])
def test_what_is_no_probability_is_refused(p, q):
    with pytest.raises(ValueError, match="both are probabilities"):
        metrics.benjamini_hochberg(np.array([0.5, p]), q)
