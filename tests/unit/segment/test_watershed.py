import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment.scene import Scene
from intact.segment.watershed import CORE, SIGMA, Watershed


def passes(relief, sources, steps):
    """For each voxel, the lowest height that water from the sources has to rise to until it arrives."""
    height = np.full(relief.shape, np.inf)
    height[sources] = relief[sources]
    queue = [(height[at], at) for at in zip(*np.nonzero(sources), strict=True)]
    heapq.heapify(queue)
    while queue:
        level, at = heapq.heappop(queue)
        for step in steps:
            beside = tuple(np.add(at, step))
            if all(0 <= n < size for n, size in zip(beside, relief.shape, strict=True)):
                rise = max(level, relief[beside])
                if rise < height[beside]:
                    height[beside] = rise
                    heapq.heappush(queue, (rise, beside))
    return height


@pytest.mark.parametrize(
    ("shape", "spacing", "diagonal"),
    [((17, 17), (1.0, 1.0), 2), ((9, 17, 17), (2.0, 1.0, 1.0), 1)],  # as far as the method looks
    ids=["plane", "volume"],
)
@settings(deadline=None, max_examples=15)
@given(number=st.integers(0, 1000))
def test_each_voxel_belongs_to_the_water_that_rises_least(shape, spacing, diagonal, number):
    rng = np.random.default_rng(number)
    seed = tuple(n // 2 for n in shape)
    away = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - seed) * spacing, axis=-1)
    values = rng.standard_normal(shape).astype(np.float32)  # the more noise, the more ways
    scene = Scene(values, spacing, np.ones(shape, bool), seed, True, 4.0, 0.3)
    found = Watershed()._segment(scene)
    structure = ndimage.generate_binary_structure(len(shape), diagonal)
    smooth = scene.smooth(SIGMA)
    relief = ndimage.grey_dilation(smooth, footprint=structure) - ndimage.grey_erosion(
        smooth, footprint=structure
    )
    steps = np.argwhere(structure) - 1
    inside, outside = away <= CORE * 4.0, away > 8.0
    from_inside = passes(np.where(outside, np.inf, relief), inside, steps)
    from_outside = passes(np.where(inside, np.inf, relief), outside, steps)
    assert (from_inside <= from_outside)[found].all()
    assert (from_outside <= from_inside)[~found].all()


@pytest.mark.parametrize(("noise", "bias", "least"), [(0.05, 0.0, 0.97), (0.08, 0.25, 0.95)])
def test_finds_lesions(noise, bias, least):
    found = []
    for number in range(5):
        image, truth, seed = lesion_in_organ(number, noise=noise, bias=bias)
        found.append(dice(Watershed().segment(image, seed=seed), truth))
    assert np.mean(found) > least


def test_finds_a_dark_lesion_in_thick_slices():
    image, truth, seed = lesion_in_organ(
        1, shape=(24, 80, 80), spacing=(3.0, 1.0, 1.0), radius=12.0, contrast=-0.25
    )
    assert dice(Watershed(target="dark").segment(image, seed=seed), truth) > 0.92


def test_needs_an_edge_but_no_one_brightness():
    away = np.hypot(*(np.indices((80, 80)) - 40))
    disc = away < 12
    ramp = np.linspace(0, 1, 80, dtype=np.float32)  # as much from side to side as at the edge
    values = ndimage.gaussian_filter(ramp + disc, 0.7)
    method = Watershed(radius_mm=12.0)
    assert dice(method.segment(Image(values), seed=(40, 40), within=np.ones((80, 80), bool)), disc) > 0.97


def test_leaves_something_outside_even_if_all_of_the_image_is_within_reach():
    values = np.zeros((40, 40), np.float32)
    values[10:30, 10:30] = 1
    found = Watershed(radius_mm=40.0).segment(Image(values), seed=(20, 20), within=np.ones((40, 40), bool))
    assert not found[0, 0]
    assert found[20, 20]


def test_what_is_not_within_is_outside():
    away = np.hypot(*(np.indices((80, 80)) - 40))
    # Seen from the outside, a steep edge hides a faint one.
    values = ndimage.gaussian_filter((away < 10) + 10.0 * (away > 24), 0.7).astype(np.float32)
    found = Watershed(radius_mm=10.0, reach=3.0).segment(Image(values), seed=(40, 40), within=away < 17)
    assert dice(found, away < 10) > 0.95


def test_finds_nothing_where_all_is_alike():
    assert not Watershed().segment(Image(np.full((32, 32), 7, np.int16)), seed=(16, 16)).any()


def test_refuses_a_reach_inside_the_object():
    with pytest.raises(UsageError, match="give more than 1"):
        Watershed(reach=0.5)
