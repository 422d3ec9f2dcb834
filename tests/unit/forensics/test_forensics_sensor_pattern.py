"""An image has the pattern of its detector, another's has not, and what was pasted lacks it."""

import functools

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forensics.sensor_pattern import SensorPattern, fingerprint, peak_to_correlation
from intact.image import Image
from intact.metrics.segmentation import dice

SHAPE = (224, 240)


def pattern(device=0):
    return np.random.default_rng(1000 + device).normal(0, 0.01, SHAPE)


def radiograph(seed, device=0):
    """Smooth anatomy with an edge and signal-dependent noise, seen by a detector."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 10)
    anatomy = 1800 + 350 * field / field.std()
    anatomy[:, rng.integers(60, 180) :] *= 0.8
    exposed = anatomy * (1 + pattern(device))
    return stored(exposed + rng.normal(0, 1, SHAPE) * 15 * np.sqrt(np.maximum(anatomy, 1) / 1800))


def stored(plane):
    return Image(np.clip(np.rint(plane), 0, 4095).astype(np.uint16), bits=12, modality="DX")


@functools.cache
def of_device():
    return fingerprint([radiograph(seed) for seed in range(24)])


def pasted(seed, side=80, top=70, left=90):
    host, guest = radiograph(seed).pixels.copy(), radiograph(seed + 500, device=1).pixels
    host[top : top + side, left : left + side] = guest[top : top + side, left : left + side]
    truth = np.zeros(SHAPE, bool)
    truth[top : top + side, left : left + side] = True
    return Image(host, bits=12), truth


def test_a_fingerprint_is_the_pattern_of_the_detector():
    found = of_device()
    assert found.dtype == np.float32 and found.shape == SHAPE
    assert np.corrcoef(found.ravel(), pattern().ravel())[0, 1] > 0.8
    assert abs(np.corrcoef(found.ravel(), pattern(1).ravel())[0, 1]) < 0.03
    slope = (found * pattern()).sum() / (pattern() ** 2).sum()
    assert 0.7 < slope < 1.4  # in the pattern's own unit, a share, but of values that count from the lowest
    assert np.abs(found.mean(axis=0)).max() < 1e-3 and np.abs(found.mean(axis=1)).max() < 1e-3


def test_more_images_give_a_better_fingerprint():
    few = fingerprint([radiograph(seed) for seed in range(20)])
    many = fingerprint([radiograph(seed) for seed in range(40)])
    near, nearer = (np.corrcoef(each.ravel(), pattern().ravel())[0, 1] for each in (few, many))
    assert nearer > near + 0.005


def test_peak_to_correlation_energy_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 24, 30)).astype(np.float32)
    other = other + 0.5 * one
    one, other = one - one.mean(), other - other.mean()
    peak = float((one * other).sum())
    far = [at for at in np.ndindex(24, 30) if min(at[0], 24 - at[0]) > 5 or min(at[1], 30 - at[1]) > 5]
    squares = [float((one * np.roll(other, at, (0, 1))).sum()) ** 2 for at in far]
    assert peak_to_correlation(one, other) == pytest.approx(peak**2 / np.mean(squares), rel=1e-4)
    assert peak_to_correlation(one, -other) < 0


@pytest.mark.parametrize("seed", range(100, 106))
def test_an_image_of_the_device_raises_nothing(seed):
    evidence = SensorPattern(of_device()).examine(radiograph(seed))
    assert evidence.score < 0.5 and not evidence.map.any() and evidence.p_value is None
    assert "has the pattern" in evidence.explanation


@pytest.mark.parametrize("seed", range(200, 204))
def test_an_image_of_another_device_lacks_the_pattern(seed):
    evidence = SensorPattern(of_device()).examine(radiograph(seed, device=1))
    assert evidence.score > 1.3 and (evidence.map == 1).all() and "lacks the pattern" in evidence.explanation


@pytest.mark.parametrize("seed", range(300, 303))
def test_a_pasted_region_is_found(seed):
    image, truth = pasted(seed)
    evidence = SensorPattern(of_device()).examine(image)
    assert 0.6 < evidence.score <= 1
    assert dice(evidence.map > 0, truth) > 0.6


def test_a_smoothed_region_is_found():
    pixels = radiograph(400).pixels.astype(np.float32)
    pixels[80:170, 60:150] = ndimage.gaussian_filter(pixels, 2)[80:170, 60:150]
    evidence = SensorPattern(of_device()).examine(stored(pixels))
    assert evidence.score > 0.6 and evidence.map[110:140, 90:120].all()


def test_lines_that_all_images_share_are_no_fingerprint():
    lines = 30 * np.sin(0.9 * np.arange(SHAPE[1]))
    images = [stored(radiograph(seed, device=seed).pixels + lines) for seed in range(20)]
    evidence = SensorPattern(fingerprint(images)).examine(stored(radiograph(77, device=77).pixels + lines))
    assert evidence.score > 1


def test_it_abstains_without_a_fingerprint_and_where_it_does_not_fit():
    assert "no fingerprint" in SensorPattern().examine(radiograph(0)).abstained
    assert "is one of" in SensorPattern(of_device()).examine(Image(np.ones((3, 3), np.uint8))).abstained
    assert "smaller" in SensorPattern(np.ones((50, 50))).examine(Image(np.ones((50, 50)))).abstained
    for pixels in (np.full(SHAPE, 7, np.uint16), np.full(SHAPE, np.nan, np.float32)):
        evidence = SensorPattern(of_device()).examine(Image(pixels))
        assert "no noise" in evidence.abstained and np.isnan(evidence.score)
    assert "empty" in SensorPattern(np.zeros(SHAPE, np.float32)).examine(radiograph(0)).abstained


def test_what_was_not_measured_is_left_out():
    pixels = radiograph(500).pixels.astype(np.float32)
    pixels[:70, :70] = np.nan
    evidence = SensorPattern(of_device()).examine(Image(pixels))
    assert evidence.score < 0.6 and not evidence.map.any()


@pytest.mark.parametrize("images", [[], [radiograph(0)] * 5, [radiograph(0)] * 20 + [Image(np.ones((9, 9)))]])
def test_a_fingerprint_needs_enough_images_of_one_shape(images):
    with pytest.raises(UsageError, match="20 planes of one shape"):
        fingerprint(images)
