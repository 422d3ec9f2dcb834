"""Body, head, field of view and text on made images, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Raster
from PIL import ImageDraw, ImageFont

from intact.data.phantom_brain import brain_mr
from intact.data.phantom_thorax import thorax_ct
from intact.data.phantom_xray import chest_xray
from intact.image import Image
from intact.segment import REGIONS

QUIET = [name for name in REGIONS if name != "text"]


def lettered(seed):
    """A radiograph with letters in its upper left corner, and where they are."""
    image, _ = chest_xray(seed, shape=(256, 256), lesion=False)
    shown = image.display()
    raster = Raster.new("L", (256, 256))
    ImageDraw.Draw(raster).text((12, 10), "PA", fill=255, font=ImageFont.load_default(size=18))
    letters = np.asarray(raster) > 128
    return Image(np.where(letters, np.uint8(255), shown)), letters


def test_letters_are_found():
    found = []
    for seed in range(8):
        image, letters = lettered(seed)
        mask = REGIONS["text"](image)
        found.append((mask & letters).sum() / letters.sum())
    assert np.mean(found) > 0.7


def test_anatomy_is_no_text():
    for seed in range(8):
        image, _ = brain_mr(seed, lesion=False)
        assert REGIONS["text"](image).mean() < 0.001


@pytest.mark.parametrize("seed", range(4))
def test_the_head_is_what_is_not_air(seed):
    image, _ = brain_mr(seed, lesion=False)
    for name in ("body", "head"):
        mask = REGIONS[name](image)
        assert 0.2 < mask.mean() < 0.8 and mask[112, 112]
        assert not mask[:4].any() or not mask[:, :4].any()
        assert image.pixels[mask].mean() > 5 * image.pixels[~mask].mean()


def test_the_lungs_belong_to_the_body_of_a_ct():
    image, _ = thorax_ct(3, shape=(1, 192, 192), lesion=False)
    body, lungs = REGIONS["body"](image), REGIONS["lungs"](image)
    assert lungs.any() and (lungs & body).sum() > 0.99 * lungs.sum()
    assert (image.physical()[~body] < -500).mean() > 0.9


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("value", [0, 500])
def test_an_image_of_one_value_tells_nothing(name, value):
    image = Image(np.full((48, 40), value, np.uint16))
    mask = REGIONS[name](image)
    assert mask.shape == (48, 40) and mask.dtype == bool
    if name != "lungs":
        assert mask.all()


@pytest.mark.parametrize("name", REGIONS)
def test_the_image_is_left_as_it_is(name):
    image, _ = chest_xray(1, shape=(128, 128))
    before = image.pixels.copy()
    REGIONS[name](image)
    np.testing.assert_array_equal(image.pixels, before)
