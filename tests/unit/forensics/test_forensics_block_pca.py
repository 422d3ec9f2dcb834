"""Principal components find copies at any depth, smaller ones than cosines do, and leave twins alone."""

import re

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.block_pca import KEPT, BlockPCA, _components
from intact.forensics.copies.block_matching import _alike
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(200, 200), sigma=25.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 6)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def cloned(plane, size=24):
    plane[140 : 140 + size, 150 : 150 + size] = plane[20 : 20 + size, 30 : 30 + size]
    truth = np.zeros(plane.shape, bool)
    truth[140 : 140 + size, 150 : 150 + size] = truth[20 : 20 + size, 30 : 30 + size] = True
    return plane, truth


def test_components_are_those_of_a_singular_value_decomposition():
    blocks = np.random.default_rng(0).normal(0, 1, (500, 64)) * np.arange(1, 65) ** 2
    own = _components(blocks, lost=0.01)
    *_, peer = np.linalg.svd(blocks - blocks.mean(axis=0), full_matrices=False)
    assert KEPT[0] <= len(own) <= KEPT[1]
    np.testing.assert_allclose(np.abs((own * peer[: len(own)]).sum(axis=1)), 1, atol=1e-9)


def test_noise_of_features_has_the_strength_of_the_images():
    chosen = np.zeros((120, 120), bool)
    chosen[8:-8, 8:-8] = True
    plane = 1000 + np.random.default_rng(0).normal(0, 1, chosen.shape).astype(np.float32)
    features = BlockPCA()._describe(plane, chosen)
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=0.05)  # whatever the mean of the image
    np.testing.assert_allclose(features.std(axis=1), 1, atol=0.1)


def test_pairs_are_those_of_a_comparison_of_all_with_all():
    """Every pair that sorting brings together is alike and apart; every exact copy is among them."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 60, (8, 400)).astype(np.float32)
    features[:, 300:] = features[:, :100]
    places = np.stack(np.divmod(np.arange(400) * 40, 400), axis=1).astype(np.int32)
    pairs = _alike(features, places, apart=0.0)
    number = {tuple(place): n for n, place in enumerate(places)}
    told = {frozenset((number[tuple(pair[:2])], number[tuple(pair[2:])])) for pair in pairs}
    assert told == {frozenset((n, n + 300)) for n in range(100)}


def test_a_known_small_clone_is_found_with_its_shift():
    plane, truth = cloned(textured())
    evidence = BlockPCA().examine(Image(plane.astype(np.uint16), bits=12))
    assert evidence.score > 0.9 and evidence.p_value < 1e-20
    assert dice(evidence.map > 0, truth) > 0.9
    assert "120 rows and 120 columns" in evidence.explanation


def test_a_copy_with_noise_of_its_own_is_found():
    plane, truth = cloned(textured(), size=40)
    plane[140:180, 150:190] += np.random.default_rng(9).normal(0, 12, (40, 40))
    evidence = BlockPCA().examine(Image(plane.astype(np.uint16), bits=12))
    assert evidence.score > 0.6 and dice(evidence.map > 0, truth) > 0.7


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_and_periodic_anatomy_raises_nothing(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (200, 200)), 5)
    smooth = 300 * (smooth + smooth[:, ::-1]) / smooth.std()
    repeated = smooth + np.roll(smooth, 90, axis=1)
    ribs = 200 * np.sin(np.arange(200)[:, None] / 5)
    for anatomy in (smooth, repeated, ribs + smooth):
        evidence = BlockPCA().examine(
            Image((2000 + anatomy + rng.normal(0, 25, anatomy.shape)).astype(np.uint16))
        )
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


def test_rounding_of_smooth_waves_raises_nothing():
    """What JPEG left of a sky: blocks of one gradient each, the same again and again, rounded."""
    gradient = np.add.outer(np.arange(8), np.arange(8)) / 9
    tile = np.tile(gradient, (16, 16)) + np.kron(
        np.tile([[0, 2, 4, 1], [3, 1, 0, 2]], (8, 4)), np.ones((8, 8))
    )
    plane = np.rint(100 + tile)
    plane[64:] = textured(sigma=3.0)[:64, :128] / 16
    assert not BlockPCA().examine(Image(plane.astype(np.uint8))).score > 0


def test_a_phantom_brain_raises_nothing_and_its_forgery_does():
    image = brain_mr(4)[0]
    image = image.plane(image.planes // 2)
    assert BlockPCA().examine(image).score == 0
    forgery = KINDS["copy_move"](diameter=30.0, offset=1.0).forge(image, seed=1)
    evidence = BlockPCA().examine(forgery.image)
    assert evidence.score > 0.7
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane, _ = cloned(textured())
    plane = plane / 16 if dtype == np.uint8 else plane
    assert BlockPCA().examine(Image(plane.astype(dtype))).score > 0.9


def test_pixels_that_are_no_numbers_do_not_count():
    plane, truth = cloned(textured())
    plane[60:64], plane[100, 100] = np.nan, np.inf
    evidence = BlockPCA().examine(Image(plane.astype(np.float32)))
    assert dice(evidence.map > 0, truth) > 0.9


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((90, 90), 9, np.uint8), "no noise"),
        (np.full((90, 90), np.nan, np.float32), "hardly any"),
        (np.where(np.arange(8100).reshape(90, 90) == 4000, 1.0, np.nan), "hardly any"),
        (np.random.default_rng(0).normal(0, 1, (90, 90)), "hardly any"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = BlockPCA().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and re.search(why, evidence.abstained)
