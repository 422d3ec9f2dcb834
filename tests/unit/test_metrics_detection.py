import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from intact import metrics

EVERY = (
    metrics.auroc,
    metrics.average_precision,
    metrics.partial_auroc,
    lambda scores, abnormal: metrics.sensitivity_at_specificity(scores, abnormal, 0.9),
)

# Small integers force ties; the labels always hold both classes.
samples = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({abnormal for _, abnormal in rows}) == 2
)


def arrays(rows):
    scores, abnormal = zip(*rows, strict=True)
    return np.array(scores, float), np.array(abnormal)


@given(samples)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows):
    scores, abnormal = arrays(rows)
    pairs = itertools.product(scores[abnormal], scores[~abnormal])
    naive = np.mean([(high > low) + 0.5 * (high == low) for high, low in pairs])
    assert metrics.auroc(scores, abnormal) == pytest.approx(naive)


@given(samples)
def test_average_precision_agrees_with_scikit_learn(rows):
    scores, abnormal = arrays(rows)
    expected = oracle.average_precision_score(abnormal, scores)
    assert metrics.average_precision(scores, abnormal) == pytest.approx(expected)


@given(samples, st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]))
def test_partial_auroc_agrees_with_scikit_learn(rows, max_fpr):
    scores, abnormal = arrays(rows)
    expected = oracle.roc_auc_score(abnormal, scores, max_fpr=max_fpr)
    assert metrics.partial_auroc(scores, abnormal, max_fpr) == pytest.approx(expected)


@given(samples, st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]))
def test_sensitivity_is_the_best_over_all_thresholds_that_keep_the_specificity(rows, specificity):
    scores, abnormal = arrays(rows)
    naive = 0.0
    for threshold in {*scores, np.inf}:
        flagged = scores >= threshold
        if np.mean(~flagged[~abnormal]) >= specificity - 1e-12:
            naive = max(naive, np.mean(flagged[abnormal]))
    found = metrics.sensitivity_at_specificity(scores, abnormal, specificity)
    assert found == pytest.approx(naive)


@given(samples)
def test_no_metric_depends_on_the_order_or_the_unit_of_the_scores(rows):
    scores, abnormal = arrays(rows)
    for metric in EVERY:
        value = metric(scores, abnormal)
        assert metric(scores[::-1], abnormal[::-1]) == value
        assert metric(np.exp(scores).astype(np.float32), abnormal) == value


def test_one_false_alarm_in_ten_is_specificity_nine_tenths():
    normal, abnormal = np.arange(10.0), np.array([8.5])
    scores = np.append(normal, abnormal)
    truth = np.arange(11) == 10
    assert metrics.sensitivity_at_specificity(scores, truth, 0.9) == 1.0
    assert metrics.sensitivity_at_specificity(scores, truth, 0.91) == 0.0


def test_a_perfect_a_useless_and_a_reversed_detector():
    truth = np.array([True, True, False, False, False, False])
    perfect = truth.astype(float)
    assert [metric(perfect, truth) for metric in EVERY] == [1.0, 1.0, 1.0, 1.0]
    useless = np.zeros(6)
    assert metrics.auroc(useless, truth) == 0.5
    assert metrics.partial_auroc(useless, truth) == pytest.approx(0.5)
    assert metrics.average_precision(useless, truth) == pytest.approx(2 / 6)
    assert metrics.auroc(-perfect, truth) == 0.0


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("abnormal", [[True, True], [False, False]])
def test_a_missing_class_is_refused(metric, abnormal):
    with pytest.raises(ValueError, match=r"2 images are labelled abnormal.*add the missing class"):
        metric(np.array([0.1, 0.2]), np.array(abnormal))


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_cannot_be_ranked_are_refused(metric, bad):
    with pytest.raises(ValueError, match="1 of 3 scores are NaN or infinite"):
        metric(np.array([0.1, bad, 0.3]), np.array([True, False, True]))


def test_scores_and_labels_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and labels \(2,\)"):
        metrics.auroc(np.zeros(3), np.array([True, False]))


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.5])
def test_an_impossible_false_positive_rate_is_refused(max_fpr):
    with pytest.raises(ValueError, match="max_fpr"):
        metrics.partial_auroc(np.array([0.0, 1.0]), np.array([False, True]), max_fpr)


@pytest.mark.parametrize("specificity", [-0.1, 95])
def test_an_impossible_specificity_is_refused(specificity):
    with pytest.raises(ValueError, match="from 0 to 1"):
        metrics.sensitivity_at_specificity(np.array([0.0, 1.0]), np.array([False, True]), specificity)
