"""Laundering hides what examiners look for, and moves nothing."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forensics.histogram_gaps import HistogramGaps, comb_of
from intact.forge import FORGED, KINDS
from intact.image import Image
from intact.residual import correlation, noise_sigma, residual

HOW = ("dither", "resample", "noise", "median")


def noisy(dtype=np.uint16, shape=(192, 192), seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 8)
    plane = 1000 + 200 * smooth / smooth.std() + rng.normal(0, 25, shape)
    return Image(np.clip(np.rint(plane), 0, 4095).astype(dtype), bits=12 if dtype == np.uint16 else 0)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", ["region", "image"])
def test_only_what_is_labelled_changes_and_anatomy_stays(how, where):
    image = noisy()
    forgery = KINDS["launder"](how=how, where=where, diameter=60.0).forge(image, seed=3)
    changed = forgery.image.pixels != image.pixels
    assert changed.any() and not changed[forgery.labels != FORGED].any()
    blurred = [ndimage.gaussian_filter(one.pixels.astype(float), 4) for one in (image, forgery.image)]
    assert np.abs(blurred[0] - blurred[1]).max() < 20


@pytest.mark.parametrize("how", HOW)
def test_the_same_seed_makes_the_same(how):
    one, other = (KINDS["launder"](how=how).forge(noisy(), seed=5) for _ in range(2))
    assert (one.image.pixels == other.image.pixels).all() and one.record == other.record


def test_dither_fills_the_gaps_of_a_comb():
    exported = KINDS["rewindow"](center=1000.0, width=1200.0).forge(noisy()).image
    forgery = KINDS["launder"](how="dither", where="image").forge(exported, seed=1)
    before, after = (comb_of(one.pixels.astype(int).ravel()) for one in (exported, forgery.image))
    assert before.empty > 0.7 and after.empty < 0.02 and after.strength < before.strength / 10
    assert forgery.record["drawn"]["gap"] == 5
    assert noise_sigma(forgery.image.pixels) == pytest.approx(noise_sigma(exported.pixels), rel=0.05)


def test_dither_of_a_region_hides_it_from_who_looks_for_gaps():
    image = noisy(shape=(256, 256))
    forged = (
        KINDS["rewindow"](center=1000.0, width=1200.0, where="region", diameter=60.0)
        .forge(image, seed=2)
        .image
    )
    found = HistogramGaps().examine(forged)
    laundered = KINDS["launder"](how="dither", where="image", gap=5.0).forge(forged, seed=1).image
    hidden = HistogramGaps().examine(laundered)
    assert found.p_value < 1e-6 and hidden.p_value > 0.01


def test_noise_comes_from_elsewhere():
    image = noisy()
    forgery = KINDS["launder"](how="noise", where="image").forge(image, seed=1)
    shift = forgery.record["drawn"]["noise_from"]
    was, now = (residual(one.pixels.astype(float)) for one in (image, forgery.image))
    assert correlation(np.roll(was, shift, axis=(0, 1)), now) > 0.8 > 0.4 > correlation(was, now)
    assert noise_sigma(forgery.image.pixels) == pytest.approx(noise_sigma(image.pixels), rel=0.05)


def test_colour_and_volumes_are_laundered():
    rng = np.random.default_rng(0)
    colour = Image(rng.integers(90, 150, (64, 64, 3)).astype(np.uint8), photometric="RGB")
    volume = Image(rng.integers(900, 1100, (20, 40, 40)).astype(np.int16), spacing=(1.0, 1.0, 1.0))
    for image in (colour, volume):
        for how in HOW:
            assert KINDS["launder"](how=how).forge(image).image.pixels.shape == image.pixels.shape


def test_an_unknown_way_is_named():
    with pytest.raises(UsageError, match="is not one of resample"):
        KINDS["launder"](how="bleach").forge(noisy())
