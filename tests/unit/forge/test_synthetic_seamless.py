"""Poisson image editing by sine transforms, against sparse and dense solvers."""

import numpy as np
import pytest

from intact.forge.blend import blend
from intact.forge.synthetic.seamless import GUIDES, seamless, stronger


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.random((17, 23)), rng.random((17, 23))


def disc(rows, columns):
    y, x = np.indices((rows, columns))
    return ((y - rows // 2) / (rows / 3)) ** 2 + ((x - columns // 2) / (columns / 3)) ** 2 <= 1


def slow(host, guest, mask, step):
    """Pérez's Eq. 7, one equation per pixel of the mask; `step` is v of two neighbours."""
    inside = mask.copy()
    inside[[0, -1]] = False
    inside[:, [0, -1]] = False
    number = {tuple(p): k for k, p in enumerate(np.argwhere(inside))}
    matrix, right = np.zeros((len(number), len(number))), np.zeros(len(number))
    for (y, x), k in number.items():
        for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            matrix[k, k] += 1
            right[k] += step(host[y, x] - host[q], guest[y, x] - guest[q])
            if q in number:
                matrix[k, number[q]] -= 1
            else:
                right[k] += host[q]
    blended = host.copy()
    for p, value in zip(number, np.linalg.solve(matrix, right), strict=True):
        blended[p] = value
    return blended


@pytest.mark.parametrize("shape", ["all", "disc", "grains"])
def test_it_solves_what_the_sparse_solver_solves(pair, shape):
    host, guest = pair
    grains = np.random.default_rng(1).random(host.shape) < 0.6
    mask = {"all": np.ones(host.shape, bool), "disc": disc(*host.shape), "grains": grains}[shape]
    expected, _ = blend(host, guest, mask, "poisson")
    np.testing.assert_allclose(seamless(host, guest, mask), expected, atol=1e-7)


@pytest.mark.parametrize("shape", ["all", "disc"])
def test_mixed_takes_the_stronger_step_of_each_pair_of_neighbours(pair, shape):
    host, guest = pair
    mask = np.ones(host.shape, bool) if shape == "all" else disc(*host.shape)
    expected = slow(host, guest, mask, lambda h, g: h if abs(h) > abs(g) else g)
    found = seamless(host, guest, mask, GUIDES["mixed"])
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert not np.allclose(found, seamless(host, guest, mask))


def test_nothing_outside_the_mask_and_at_the_rim_changes(pair):
    host, guest = pair
    before = host.copy(), guest.copy()
    blended = seamless(host, guest, disc(*host.shape))
    np.testing.assert_array_equal(blended[~disc(*host.shape)], host[~disc(*host.shape)])
    blended = seamless(host, guest, np.ones(host.shape, bool))
    for rim in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_array_equal(blended[rim], host[rim])
    np.testing.assert_array_equal(host, before[0])
    np.testing.assert_array_equal(guest, before[1])


def test_a_brighter_copy_comes_in_unseen(pair):
    host, _ = pair
    np.testing.assert_allclose(seamless(host, host + 5.0, np.ones(host.shape, bool)), host, atol=1e-12)


def test_each_channel_is_blended_on_its_own(pair):
    rng = np.random.default_rng(2)
    host, guest = rng.random((2, 3, 12, 9)).astype(np.float32)
    for mask in (np.ones((12, 9), bool), disc(12, 9)):
        together = seamless(host, guest, mask)
        assert together.dtype == np.float64
        for c in range(3):
            np.testing.assert_allclose(together[c], seamless(host[c], guest[c], mask), atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 8), (8, 1), (3, 3)])
def test_rectangles_of_little_but_rim(shape):
    rng = np.random.default_rng(3)
    host, guest = rng.random((2, *shape))
    expected = host.copy()
    if shape == (3, 3):
        around = [(0, 1), (2, 1), (1, 0), (1, 2)]
        expected[1, 1] = sum(host[q] + guest[1, 1] - guest[q] for q in around) / 4
    np.testing.assert_allclose(seamless(host, guest, np.ones(shape, bool)), expected)
    np.testing.assert_array_equal(seamless(host, guest, np.zeros(shape, bool)), host)


def test_of_equal_steps_the_second_counts():
    np.testing.assert_array_equal(
        stronger(np.array([2.0, -3.0, 1.0]), np.array([-2.0, 1.0, 4.0])), [-2, -3, 4]
    )
