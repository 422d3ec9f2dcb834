"""What classical methods see of an image: a scene with a seed, a radius and values between 0 and 1."""

import numpy as np
import pytest

from intact import Image
from intact.data.phantom_lesion import lesion_in_organ
from intact.segment.scene import look


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((128, 128), None),
        ((128, 128), (0.4, 0.4)),
        ((32, 96, 96), (3.0, 1.0, 1.0)),
        ((32, 96, 96), (5.0, 0.7, 0.7)),
    ],
)
def test_the_automatic_seed_lies_in_the_lesion(number, shape, spacing):
    image, mask, _ = lesion_in_organ(number, shape=shape, spacing=spacing)
    scene = look(image, "bright", 0.0, None, None)
    assert mask[scene.seed] and not scene.given


@pytest.mark.parametrize("shape", [(128, 128), (700, 600)])
def test_the_measured_radius_is_about_that_of_the_lesion(shape):
    for number in range(4):
        image, mask, seed = lesion_in_organ(number, shape=shape)
        scene = look(image, "bright", 0.0, seed, None)
        assert 1 / 1.3 < scene.radius / np.sqrt(mask.sum() / np.pi) < 1.3


def test_noise_and_range_are_those_of_the_values():
    image, _, seed = lesion_in_organ(0, noise=0.05)
    scene = look(image, "bright", 0.0, seed, None)
    low, high = np.percentile(image.pixels[scene.within], (0.5, 99.5))
    assert abs(scene.noise * (high - low) - 0.05) < 0.005
    np.testing.assert_allclose(np.percentile(scene.values[scene.within], (0.5, 99.5)), (0, 1), atol=1e-5)


def test_a_dark_object_and_an_inverted_picture_are_seen_alike():
    image, mask, seed = lesion_in_organ(0)
    inverted = Image(image.pixels, photometric="MONOCHROME1")
    bright = look(image, "bright", 0.0, seed, np.ones_like(mask))
    dark = look(inverted, "dark", 0.0, seed, np.ones_like(mask))
    np.testing.assert_array_equal(bright.values, dark.values)


def test_values_that_are_no_number_are_the_least():
    image, mask, seed = lesion_in_organ(0)
    pixels = image.pixels.copy()
    pixels[0, :5] = np.nan
    scene = look(Image(pixels), "bright", 0.0, seed, np.ones_like(mask))
    assert np.isfinite(scene.values).all() and (scene.values[0, :5] == scene.values.min()).all()
