"""Snakes: made lesions, discs of known size, and the pieces they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image, Scale
from intact.metrics.segmentation import dice
from intact.segment.snakes import Snakes, _circle, _edges, _spread

SETTINGS = pytest.mark.parametrize(("noise", "bias"), [(0.05, 0.0), (0.08, 0.25)])


def organ(image):
    """Where the phantom's organ is, so that these tests depend on no other finder of bodies."""
    labels, _ = ndimage.label(ndimage.gaussian_filter(image.physical(), 1.0) > 0.25)
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def disc(shape, centre, radius, spacing=(1.0, 1.0)):
    away = [step * (at - c) for at, c, step in zip(np.indices(shape), centre, spacing, strict=True)]
    return np.hypot(*away) < radius


def picture(mask, noise=0.05, seed=0):
    """An object of 0.7 on a ground of 0.45, slightly blurred."""
    values = ndimage.gaussian_filter(0.45 + 0.25 * mask, 1.0)
    return (values + noise * np.random.default_rng(seed).standard_normal(mask.shape)).astype(np.float32)


@SETTINGS
def test_lesions_are_found_in_noise_and_shading(noise, bias):
    found = []
    for seed in range(6):
        image, mask, voxel = lesion_in_organ(seed, noise=noise, bias=bias)
        found.append(dice(Snakes().segment(image, seed=voxel, within=organ(image)), mask))
    assert np.mean(found) > 0.965 and min(found) > 0.94


def test_without_a_seed_the_clearest_blob_is_found():
    image, mask, _ = lesion_in_organ(4)
    assert dice(Snakes().segment(image, within=organ(image)), mask) > 0.95


@pytest.mark.parametrize("radius_mm", [7.0, 14.0])
@pytest.mark.parametrize("seed", [(48, 48), (41, 48), (54, 52)])
def test_neither_the_click_nor_the_radius_needs_to_be_exact(seed, radius_mm):
    mask = disc((96, 96), (48, 48), 10)
    image = Image(picture(mask))
    found = Snakes(radius_mm=radius_mm).segment(image, seed=seed, within=np.ones_like(mask))
    assert dice(found, mask) > 0.95


@pytest.mark.parametrize("radius", [4, 15, 40])
def test_discs_get_their_true_size(radius):
    mask = disc((140, 140), (70, 70), radius)
    image = Image(picture(mask, noise=0.01))
    found = Snakes().segment(image, seed=(70, 70), within=np.ones_like(mask))
    assert 0.94 < np.count_nonzero(found) / np.count_nonzero(mask) < 1.06
    assert dice(found, mask) > 0.95


def test_pixels_need_not_be_square():
    spacing = (2.0, 0.5)
    mask = disc((40, 160), (20, 80), 12.0, spacing)
    image = Image(picture(mask, noise=0.02), spacing=spacing)
    assert dice(Snakes().segment(image, seed=(20, 80), within=np.ones_like(mask)), mask) > 0.95


def test_lesions_of_three_pixels():
    found = []
    for seed in range(5):
        mask = disc((48, 48), (24, 23), 3)
        image = Image(picture(mask, noise=0.03, seed=seed))
        found.append(dice(Snakes(radius_mm=3).segment(image, seed=(24, 23), within=np.ones_like(mask)), mask))
    assert np.mean(found) > 0.85


@pytest.mark.parametrize("centre", [(0, 40), (79, 79), (3, 3)])
def test_the_border_of_the_image_cuts_a_lesion_without_harm(centre):
    mask = disc((80, 80), centre, 10)
    image = Image(picture(mask, noise=0.02))
    assert dice(Snakes(radius_mm=10).segment(image, seed=centre, within=np.ones_like(mask)), mask) > 0.96


def test_the_edge_of_where_the_object_may_be_is_no_edge_of_the_object():
    mask = disc((80, 80), (40, 40), 9)
    values, within = picture(mask), np.zeros_like(mask)
    within[:, 28:] = True
    values[:, :28] -= 3.0  # falls away from the object, far more than the object's own edge
    found = Snakes(radius_mm=9).segment(Image(values), seed=(40, 40), within=within)
    assert dice(found, mask) > 0.95


def test_a_bright_neighbour_does_not_attract():
    mask = disc((96, 96), (48, 40), 10)
    values = picture(mask, noise=0.02)
    values[:, 54:] += 0.5  # its edge is stronger, and faces the other way
    found = Snakes(radius_mm=10).segment(Image(values), seed=(48, 40), within=np.arange(96) < 60 + 0 * mask)
    assert dice(found, mask) > 0.93


def test_dark_lesions_are_bright_ones_of_the_negative():
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    bright = Snakes().segment(image, seed=voxel, within=within)
    dark = Snakes(target="dark").segment(Image(-image.pixels), seed=voxel, within=within)
    assert np.array_equal(dark, bright)


@pytest.mark.parametrize(("kind", "gain", "offset"), [(np.int16, 1000, -1024), (np.uint16, 30000, 9000)])
def test_stored_integers_and_their_scale_make_no_difference(kind, gain, offset):
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    stored = Image((image.pixels * gain + offset).astype(kind), scale=Scale(2.0, -3000.0, unit="HU"))
    before = stored.pixels.copy()
    found = Snakes().segment(stored, seed=voxel, within=within)
    assert dice(found, Snakes().segment(image, seed=voxel, within=within)) > 0.97
    assert np.array_equal(stored.pixels, before)


def test_what_was_never_measured_does_no_harm():
    image, mask, voxel = lesion_in_organ(2)
    pixels, within = image.pixels.copy(), organ(image)
    within[:, : voxel[1] - 14] = False
    pixels[~within] = np.nan
    assert dice(Snakes().segment(Image(pixels), seed=voxel, within=within), mask) > 0.94


def test_nothing_is_found_where_nothing_is_brighter():
    everywhere = np.ones((40, 40), bool)
    assert not Snakes().segment(Image(np.full((40, 40), 7, np.int16)), within=everywhere).any()
    dark = Image(1 - picture(disc((40, 40), (20, 20), 6)))
    assert not Snakes(radius_mm=6).segment(dark, seed=(20, 20), within=everywhere).any()


def test_volumes_are_refused():
    with pytest.raises(UsageError, match="planes"):
        Snakes().segment(Image(np.zeros((3, 8, 8), np.float32)))


def test_the_curve_is_laid_about_the_object_and_not_about_the_click():
    image, mask, _ = lesion_in_organ(3)
    inner = np.argwhere(ndimage.binary_erosion(mask, iterations=2))
    for seed in (inner[0], inner[-1]):
        found = Snakes(radius_mm=9).segment(image, seed=tuple(seed), within=organ(image))
        assert dice(found, mask) > 0.94


def test_what_leads_away_from_the_object_does_not_mislead():
    mask = disc((96, 96), (48, 48), 10)
    both = mask.copy()
    both[45:51, 48:] = True
    image = Image(picture(both, noise=0.03))
    found = Snakes(radius_mm=10).segment(image, seed=(48, 48), within=np.ones_like(mask))
    assert dice(found, mask) > 0.96


def test_a_curve_that_crosses_itself_leaves_one_part():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = ndimage.gaussian_filter(rng.standard_normal((40, 40)), rng.uniform(0, 2))
        image = Image(values.astype(np.float32))
        found = Snakes(radius_mm=8).segment(image, seed=(20, 20), within=np.ones((40, 40), bool))
        assert ndimage.label(found)[1] <= 1


@settings(max_examples=25)
@given(data=st.data())
def test_any_image_mask_and_seed_give_a_mask(data):
    shape = (data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)))
    seed = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values, within = rng.standard_normal(shape).astype(np.float32), rng.random(shape) < 0.9
    radius = data.draw(st.sampled_from([0.7, 2.0, 6.0]))
    image = Image(values, spacing=(1.0, 3.0))
    found = Snakes(radius_mm=radius).segment(image, seed=seed, within=within)
    assert found.shape == shape and found.dtype == bool
    assert not (found & ~within).any()


@pytest.mark.parametrize("field", ["tension", "stiffness"])
def test_a_stiffer_or_tenser_curve_is_shorter(field):
    image, _, voxel = lesion_in_organ(3)
    lengths = []
    for weight in (0.0, 30.0):
        found = Snakes(**{field: weight}).segment(image, seed=voxel, within=organ(image))
        lengths.append(sum(np.count_nonzero(np.diff(found, axis=axis)) for axis in (0, 1)))
    assert lengths[0] > lengths[1]


def test_large_outlines_are_followed_to_the_pixel():
    found = []
    for seed in range(3):
        image, mask, voxel = lesion_in_organ(seed, shape=(256, 256), radius=40.0, noise=0.03)
        found.append(dice(Snakes().segment(image, seed=voxel, within=organ(image)), mask))
    assert np.mean(found) > 0.9962


def test_points_are_spread_evenly_along_a_closed_curve():
    curve = _circle(10.0, 0.3) * (1.0, 2.0)
    points = _spread(curve, 0.7)
    gaps = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1)
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=0.02)
    assert gaps.mean() == pytest.approx(0.7, rel=0.02)
    assert np.abs(np.hypot(points[:, 0], points[:, 1] / 2) - 10).max() < 0.1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
def test_edges_are_strongest_at_the_edge_of_a_disc_and_face_outwards(spacing):
    spacing = np.array(spacing)
    shape, centre = np.round(80 / spacing).astype(int), np.round(40 / spacing)
    values = disc(shape, centre, 12, spacing).astype(np.float32)
    edges = _edges(values, 0.0, centre, spacing, 12.0, 1.0)
    middle = (len(edges) - 1) // 2
    for profile in (edges[middle, middle:], edges[middle:, middle]):
        assert abs(int(np.argmax(profile)) - 12) <= 1
        assert profile.max() == pytest.approx(1, abs=0.2)
        # As wide as the Gaussian, along either axis.
        assert 2.5 < profile.sum() / profile.max() < 5
    assert not _edges(1 - values, 1.0, centre, spacing, 12.0, 1.0)[middle, middle + 1 :].any()
