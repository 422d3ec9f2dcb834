"""Noise, its level, and whether it repeats."""

import numpy as np
import pytest
from scipy import ndimage

from intact.residual import correlation, noise_sigma, residual


@pytest.mark.parametrize("sigma", [1.0, 12.0, 300.0])
def test_the_level_of_white_noise_is_told_on_top_of_anatomy(sigma):
    rng = np.random.default_rng(0)
    anatomy = ndimage.gaussian_filter(rng.normal(0, 50 * sigma, (256, 256)), 8)
    anatomy[:, 128:] += 40 * sigma
    noise = sigma * rng.standard_normal(anatomy.shape)
    assert noise_sigma(anatomy + noise) == pytest.approx(sigma, rel=0.05)


def test_only_valid_pixels_count():
    rng = np.random.default_rng(0)
    plane = rng.normal(0, 5, (128, 128))
    plane[:, 64:] *= 10
    assert noise_sigma(plane, np.indices(plane.shape)[1] < 64) == pytest.approx(5, rel=0.1)
    assert noise_sigma(plane, np.zeros(plane.shape, bool)) == 0


def test_a_volume_is_measured_plane_by_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(0, 7, (128, 128))
    volume = np.repeat(plane[None], 6, axis=0)  # no noise at all across planes
    assert noise_sigma(volume) == pytest.approx(noise_sigma(plane))


def test_residuals_have_no_anatomy_and_all_of_the_noise():
    rng = np.random.default_rng(0)
    anatomy = ndimage.gaussian_filter(rng.normal(0, 3000, (128, 128)), 10)
    noise = rng.normal(0, 20, anatomy.shape)
    assert correlation(residual(anatomy + noise), noise) > 0.9
    assert np.abs(residual(anatomy)).max() < 0.1 * np.abs(anatomy).max()


def test_correlation_is_numpys():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 9, 9)) + 5
    assert correlation(one, other) == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    assert correlation(one, np.ones_like(one)) == 0 and correlation(one, 3 - 2 * one) == pytest.approx(-1)
