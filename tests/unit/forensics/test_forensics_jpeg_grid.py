"""The JPEG grid is found where it is, and regions with another one."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage
from scipy.fft import dctn

from intact.forensics.jpeg.votes import _zeros, grid_votes, main_grid
from intact.forensics.jpeg_grid import JPEGGrid, foreign_regions
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(200, 216), sigma=4.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 6)
    plane = 128 + 30 * smooth / smooth.std() + sigma * rng.standard_normal(shape)
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def jpeg(plane, quality=90):
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.array(Picture.open(file))


@pytest.mark.parametrize("quality", [95, 85, 60])
def test_the_grid_of_a_compressed_image_begins_at_its_corner(quality):
    evidence = JPEGGrid().examine(Image(jpeg(textured(), quality)))
    assert evidence.score == 0 and not evidence.map.any() and "All of it fits" in evidence.explanation
    assert main_grid(grid_votes(jpeg(textured(), quality).astype(np.float32)))[0] == 0


@pytest.mark.parametrize(("top", "left"), [(3, 5), (0, 1), (7, 7)])
def test_a_crop_moves_the_grid(top, left):
    plane = jpeg(textured(), 90)[top:, left:]
    grid, alarms = main_grid(grid_votes(plane.astype(np.float32)))
    assert divmod(grid, 8) == ((-top) % 8, (-left) % 8) and alarms < -5
    assert "cropped" in JPEGGrid().examine(Image(np.ascontiguousarray(plane))).explanation


@pytest.mark.parametrize("seed", range(4))
def test_it_abstains_on_what_was_never_compressed(seed):
    assert "ever compressed" in JPEGGrid().examine(Image(textured(seed))).abstained


def test_it_abstains_on_deeper_images():
    assert "12 bits" in JPEGGrid().examine(Image(textured().astype(np.uint16), bits=12)).abstained


def test_a_region_pasted_off_the_grid_is_found():
    host, guest = jpeg(textured(0), 85), jpeg(textured(1), 85)
    host[60:124, 75:147] = guest[51:115, 62:134]  # 9 rows and 13 columns further
    truth = np.zeros(host.shape, bool)
    truth[60:124, 75:147] = True
    evidence = JPEGGrid().examine(Image(host))
    assert evidence.p_value < 1e-6 and evidence.score > 6
    assert dice(evidence.map > 0, truth) > 0.8
    assert "another grid" in evidence.explanation


def test_a_region_pasted_on_the_grid_leaves_no_trace_of_this_kind():
    host, guest = jpeg(textured(0), 85), jpeg(textured(1), 85)
    host[64:128, 72:144] = guest[56:120, 56:128]
    assert JPEGGrid().examine(Image(host)).score == 0


@pytest.mark.parametrize(("elsewhere", "believed"), [(0.0, True), (0.1, False)])
def test_a_region_is_not_foreign_where_the_rest_votes_for_its_grid_too(elsewhere, believed):
    """So it is in a crop of a compressed image that was saved again: smooth areas keep the first grid."""
    rng = np.random.default_rng(0)
    votes = np.where(rng.uniform(size=(200, 200)) < 0.6, 0, rng.integers(0, 64, (200, 200))).astype(np.int16)
    votes[rng.uniform(size=votes.shape) < elsewhere] = 43
    votes[60:110, 70:120] = 43
    found, alarms = foreign_regions(votes, 0)
    assert bool(found[70:100, 80:110].all()) == believed and (alarms < 0) == believed


def test_a_crop_saved_again_has_no_foreign_region():
    plane = textured(0, sigma=0.7)
    plane[:, 100:] = textured(0, sigma=5.0)[:, 100:]
    crop = np.ascontiguousarray(jpeg(plane, 70)[3:, 5:])
    assert JPEGGrid().examine(Image(jpeg(crop, 95))).score == 0


def test_constant_areas_do_not_vote():
    plane = jpeg(textured(), 85)
    plane[:80] = 0
    evidence = JPEGGrid().examine(Image(plane))
    assert evidence.score == 0 and (grid_votes(plane.astype(np.float32))[:64] == -1).all()


def test_zeros_are_those_of_a_slow_transform():
    plane = jpeg(textured(2, (24, 29)), 80).astype(np.float32)
    counts = _zeros(plane)
    for top, left in np.ndindex(counts.shape):
        window = plane[top : top + 8, left : left + 8]
        expected = np.count_nonzero(np.abs(dctn(window, norm="ortho")).ravel()[1:] < 0.5)
        if (np.ptp(window, axis=0) == 0).all() or (np.ptp(window, axis=1) == 0).all():
            expected = 0
        assert abs(int(counts[top, left]) - expected) <= 1, (top, left)  # one may lie on the limit
