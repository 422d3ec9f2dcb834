"""Stripes over the whole image are told as such; noise, edges and anatomy are not."""

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr, chest_xray
from intact.forensics.periodic_pattern import PeriodicPattern
from intact.image import Image


def textured(seed=0, shape=(160, 176), sigma=20.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 8)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def stripes(shape, rows, columns, amplitude):
    y, x = np.indices(shape)
    return amplitude * np.cos(2 * np.pi * (rows * y + columns * x))


def examined(plane):
    return PeriodicPattern().examine(Image(np.clip(plane, 0, 4095).astype(np.uint16), bits=12))


def test_a_spike_in_raw_data_is_found_with_its_period_and_direction():
    plane = textured()
    evidence = examined(plane + stripes(plane.shape, 0.2, 0.15, 8.0))
    assert evidence.p_value < 1e-9 and evidence.score > 1.5
    assert "Stripes 4.0 pixels apart, 54 degrees" in evidence.explanation


def test_stripes_weaker_than_half_the_noise_are_still_found():
    plane = textured()
    assert examined(plane + stripes(plane.shape, 0.31, 0.22, 8.0)).p_value < 1e-6


def test_the_map_is_where_the_stripes_are():
    plane = textured()
    part = stripes(plane.shape, 0.2, 0.25, 25.0)
    part[:, 80:] = 0
    evidence = examined(plane + part)
    assert evidence.map[:, 20:60].mean() > 3 * evidence.map[:, 110:150].mean()


@pytest.mark.parametrize("seed", range(12))
def test_noise_is_no_pattern(seed):
    evidence = examined(textured(seed))
    assert evidence.score == 0 and evidence.p_value == 1 and not evidence.map.any()


def test_noise_correlated_as_in_reconstructions_is_no_pattern():
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (160, 160)), 0.7)
    assert examined(2000 + 60 * noise).score == 0


def test_edges_and_blocks_are_no_pattern():
    plane = textured(sigma=10.0)
    plane[:40] = 100
    plane[:, :20] = 3000
    plane += np.kron(np.random.default_rng(2).normal(0, 5, (20, 22)), np.ones((8, 8)))
    assert examined(plane).score == 0


@pytest.mark.parametrize("seed", range(3))
def test_phantoms_show_none(seed):
    image = brain_mr(seed)[0]
    for one in (image.plane(image.planes // 2), chest_xray(seed, shape=(256, 224))[0]):
        evidence = PeriodicPattern().examine(one)
        assert evidence.abstained or evidence.score == 0
