import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intact.data.phantom_lesion import lesion_in_organ
from intact.errors import UsageError

SHAPES = {(128, 128): None, (96, 64): (0.5, 0.8), (40, 48, 48): None, (16, 48, 48): (3.0, 1.0, 1.0)}
EVERY = pytest.mark.parametrize(("shape", "spacing"), SHAPES.items(), ids=str)


def clean(seed=0, **options):
    return lesion_in_organ(seed, noise=0.0, **options)


@EVERY
def test_it_is_a_float_image_with_a_mask_and_a_voxel_of_it(shape, spacing):
    image, mask, seed = lesion_in_organ(3, shape=shape, spacing=spacing)
    assert (image.pixels.dtype, image.shape, image.spacing) == (np.float32, shape, spacing)
    assert (mask.dtype, mask.shape) == (bool, shape)
    assert mask[seed]
    assert not mask.all()


@EVERY
def test_the_mask_is_where_the_lesion_is_before_the_blur(shape, spacing):
    """The lesion alone, found as a difference of two images, is the blurred mask and nothing else."""
    options = {"seed": 5, "shape": shape, "spacing": spacing}
    with_lesion, mask, _ = clean(**options, contrast=0.25)
    without, _, _ = clean(**options, contrast=0.0)
    finest = min(spacing or (1.0,))
    sigmas = [finest / step for step in spacing or (1.0,) * len(shape)]
    expected = 0.25 * ndimage.gaussian_filter(mask.astype(float), sigmas)
    assert np.abs(with_lesion.pixels - without.pixels - expected).max() < 1e-6


@EVERY
def test_organ_and_lesion_have_their_values_away_from_edges(shape, spacing):
    image, _, seed = clean(shape=shape, spacing=spacing, radius=9.0)
    assert image.pixels[seed] == pytest.approx(0.70, abs=0.01)
    assert image.pixels[(0,) * len(shape)] == pytest.approx(0.0, abs=1e-6)
    middle = clean(shape=shape, spacing=spacing, contrast=0.0)[0].pixels[tuple(n // 2 for n in shape)]
    assert middle == pytest.approx(0.45, abs=0.01)
    assert clean(shape=shape, spacing=spacing, radius=9.0, contrast=-0.2)[0].pixels[seed] < 0.3


@EVERY
def test_a_lesion_larger_than_the_organ_ends_where_the_organ_ends(shape, spacing):
    image, mask, _ = clean(shape=shape, spacing=spacing, radius=300.0)
    assert np.mean(mask == (image.pixels > 0.35)) > 0.99
    ball = np.pi * 0.42 * 0.36 if len(shape) == 2 else 4 / 3 * np.pi * 0.42 * 0.42 * 0.36
    assert mask.mean() == pytest.approx(ball, rel=0.02)


@EVERY
def test_the_radius_is_in_millimetres(shape, spacing):
    steps = np.array(spacing or (1.0,) * len(shape))
    for radius in (6.0, 8.0):
        sizes = [clean(s, shape=shape, spacing=spacing, radius=radius)[1].sum() for s in range(12)]
        volume = np.median(sizes) * steps.prod()
        expected = np.pi * radius**2 if len(shape) == 2 else 4 / 3 * np.pi * radius**3
        assert volume == pytest.approx(expected, rel=0.15)


def test_the_radius_grows_with_the_image():
    for side in (64, 128, 256):
        areas = [clean(s, shape=(side, side))[1].sum() for s in range(40)]
        radii = np.sqrt(np.array(areas) / np.pi) * 128 / side
        assert 7 * 0.75 < radii.min() < 8.5
        assert 12.5 < radii.max() < 14 * 1.25


def test_the_outline_is_irregular():
    """A disc fills the smallest circle around it; no lesion does."""
    for number in range(10):
        _, mask, seed = clean(number, shape=(256, 256))
        reach = np.linalg.norm(np.argwhere(mask) - np.array(seed), axis=1).max()
        assert mask.sum() < 0.9 * np.pi * reach**2


@EVERY
def test_the_bias_field_is_a_ramp(shape, spacing):
    options = {"shape": shape, "spacing": spacing}
    flat, biased = clean(**options)[0].pixels, clean(**options, bias=0.25)[0].pixels
    inside = flat > 0.3
    field = biased[inside] / flat[inside]
    places = np.column_stack([np.argwhere(inside), np.ones(inside.sum())])
    fit, *_ = np.linalg.lstsq(places, field, rcond=None)
    assert np.abs(places @ fit - field).max() < 1e-4
    corners = np.array(list(np.ndindex(*(2,) * len(shape)))) * shape - 0.5
    field = np.column_stack([corners, np.ones(len(corners))]) @ fit
    assert (field.min(), field.max()) == pytest.approx((0.75, 1.25), abs=1e-3)


def test_the_noise_is_gaussian_and_as_strong_as_asked():
    quiet, noisy = clean()[0].pixels, lesion_in_organ(0, noise=0.08)[0].pixels
    noise = (noisy - quiet).ravel()
    assert noise.std() == pytest.approx(0.08, rel=0.03)
    assert np.mean(np.abs(noise) < 0.08) == pytest.approx(0.683, abs=0.02)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.03


def test_one_seed_is_one_lesion_whatever_the_noise_and_the_bias():
    first, mask, seed = lesion_in_organ(4)
    again, same, place = lesion_in_organ(4)
    assert np.array_equal(first.pixels, again.pixels)
    for options in ({"noise": 0.2}, {"bias": 0.3}, {"contrast": 0.1}):
        image, same, place = lesion_in_organ(4, **options)
        assert np.array_equal(mask, same)
        assert place == seed
        assert not np.array_equal(first.pixels, image.pixels)
    assert not np.array_equal(mask, lesion_in_organ(5)[1])


shapes = st.lists(st.integers(1, 20), min_size=2, max_size=3).map(tuple)


@settings(deadline=None)
@given(st.integers(0, 2**32), shapes, st.floats(0.1, 40.0) | st.none())
def test_the_voxel_is_inside_however_small_the_image_or_large_the_lesion(number, shape, radius):
    image, mask, seed = lesion_in_organ(number, shape=shape, radius=radius)
    assert mask[seed]
    assert np.isfinite(image.pixels).all()


def test_the_lesion_is_one_part_even_where_its_outline_is_rough(monkeypatch):
    monkeypatch.setattr("intact.data.phantom_lesion.ROUGH", 0.6)
    for number in range(20):
        _, mask, seed = lesion_in_organ(number)
        assert ndimage.label(mask)[1] == 1
        assert mask[seed]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (9,)}, "neither a plane nor a volume"),
        ({"shape": (9, 9), "spacing": (1.0, 1.0, 1.0)}, "neither a plane nor a volume"),
        ({"radius": 0.0}, "above 0"),
        ({"radius": -2.0}, "above 0"),
    ],
)
def test_what_makes_no_lesion_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        lesion_in_organ(0, **options)
