import numpy as np
import pytest

from intact.metrics import likeness


def test_what_is_alike_has_78_db_and_full_likeness():
    picture = np.random.default_rng(0).integers(0, 256, (32, 40))
    assert likeness(picture, picture) == {"psnr": pytest.approx(78.13, abs=0.01), "ssim": pytest.approx(1.0)}


def test_decibels_are_those_of_the_mean_squared_error():
    before = np.full((32, 32), 100, np.uint8)
    after = before + np.uint8(5)
    assert likeness(before, after)["psnr"] == pytest.approx(20 * np.log10(255 / 5))


def test_parts_are_told_apart_and_empty_ones_left_out():
    rng = np.random.default_rng(1)
    before = rng.integers(40, 200, (48, 48))
    region = np.zeros(before.shape, bool)
    region[:, :24] = True
    found = likeness(before, before + np.where(region, 0, rng.choice([-8, 8], before.shape)), region)
    assert found["psnr_region"] > 78 and found["psnr_rest"] == pytest.approx(20 * np.log10(255 / 8))
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / 8) + 10 * np.log10(2))  # half the error
    assert found["ssim_rest"] < found["ssim"] < found["ssim_region"]
    assert set(likeness(before, before, region | ~region)) == {"psnr", "ssim", "psnr_region", "ssim_region"}
