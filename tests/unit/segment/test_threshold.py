import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image, Scale
from intact.segment.brightness import adjacent
from intact.segment.scene import Scene
from intact.segment.threshold import (
    BINS,
    Histogram,
    Hysteresis,
    MultiOtsu,
    Otsu,
    class_means,
    valley,
)

METHODS = {
    "otsu": Otsu,
    "multi_otsu": MultiOtsu,
    "valley": Histogram,
    "li": lambda **fields: Histogram(rule="li", **fields),
    "hysteresis": Hysteresis,
}
EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
# Li's level lies low where the background is next to nothing, and outlines then lie outside.
EXACT = pytest.mark.parametrize("method", [METHODS[key] for key in METHODS if key != "li"])
SETTINGS = pytest.mark.parametrize(("noise", "bias"), [(0.05, 0.0), (0.08, 0.25)])
EVERYWHERE = np.ones((64, 64), bool)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def organ(image):
    """Where the phantom's organ is, so that these tests depend on no other finder of bodies."""
    labels, _ = ndimage.label(ndimage.gaussian_filter(image.physical(), 1.0) > 0.25)
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def ball(centre, radius, shape=(64, 64)):
    return sum((at - middle) ** 2 for at, middle in zip(np.indices(shape), centre, strict=True)) < radius**2


def picture(values):
    """An image of these values, slightly blurred and noisy."""
    smooth = ndimage.gaussian_filter(np.asarray(values, np.float32), 0.7)
    return Image(smooth + 0.02 * random_field(smooth.shape))


def random_field(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@EVERY
@SETTINGS
@pytest.mark.parametrize("seed", [0, 4])
def test_the_object_at_a_seed_is_found_in_noise_and_shading(method, noise, bias, seed):
    image, mask, voxel = lesion_in_organ(seed, noise=noise, bias=bias)
    assert dice(method().segment(image, seed=voxel, within=organ(image)), mask) > 0.94


@EVERY
def test_the_object_is_found_in_a_volume_of_thick_planes(method):
    image, mask, voxel = lesion_in_organ(1, shape=(20, 64, 64), spacing=(3.0, 1.0, 1.0), radius=9.0)
    assert dice(method().segment(image, seed=voxel, within=organ(image)), mask) > 0.93


@EVERY
def test_without_a_seed_a_small_object_is_told_from_all_of_its_organ(method):
    image, mask, _ = lesion_in_organ(4, noise=0.05)
    assert dice(method().segment(image, within=organ(image)), mask) > 0.9


@EXACT
def test_a_seed_asks_for_one_part_and_none_for_all(method):
    one, other = ball((20, 20), 7), ball((44, 44), 7)
    image = picture(one | other)
    assert dice(method().segment(image, within=EVERYWHERE), one | other) > 0.95
    assert dice(method(radius_mm=7).segment(image, seed=(20, 20), within=EVERYWHERE), one) > 0.95


@EXACT
def test_specks_are_no_parts(method):
    values = ball((32, 32), 8).astype(float)
    values[5:7, 5:7] = 3.0
    found = method().segment(Image(values.astype(np.float32)), within=EVERYWHERE)
    assert not found[:15, :15].any()


@EXACT
def test_holes_of_an_object_are_filled_but_what_a_tissue_encloses_is_kept_out(method):
    ring = ball((32, 32), 20) & ~ball((32, 32), 12)
    image = picture(ring)
    hollow = method().segment(image, within=EVERYWHERE)
    assert dice(hollow, ring) > 0.9
    solid = method(radius_mm=20).segment(image, seed=(32, 16), within=EVERYWHERE)
    assert dice(solid, ball((32, 32), 20)) > 0.9


@EXACT
def test_an_object_in_one_thick_plane_is_not_opened_away(method):
    values = np.zeros((7, 48, 48))
    values[3] = ball((24, 24), 8, (48, 48))
    image = Image(values.astype(np.float32) + 0.02 * random_field(values.shape), spacing=(5.0, 1.0, 1.0))
    within = np.ones(values.shape, bool)
    assert dice(method(radius_mm=8).segment(image, seed=(3, 24, 24), within=within), values > 0) > 0.95


@EVERY
def test_dark_objects_are_bright_ones_of_the_negative(method):
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    bright = method().segment(image, seed=voxel, within=within)
    negative = Image(-image.pixels)
    assert np.array_equal(method(target="dark").segment(negative, seed=voxel, within=within), bright)


@EVERY
@pytest.mark.parametrize(("kind", "gain", "offset"), [(np.int16, 1000, -1024), (np.uint16, 30000, 9000)])
def test_stored_integers_and_their_scale_make_no_difference(method, kind, gain, offset):
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    stored = Image((image.pixels * gain + offset).astype(kind), scale=Scale(2.0, -3000.0, unit="HU"))
    found = method().segment(stored, seed=voxel, within=within)
    assert dice(found, method().segment(image, seed=voxel, within=within)) > 0.98


@EVERY
def test_what_was_never_measured_does_no_harm(method):
    image, mask, voxel = lesion_in_organ(2)
    pixels = image.pixels.copy()
    within = organ(image)
    within[:, :40] = False
    pixels[:, :40] = np.nan
    before = pixels.copy()
    assert dice(method().segment(Image(pixels), seed=voxel, within=within), mask) > 0.94
    assert np.array_equal(pixels, before, equal_nan=True)


@EXACT
def test_a_voxel_of_metal_does_no_harm(method):
    image, mask, voxel = lesion_in_organ(2)
    within = organ(image)
    pixels = image.pixels.copy()
    pixels[voxel[0], voxel[1] + 15] = 3e4
    assert dice(method().segment(Image(pixels), seed=voxel, within=within), mask) > 0.94


@EVERY
@pytest.mark.parametrize("shape", [(30, 30), (6, 20, 20)])
@pytest.mark.parametrize("seeded", [True, False])
def test_nothing_is_found_where_nothing_differs(method, shape, seeded):
    seed = (3,) * len(shape) if seeded else None
    for pixels in (np.zeros(shape, np.float32), np.full(shape, 7, np.int16)):
        assert not method().segment(Image(pixels), seed=seed, within=np.ones(shape, bool)).any()


@EVERY
def test_nothing_is_found_around_a_seed_in_flat_surroundings(method):
    image = Image(ball((50, 50), 8).astype(np.float32))
    assert not method(radius_mm=4).segment(image, seed=(12, 12), within=EVERYWHERE).any()


@EVERY
def test_only_the_neighbourhood_of_a_seed_matters(method):
    """The rest of the image is not even looked at: more of it changes no voxel."""
    image, _, voxel = lesion_in_organ(2, radius=8.0)
    within = organ(image)
    found = method(radius_mm=8).segment(image, seed=voxel, within=within)
    wide = Image(np.pad(image.pixels, 50))
    moved = tuple(at + 50 for at in voxel)
    again = method(radius_mm=8).segment(wide, seed=moved, within=np.pad(within, 50))
    assert np.array_equal(again, np.pad(found, 50))


@EXACT
def test_the_rim_of_the_scene_is_no_tissue(method):
    """A mask drawn too wide takes in the partial volume of the organ's border."""
    image, mask, _ = lesion_in_organ(2, noise=0.03)
    within = ndimage.binary_dilation(organ(image), iterations=2)
    assert dice(method().segment(image, within=within), mask) > 0.94


@EXACT
def test_a_bridge_does_not_join_what_it_leads_to(method):
    values = ball((32, 20), 7) | ball((32, 42), 7)
    bridged = values.copy()
    bridged[32:34, 20:42] = True
    found = method(radius_mm=10).segment(Image(bridged.astype(np.float32)), seed=(32, 20), within=EVERYWHERE)
    assert dice(found, ball((32, 20), 7)) > 0.9


@EXACT
def test_an_object_too_thin_to_be_opened_is_kept(method):
    values = np.zeros((64, 64), np.float32)
    values[32, 28:37] = 1.0  # as bright as the other once it is smoothed
    values[40:46, 28:37] = 0.5
    found = method(radius_mm=6).segment(Image(values), seed=(32, 32), within=EVERYWHERE)
    assert found[32, 30:35].all()
    assert not found[36:].any()


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((1.0, 1.0, 1.0), ndimage.generate_binary_structure(3, 1)),
        ((3.0, 0.7, 0.7), np.pad(ndimage.generate_binary_structure(2, 1)[None], [(1, 1), (0, 0), (0, 0)])),
    ],
)
def test_neighbours_are_near_in_mm(spacing, expected):
    values = np.zeros((5, 5, 5), np.float32)
    scene = Scene(values, spacing, values == 0, (2, 2, 2), True, 1.0, 0.0)
    assert np.array_equal(adjacent(scene), expected)


def test_several_classes_are_not_fooled_by_a_blurred_outline():
    """The outline is the third class here, and the highest level is inside the object."""
    mask = ball((32, 32), 9)
    image = Image(ndimage.gaussian_filter(mask.astype(np.float32), 2.0) + 0.01 * random_field(mask.shape))
    assert dice(MultiOtsu(radius_mm=9).segment(image, seed=(32, 32), within=EVERYWHERE), mask) > 0.94


def test_the_seed_chooses_the_class():
    grey, white = ball((30, 22), 7), ball((30, 44), 7)
    image = picture(0.5 * grey + white)
    assert dice(MultiOtsu(radius_mm=8).segment(image, seed=(30, 22), within=EVERYWHERE), grey) > 0.95
    assert dice(MultiOtsu(radius_mm=8).segment(image, seed=(30, 44), within=EVERYWHERE), white) > 0.95


def test_hysteresis_drops_parts_that_are_weak_everywhere():
    strong, weak = ball((20, 20), 9), ball((46, 46), 6)
    image = picture(strong + 0.65 * weak)
    found = Hysteresis().segment(image, within=EVERYWHERE)
    assert dice(found, strong) > 0.95
    assert dice(Otsu().segment(image, within=EVERYWHERE), strong | weak) > 0.93


def test_hysteresis_with_one_level_halfway_is_otsu():
    image, _, voxel = lesion_in_organ(2)
    within = organ(image)
    both = [method.segment(image, seed=voxel, within=within) for method in (Hysteresis(high=0.5), Otsu())]
    assert np.array_equal(*both)


def test_four_classes_find_the_object_too():
    image, mask, voxel = lesion_in_organ(4, noise=0.08, bias=0.25)
    assert dice(MultiOtsu(classes=4).segment(image, seed=voxel, within=organ(image)), mask) > 0.94


def test_wrong_parameters_are_refused():
    with pytest.raises(UsageError, match="5 classes"):
        MultiOtsu(classes=5)
    with pytest.raises(UsageError, match=r"high level 0\.2"):
        Hysteresis(high=0.2)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
@settings(max_examples=10)
def test_class_means_are_those_of_least_variance(seed, classes):
    """Compared with a search through all divisions of the histogram."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(mean, 0.1, rng.integers(50, 900)) for mean in (0.0, 0.5, 1.3)])
    counts, edges = np.histogram(values, BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    n, total = np.cumsum(np.append(0, counts)), np.cumsum(np.append(0, counts * middles))

    def between(cuts):
        ends = (0, *cuts, BINS)
        return sum((total[b] - total[a]) ** 2 / max(n[b] - n[a], 1) for a, b in itertools.pairwise(ends))

    best = max(itertools.combinations(range(1, BINS), classes - 1), key=between)
    ends = (0, *best, BINS)
    expected = [(total[b] - total[a]) / (n[b] - n[a]) for a, b in itertools.pairwise(ends)]
    assert class_means(values, classes) == pytest.approx(expected, abs=1e-6)


def test_fewer_values_than_classes_are_fewer_classes():
    assert class_means(np.array([0.0, 0.0, 1.0]), 4) == pytest.approx([0.0, 1.0], abs=1 / BINS)


def test_the_valley_of_two_modes_is_where_they_are_rarest():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.1, 40_000), rng.normal(1, 0.2, 10_000)])
    at = np.linspace(0, 1, 1001)
    density = 4 / 0.1 * np.exp(-0.5 * (at / 0.1) ** 2) + 1 / 0.2 * np.exp(-0.5 * ((at - 1) / 0.2) ** 2)
    assert valley(values) == pytest.approx(at[density.argmin()], abs=0.05)


def test_an_empty_valley_is_parted_in_the_middle():
    assert valley(np.repeat([0.0, 1.0], [900, 100])) == pytest.approx(0.5, abs=1 / BINS)


def test_values_without_two_modes_have_no_valley():
    assert valley(np.linspace(0, 1, 256 * 20)) is None
