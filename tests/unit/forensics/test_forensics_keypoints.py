"""Key-points find copies that were turned, scaled and mirrored, and leave symmetric anatomy alone."""

import re

import cv2
import numpy as np
import pytest
from scipy import ndimage

from intact.forensics.copies.j_linkage import j_linkage
from intact.forensics.keypoints import MIRRORED, Keypoints, _key_points, _matched
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def anatomy(seed=0, shape=(224, 224)):
    rng = np.random.default_rng(seed)
    plane = sum(
        weight * field / field.std()
        for weight, field in ((400, blurred(rng, shape, 6)), (250, blurred(rng, shape, 2.5)))
    )
    return 2000 + plane


def blurred(rng, shape, sigma):
    return ndimage.gaussian_filter(rng.normal(0, 1, shape), sigma)


def noisy(plane, seed=0, sigma=20.0):
    plane = plane + np.random.default_rng(100 + seed).normal(0, sigma, plane.shape)
    return Image(np.clip(plane, 0, 4095).astype(np.uint16), bits=12)


def truth(forgery):
    return np.isin(forgery.labels, (FORGED, SOURCE))


def test_a_mirrored_descriptor_is_the_descriptor_in_another_order():
    shown = np.clip(128 + (anatomy() - 2000) / 12, 0, 255).astype(np.uint8)
    everywhere = np.ones(shown.shape, bool)
    places, descriptors = _key_points(shown, everywhere)
    flipped_places, flipped = _key_points(np.ascontiguousarray(shown[:, ::-1]), everywhere)
    back = flipped_places * np.array([1, -1]) + np.array([0, shown.shape[1] - 1])
    near = np.hypot(*(places[:, None] - back[None]).transpose(2, 0, 1)) < 0.7
    cosine = np.where(near, descriptors @ flipped[:, MIRRORED].T, 0).max(axis=1)
    plain = np.where(near, descriptors @ flipped.T, 0).max(axis=1)
    assert np.median(cosine[near.any(axis=1)]) > 0.98 > 0.95 > np.median(plain[near.any(axis=1)])


def test_key_points_with_two_likes_match_both():
    """g2NN: two exact likes and then nothing near; a key-point with many likes is not distinct."""
    rng = np.random.default_rng(0)
    descriptors = np.abs(rng.normal(0, 1, (40, 128))) ** 3
    descriptors[10], descriptors[20] = descriptors[0], descriptors[0]
    descriptors += 0.01 * rng.normal(0, 1, descriptors.shape)
    descriptors[30:] = descriptors[30] + 0.01 * rng.normal(0, 1, (10, 128))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    places = np.column_stack([50.0 * np.arange(40), np.zeros(40)])
    here, there = _matched(places, descriptors, descriptors, ratio=0.5)
    matched = {(int(a) // 50, int(b) // 50) for a, b in zip(here[:, 0], there[:, 0], strict=True)}
    assert {pair for pair in matched if max(pair) < 30} == {
        (0, 10), (10, 0), (0, 20), (20, 0), (10, 20), (20, 10)
    }  # fmt: skip
    assert len({pair for pair in matched if min(pair) >= 30}) < 20


def test_j_linkage_tells_two_maps_and_outliers_apart():
    rng = np.random.default_rng(0)
    here = np.concatenate([rng.uniform(20, 60, (20, 2)), rng.uniform(100, 140, (15, 2))])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    there = np.concatenate([here[:20] + np.array([100, 30]), here[20:] @ turn.T + np.array([300, 20])])
    stray = rng.uniform(0, 250, (2, 12, 2))
    clusters = j_linkage(np.concatenate([here, stray[0]]), np.concatenate([there, stray[1]]))
    assert set(clusters[0]) == set(range(20)) and set(clusters[1]) == set(range(20, 35))
    assert all(len(cluster) < 5 for cluster in clusters[2:])


def test_j_linkage_of_few_or_of_matches_in_a_row_is_nothing():
    row = np.column_stack([np.arange(20.0), np.zeros(20)])
    assert j_linkage(row[:2], row[:2]) == [] and j_linkage(row, row + 50) == []


def test_a_plain_copy_is_found_with_its_shift():
    plane = noisy(anatomy()).pixels.copy()
    plane[150:200, 140:190] = plane[20:70, 30:80]
    evidence = Keypoints().examine(Image(plane, bits=12))
    where = np.zeros(plane.shape, bool)
    where[150:200, 140:190] = where[20:70, 30:80] = True
    assert evidence.score > 0.8 and evidence.p_value < 1e-12
    assert dice(evidence.map > 0, where) > 0.85
    assert "130 rows and 110 columns further" in evidence.explanation


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"rotation": 30.0}, "turned by -?30 degrees"),
        ({"rotation": 100.0}, "turned by -?(99|100|101) degrees"),
        ({"scale": 0.85}, r"scaled by (1\.1[789]|0\.8[456])"),
        ({"mirror": True}, "mirrored"),
        ({"mirror": True, "rotation": 45.0, "gain": 0.95, "offset": 1.0}, "mirrored, turned"),
    ],
)
def test_a_turned_scaled_or_mirrored_copy_is_found_and_its_map_told(how, said):
    forgery = KINDS["copy_move"](diameter=56.0, **how).forge(noisy(anatomy(3)), seed=2)
    evidence = Keypoints().examine(forgery.image)
    assert evidence.score > 0.6 and evidence.p_value < 1e-8
    assert dice(evidence.map > 0, truth(forgery)) > 0.75
    assert re.search(said, evidence.explanation)


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_and_repeated_anatomy_raises_nothing(seed):
    """Both halves show the same anatomy, each with noise of its own."""
    plane = anatomy(seed)
    symmetric = (plane + plane[:, ::-1]) / 2
    repeated = (plane + np.roll(plane, 100, axis=1)) / 2
    for genuine in (plane, symmetric, repeated):
        evidence = Keypoints().examine(noisy(genuine, seed))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = noisy(anatomy()).pixels.astype(np.float32)
    plane[150:200, 140:190] = plane[20:70, 30:80]
    plane = plane / 16 if dtype == np.uint8 else plane - 2000
    assert Keypoints().examine(Image(plane.astype(dtype))).score > 0.8


def test_pixels_that_are_no_numbers_do_not_count_and_the_answer_is_the_same_again():
    plane = noisy(anatomy()).pixels.astype(np.float32)
    plane[150:200, 140:190] = plane[20:70, 30:80]
    plane[100:104], plane[0, 0] = np.nan, np.inf
    one, again = (Keypoints().examine(Image(plane)) for _ in range(2))
    assert one.score == again.score > 0.8
    np.testing.assert_array_equal(one.map, again.map)


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((90, 90), 9, np.uint8), "no noise"),
        (np.full((90, 90), np.nan, np.float32), "no noise"),
        (np.where(np.arange(8100).reshape(90, 90) == 4000, 1.0, np.nan), "no noise"),
        (cv2.getGaussianKernel(90, 20) * np.ones((1, 90)), "key-points"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = Keypoints().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and re.search(why, evidence.abstained)
