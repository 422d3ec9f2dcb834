"""Ghosts: regions from files of lower quality are found, and their quality."""

import io
import re

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from intact.forensics.jpeg.blocks import sliding_coefficients
from intact.forensics.jpeg_ghost import FREQUENCIES, JPEGGhost, changes
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(192, 208), sigma=6.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    plane = 128 + 30 * smooth / smooth.std() + sigma * rng.standard_normal(shape)
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def jpeg(plane, quality):
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.array(Picture.open(file))


def spliced(first, last, *, off=(3, 5), size=72):
    """A region of a file of quality `first`, `off` its grid, in an image then saved at `last`."""
    host, guest = textured(0), jpeg(textured(1), first)
    top, left = 64 + off[0], 64 + off[1]
    host[64 : 64 + size, 64 : 64 + size] = guest[top : top + size, left : left + size]
    truth = np.zeros(host.shape, bool)
    truth[64 : 64 + size, 64 : 64 + size] = True
    return (jpeg(host, last) if last else host), truth


@pytest.mark.parametrize("first", [60, 70, 80])
def test_the_change_is_least_at_the_first_quality(first):
    """The curve over qualities that the paper draws, on the grid of the first file."""
    plane = jpeg(jpeg(textured(), first), 95).astype(np.float32)
    waves = [wave[::8, ::8] for wave in _all_waves(plane)]
    left = {}
    for quality in range(51, 90):
        change, count = changes(waves, quality)
        left[quality] = change.sum() / count.sum()
    assert abs(min(left, key=left.get) - first) <= 1 and min(left.values()) < 0.3


def test_without_an_earlier_file_chance_decides_at_all_qualities():
    waves = _all_waves(textured().astype(np.float32))
    for quality in range(50, 93, 6):
        change, count = changes(waves, quality)
        assert change.sum() / count.sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("first", "last"), [(60, 92), (75, 95), (75, 0)])
def test_a_region_of_lower_quality_is_found(first, last):
    plane, truth = spliced(first, last)
    evidence = JPEGGhost().examine(Image(plane))
    assert evidence.p_value < 1e-6 and evidence.score > 6
    assert dice(evidence.map > 0, truth) > 0.75
    told = int(re.search(r"quality (\d+)", evidence.explanation)[1])
    assert abs(told - first) <= 3 and "5 rows and 3 columns off" in evidence.explanation


@pytest.mark.parametrize("seed", range(2))
def test_genuine_images_have_no_ghost(seed):
    plane = textured(seed)
    mirrored = np.hstack([plane, plane[:, ::-1]])
    cropped = jpeg(plane, 70)[3:, 5:]
    for image in (plane, mirrored, jpeg(plane, 75), jpeg(jpeg(plane, 70), 95), cropped, jpeg(cropped, 95)):
        evidence = JPEGGhost().examine(Image(np.ascontiguousarray(image)))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


def test_edges_do_not_tell_of_another_grid():
    """Stripes are the same down every column: windows beside the grid see its multiples."""
    plane = np.tile(textured(2)[:1], (192, 1))
    plane[:, 100:] = textured(3)[:, 100:]
    assert JPEGGhost().examine(Image(jpeg(plane, 75))).score == 0


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (textured().astype(np.uint16), "16 bits"),
        (np.zeros((3, 3), np.uint8), "too small"),
        (np.zeros((50, 300), np.uint8), "too small"),
        (np.full((128, 128), np.nan, np.float32), "32 bits"),
        (np.full((128, 128), 7, np.uint8), "drawn"),
    ],
)
def test_it_abstains_where_it_can_say_nothing(pixels, why):
    evidence = JPEGGhost().examine(Image(pixels))
    assert why in evidence.abstained and np.isnan(evidence.score) and evidence.map is None


def _all_waves(plane):
    return list(sliding_coefficients(plane, FREQUENCIES))
