"""Zernike moments: what turning and mirroring do to them, and what they are of known planes."""

import numpy as np
import pytest

from intact.forensics.copies.zernike import ORDERS, moments, zernike, zernike_filter


def at_the_middle(plane, diameter=16):
    real, imag = zernike(plane.astype(np.float32), diameter)
    middle = plane.shape[0] // 2
    return (real + 1j * imag)[:, middle, middle]


@pytest.fixture
def patch():
    return np.random.default_rng(0).normal(100, 30, (33, 33))


def test_there_are_twelve_up_to_order_five():
    assert len(ORDERS) == 12 and max(order for order, _ in ORDERS) == 5
    assert all((order - repetition) % 2 == 0 for order, repetition in ORDERS)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_magnitudes_stay_under_quarter_turns_and_phases_tell_them(patch, turns):
    ours, theirs = at_the_middle(patch), at_the_middle(np.rot90(patch, turns).copy())
    np.testing.assert_allclose(np.abs(theirs), np.abs(ours), rtol=1e-5, atol=1e-5)
    repetitions = np.array([repetition for _, repetition in ORDERS])
    # Rows run down, so that turning against the clock makes angles smaller.
    expected = ours * np.exp(1j * repetitions * turns * np.pi / 2)
    np.testing.assert_allclose(theirs, expected, rtol=1e-4, atol=1e-4)


def test_mirroring_conjugates(patch):
    np.testing.assert_allclose(
        at_the_middle(patch[::-1].copy()), at_the_middle(patch).conj(), rtol=1e-4, atol=1e-4
    )


def test_a_plane_of_one_value_has_only_a_mean():
    moments = at_the_middle(np.full((33, 33), 1000.0))
    assert moments[0] == pytest.approx(1000, rel=0.02)
    assert np.abs(moments[1:]).max() < 1e-2


def test_filters_are_those_of_the_formula():
    """Z of the polynomial R_nm itself is 1, and of another one 0: they are orthogonal on the disc."""
    for order, repetition in ORDERS:
        own = zernike_filter(order, repetition, 40)
        for other in ORDERS:
            product = (own * zernike_filter(*other, 40).conj()).sum()
            scale = np.sqrt((order + 1) * (other[0] + 1)) / np.pi * (2 / 41) ** 2
            assert abs(product / scale - ((order, repetition) == other)) < 0.1


def test_moments_have_the_same_noise_each_and_none_of_the_mean():
    noise = np.random.default_rng(1).normal(500, 10, (128, 128)).astype(np.float32)
    chosen = np.zeros(noise.shape, bool)
    chosen[10:-10, 10:-10] = True
    sizes = np.abs(moments(noise - 500, 12, chosen))
    assert sizes.shape == (108 * 108, 11)
    power = np.sqrt((sizes**2).mean(axis=0))
    assert power.max() < 1.2 * power.min()
