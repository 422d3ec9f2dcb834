"""Pixels tell where the JPEG grid lies, in which steps they were rounded, and how sure that is."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage
from scipy.fft import dctn

from intact.forensics.jpeg.blocks import block_coefficients, sliding_coefficients, standard_table
from intact.forensics.jpeg.history import jpeg_history, jpeg_luma
from intact.forensics.jpeg.votes import log_alarms
from intact.image import Image


def textured(seed=0, shape=(160, 168), sigma=6.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    plane = 128 + 30 * smooth / smooth.std() + sigma * rng.standard_normal(shape)
    return np.clip(np.rint(plane), 1, 254).astype(np.uint8)


def jpeg(plane, quality):
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality, subsampling=0)
    file.seek(0)
    return np.array(Picture.open(file))


def history(pixels, **kwargs):
    image = Image(np.ascontiguousarray(pixels), **kwargs)
    grey = image.pixels.astype(np.float32)
    return jpeg_history(grey.mean(axis=-1) if image.colour else grey, image)


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
def test_the_quality_of_the_last_save_is_told(quality):
    found = history(jpeg(textured(), quality)[3:, 5:])
    assert found.origin == (5, 3) and found.log_alarms < -20 and found.quality == quality
    expected = standard_table(quality)
    expected[0, 0] = 0
    np.testing.assert_array_equal(found.steps, expected)


@pytest.mark.parametrize(("first", "last"), [(60, 90), (75, 95), (90, 70)])
def test_of_two_saves_the_last_is_told(first, last):
    assert history(jpeg(jpeg(textured(), first), last)).quality == last


def test_steps_of_another_program_are_told_without_a_quality():
    table = np.full((8, 8), 9)
    table[0, 1], table[1, 0] = 14, 5
    file = io.BytesIO()
    Picture.fromarray(textured()).save(file, "JPEG", qtables=[table.ravel().tolist()])
    found = history(np.array(Picture.open(file)))
    assert found.quality is None
    assert found.steps[0, 1] == 14 and found.steps[1, 0] == 5 and (found.steps[:3, 2] == 9).all()


def test_the_table_is_that_which_the_library_writes():
    for quality in (10, 50, 75, 92):
        file = io.BytesIO()
        Picture.fromarray(textured()).save(file, "JPEG", quality=quality)
        written = Picture.open(file).quantization[0]
        np.testing.assert_array_equal(standard_table(quality).ravel(), written)


def test_colours_are_examined_by_their_brightness():
    rng = np.random.default_rng(0)
    tint = np.stack([ndimage.gaussian_filter(rng.normal(0, 200, (160, 168)), 8) for _ in range(3)], -1)
    colour = np.clip(textured()[..., None] * 0.6 + 50 + tint, 5, 250).astype(np.uint8)
    found = history(jpeg(colour, 80), photometric="RGB")
    assert found.grid == 0 and found.quality == 80


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (textured(), "ever compressed"),
        (np.zeros((64, 64), np.uint8), "ever compressed"),
        (np.zeros((3, 3), np.uint8), "too small"),
        (textured().astype(np.uint16), "16 bits"),
        (np.full((64, 64), np.nan, np.float32), "32 bits"),
    ],
)
def test_where_there_is_no_history_it_says_why(pixels, why):
    assert why in history(pixels)


def test_deep_colours_are_refused_by_depth():
    image = Image(np.zeros((64, 64, 3), np.uint16), photometric="RGB")
    assert "16 bits" in jpeg_luma(np.zeros((64, 64), np.float32), image)


def test_coefficients_are_those_of_a_slow_transform():
    plane = textured(1, (45, 51)).astype(np.float32)
    blocks = block_coefficients(plane, (3, 6))
    assert blocks.shape == (5, 5, 8, 8)
    expected = dctn(plane[11:19, 22:30], norm="ortho")
    np.testing.assert_allclose(blocks[1, 2], expected, atol=1e-3)
    (sliding,) = sliding_coefficients(plane, [(2, 1)])
    assert sliding.shape == (38, 44) and sliding[11, 22] == pytest.approx(expected[2, 1], abs=1e-3)


def test_false_alarms_beyond_floats_stay_finite_and_ordered():
    some, many = log_alarms(14.0, 400, 300), log_alarms(14.0, 4000, 3000)
    assert np.isfinite(many) and many < -3000 and many < some < -100
