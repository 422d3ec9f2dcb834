"""The noise that the public attack copies is found in every scan it touched, and in no other."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from intact.forensics.copied_noise import CopiedNoise, correlate
from intact.forge import FORGED, KINDS
from intact.image import Image, Scale

SHAPES = [((48, 120, 120), (1.0, 1.0, 1.0)), ((40, 128, 128), (2.0, 0.9, 0.9))]


def chest(seed, shape, spacing, symmetric=False):
    """A body around a lung, its anatomy mirrored if asked; the noise never is."""
    rng = np.random.default_rng(seed)
    half = np.reshape(shape, (3, 1, 1, 1)) / 2
    _, y, x = (np.indices(shape) + 0.5 - half) / half
    anatomy = ndimage.gaussian_filter(rng.normal(0, 400, shape), 3)
    if symmetric:
        anatomy = (anatomy + anatomy[:, :, ::-1]) / 2
    hu = np.where(y**2 + x**2 < 0.5, -850.0, np.where(y**2 + x**2 < 0.9, 40.0, -1000.0))
    hu = hu + anatomy * (y**2 + x**2 < 0.9) + 20.0 * rng.standard_normal(shape)
    stored = np.clip(np.rint(hu + 1024), 0, 4095).astype(np.uint16)
    return Image(stored, bits=12, spacing=spacing, modality="CT", scale=Scale(1.0, -1024.0, unit="HU"))


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("kind", ["inject", "erase"])
@pytest.mark.parametrize("seed", range(3))
def test_every_attacked_scan_is_found_where_it_was_attacked(shape, spacing, kind, seed):
    image = chest(seed, shape, spacing)
    away = np.ones(shape, bool)  # from the place itself, where the attack would change what it copied
    away[:, int(0.43 * shape[1]) - 30 : int(0.43 * shape[1]) + 30, : int(0.27 * shape[2]) + 30] = False
    forgery = KINDS[kind](diameter=16.0, how="ct_gan").forge(image, seed=seed, within=away)
    evidence = CopiedNoise().examine(forgery.image)
    assert evidence.score > 0.5 and evidence.p_value < 1e-8
    assert (forgery.labels[evidence.map > 0] == FORGED).mean() > 0.5
    assert "CT-GAN" in evidence.explanation and "correlation" in evidence.explanation


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_genuine_scan_raises_an_alarm(shape, spacing, symmetric, seed):
    evidence = CopiedNoise().examine(chest(seed, shape, spacing, symmetric))
    assert not evidence.map.any() and evidence.score < 0.4 and not evidence.abstained


def test_structure_at_the_place_is_no_noise():
    image = chest(2, *SHAPES[0])
    image.pixels[:, 45:58:3, 25:40] += 500  # vessels
    evidence = CopiedNoise().examine(image)
    assert "vessels" in evidence.abstained or not evidence.map.any()


def test_a_lesion_without_copied_noise_raises_no_alarm():
    image = chest(1, *SHAPES[0])
    assert not CopiedNoise().examine(KINDS["inject"](diameter=16.0).forge(image).image).map.any()


def test_correlations_are_those_of_a_slow_loop():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(9, 11, 12)).astype(np.float32)
    template = volume[2:5, 3:8, 4:9]
    alike = correlate(volume, template)
    for at in np.ndindex(*(n - m + 1 for n, m in zip(volume.shape, template.shape, strict=True))):
        part = volume[tuple(slice(a, a + m) for a, m in zip(at, template.shape, strict=True))]
        middle = tuple(a + m // 2 for a, m in zip(at, template.shape, strict=True))
        expected = np.corrcoef(part.ravel(), template.ravel())[0, 1]
        assert alike[middle] == pytest.approx(expected, abs=1e-3)
    assert alike[3, 5, 6] == pytest.approx(1.0, abs=1e-3)
    assert not alike[0].any() and not alike[:, :2].any()


def test_it_abstains_where_the_attack_makes_no_sense():
    image = chest(0, *SHAPES[0])
    assert "known spacing" in CopiedNoise().examine(image.plane(3)).abstained
    assert "known spacing" in CopiedNoise().examine(replace(image, spacing=None)).abstained
    assert "voxels" in CopiedNoise().examine(replace(image, spacing=(5.0, 3.0, 3.0))).abstained
    flat = replace(image, pixels=np.zeros_like(image.pixels))
    assert "no noise" in CopiedNoise().examine(flat).abstained
