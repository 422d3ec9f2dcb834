import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError
from intact.image import Image, Scale
from intact.segment import clustering
from intact.segment.clustering import (
    FuzzyCMeans,
    GaussianMixture,
    KMeans,
    c_means,
    fuzzy_memberships,
)

EVERY = pytest.mark.parametrize("method", [KMeans, GaussianMixture, FuzzyCMeans])
EVERYWHERE = np.ones((64, 64), bool)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def organ(image):
    """Where the phantom's organ is, so that these tests depend on no other finder of bodies."""
    labels, _ = ndimage.label(ndimage.gaussian_filter(image.physical(), 1.0) > 0.25)
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def disk(centre, radius, shape=(64, 64)):
    return sum((at - middle) ** 2 for at, middle in zip(np.indices(shape), centre, strict=True)) < radius**2


def picture(values):
    """An image of these values, slightly blurred and noisy."""
    noise = 0.02 * np.random.default_rng(0).standard_normal(values.shape)
    return Image((ndimage.gaussian_filter(values.astype(float), 0.7) + noise).astype(np.float32))


@EVERY
@pytest.mark.parametrize(("noise", "bias"), [(0.05, 0.0), (0.08, 0.25)])
@pytest.mark.parametrize("clusters", [2, 3])
def test_the_object_at_a_seed_is_found_in_noise_and_shading(method, noise, bias, clusters):
    image, mask, voxel = lesion_in_organ(4, noise=noise, bias=bias)
    assert dice(method(clusters=clusters).segment(image, seed=voxel, within=organ(image)), mask) > 0.94


@EVERY
def test_the_object_is_found_in_a_volume_of_thick_planes(method):
    image, mask, voxel = lesion_in_organ(1, shape=(20, 64, 64), spacing=(3.0, 1.0, 1.0), radius=9.0)
    within = organ(image)
    assert dice(method().segment(image, seed=voxel, within=within), mask) > 0.95
    assert dice(method().segment(image, within=within), mask) > 0.95


@EVERY
@pytest.mark.parametrize("bias", [0.0, 0.25])
def test_without_a_seed_a_small_object_is_told_from_all_of_its_organ(method, bias):
    image, mask, _ = lesion_in_organ(0, noise=0.05, bias=bias)
    assert dice(method().segment(image, within=organ(image)), mask) > 0.95


@EVERY
def test_a_seed_asks_for_one_part_and_none_for_all(method):
    one, other = disk((20, 20), 7), disk((44, 44), 7)
    image = picture(one | other)
    assert dice(method().segment(image, within=EVERYWHERE), one | other) > 0.95
    assert dice(method(radius_mm=7).segment(image, seed=(20, 20), within=EVERYWHERE), one) > 0.95


@EVERY
def test_the_seed_chooses_the_cluster(method):
    grey, white = disk((30, 22), 7), disk((30, 44), 7)
    image = picture(0.5 * grey + white)
    assert dice(method(radius_mm=8).segment(image, seed=(30, 22), within=EVERYWHERE), grey) > 0.95
    assert dice(method(radius_mm=8).segment(image, seed=(30, 44), within=EVERYWHERE), white) > 0.95


@EVERY
def test_clusters_are_not_fooled_by_a_blurred_outline(method):
    """The outline is the third cluster here, and the brightest one is the inside of the object."""
    mask = disk((32, 32), 9)
    noise = 0.01 * np.random.default_rng(0).standard_normal(mask.shape)
    image = Image((ndimage.gaussian_filter(mask.astype(float), 2.0) + noise).astype(np.float32))
    assert dice(method(radius_mm=9).segment(image, seed=(32, 32), within=EVERYWHERE), mask) > 0.93


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
    pixels, within = image.pixels.copy(), organ(image)
    pixels[:, :40], within[:, :40] = np.nan, False
    before = pixels.copy()
    assert dice(method().segment(Image(pixels), seed=voxel, within=within), mask) > 0.94
    assert np.array_equal(pixels, before, equal_nan=True)


@EVERY
@pytest.mark.parametrize("seeded", [True, False])
def test_nothing_is_found_where_nothing_differs(method, seeded):
    for shape in ((30, 30), (6, 20, 20)):
        seed = (3,) * len(shape) if seeded else None
        found = method().segment(Image(np.full(shape, 7, np.int16)), seed=seed, within=np.ones(shape, bool))
        assert not found.any()


@EVERY
@pytest.mark.parametrize("seed", [None, (32, 32)])
def test_few_values_for_many_clusters_are_no_trouble(method, seed):
    mask = disk((32, 32), 9)
    found = method(clusters=8).segment(Image(mask.astype(np.uint8)), seed=seed, within=EVERYWHERE)
    assert dice(found, mask) > 0.85


@EVERY
def test_fewer_voxels_than_clusters_are_no_trouble(method):
    within = np.zeros((64, 64), bool)
    within[32, 32:35] = True
    image = Image(np.random.default_rng(0).random((64, 64)))
    found = method(clusters=5, radius_mm=3).segment(image, seed=(32, 33), within=within)
    assert found.any()
    assert not (found & ~within).any()


def test_a_mixture_sees_small_objects_that_smoothing_blurs():
    image, mask, voxel = lesion_in_organ(3, radius=3.0)
    assert dice(GaussianMixture().segment(image, seed=voxel, within=organ(image)), mask) > 0.9


@EVERY
def test_a_sample_tells_the_clusters_and_the_random_seed_tells_the_sample(method, monkeypatch):
    image, mask, _ = lesion_in_organ(0)
    within = organ(image)
    monkeypatch.setattr(clustering, "SAMPLE", 700)
    found = method(random_seed=5).segment(image, within=within)
    assert dice(found, mask) > 0.93
    assert np.array_equal(method(random_seed=5).segment(image, within=within), found)


def test_tissues_of_their_own_covariance_are_fitted_where_asked():
    """The object varies much and what is around it little, which one covariance for both cannot tell."""
    mask = disk((32, 32), 16)
    noise = np.random.default_rng(0).standard_normal(mask.shape)
    image = Image(np.where(mask, 0.15 + 0.3 * noise, 0.02 * noise).astype(np.float32))
    tied, full = (
        GaussianMixture(clusters=2, radius_mm=16, covariance=kind).segment(
            image, seed=(32, 32), within=EVERYWHERE
        )
        for kind in ("tied", "full")
    )
    assert dice(full, mask) > max(0.9, dice(tied, mask) + 0.02)


@pytest.mark.parametrize("clusters", [1, 9])
def test_wrong_numbers_of_clusters_are_refused(clusters):
    with pytest.raises(UsageError, match=f"{clusters} clusters"):
        KMeans(clusters=clusters)


@given(st.integers(0, 10_000))
@settings(max_examples=10)
def test_fuzzy_c_means_is_that_of_the_book(seed):
    """Compared with loops over Bezdek's formulas, m = 2."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(mean, 0.1, (12, 2)) for mean in (0.0, 0.6, 1.0)])
    start = rng.normal(0.5, 0.3, (3, 2))
    centres = start
    for _ in range(200):
        distances = [[np.sum((point - centre) ** 2) for centre in centres] for point in points]
        memberships = [[1 / sum(one / other for other in row) for one in row] for row in distances]
        weights = np.array(memberships) ** 2
        before = centres
        centres = np.array([np.average(points, axis=0, weights=weights[:, k]) for k in range(3)])
        if np.abs(centres - before).max() < 1e-4:
            break
    assert c_means(points, start) == pytest.approx(centres, abs=1e-9)
    assert fuzzy_memberships(points, before) == pytest.approx(np.array(memberships), abs=1e-9)


def test_a_point_on_a_centre_belongs_to_it():
    centres = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert fuzzy_memberships(centres, centres) == pytest.approx(np.eye(2))


def test_memberships_are_averaged_over_a_window_and_within_the_mask():
    rng = np.random.default_rng(0)
    where = rng.random((3, 6, 7)) < 0.7
    memberships = rng.random((np.count_nonzero(where), 2))
    expected = []
    for z, y, x in np.argwhere(where):
        sums = np.zeros(2)
        for row, (a, b, c) in zip(memberships, np.argwhere(where), strict=True):
            if a == z and abs(b - y) <= 1 and abs(c - x) <= 1:
                sums += row
        expected.append(sums / 9)
    assert clustering.mean_around(memberships, where, [1, 3, 3]) == pytest.approx(np.array(expected))


def test_a_voxel_follows_its_neighbours_in_spatial_c_means():
    """A voxel as bright as the darker cluster's edge is given to the brighter one that surrounds it."""
    rng = np.random.default_rng(0)
    mask = disk((32, 32), 14)
    noisy = Image((mask + 0.7 * rng.standard_normal(mask.shape)).astype(np.float32))
    options = {"clusters": 2, "radius_mm": 14}

    def found():
        return FuzzyCMeans(**options).segment(noisy, seed=(32, 32), within=EVERYWHERE)

    spatial = dice(found(), mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "mean_around", lambda memberships, **_: np.ones_like(memberships))
        assert dice(found(), mask) < spatial
