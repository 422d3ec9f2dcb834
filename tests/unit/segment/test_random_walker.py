import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment import random_walker
from intact.segment.random_walker import OBJECT, REST, SIGMA, RandomWalker
from intact.segment.scene import Scene


def scene_of(number, shape, spacing):
    """A ball in noise."""
    rng = np.random.default_rng(number)
    seed = tuple(n // 2 for n in shape)
    away = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - seed) * spacing, axis=-1)
    values = ndimage.gaussian_filter((away < 4.0).astype(np.float32), 1.0) + 0.2 * rng.standard_normal(shape)
    return Scene(values.astype(np.float32), spacing, away < 12, seed, True, 4.0, 0.2)


def probability(values, labels, beta):
    """That a walk from each voxel reaches the object first: the harmonic function, solved densely."""
    number = np.arange(values.size).reshape(values.shape)
    laplacian = np.zeros((values.size, values.size))
    for at in np.ndindex(values.shape):
        for axis in range(values.ndim):
            beside = tuple(n + (axis == other) for other, n in enumerate(at))
            if beside[axis] < values.shape[axis]:
                weight = np.exp(-beta * (values[at] - values[beside]) ** 2 / (10 * values.std())) + 1e-10
                for a, b in itertools.permutations((number[at], number[beside])):
                    laplacian[a, b] -= weight
                    laplacian[a, a] += weight
    free, fixed = labels.ravel() == 0, labels.ravel() != 0
    result = (labels.ravel() == OBJECT).astype(float)
    result[free] = np.linalg.solve(
        laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, fixed)] @ result[fixed]
    )
    return result.reshape(values.shape)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((22, 24), (1.0, 1.0)), ((5, 12, 12), (2.5, 1.0, 1.0))], ids=["plane", "volume"]
)
@settings(deadline=None, max_examples=5)
@given(number=st.integers(0, 1000))
def test_is_where_a_walk_more_likely_ends_in_the_object(shape, spacing, number):
    scene, method = scene_of(number, shape, spacing), RandomWalker(reach=6.0)  # the crop is all of the image
    values = scene.smooth(SIGMA).astype(float)
    labels = method._seeds(values, scene, scene.crop(6.0))
    assert {0, OBJECT, REST} <= set(labels.ravel())
    likely = probability(values, labels, method.beta)
    clear = np.abs(likely - 0.5) > 1e-3
    np.testing.assert_array_equal(method._segment(scene)[clear], likely[clear] > 0.5)


def test_what_no_walk_reaches_changes_nothing(monkeypatch):
    scene = scene_of(0, (40, 40), (1.0, 1.0))
    found = RandomWalker()._segment(scene)
    monkeypatch.setattr(random_walker, "_without_insides", lambda labels: labels)
    np.testing.assert_array_equal(RandomWalker()._segment(scene), found)


@pytest.mark.parametrize(("noise", "bias", "least"), [(0.05, 0.0, 0.97), (0.08, 0.25, 0.95)])
def test_finds_lesions(noise, bias, least):
    found = []
    for number in range(5):
        image, truth, seed = lesion_in_organ(number, noise=noise, bias=bias)
        found.append(dice(RandomWalker().segment(image, seed=seed), truth))
    assert np.mean(found) > least


def test_finds_a_dark_lesion_in_thick_slices():
    image, truth, seed = lesion_in_organ(
        1, shape=(24, 80, 80), spacing=(3.0, 1.0, 1.0), radius=12.0, contrast=-0.25
    )
    assert dice(RandomWalker(target="dark").segment(image, seed=seed), truth) > 0.93


def test_finds_what_has_no_noise_and_fills_its_hole():
    square = np.zeros((40, 40), bool)
    square[12:28, 12:28] = True
    values = square.astype(np.float32)
    values[22:26, 22:26] = 0
    method = RandomWalker(radius_mm=9.0)
    found = method.segment(Image(values), seed=(18, 18), within=np.ones((40, 40), bool))
    np.testing.assert_array_equal(found, square)


def test_the_seed_is_the_object_and_what_is_far_is_not():
    values = np.zeros((60, 60), np.float32)
    values[20:40, 20:] = 1  # goes on to the border
    values[29:32, :31] = 0  # a slit that ends at the seed
    method = RandomWalker(radius_mm=10.0, reach=2.0)
    found = method.segment(Image(values), seed=(30, 30), within=np.ones((60, 60), bool))
    away = np.hypot(*(np.indices((60, 60)) - 30))
    assert found[away <= 2].all()
    assert not found[away > 20].any()
    assert found[35, 35]


@pytest.mark.parametrize("beta", [0.0, 1e5])  # warnings are errors
def test_no_beta_is_too_much_for_the_solver(beta):
    image, truth, seed = lesion_in_organ(0)
    assert dice(RandomWalker(beta=beta).segment(image, seed=seed), truth) > 0.9


@pytest.mark.parametrize("radius", [0.3, 500.0])
def test_takes_any_radius(radius):
    image, _, seed = lesion_in_organ(0)
    assert RandomWalker(radius_mm=radius).segment(image, seed=seed)[seed]


def test_finds_nothing_where_all_is_alike():
    assert not RandomWalker().segment(Image(np.full((32, 32), 7, np.int16)), seed=(16, 16)).any()


@pytest.mark.parametrize(("fields", "why"), [({"beta": -1.0}, "0 or more"), ({"reach": 1.0}, "more than 1")])
def test_refuses_what_makes_no_sense(fields, why):
    with pytest.raises(UsageError, match=why):
        RandomWalker(**fields)
