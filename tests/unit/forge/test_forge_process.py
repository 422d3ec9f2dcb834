"""Processing of a region and of a whole image."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forge import FORGED, KINDS
from intact.image import Image, Scale
from intact.residual import noise_sigma


def noisy(dtype=np.uint16, bits=12, shape=(128, 128), sigma=25.0, seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 2000, shape), 8) + 2000
    return Image(np.clip(smooth + rng.normal(0, sigma, shape), 0, 2**bits - 1).astype(dtype), bits=bits)


def test_outside_a_region_nothing_changes_and_inside_it_is_the_processed_image():
    """A region's values are those of the whole image processed: no grid starts at its edge."""
    image = noisy()
    everywhere = KINDS["recompress"](where="image", quality=40).forge(image)
    region = KINDS["recompress"](quality=40, diameter=40.0).forge(image, seed=2)
    inside = region.labels == FORGED
    assert (region.image.pixels[inside] == everywhere.image.pixels[inside]).all()
    assert (region.image.pixels[~inside] == image.pixels[~inside]).all()


def test_jpeg_2000_keeps_the_depth_that_jpeg_loses():
    image = noisy(sigma=2.0)
    levels = {
        codec: len(np.unique(KINDS["recompress"](where="image", codec=codec).forge(image).image.pixels))
        for codec in ("jpeg", "jpeg-2000")
    }
    assert levels["jpeg"] <= 256 < levels["jpeg-2000"]


def test_jpeg_ls_errs_by_no_more_than_allowed():
    image = noisy()
    forged = KINDS["recompress"](where="image", codec="jpeg-ls", near=3).forge(image).image
    wrong = np.abs(forged.pixels.astype(int) - image.pixels)
    assert 0 < wrong.max() <= 3


def test_codecs_of_integers_refuse_floats():
    with pytest.raises(UsageError, match="float32"):
        KINDS["recompress"](where="image", codec="jpeg-2000").forge(noisy(np.float32))


@pytest.mark.parametrize("law", ["gaussian", "rician"])
def test_noise_has_the_strength_that_was_asked_for(law):
    image = noisy()
    forged = KINDS["noise"](where="image", strength=2.0, law=law).forge(image).image
    added = forged.pixels.astype(float) - image.pixels
    assert added.std() == pytest.approx(2 * noise_sigma(image.pixels), rel=0.1)


def test_poisson_noise_grows_with_the_root_of_the_value():
    ramp = np.linspace(100, 4000, 400)
    image = Image(np.tile(ramp, (400, 1)).astype(np.uint16), bits=12)
    forged = KINDS["noise"](where="image", strength=50.0, law="poisson").forge(image).image
    added = forged.pixels.astype(float) - image.pixels
    low, high = added[:, 80:120].std(), added[:, 320:360].std()
    assert high / low == pytest.approx(np.sqrt(340 / 100), rel=0.15)


def test_resampling_enlarges_around_the_middle():
    rows = np.indices((129, 129))[0] - 64
    image = Image((1000 + 10 * rows).astype(np.int16))
    forged = KINDS["resample"](where="image", factor=2.0).forge(image).image
    np.testing.assert_allclose(forged.pixels[:, 64], 1000 + 5 * rows[:, 64], atol=1)


def test_blur_takes_noise_away_in_the_region_alone():
    image = noisy()
    forgery = KINDS["blur"](sigma=2.0, diameter=50.0).forge(image, seed=1)
    inside = forgery.labels == FORGED
    assert noise_sigma(forgery.image.pixels, inside) < 5 < 20 < noise_sigma(forgery.image.pixels, ~inside)


def test_contrast_stretches_around_the_mean():
    image = noisy(np.float32)
    forged = KINDS["contrast"](where="image", gain=1.5).forge(image).image
    assert forged.pixels.std() == pytest.approx(1.5 * image.pixels.std(), rel=1e-3)
    assert forged.pixels.mean() == pytest.approx(image.pixels.mean(), rel=1e-3)


def test_a_window_leaves_256_levels_and_the_same_range():
    image = Image(noisy().pixels, bits=12, scale=Scale(1.0, -1024.0, unit="HU"))
    forgery = KINDS["rewindow"](center=1000.0, width=2400.0).forge(image)
    levels = np.unique(forgery.image.pixels)
    assert np.diff(levels[1:-1]).min() == 9  # 2,400 HU in 255 steps
    inside = np.abs(image.physical() - 1000) < 1150
    wrong = np.abs(forgery.image.physical() - image.physical())[inside]
    assert wrong.max() <= 2400 / 255 / 2 + 1


def test_a_window_takes_grey_images():
    image = Image(np.zeros((64, 64, 3), np.uint8), photometric="RGB")
    with pytest.raises(UsageError, match="grey"):
        KINDS["rewindow"]().forge(image)


def test_unknown_choices_are_named():
    wrong = {"recompress": {"codec": "gif"}, "noise": {"law": "pink"}, "blur": {"where": "x"}}
    for kind, fields in wrong.items():
        with pytest.raises(UsageError, match="is not one of"):
            KINDS[kind](**fields).forge(noisy())
