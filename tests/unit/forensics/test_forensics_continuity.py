"""Slices that are repeated, computed, exchanged or foreign are found; genuine ones raise nothing."""

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import thorax_ct
from intact.forensics.base import Severity
from intact.forensics.continuity import examine_continuity


def volume(seed=0, planes=20, side=128, shared=0.0, sigma=20.0):
    """Anatomy that goes on from slice to slice, and noise that does not, or to some share."""
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
    image = thorax_ct(3, shape=(24, 128, 128))[0]
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
    assert finding.files == ("11.dcm",) and "mixture" in finding.explanation


@pytest.mark.parametrize(("one", "other"), [(4, 5), (4, 6), (6, 9), (5, 12), (0, 4), (15, 19)])
def test_exchanged_slices_are_named(one, other):
    slices = volume()
    slices[[one, other]] = slices[[other, one]]
    (finding,) = examine(slices)
    assert finding.files == (f"{one + 1}.dcm", f"{other + 1}.dcm")


def test_a_slice_of_another_volume_is_named():
    slices = volume()
    slices[9] = volume(seed=5)[9]
    (finding,) = examine(slices)
    assert finding.files == ("10.dcm",) and "another volume" in finding.explanation


def test_smooth_volumes_raise_alarm_for_exact_copies_alone():
    """An averaged template's neighbours share nearly all of their fine structure."""
    slices = ndimage.gaussian_filter(volume(sigma=60.0), (2, 0.7, 0.7))
    assert examine(slices) == []
    slices[8] = slices[7]
    assert [finding.files for finding in examine(slices)] == [("8.dcm", "9.dcm")]


def test_empty_and_few_slices_raise_nothing():
    slices = volume()
    slices[:5] = slices[15:] = -1000.0
    assert examine(slices) == []
    assert examine(volume()[:4]) == []
