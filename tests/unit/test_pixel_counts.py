import numpy as np
import pytest

from intact import metrics
from intact.metrics.pixel_counts import PixelCounts
from intact.metrics.resampling import draw

PATIENTS = np.array([3, 3, 0, 1, 1, 2, 5])


def sample(seed, decimals=1):
    """Maps over two normal images and five with ragged lesions; one patient has both kinds."""
    rng = np.random.default_rng(seed)
    masks = rng.random((7, 9, 8)) < 0.2
    masks[[0, 2]] = False
    return np.round(rng.normal(size=masks.shape) + masks, decimals).astype(np.float32), masks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("of", "exact"),
    [
        ("aupro", metrics.aupro),
        ("average_precision", metrics.pixel_average_precision),
        ("dice_at_normal_fpr", metrics.dice_at_normal_fpr),
    ],
)
def test_each_resample_has_the_value_of_its_own_images(of, exact, seed):
    maps, masks = sample(seed)
    counts = draw(PATIENTS, masks.any(axis=(1, 2)), 20, seed)
    found = getattr(PixelCounts.of(maps, masks, PATIENTS), of)(counts)
    for value, times in zip(found, counts, strict=True):
        drawn = np.repeat(np.arange(len(maps)), times)
        assert value == pytest.approx(exact(maps[drawn], masks[drawn]))


def test_many_values_are_told_by_fewer_thresholds():
    rng = np.random.default_rng(0)
    masks = rng.random((6, 64, 64)) < 0.02
    masks[:2] = False
    maps = (rng.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    whole = np.ones((1, 6), int)
    pixels = PixelCounts.of(maps, masks, np.arange(6))
    assert pixels.lesion.shape[1] <= 2000 < np.unique(maps).size
    assert pixels.aupro(whole)[0] == pytest.approx(metrics.aupro(maps, masks), abs=2e-3)
    exact = metrics.pixel_average_precision(maps, masks)
    assert pixels.average_precision(whole)[0] == pytest.approx(exact, abs=2e-3)
    exact = metrics.dice_at_normal_fpr(maps, masks)
    assert pixels.dice_at_normal_fpr(whole)[0] == pytest.approx(exact, abs=2e-3)
