from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment.region_growing import CORE, SIGMA, RegionGrowing
from intact.segment.scene import Scene


def slow(scene, reach):
    """The region grown voxel by voxel, as often as it takes."""
    values, seed = scene.smooth(SIGMA), scene.seed
    away = {at: np.linalg.norm((np.array(at) - seed) * scene.spacing) for at in np.ndindex(values.shape)}
    near = {at for at, mm in away.items() if mm <= reach * scene.radius and scene.within[at]}
    region = {at for at, mm in away.items() if mm <= max(CORE * scene.radius, min(scene.spacing))}
    for _ in range(50):
        inside = np.median([values[at] for at in region])
        outside = np.median([values[at] for at in near - region])
        alike = {at for at in near if abs(values[at] - inside) < abs(values[at] - outside)}
        start = min(alike, key=lambda at: away[at])
        grown, queue = {start}, deque([start])
        while queue:
            at = queue.popleft()
            for axis in range(values.ndim):
                for step in (-1, 1):
                    beside = tuple(n + step * (axis == other) for other, n in enumerate(at))
                    if beside in alike and beside not in grown:
                        grown.add(beside)
                        queue.append(beside)
        if grown == region:
            break
        region = grown
    mask = np.zeros(values.shape, bool)
    mask[tuple(np.transpose(list(region)))] = True
    return ndimage.binary_fill_holes(mask)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((24, 20), (1.0, 1.0)), ((8, 14, 14), (2.5, 1.0, 1.0))], ids=["plane", "volume"]
)
@settings(deadline=None, max_examples=10)
@given(number=st.integers(0, 1000))
def test_is_the_region_that_a_slow_loop_grows(shape, spacing, number):
    rng = np.random.default_rng(number)
    seed = tuple(n // 2 for n in shape)
    away = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - seed) * spacing, axis=-1)
    values = ((away < 5) + 0.3 * rng.standard_normal(shape)).astype(np.float32)
    scene = Scene(values, spacing, away < 11, seed, True, 4.0, 0.3)
    np.testing.assert_array_equal(RegionGrowing()._segment(scene), slow(scene, 2.5))


@pytest.mark.parametrize(("noise", "bias", "least"), [(0.05, 0.0, 0.97), (0.08, 0.25, 0.95)])
def test_finds_lesions(noise, bias, least):
    found = []
    for number in range(5):
        image, truth, seed = lesion_in_organ(number, noise=noise, bias=bias)
        found.append(dice(RegionGrowing().segment(image, seed=seed), truth))
    assert np.mean(found) > least


def test_finds_a_dark_lesion_in_thick_slices():
    image, truth, seed = lesion_in_organ(
        1, shape=(24, 80, 80), spacing=(3.0, 1.0, 1.0), radius=12.0, contrast=-0.25
    )
    assert dice(RegionGrowing(target="dark").segment(image, seed=seed), truth) > 0.94


def test_takes_no_more_than_is_within_reach_and_connected():
    values = np.zeros((60, 60), np.float32)
    values[20:31, 20:31] = 1
    for n in range(31, 59):
        values[n, n - 1 : n + 1] = 1  # a way out, to the corner of what is near
    values[8:12, 20:31] = 1  # a neighbour
    values[24:26, 24:26] = 0  # a hole
    square = np.zeros((60, 60), bool)
    square[20:31, 20:31] = True
    everywhere = np.ones((60, 60), bool)
    method = RegionGrowing(radius_mm=6.0, reach=2.0)
    found = method.segment(Image(values), seed=(27, 27), within=everywhere)
    assert found[24:26, 24:26].all()
    assert not found[8:12].any()
    assert (np.hypot(*(np.indices((60, 60)) - 27))[found] <= 12).all()
    assert dice(found, square) > 0.9


def test_finds_nothing_where_all_is_alike():
    assert not RegionGrowing().segment(Image(np.full((32, 32), 7, np.int16)), seed=(16, 16)).any()


def test_refuses_a_reach_inside_the_object():
    with pytest.raises(UsageError, match="give more than 1"):
        RegionGrowing(reach=1.0)
