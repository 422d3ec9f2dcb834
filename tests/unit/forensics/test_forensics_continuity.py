"""Slices that are repeated, computed, exchanged, foreign or missing are found; genuine ones raise nothing."""

import re
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import thorax_ct
from intact.forensics.base import Severity
from intact.forensics.slices.continuity import examine_continuity


def volume(seed=0, planes=20, side=128, shared=0.0, sigma=20.0):
    """Anatomy that goes on from slice to slice, and noise that does not, or to some share."""
    return made(seed, planes, side, shared, sigma).copy()


@cache
def made(seed, planes, side, shared, sigma):
    rng = np.random.default_rng(seed)
    anatomy = ndimage.gaussian_filter(rng.normal(0, 1, (planes, side, side)), (3, 8, 8))
    anatomy *= 200 / anatomy.std()
    noise = rng.normal(0, sigma, (planes + 1, side, side))
    noise = np.sqrt(1 - shared) * noise[1:] + np.sqrt(shared) * noise[:-1]
    return (1000 + anatomy + noise).astype(np.float32)


def examine(slices):
    return examine_continuity(slices, tuple(f"{n + 1}.dcm" for n in range(len(slices))))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_genuine_volumes_raise_nothing(seed, shared):
    assert examine(volume(seed, shared=shared)) == []


def test_a_phantom_chest_raises_nothing():
    image = thorax_ct(3, shape=(16, 96, 96))[0]
    assert examine(image.physical().astype(np.float32)) == []


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_doubled_slice_is_a_copy_even_with_some_noise_added(noise):
    slices = volume()
    slices[8] = slices[7] + noise * np.random.default_rng(1).standard_normal(slices[7].shape)
    (finding,) = examine(slices)
    assert finding.severity == Severity.IMPOSSIBLE and finding.files == ("8.dcm", "9.dcm")
    assert "copy" in finding.explanation


def test_a_slice_repeated_far_away_is_found():
    slices = volume()
    slices[16] = slices[2]
    assert any(finding.files == ("3.dcm", "17.dcm") for finding in examine(slices))


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize("shared", [0.0, 0.4])
def test_a_slice_computed_from_its_neighbours_is_found(share, shared):
    slices = volume(shared=shared)
    slices[10] = share * slices[9] + (1 - share) * slices[11]
    (finding,) = examine(slices)
    assert finding.files == ("11.dcm",) and "weighted sum of its neighbours" in finding.explanation


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_a_computed_slice_is_found_by_its_noise_if_some_was_added(share):
    slices = volume()
    added = np.random.default_rng(1).standard_normal(slices[10].shape)
    slices[10] = share * slices[9] + (1 - share) * slices[11] + added
    (finding,) = examine(slices)
    assert finding.files == ("11.dcm",) and "mixture of its neighbours" in finding.explanation


@pytest.mark.parametrize(("one", "other"), [(4, 5), (4, 6), (6, 9), (5, 12), (0, 4), (15, 19)])
def test_exchanged_slices_are_named(one, other):
    slices = volume()
    slices[[one, other]] = slices[[other, one]]
    (finding,) = examine(slices)
    assert finding.files == (f"{one + 1}.dcm", f"{other + 1}.dcm")


@pytest.mark.parametrize("at", [1, 18])
def test_the_last_slices_are_examined_too(at):
    slices = volume()
    slices[at] = (slices[at - 1] + slices[at + 1]) / 2
    (finding,) = examine(slices)
    assert finding.files == (f"{at + 1}.dcm",)


def test_a_slice_of_another_volume_is_named():
    slices = volume()
    slices[9] = volume(seed=5)[9]
    (finding,) = examine(slices)
    assert finding.files == ("10.dcm",) and "another volume" in finding.explanation


@cache
def smooth():
    """An averaged template: neighbours share nearly all of their fine structure."""
    slices = ndimage.uniform_filter1d(volume(sigma=60.0, planes=32), 9, axis=0)[6:-6]
    fine = np.stack([one - ndimage.gaussian_filter(one, 1) for one in slices]).reshape(len(slices), -1)
    assert np.median(np.diagonal(np.corrcoef(fine), 1)) > 0.8
    return slices


def test_smooth_volumes_raise_nothing():
    assert examine(smooth()) == []


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_copies_are_found_in_smooth_volumes(noise):
    slices = smooth().copy()
    spread = (slices[7] - ndimage.gaussian_filter(slices[7], 1)).std()
    slices[8] = slices[7] + noise * spread * np.random.default_rng(1).standard_normal(slices[7].shape)
    assert [finding.files for finding in examine(slices)] == [("8.dcm", "9.dcm")]


@pytest.mark.parametrize("weights", [(0, 3, 3, 0), (0, 2, 4, 0), (-1, 4, 4, -1)], ids=str)
def test_computed_slices_are_found_in_smooth_volumes(weights):
    slices = smooth().copy()
    slices[10] = np.rint(np.tensordot(np.array(weights) / 6, slices[[8, 9, 11, 12]], axes=1))
    (finding,) = examine(slices)
    assert finding.files == ("11.dcm",) and "mixture" in finding.explanation


@cache
def template():
    """8 bits of anatomy without any noise, as the mean of many patients is, and white at its brightest."""
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (24, 128, 128)), (1.5, 4, 4))
    return np.clip(np.rint((values - values.min()) * 300 / np.ptp(values)), 0, 255).astype(np.uint8)


def test_volumes_without_noise_raise_nothing():
    assert examine(template()) == []


@pytest.mark.parametrize(
    ("weights", "at"),
    [((0, 3, 3, 0), 1), ((0, 3, 3, 0), 22), ((0, 2, 4, 0), 10), ((-1, 4, 4, -1), 2), ((-1, 4, 4, -1), 10)],
)
def test_computed_slices_are_found_where_there_is_no_noise(weights, at):
    slices = template().copy()
    near = slices[np.clip([at - 2, at - 1, at + 1, at + 2], 0, 23)]
    mixed = np.tensordot(np.array(weights) / 6, near.astype(float), axes=1)
    slices[at] = np.clip(np.rint(mixed), 0, 255)
    assert [finding.files for finding in examine(slices)] == [(f"{at + 1}.dcm",)]


def test_a_run_of_computed_slices_is_named_slice_by_slice():
    slices = volume(planes=30)
    for n in range(1, 4):
        slices[10 + n] = (1 - n / 4) * slices[10] + n / 4 * slices[14]
    assert {finding.files for finding in examine(slices)} == {("12.dcm",), ("13.dcm",), ("14.dcm",)}


def test_a_volume_resampled_as_a_whole_is_no_forgery():
    third = np.repeat(volume(planes=14), np.tile([2, 1], 7), axis=0)
    (finding,) = examine(third)
    assert finding.severity == Severity.BENIGN and "as a whole" in finding.explanation
    doubled = np.repeat(volume(planes=10), 2, axis=0)
    assert all(finding.severity <= Severity.BENIGN for finding in examine(doubled))
    doubled = doubled[:-1]
    doubled[1::2] = (doubled[0:-1:2] + doubled[2::2]) / 2
    assert all(finding.severity <= Severity.BENIGN for finding in examine(doubled))


@pytest.mark.parametrize("at", [4, 9, 14])
@pytest.mark.parametrize("count", [1, 2])
def test_missing_slices_leave_a_jump(at, count):
    slices = np.delete(volume(sigma=5.0), range(at, at + count), axis=0)
    (finding,) = examine(slices)
    assert finding.files == (f"{at}.dcm", f"{at + 1}.dcm") and "missing" in finding.explanation


@pytest.mark.parametrize("at", [(40, 60), (90, 30), (64, 100)])
def test_a_spot_that_neighbours_do_not_continue_is_found(at):
    slices = volume(sigma=5.0)
    rows, columns = np.mgrid[:128, :128]
    slices[8] += 600 * np.clip((9 - np.hypot(rows - at[0], columns - at[1])) / 3, 0, 1)
    (finding,) = examine(slices)
    assert finding.files == ("9.dcm",) and "continues" in finding.explanation
    told = [int(n) for n in re.findall(r"row (\d+), column (\d+)", finding.explanation)[0]]
    assert np.abs(np.subtract(told, at)).max() <= 16


def test_a_lesion_through_several_slices_is_no_spot():
    slices = volume(sigma=5.0)
    planes, rows, columns = np.mgrid[:20, :128, :128]
    apart = np.hypot(np.hypot(rows - 50, columns - 70), 3 * (planes - 9))
    slices += (400 * np.clip((12 - apart) / 3, 0, 1)).astype(np.float32)
    assert examine(slices) == []


def test_types_do_not_matter():
    slices = volume()
    slices[8] = slices[7]
    (finding,) = examine(np.rint(slices).astype(np.int16))
    assert finding.files == ("8.dcm", "9.dcm")


def test_masks_and_small_grids_raise_nothing():
    mask = (volume() > 1200).astype(np.uint8)
    mask[8] = mask[7]
    assert examine(mask) == [] and examine(np.ones((20, 64, 64))) == []
    small = volume()[:, :20, :20]
    small[8] = small[7]
    assert examine(small) == []


def test_empty_and_few_slices_raise_nothing():
    slices = volume()
    slices[:5] = slices[15:] = -1000.0
    assert examine(slices) == []
    assert examine(volume()[:4]) == []


def test_slices_of_the_same_outline_are_no_copies():
    """A test object that is the same on both sides of its middle: sharp edges alike, noise not."""
    planes, rows, columns = np.mgrid[:17, :96, :96]
    inside = np.hypot(rows - 48, (columns - 46) * 1.2) < 38 - 0.05 * (planes - 8) ** 2
    slices = 600 * inside + np.random.default_rng(0).normal(0, 12, inside.shape)
    assert examine(slices) == []
    slices[13] = slices[3]
    assert [finding.files for finding in examine(slices)] == [("4.dcm", "14.dcm")]


def test_a_noisy_copy_is_found_where_most_of_the_slices_is_masked():
    """Noise that is put where there was none makes the slice as a whole quieter."""
    slices = volume(sigma=60.0) * (np.hypot(*(np.indices((128, 128)) - 64)) < 40)
    slices[8] = np.rint(slices[7] + 2 * np.random.default_rng(1).standard_normal(slices[7].shape))
    assert [finding.files for finding in examine(slices)] == [("8.dcm", "9.dcm")]
