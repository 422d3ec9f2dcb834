"""What is filled in where something is removed."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forge import FORGED, KINDS
from intact.forge.remove import fill_hole
from intact.image import Image
from intact.residual import noise_sigma


def ramp(sigma=0.0, seed=0, shape=(120, 120)):
    rng = np.random.default_rng(seed)
    plane = 500 + 8.0 * np.arange(shape[-1]) + sigma * rng.standard_normal(shape)
    return Image(np.broadcast_to(plane, shape).astype(np.int16).copy())


@pytest.mark.parametrize(("fill", "off"), [("telea", 40), ("navier_stokes", 40), ("harmonic", 1)])
def test_a_ramp_goes_on_where_a_lesion_was(fill, off):
    host, mask = ramp().pixels.astype(float), np.zeros((120, 120), bool)
    mask[50:66, 50:66] = True
    filled = fill_hole(host + 400 * mask, mask, fill)
    assert np.abs(filled - host).max() < off and (filled[~mask] == host[~mask]).all()


def test_the_harmonic_fill_solves_laplace_in_a_volume():
    rng = np.random.default_rng(0)
    host, mask = rng.normal(0, 10, (12, 14, 16)), np.zeros((12, 14, 16), bool)
    mask[3:9, 3:10, 4:12] = True
    filled = fill_hole(host, mask, "harmonic")
    assert np.abs(ndimage.laplace(filled)[mask]).max() < 1e-7
    assert (filled[~mask] == host[~mask]).all()


def test_smooth_fills_lack_noise_and_grain_brings_it_back():
    image = ramp(sigma=20.0)
    smooth = KINDS["remove"](diameter=24.0, fill="harmonic").forge(image, seed=1)
    grained = KINDS["remove"](diameter=24.0, fill="harmonic", grain=True).forge(image, seed=1)
    inside = smooth.labels == FORGED
    assert noise_sigma(smooth.image.pixels, inside) < 3
    assert noise_sigma(grained.image.pixels, inside) == pytest.approx(20, rel=0.35)


def test_a_neighbouring_slice_fills_a_volume():
    rng = np.random.default_rng(0)
    image = Image(rng.normal(500, 30, (24, 64, 64)).astype(np.int16), spacing=(2.0, 1.0, 1.0))
    forgery = KINDS["remove"](diameter=14.0, fill="neighbour").forge(image, seed=4)
    step = forgery.record["drawn"]["slices_away"]
    assert 2 <= abs(step) <= 5
    inside = np.argwhere(forgery.labels == FORGED)
    there = np.clip(inside + np.array([step, 0, 0]), 0, np.array(image.shape) - 1)
    one = forgery.image.pixels[tuple(inside.T)].astype(float)
    other = image.pixels[tuple(there.T)].astype(float)
    assert np.corrcoef(one, other)[0, 1] > 0.9


def test_an_unknown_fill_is_refused():
    with pytest.raises(UsageError, match="telea"):
        KINDS["remove"](fill="magic").forge(ramp())
