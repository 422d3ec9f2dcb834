"""Joining a region to an image."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forge.blend import blend


def disc(side, radius):
    rows, columns = np.indices((side, side)) - side // 2
    return rows**2 + columns**2 <= radius**2


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    host = ndimage.gaussian_filter(rng.normal(0, 200, (64, 64)), 6) + 1000
    guest = ndimage.gaussian_filter(rng.normal(0, 200, (64, 64)), 3) - 300
    return host, guest, disc(64, 20)


def test_hard_replaces_to_the_last_bit(scene):
    host, guest, mask = scene
    values, soft = blend(host, guest, mask, "hard")
    assert (values[mask] == guest[mask]).all() and (values[~mask] == host[~mask]).all() and not soft.any()


def test_a_feathered_rim_of_two_noises_has_seven_tenths_of_their_strength():
    rng = np.random.default_rng(1)
    host, guest = rng.normal(0, 20, (2, 400, 400))
    mask = np.zeros((400, 400), bool)
    mask[:, 200:] = True
    values, soft = blend(host, guest, mask, "feather")
    half = values[:, 201]  # two pixels deep of four: half and half
    assert half.std() / 20 == pytest.approx(0.71, abs=0.04)
    assert soft[:, 200].all() and not soft[:, 201:].any()
    assert (values[:, 204:] == guest[:, 204:]).all() and (values[:, :200] == host[:, :200]).all()


@pytest.mark.parametrize("shape", [(40, 44), (14, 16, 18)])
def test_poisson_solves_its_equation(shape):
    rng = np.random.default_rng(2)
    host, guest = rng.normal(1000, 100, (2, *shape))
    mask = np.zeros(shape, bool)
    mask[tuple(slice(4, n - 4) for n in shape)] = True
    values, _ = blend(host, guest, mask, "poisson")
    wrong = ndimage.laplace(values) - ndimage.laplace(guest)
    assert np.abs(wrong[mask]).max() < 1e-6 * np.abs(guest).max()
    assert (values[~mask] == host[~mask]).all()


def test_poisson_leaves_no_step_at_the_seam(scene):
    host, guest, mask = scene

    def step(values):
        rim = mask & ~ndimage.binary_erosion(mask)
        outside = ndimage.binary_dilation(mask) & ~mask
        return abs(values[rim].mean() - values[outside].mean())

    hard, _ = blend(host, guest, mask, "hard")
    seamless, _ = blend(host, guest, mask, "poisson")
    assert step(hard) > 1000 and step(seamless) < 20


def test_colours_are_blended_each_by_itself(scene):
    host, guest, mask = scene
    colours = [np.stack([field, 2 * field, field + 5], axis=-1) for field in (host, guest)]
    for how in ("hard", "feather", "poisson"):
        together, _ = blend(*colours, mask, how)
        for c in range(3):
            alone, _ = blend(colours[0][..., c], colours[1][..., c], mask, how)
            np.testing.assert_allclose(together[..., c], alone, rtol=1e-9)


def test_an_unknown_blend_is_refused(scene):
    with pytest.raises(UsageError, match="hard, feather, poisson"):
        blend(*scene, "glue")
