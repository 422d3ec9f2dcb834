"""Copies are found on the wavelet approximation whatever the parity of their shift; twins are not."""

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.dct_dwt import DCTDWT, haar_approximation
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(224, 224), sigma=25.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 8)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def stored(plane, dtype=np.uint16):
    return Image(np.clip(plane, 0, 4095).astype(dtype), bits=12 if dtype == np.uint16 else 0)


def test_the_approximation_keeps_constants_and_energy():
    plane = np.random.default_rng(0).normal(0, 1, (31, 40)).astype(np.float32)
    small = haar_approximation(plane)
    assert small.shape == (16, 20)
    assert small[3, 4] == pytest.approx(plane[6:8, 8:10].sum() / 2)
    np.testing.assert_allclose(haar_approximation(np.full((8, 8), 3.0)), 6)


@pytest.mark.parametrize("shift", [(120, 120), (121, 121), (120, 121), (121, -20)])
def test_a_known_clone_is_found_with_its_shift(shift):
    plane = textured()
    down, right = shift
    plane[20 + down : 68 + down, 30 + right : 78 + right] = plane[20:68, 30:78]
    evidence = DCTDWT().examine(stored(plane))
    truth = np.zeros(plane.shape, bool)
    truth[20 + down : 68 + down, 30 + right : 78 + right] = truth[20:68, 30:78] = True
    assert evidence.score > 0.7 and evidence.p_value < 1e-30
    assert dice(evidence.map > 0, truth) > 0.85
    assert f"{down} rows and {right} columns" in evidence.explanation


def test_a_copy_under_noise_is_found():
    plane = textured()
    plane[140:190, 151:201] = plane[20:70, 30:80]
    plane += np.random.default_rng(9).normal(0, 15, plane.shape)
    assert DCTDWT().examine(stored(plane)).score > 0.4


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_and_periodic_anatomy_raises_nothing(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (224, 224)), 5)
    smooth = 300 * (smooth + smooth[:, ::-1]) / smooth.std()
    repeated = smooth + np.roll(smooth, 100, axis=1)
    ribs = 200 * np.sin(np.arange(224)[:, None] / 5)
    for anatomy in (smooth, repeated, ribs + smooth):
        evidence = DCTDWT().examine(stored(2000 + anatomy + rng.normal(0, 25, anatomy.shape)))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


def test_a_phantom_brain_raises_nothing_and_its_forgery_does():
    image = brain_mr(4)[0]
    image = image.plane(image.planes // 2)
    assert DCTDWT().examine(image).score == 0
    forgery = KINDS["copy_move"](diameter=40.0).forge(image, seed=1)
    evidence = DCTDWT().examine(forgery.image)
    assert evidence.score > 0.4
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = textured()
    plane[140:188, 150:198] = plane[20:68, 30:78]
    plane = plane / 16 if dtype == np.uint8 else plane
    assert DCTDWT().examine(Image(plane.astype(dtype))).score > 0.7


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((3, 3), np.uint8), np.zeros((40, 200), np.uint8), np.full((200, 200), 9, np.uint8)],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels):
    evidence = DCTDWT().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and evidence.abstained
