import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment.graph_cut import GraphCut, _links, least_cut
from intact.segment.scene import Scene

FEW = st.integers(-3, 3).map(float)  # so that some divisions are equally good


def energy(mask, gain, first, second, cost):
    return cost[mask[first] != mask[second]].sum() - gain[mask].sum()


@st.composite
def graphs(draw):
    voxels = draw(st.integers(1, 7))
    pairs = draw(
        st.lists(st.sampled_from([*itertools.combinations(range(voxels), 2)] or [(0, 0)]), max_size=12)
    )
    cost = draw(st.lists(st.integers(0, 2), min_size=len(pairs), max_size=len(pairs)))
    gain = draw(st.lists(FEW | st.sampled_from([-np.inf, np.inf]), min_size=voxels, max_size=voxels))
    first, second = np.array(pairs, int).reshape(-1, 2).T
    return np.array(gain), first, second, np.array(cost, float)


@settings(deadline=None, max_examples=300)
@given(graph=graphs())
def test_no_division_costs_less(graph):
    gain, first, second, cost = graph
    found = least_cut(gain, first, second, cost)
    assert found[gain == np.inf].all()
    assert not found[gain == -np.inf].any()
    finite = np.where(np.isinf(gain), 0, gain)
    divisions = (np.array(mask) for mask in itertools.product([False, True], repeat=gain.size))
    allowed = [m for m in divisions if m[gain == np.inf].all() and not m[gain == -np.inf].any()]
    energies = np.array([energy(mask, finite, first, second, cost) for mask in allowed])
    best = [mask for mask, costs in zip(allowed, energies, strict=True) if costs < energies.min() + 1e-9]
    np.testing.assert_array_equal(found, np.all(best, axis=0))  # the smallest of them is part of all


@pytest.mark.parametrize(
    ("shape", "spacing", "axes"), [((5, 6), (1.5, 1.0), 2), ((3, 4, 5), (3.0, 1.0, 0.5), 1)]
)
def test_links_are_those_of_a_slow_loop(shape, spacing, axes):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    slow = {}
    for a, b in itertools.combinations(np.ndindex(shape), 2):
        step = np.subtract(b, a)
        if np.abs(step).max() == 1 and np.count_nonzero(step) <= axes:
            alike = np.exp(-((float(values[a]) - float(values[b])) ** 2) / (2 * 0.2**2))
            slow[a, b] = 0.5 * alike * min(spacing) / np.linalg.norm(step * np.array(spacing))
    first, second, cost = _links(values, spacing, 0.2, 0.5)
    ends = [
        [tuple(map(int, at)) for at in zip(*np.unravel_index(end, shape), strict=True)]
        for end in (first, second)
    ]
    found = {tuple(sorted(pair)): c for pair, c in zip(zip(*ends, strict=True), cost, strict=True)}
    assert len(found) == len(cost)
    assert found == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize(("noise", "bias", "least"), [(0.05, 0.0, 0.97), (0.08, 0.25, 0.95)])
def test_finds_lesions(noise, bias, least):
    found = []
    for number in range(5):
        image, truth, seed = lesion_in_organ(number, noise=noise, bias=bias)
        found.append(dice(GraphCut().segment(image, seed=seed), truth))
    assert np.mean(found) > least


def test_finds_a_dark_lesion_in_thick_slices():
    image, truth, seed = lesion_in_organ(
        1, shape=(24, 80, 80), spacing=(3.0, 1.0, 1.0), radius=12.0, contrast=-0.25
    )
    assert dice(GraphCut(target="dark").segment(image, seed=seed), truth) > 0.94


def test_more_smoothness_gives_shorter_borders():
    image, _, seed = lesion_in_organ(2, noise=0.15)
    scene = Scene(image.pixels, (1.0, 1.0), np.ones((128, 128), bool), seed, True, 10.0, 0.15)
    masks = [GraphCut(smoothness=smoothness)._segment(scene) for smoothness in (0.0, 1.0, 4.0)]
    lengths = [sum(np.count_nonzero(np.diff(mask, axis=axis)) for axis in (0, 1)) for mask in masks]
    assert lengths[0] > lengths[1] > lengths[2] > 0


def test_finds_what_has_no_noise_and_fills_its_hole():
    square = np.zeros((50, 50), bool)
    square[15:33, 12:30] = True
    values = square.astype(np.float32)
    values[26:30, 22:26] = 0
    method = GraphCut(radius_mm=9.0)
    found = method.segment(Image(values), seed=(20, 18), within=np.ones((50, 50), bool))
    np.testing.assert_array_equal(found, square)


def test_finds_nothing_where_all_is_alike():
    assert not GraphCut().segment(Image(np.full((32, 32), 7, np.int16)), seed=(16, 16)).any()


@pytest.mark.parametrize(
    ("fields", "why"), [({"smoothness": -1.0}, "0 or more"), ({"reach": 1.0}, "more than 1")]
)
def test_refuses_what_makes_no_sense(fields, why):
    with pytest.raises(UsageError, match=why):
        GraphCut(**fields)
