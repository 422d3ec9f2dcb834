"""Chan-Vese and geodesic contours: made lesions, discs of known size, and what they must not do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import morphological_chan_vese

from intact.data.phantom_lesion import lesion_in_organ
from intact.image import Image, Scale
from intact.metrics.segmentation import dice
from intact.segment.level_set import ChanVese, Geodesic, _Around, _bud, _slopes, _zoomed
from intact.segment.scene import look

BOTH = pytest.mark.parametrize("method", [ChanVese, Geodesic])
SETTINGS = pytest.mark.parametrize(("noise", "bias"), [(0.05, 0.0), (0.08, 0.25)])


def organ(image):
    """Where the phantom's organ is, so that these tests depend on no other finder of bodies."""
    labels, _ = ndimage.label(ndimage.gaussian_filter(image.physical(), 1.0) > 0.25)
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def ball(shape, centre, radius, spacing=None):
    steps = spacing or (1.0,) * len(shape)
    away = [step * (at - c) for at, c, step in zip(np.indices(shape), centre, steps, strict=True)]
    return sum(mm**2 for mm in away) < radius**2


def picture(mask, noise=0.05, seed=0, blur=1.0):
    """An object of 0.7 on a ground of 0.45, slightly blurred."""
    values = ndimage.gaussian_filter(0.45 + 0.25 * mask, blur)
    return (values + noise * np.random.default_rng(seed).standard_normal(mask.shape)).astype(np.float32)


@BOTH
@SETTINGS
def test_lesions_are_found_in_noise_and_shading(method, noise, bias):
    found = []
    for seed in range(6):
        image, mask, voxel = lesion_in_organ(seed, noise=noise, bias=bias)
        found.append(dice(method().segment(image, seed=voxel, within=organ(image)), mask))
    assert np.mean(found) > 0.965 and min(found) > 0.94


@BOTH
@pytest.mark.parametrize("seed", [(48, 48), (43, 48), (51, 52), (56, 48), (48, 57)])
def test_a_click_anywhere_in_the_object_finds_the_same(method, seed):
    mask = ball((96, 96), (48, 48), 10)
    found = method(radius_mm=10).segment(Image(picture(mask)), seed=seed, within=np.ones_like(mask))
    assert dice(found, mask) > 0.95


@BOTH
def test_smooth_noise_makes_no_gap_in_the_edge(method):
    found = []
    for seed in range(5):
        mask = ball((96, 96), (48, 48), 8 + seed)
        texture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(mask.shape), 1.2)
        image = Image(picture(mask, noise=0.0) + 0.25 * texture.astype(np.float32))
        found.append(
            dice(method(radius_mm=10).segment(image, seed=(48, 48), within=np.ones_like(mask)), mask)
        )
    assert min(found) > 0.85


@BOTH
def test_without_a_seed_the_clearest_blob_is_found(method):
    image, mask, _ = lesion_in_organ(4)
    assert dice(method().segment(image, within=organ(image)), mask) > 0.95


@BOTH
def test_a_volume_of_thick_planes_is_measured_in_mm(method):
    spacing = (4.0, 1.0, 1.0)
    mask = ball((15, 50, 50), (7, 25, 25), 12.0, spacing)
    image = Image(picture(mask, blur=(0.25, 1.0, 1.0)), spacing=spacing)
    found = method(radius_mm=12.0).segment(image, seed=(7, 25, 25), within=np.ones_like(mask))
    assert dice(found, mask) > 0.95
    assert 0.9 < np.count_nonzero(found) / np.count_nonzero(mask) < 1.1


@BOTH
@pytest.mark.parametrize(
    ("shape", "spacing", "radius"),
    [((48, 48), (1.0, 1.0), 3), ((32, 32, 32), (1.0, 1.0, 1.0), 3), ((14, 32, 32), (3.0, 1.0, 1.0), 6)],
)
def test_small_lesions(method, shape, spacing, radius):
    found, centre = [], tuple(n // 2 for n in shape)
    mask = ball(shape, centre, radius, spacing)
    for seed in range(4):
        values = picture(mask, seed=seed, blur=np.divide(1.0, spacing))
        image = Image(values, spacing=spacing)
        found.append(
            dice(method(radius_mm=radius).segment(image, seed=centre, within=np.ones_like(mask)), mask)
        )
    assert np.mean(found) > 0.86


@BOTH
@pytest.mark.parametrize("centre", [(0, 40), (79, 79), (6, 40)])
def test_the_border_of_the_image_cuts_a_lesion_without_harm(method, centre):
    mask = ball((80, 80), centre, 10)
    found = method(radius_mm=10).segment(Image(picture(mask)), seed=centre, within=np.ones_like(mask))
    assert dice(found, mask) > 0.96


@BOTH
def test_dark_lesions_are_bright_ones_of_the_negative(method):
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    bright = method().segment(image, seed=voxel, within=within)
    dark = method(target="dark").segment(Image(-image.pixels), seed=voxel, within=within)
    assert np.array_equal(dark, bright)


@BOTH
@pytest.mark.parametrize(("kind", "gain", "offset"), [(np.int16, 1000, -1024), (np.uint16, 30000, 9000)])
def test_stored_integers_and_their_scale_make_no_difference(method, kind, gain, offset):
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    stored = Image((image.pixels * gain + offset).astype(kind), scale=Scale(2.0, -3000.0, unit="HU"))
    before = stored.pixels.copy()
    found = method().segment(stored, seed=voxel, within=within)
    assert dice(found, method().segment(image, seed=voxel, within=within)) > 0.98
    assert np.array_equal(stored.pixels, before)


@BOTH
def test_what_was_never_measured_does_no_harm(method):
    image, mask, voxel = lesion_in_organ(2)
    pixels, within = image.pixels.copy(), organ(image)
    within[:, : voxel[1] - 14] = False
    pixels[~within] = np.nan
    assert dice(method().segment(Image(pixels), seed=voxel, within=within), mask) > 0.94


@BOTH
def test_the_edge_of_where_the_object_may_be_is_no_edge_of_the_object(method):
    mask = ball((80, 80), (40, 40), 9)
    values = picture(mask)
    within = np.zeros_like(mask)
    within[:, 28:] = True
    values[:, :28] += 3.0  # far brighter than the object, and as near to it as can be
    found = method(radius_mm=9).segment(Image(values), seed=(40, 40), within=within)
    assert dice(found, mask) > 0.95


@BOTH
@pytest.mark.parametrize("shape", [(30, 30), (6, 20, 20)])
def test_nothing_is_found_where_nothing_differs(method, shape):
    everywhere = np.ones(shape, bool)
    assert not method().segment(Image(np.full(shape, 7, np.int16)), within=everywhere).any()
    values = np.zeros(shape, np.float32)
    values[..., -1] = 1.0  # far from the seed
    assert not method(radius_mm=3).segment(Image(values), seed=(3,) * len(shape), within=everywhere).any()


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_any_image_mask_and_seed_give_a_mask_inside_it(method, data):
    shape = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=3).map(tuple))
    spacing = tuple(data.draw(st.sampled_from([0.5, 1.0, 3.0])) for _ in shape)
    seed = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values, within = rng.standard_normal(shape).astype(np.float32), rng.random(shape) < 0.9
    radius = data.draw(st.sampled_from([0.7, 2.0, 6.0]))
    found = method(radius_mm=radius).segment(Image(values, spacing=spacing), seed=seed, within=within)
    assert found.shape == shape and found.dtype == bool
    assert not (found & ~within).any()


@BOTH
def test_where_the_object_may_be_can_leave_it_no_room(method):
    mask = ball((60, 60), (30, 30), 8)
    image = Image(picture(mask))
    for place in ((30, 30), (30, 40), (5, 5)):  # holds the seed, is near it, is far from it
        within = ball(mask.shape, place, 3)
        found = method(radius_mm=8).segment(image, seed=(30, 30), within=within)
        assert not (found & ~within).any()


def test_chan_vese_is_close_to_the_morphological_snake_of_scikit_image():
    mask = ball((80, 80), (40, 42), 12)
    values = picture(mask, noise=0.03)
    start = ball(mask.shape, (40, 42), 8)
    other = morphological_chan_vese(values.astype(float), 40, init_level_set=start, smoothing=1) > 0
    found = ChanVese(radius_mm=12).segment(Image(values), seed=(40, 42), within=np.ones_like(mask))
    assert dice(found, other) > 0.98


def test_a_heavier_length_makes_chan_veses_outline_shorter():
    image, _, voxel = lesion_in_organ(3, noise=0.08)
    lengths = []
    for weight in (0.0, 4.0, 30.0):
        found = ChanVese(length=weight).segment(image, seed=voxel, within=organ(image))
        lengths.append(sum(np.count_nonzero(np.diff(found, axis=axis)) for axis in (0, 1)))
    assert lengths[0] > lengths[1] > lengths[2] > 0


def test_a_third_tissue_nearby_does_not_pull_chan_vese():
    mask = ball((96, 96), (48, 48), 10)
    values = picture(mask)
    values[:, 64:] -= 0.6  # a quarter of the neighbourhood
    found = ChanVese(radius_mm=10).segment(Image(values), seed=(48, 48), within=np.ones_like(mask))
    assert dice(found, mask) > 0.96


def test_chan_vese_returns_one_part_without_holes():
    mask = ball((96, 96), (48, 40), 10)
    holed = mask & ~ball(mask.shape, (48, 40), 4)
    image = Image(picture(holed | ball(mask.shape, (48, 62), 7), noise=0.02))
    found = ChanVese(radius_mm=10).segment(image, seed=(48, 33), within=np.ones_like(mask))
    assert found[48, 40] and dice(found, mask) > 0.96


def test_chan_vese_finds_nothing_where_the_seed_is_darker_than_its_surroundings():
    mask = ball((60, 60), (30, 30), 8)
    dark = Image(1 - picture(mask))
    assert not ChanVese(radius_mm=8).segment(dark, seed=(30, 30), within=np.ones_like(mask)).any()


@BOTH
def test_a_slope_of_several_contrasts_over_object_and_ground_does_no_harm(method):
    mask = ball((96, 96), (48, 48), 12)
    ramp = np.linspace(-0.6, 0.6, 96, dtype=np.float32)
    image = Image(picture(mask, noise=0.02) + ramp)
    found = method(radius_mm=12).segment(image, seed=(48, 48), within=np.ones_like(mask))
    assert dice(found, mask) > 0.95


def test_the_geodesic_contour_needs_no_single_brightness():
    """An object in two halves, on a ground in two halves, so that no threshold parts them."""
    mask = ball((96, 96), (48, 48), 12)
    values = picture(mask, noise=0.02)
    values += ndimage.gaussian_filter1d(np.where(np.arange(96) < 48, 0.0, 0.15), 6.0).astype(np.float32)
    found = Geodesic(radius_mm=12).segment(Image(values), seed=(48, 48), within=np.ones_like(mask))
    assert dice(found, mask) > 0.95


def test_the_geodesic_contour_bridges_a_gap_of_its_edge():
    mask = ball((96, 96), (48, 48), 12)
    values = picture(ball((96, 96), (48, 48), 14) & ~mask, noise=0.02)  # a wall, as bright as it is thin
    values[46:50, 58:] = values[0:4, 58:]
    found = Geodesic(radius_mm=12).segment(Image(values), seed=(48, 48), within=np.ones_like(mask))
    assert dice(found, mask) > 0.85


@pytest.mark.parametrize(("ndim", "radius"), [(2, 4), (2, 8), (3, 6)])
def test_small_round_objects_get_their_true_size_from_the_geodesic_contour(ndim, radius):
    shape, centre = (4 * radius + 8,) * ndim, (2 * radius + 4,) * ndim
    mask = ball(shape, centre, radius)
    image = Image(picture(mask, noise=0.01))
    found = Geodesic(radius_mm=radius).segment(image, seed=centre, within=np.ones_like(mask))
    assert 0.93 < np.count_nonzero(found) / np.count_nonzero(mask) < 1.07


def test_a_click_on_the_edge_means_its_bright_side():
    mask = ball((96, 96), (48, 48), 10)
    image = Image(picture(mask, noise=0.02))
    for seed in ((58, 48), (48, 38), (41, 55)):
        found = Geodesic(radius_mm=10).segment(image, seed=seed, within=np.ones_like(mask))
        assert dice(found, mask) > 0.97


def test_the_geodesic_contour_begins_beside_an_edge_but_not_far_from_the_seed():
    image = Image(np.random.default_rng(0).random((60, 60), np.float32))
    around = _Around(look(image, "bright", 10.0, (30, 30), np.ones(image.shape, bool)))
    above = np.arange(len(around.values))[:, None] < around.seed[0]
    near, far = above & (around.distance > 0.45), above & (around.distance > 0.8)
    assert ndimage.center_of_mass(_bud(around, near))[0] < around.seed[0] - 3
    for free in (far, np.zeros_like(far)):
        np.testing.assert_allclose(ndimage.center_of_mass(_bud(around, free)), around.seed)


def test_the_grid_has_one_spacing_and_gives_back_what_it_was_given():
    mask = ball((9, 40, 40), (4, 20, 20), 12.0, (3.0, 1.0, 1.0))
    image = Image(mask.astype(np.float32), spacing=(3.0, 1.0, 1.0))
    scene = look(image, "bright", 12.0, (4, 20, 20), np.ones_like(mask))
    around = _Around(scene)
    assert around.values.shape == (25, 40, 40)
    assert around.values[around.seed] == scene.values[scene.seed]
    assert around.near[around.seed] and around.distance[around.seed] == 0
    assert np.array_equal(around.back(_zoomed(mask.astype(np.float32), around.values.shape) > 0.5), mask)


def test_the_grid_is_coarser_where_there_would_be_too_many_voxels():
    image = Image(np.random.default_rng(0).random((160, 160, 160), np.float32))
    scene = look(image, "bright", 32.0, (80, 80, 80), np.ones(image.shape, bool))
    around = _Around(scene)
    assert 400_000 < around.values.size < 600_000
    assert np.std(around.values) < np.std(scene.values) / 2  # averaged, not left out


def test_slopes_are_central_differences():
    values = np.random.default_rng(0).standard_normal((7, 1, 5)).astype(np.float32)
    rows, none, columns = _slopes(values)
    np.testing.assert_allclose(rows[1:-1], (values[2:] - values[:-2]) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        columns[..., 1:-1], (values[..., 2:] - values[..., :-2]) / 2, rtol=1e-5, atol=1e-6
    )
    assert not none.any()
