"""Double quantisation: blocks that missed the first compression are found, and no others."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from intact.forensics.double_quantisation import LARGEST, VALUES, DoubleQuantisation, evenness, first_step
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


@pytest.mark.parametrize(("first", "last"), [(5, 2), (8, 3), (7, 4), (14, 3)])
def test_the_unevenness_is_that_of_counted_multiples(first, last):
    """Against coefficients that are drawn, rounded to one step, to pixels, and to the other."""
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-200, 200, 400_000)
    once = first * np.rint(drawn / first) + rng.normal(0, 0.29, drawn.size)
    counts = [np.count_nonzero(np.rint(once / last) == value) for value in range(-15, 16)]
    told = evenness(first, last)[LARGEST - 15 : LARGEST + 16]
    np.testing.assert_allclose(np.array(counts) / (drawn.size * last / 400), told, atol=0.12)


def test_on_average_a_first_step_takes_nothing_away():
    for first, last in ((5, 2), (9, 3)):
        assert evenness(first, last)[LARGEST : LARGEST + 10 * first].mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("first", "last", "share"), [(7, 2, 1.0), (11, 3, 0.8), (10, 4, 0.6)])
def test_the_first_step_and_its_share_are_estimated(first, last, share):
    rng = np.random.default_rng(1)
    drawn = rng.laplace(0, 20, 8000)
    twice = first * np.rint(drawn / first) + rng.normal(0, 0.29, drawn.size)
    mixed = np.where(rng.uniform(size=drawn.size) < share, twice, drawn)
    found = first_step(_places(mixed, last), _places(rng.laplace(0, 20, 8000), last), last)
    assert found.step == first and found.share == pytest.approx(share, abs=0.1)
    assert found.gain > 0.1 * found.told and found.once.shape == VALUES.shape


def test_without_a_first_step_there_is_no_gain():
    rng = np.random.default_rng(2)
    found = first_step(_places(rng.laplace(0, 20, 8000), 3), _places(rng.laplace(0, 20, 8000), 3), 3)
    assert found.gain < 0.01 * found.told


@pytest.mark.parametrize(("first", "last"), [(60, 90), (75, 95)])
@pytest.mark.parametrize("before", [0, 80], ids=["uncompressed", "off the grid"])
def test_a_region_that_missed_the_first_compression_is_found(first, last, before):
    host, guest = jpeg(textured(0), first), textured(1)
    if before:
        guest = jpeg(guest, before)
    host[64:120, 72:128] = guest[51:107, 62:118]
    truth = np.zeros(host.shape, bool)
    truth[64:120, 72:128] = True
    evidence = DoubleQuantisation().examine(Image(jpeg(host, last)))
    assert evidence.p_value < 1e-6 and evidence.score > 6
    assert dice(evidence.map > 0, truth) > 0.8
    assert "compressed only once" in evidence.explanation


def test_it_is_found_in_a_crop_too():
    host = jpeg(textured(0), 70)
    host[64:120, 72:128] = textured(1)[51:107, 62:118]
    plane = np.ascontiguousarray(jpeg(host, 92)[5:, 2:])
    evidence = DoubleQuantisation().examine(Image(plane))
    assert evidence.map[59:115, 70:126].mean() > 0.8 and evidence.map[:40].max() == 0


@pytest.mark.parametrize(("first", "last"), [(60, 90), (75, 95), (70, 92)])
def test_all_of_an_image_saved_twice_fits(first, last):
    plane = textured(3)
    for genuine in (plane, np.hstack([plane, plane[:, ::-1]])):
        evidence = DoubleQuantisation().examine(Image(jpeg(jpeg(genuine, first), last)))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (jpeg(textured(), 75), "before its last"),
        (jpeg(textured(), 95), "before its last"),
        (jpeg(jpeg(textured(), 95), 60), "before its last"),
        (textured(), "ever compressed"),
        (textured().astype(np.uint16), "16 bits"),
        (np.zeros((3, 3), np.uint8), "too small"),
        (np.full((64, 64), 9, np.uint8), "ever compressed"),
    ],
    ids=["saved once", "once and fine", "coarser at last", "never", "deep", "tiny", "constant"],
)
def test_it_abstains_where_nothing_was_compressed_twice(pixels, why):
    evidence = DoubleQuantisation().examine(Image(pixels))
    assert why in evidence.abstained and np.isnan(evidence.score)


def _places(coefficients, last):
    return np.clip(np.rint(coefficients / last), -LARGEST, LARGEST).astype(int) + LARGEST
