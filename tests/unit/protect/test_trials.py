"""Treatments do what they say, and trials tell protected from unprotected."""

from __future__ import annotations

import numpy as np
import pytest

from intact.image import Image
from intact.protect.trials import TREATMENTS, Trial, quality_of, shown
from intact.report.gallery import Exhibit, draw_gallery

RNG = np.random.default_rng(0)
SHOWN = np.clip(np.add.outer(np.arange(60), np.arange(80)) + RNG.normal(0, 5, (60, 80)), 0, 255).astype(
    np.uint8
)
REGION = np.zeros((60, 80), bool)
REGION[10:40, 20:50] = True


@pytest.mark.parametrize("name", TREATMENTS)
def test_treatments_change_an_image_but_leave_what_it_shows(name):
    before = SHOWN.copy()
    treated = TREATMENTS[name](SHOWN, REGION)
    assert treated.dtype == np.uint8 and not np.array_equal(treated, SHOWN)
    np.testing.assert_array_equal(SHOWN, before)
    if name == "crop to region":
        np.testing.assert_array_equal(treated, SHOWN[10:40, 20:50])
        np.testing.assert_array_equal(TREATMENTS[name](SHOWN, np.zeros_like(REGION)), SHOWN)
    else:
        assert treated.shape == SHOWN.shape and np.corrcoef(treated.ravel(), SHOWN.ravel())[0, 1] > 0.97


def test_stronger_treatments_change_more():
    for order in (("JPEG 95", "JPEG 75", "JPEG 50"), ("resize 0.75", "resize 0.5")):
        errors = [np.abs(TREATMENTS[name](SHOWN, REGION).astype(int) - SHOWN).mean() for name in order]
        assert errors == sorted(errors)


def test_quality_is_told_for_the_region_and_the_rest():
    after = SHOWN.copy()
    after[~REGION] = np.where(after[~REGION] < 128, after[~REGION] + 8, after[~REGION] - 8)
    trial = Trial("a", Image(SHOWN), Image(after), Image(SHOWN), REGION, True, 99, (1.0, 2.0, 3.0))
    found = quality_of([trial], lambda image: (0.0, 255.0))
    assert found["psnr_rest"] == pytest.approx(20 * np.log10(255 / 8)) and found["psnr_region"] > 75
    assert found["region_pixels_changed"] == 0 and found["changed"] == pytest.approx((~REGION).mean())
    assert found["ssim_rest"] < found["ssim"] and found["ssim_rest"] + 0.01 < found["ssim_region"] <= 1
    assert (found["exact"], found["payload_bits"], found["seconds_seal"]) == (1.0, 99, 2.0)


def test_deep_images_are_shown_through_their_window():
    levels = shown(Image(np.array([[-2000, -1000, 0, 1000, 3000]], np.int16)), (-1000.0, 1000.0))
    assert levels.tolist() == [[0, 0, 128, 255, 255]]


def test_the_gallery_shows_each_image_and_what_is_said_of_it():
    words = (["a: good"], ["a: virus"], ["a: good"])
    one = draw_gallery([Exhibit(SHOWN, SHOWN, SHOWN, words)])
    two = draw_gallery([Exhibit(SHOWN, SHOWN ^ 8, SHOWN, words)] * 2)
    assert two.width == one.width and two.height > one.height + 200
    column = np.asarray(two)[60:200, 490:700]
    assert column.std() > 40 and np.asarray(one)[100:180, 490:700].std() < 1  # a difference, and none
    with pytest.raises(ValueError, match="no image"):
        draw_gallery([])
