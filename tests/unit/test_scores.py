import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from intact.errors import TooFewNormalsError
from intact.scores import Calibration, conformal_p_values, normals_needed, pixel_quantiles


def test_a_p_value_counts_the_normals_at_least_as_large():
    normals = np.array([1.0, 2.0, 2.0, 5.0])
    p = conformal_p_values(np.array([0.0, 2.0, 2.1, 9.0]), normals)
    np.testing.assert_allclose(p, [5 / 5, 4 / 5, 2 / 5, 1 / 5])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(-1e6, 1e6))
def test_a_p_value_matches_the_definition(normals, score):
    expected = (1 + sum(n >= score for n in normals)) / (len(normals) + 1)
    assert conformal_p_values(np.array([score]), np.array(normals))[0] == pytest.approx(expected)


def test_p_values_of_normals_are_uniform():
    rng = np.random.default_rng(0)
    p = np.concatenate([conformal_p_values(rng.gamma(2, size=20), rng.gamma(2, size=99)) for _ in range(200)])
    # Uniform on {1/100, ..., 1}: jitter within a step to compare with the continuous law.
    jittered = p - rng.random(len(p)) / 100
    assert stats.kstest(jittered, "uniform").pvalue > 0.001


def test_false_alarms_keep_to_alpha_on_average():
    rng = np.random.default_rng(1)
    alarms = [
        (conformal_p_values(rng.normal(size=50), rng.normal(size=59)) <= 0.1).mean() for _ in range(400)
    ]
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.5, 1)])
def test_how_many_normals_an_alpha_needs(alpha, needed):
    assert normals_needed(alpha) == needed
    enough = Calibration(np.arange(needed, dtype=float))
    enough.require(alpha)
    assert enough.p_value(1e9) <= alpha
    with pytest.raises(TooFewNormalsError, match=f"at least {needed}"):
        Calibration(np.arange(needed - 1, dtype=float)).require(alpha)


def test_groups_are_compared_with_their_own():
    calibration = Calibration(
        np.array([1.0, 2.0, 3.0, 101.0, 102.0, 103.0]), groups=("a", "a", "a", "b", "b", "b")
    )
    assert calibration.p_value(50.0, "a") == 1 / 4
    assert calibration.p_value(50.0, "b") == 1.0
    assert calibration.p_value(50.0, "unknown") == 4 / 7
    with pytest.raises(TooFewNormalsError, match="3 held-out"):
        calibration.require(0.2)


def test_pixel_quantiles_are_those_of_all_pixels():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(40, 50)) for _ in range(5)]
    table = Calibration(np.zeros(1), pixel=pixel_quantiles(maps))
    pooled = np.concatenate([m.ravel() for m in maps])
    assert table.pixel_quantile(0.95) == pytest.approx(np.quantile(pooled, 0.95), abs=1e-6)
