import numpy as np
import pytest

from intact.image import Image
from intact.regions import MOST, find_regions
from intact.scores import Calibration

NORMALS = Calibration(np.linspace(0, 1, 99), np.linspace(0, 1, 99), np.linspace(0, 1, 1001))


def test_a_region_is_measured_in_mm():
    score_map = np.zeros((40, 50), np.float32)
    score_map[10:14, 20:26] = 1.5
    score_map[12, 22] = 2.0
    (found,) = find_regions(score_map, Image(score_map, spacing=(0.5, 2.0)), NORMALS)
    assert found.box == (10, 20, 14, 26)
    assert found.center == (0, 12, 22)
    assert (found.area_px, found.area_mm2, found.extent_mm) == (24, 24.0, (2.0, 12.0))
    assert found.peak == 2.0 and found.p_value == 1 / 100


def test_without_spacing_nothing_is_claimed_in_mm():
    score_map = np.zeros((40, 50), np.float32)
    score_map[10:14, 20:26] = 1.5
    (found,) = find_regions(score_map, Image(score_map), NORMALS)
    assert found.area_mm2 is None and found.extent_mm is None and found.area_px == 24


def test_a_region_of_a_volume_is_shown_where_it_is_largest():
    score_map = np.zeros((5, 30, 30), np.float32)
    score_map[1, 5:7, 5:7] = 3.0
    score_map[2, 4:9, 4:9] = 2.0
    score_map[4, 20:22, 20:22] = 1.2
    first, second = find_regions(score_map, Image(score_map, spacing=(3.0, 1.0, 1.0)), NORMALS)
    assert first.plane == 2 and first.area_px == 25 and first.peak == 3.0 and first.center[0] == 1
    assert second.plane == 4 and second.p_value == pytest.approx(1 / 100)


def test_a_quiet_map_has_no_regions_and_a_noisy_one_not_too_many():
    quiet = np.full((20, 20), 0.1, np.float32)
    assert find_regions(quiet, Image(quiet), NORMALS) == []
    noisy = np.zeros((60, 60), np.float32)
    noisy[::3, ::3] = 1.0 + np.arange(400).reshape(20, 20)
    found = find_regions(noisy, Image(noisy), NORMALS)
    assert len(found) == MOST
    assert [r.peak for r in found] == sorted((r.peak for r in found), reverse=True)
