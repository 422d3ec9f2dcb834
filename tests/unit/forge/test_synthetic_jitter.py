"""Random changes of brightness and colour."""

import numpy as np
import pytest

from intact.forge.synthetic import jitter
from intact.forge.synthetic.jitter import CHANGES, LUMA, jittered

brightness, contrast, saturation, hue = CHANGES


def picture(channels=3):
    return (0.2 + 0.4 * np.random.default_rng(0).random((channels, 5, 6))).astype(np.float32)


def test_each_change_does_what_it_says():
    x = picture()
    grey = (LUMA[:, 0, 0] @ x.reshape(3, -1)).reshape(5, 6)
    np.testing.assert_allclose(brightness(x, 0.1), 1.1 * x, rtol=1e-6)
    np.testing.assert_allclose(contrast(x, -0.2), 0.8 * x + 0.2 * grey.mean(), rtol=1e-5)
    np.testing.assert_allclose(saturation(x, -1.0), np.stack([grey] * 3), rtol=1e-5)
    np.testing.assert_allclose(saturation(x, 0.3), 1.3 * x - 0.3 * grey, rtol=1e-4)
    np.testing.assert_allclose(hue(x, 1 / 3), x[[2, 0, 1]], atol=1e-5)  # red becomes green


def test_grey_keeps_its_mean_when_the_contrast_changes_and_has_no_colour():
    x = picture(1)
    np.testing.assert_allclose(contrast(x, 0.5).mean(), x.mean(), rtol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = jittered(x, rng, 0.1)
        slope, offset = np.polyfit(x.ravel(), found.ravel(), 1)  # brightness and contrast are linear
        np.testing.assert_allclose(found, slope * x + offset, atol=1e-5)
        assert 0.9**2 - 1e-3 <= slope <= 1.1**2 + 1e-3


def test_the_order_and_the_amounts_are_drawn(monkeypatch):
    seen = []

    def spy(k):
        return lambda x, amount: (seen.append((k, amount)), x)[1]

    monkeypatch.setattr(jitter, "CHANGES", tuple(spy(k) for k in range(4)))
    rng = np.random.default_rng(0)
    for _ in range(200):
        jittered(picture(), rng, 0.1)
    orders = {tuple(k for k, _ in seen[i : i + 4]) for i in range(0, 800, 4)}
    assert len(orders) == 24
    amounts = [a for _, a in seen]
    assert -0.1 <= min(amounts) < -0.095 and 0.095 < max(amounts) <= 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_range_and_the_picture_as_it_was(channels):
    x = np.linspace(0, 1, channels * 16, dtype=np.float32).reshape(channels, 4, 4)
    before = x.copy()
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = jittered(x, rng, 0.5)
        assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(jittered(x, rng, 0.0), x, atol=1e-6)
