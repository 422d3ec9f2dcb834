"""What a network sees: the grid, the brightness, and masks on the same grid."""

from __future__ import annotations

import numpy as np
import pytest

from intact.image import Image, Scale
from intact.segment.auto import Seen, configure, stages
from intact.segment.plan import Plan


def ramp(shape, **meaning):
    return Image(np.indices(shape).sum(axis=0).astype(np.int16), **meaning)


def seen(shape, spacing, *, hounsfield=False, labelled=(0.0, 1.0)):
    return Seen(shape, spacing, False, hounsfield, np.array(labelled, np.float32))


@pytest.mark.parametrize(
    "shape, spacing, grid",
    [((100, 50), None, (64, 32)), ((100, 50), (1.0, 2.0), (64, 64)), ((30, 60), None, (32, 64))],
)
def test_the_longer_side_in_mm_becomes_that_of_the_patch(shape, spacing, grid):
    assert Plan((64, 64)).grid(ramp(shape, spacing=spacing)) == grid


def test_a_volume_is_resampled_to_the_spacing():
    plan = Plan((16, 16, 16), spacing=(2.0, 1.0, 1.0))
    image = ramp((10, 20, 20), spacing=(4.0, 0.5, 1.0))
    assert plan.grid(image) == (20, 10, 20)
    assert plan.prepare(image).shape == (1, 20, 10, 20)


def test_a_radiograph_is_standardised_by_itself_and_polarity_does_not_matter():
    image = ramp((64, 64))
    inverted = Image(126 - image.pixels, photometric="MONOCHROME1")
    prepared = Plan((64, 64)).prepare(image)
    assert abs(float(prepared.mean())) < 1e-5 and abs(float(prepared.std()) - 1) < 1e-2
    np.testing.assert_allclose(Plan((64, 64)).prepare(inverted), prepared, atol=1e-5)


def test_ct_is_clipped_and_standardised_in_hounsfield_units():
    image = Image(np.full((8, 8), 1040, np.int16), modality="CT", scale=Scale(1.0, -1000.0, unit="HU"))
    plan = Plan((8, 8), spacing=(1.0, 1.0), clip=(-100.0, 300.0), mean=20.0, std=10.0)
    np.testing.assert_allclose(plan.prepare(image), 2.0, atol=1e-5)


def test_padding_becomes_the_mean():
    pixels = np.random.default_rng(0).normal(5, 1, (16, 16)).astype(np.float32)
    pixels[:4] = np.nan
    prepared = Plan((16, 16)).prepare(Image(pixels))
    assert prepared.isfinite().all() and (prepared[:, :4] == 0).all()


def test_an_image_of_one_value_has_nothing_to_standardise():
    assert (Plan((16, 16)).prepare(Image(np.full((16, 16), 7, np.uint8))) == 0).all()


def test_fine_structures_are_averaged_rather_than_hit_or_missed():
    lines = np.zeros((512, 512), np.uint8)
    lines[::8] = 255
    assert Plan((64, 64)).prepare(Image(lines)).abs().max() < 0.1


def test_the_mask_keeps_its_place_and_area():
    mask = np.zeros((120, 80), bool)
    mask[30:90, 20:60] = True
    small = Plan((60, 60)).prepare_mask(mask, Image(mask.astype(np.uint8)))[0]
    assert small.shape == (60, 40) and small[15:45, 10:30].all() and small.sum() == 30 * 20


def test_thin_stacks_are_planes_and_thick_ones_volumes():
    thin = configure([seen((4, 64, 64), (5.0, 1.0, 1.0))] * 3, 4096)
    thick = configure([seen((40, 64, 64), (1.0, 1.0, 1.0))] * 3, 4096)
    assert thin.dimensions == 2 and thick.dimensions == 3


def test_the_grid_is_the_median_spacing_and_finer_along_a_coarse_axis():
    spacings = [1.0, 2.0, 3.0, 4.0, 20.0]
    plan = configure([seen((40, 64, 64), (s + 5, 0.5, s)) for s in spacings], 4096)
    assert plan.spacing[1:] == (0.5, 3.0)
    assert plan.spacing[0] == pytest.approx(np.percentile([s + 5 for s in spacings], 10))


@pytest.mark.parametrize("voxels", [1000, 30_000, 10**7])
def test_the_patch_fits_the_budget_and_halves_evenly(voxels):
    plan = configure([seen((90, 200, 160), (2.0, 1.0, 1.0))] * 2, voxels)
    assert np.prod(plan.patch) <= 1.5 * voxels
    halvings = np.prod(stages(plan)[1], axis=0)
    assert not (np.array(plan.patch) % halvings).any()
    if voxels > 90 * 200 * 160:  # no larger than the images, but for rounding
        assert all(
            side <= n + h // 2 for side, n, h in zip(plan.patch, (90, 200, 160), halvings, strict=True)
        )


def test_a_coarse_axis_waits_until_the_others_are_as_coarse():
    kernels, strides = stages(Plan((16, 64, 64), spacing=(4.0, 1.0, 1.0)))
    assert kernels[0] == (1, 3, 3) and strides[1] == (1, 2, 2)
    assert kernels[2] == (3, 3, 3) and strides[0] == (1, 1, 1)
    sides = np.array((16, 64, 64)) // np.prod(strides, axis=0)
    assert (sides >= 4).all() and (sides < 8).all()


def test_ct_is_standardised_by_what_is_labelled():
    values = np.linspace(0, 1000, 5001)
    plan = configure([seen((4, 64, 64), (5.0, 1.0, 1.0), hounsfield=True, labelled=values)] * 2, 4096)
    assert plan.clip == pytest.approx((5.0, 995.0), abs=0.5)
    assert plan.mean == pytest.approx(500, abs=1) and plan.std == pytest.approx(288, abs=3)
