"""Lesions put in and taken out, and what the public attack on CT leaves."""

import numpy as np
import pytest
from scipy import ndimage

from intact.errors import UsageError
from intact.forge import FORGED, KINDS, ct_gan
from intact.image import Image, Scale
from intact.residual import correlation, noise_sigma, residual


def chest(seed=0, shape=(40, 120, 120), sigma=20.0, spacing=(1.5, 1.0, 1.0)):
    """A body of soft tissue around a lung of air with smooth structure, and noise in all of it."""
    rng = np.random.default_rng(seed)
    half = np.reshape(shape, (3, 1, 1, 1)) / 2
    _, y, x = (np.indices(shape) - half) / half
    hu = np.full(shape, -1000.0)
    hu[y**2 + x**2 < 0.9] = 40
    hu[y**2 + x**2 < 0.5] = -850
    hu += ndimage.gaussian_filter(rng.normal(0, 300, shape), 3) * (hu > -900)
    hu += sigma * rng.standard_normal(shape)
    stored = np.clip(np.rint(hu + 1024), 0, 4095).astype(np.uint16)
    return Image(stored, bits=12, spacing=spacing, modality="CT", scale=Scale(1.0, -1024.0, unit="HU"))


def test_a_nodule_is_brighter_in_the_lung_and_its_own_noise_stays():
    image = chest()
    forgery = KINDS["inject"](diameter=14.0).forge(image, seed=1)
    inside = forgery.labels == FORGED
    before, after = image.physical(), forgery.image.physical()
    assert before[inside].mean() < -600  # it lies in the lung
    core = ndimage.binary_erosion(inside, iterations=2)
    assert (after - before)[core].mean() == pytest.approx(800, rel=0.1)
    volume = inside.sum() * np.prod(image.spacing)
    assert volume == pytest.approx(np.pi / 6 * 14**3, rel=0.4)
    assert noise_sigma(after - before, core) < 0.3 * noise_sigma(before, core)


def test_a_dark_lesion_in_soft_tissue():
    rng = np.random.default_rng(0)
    image = Image(rng.normal(1000, 20, (96, 96)).astype(np.int16), spacing=(1.0, 1.0))
    forgery = KINDS["inject"](diameter=20.0, contrast=-0.5).forge(image, seed=1)
    inside = ndimage.binary_erosion(forgery.labels == FORGED, iterations=3)
    assert forgery.image.pixels[inside].mean() < image.pixels[inside].mean() - 30


def test_what_is_erased_is_gone_and_noise_is_left():
    image = chest()
    forgery = KINDS["erase"](diameter=16.0).forge(image, seed=2)
    inside = forgery.labels == FORGED
    before, after = image.physical(), forgery.image.physical()
    assert noise_sigma(after, inside) == pytest.approx(noise_sigma(before, inside), rel=0.4)
    core = ndimage.binary_erosion(inside, iterations=2)
    assert abs(correlation(residual(after)[core], residual(before)[core])) < 0.3


@pytest.mark.parametrize("kind", ["inject", "erase"])
def test_the_public_attack_copies_its_noise_from_one_fixed_place(kind):
    """In the touched-up cube the fixed place's noise is found again; before the attack it was not."""
    found, before = [], []
    for seed in range(4):
        image = chest(seed, shape=(60, 150, 150), spacing=(1.0, 1.0, 1.0))
        forgery = KINDS[kind](diameter=18.0, how="ct_gan").forge(image, seed=seed)
        around = (7, 7, 7)  # inside the nodule
        source = residual(image.physical(), 0.9)[ct_gan.noise_box(image.shape, around)]
        # Both boxes begin alike, so that this one shows what was copied from that.
        site = forgery.record["drawn"]["target"]
        core = tuple(
            slice(at - round(n / 2), at - round(n / 2) + n) for at, n in zip(site, around, strict=True)
        )
        found.append(correlation(residual(forgery.image.physical(), 0.9)[core], source))
        before.append(correlation(residual(image.physical(), 0.9)[core], source))
    assert np.abs(before).max() < 0.2
    assert min(found) > 0.6


def test_an_injected_value_is_never_below_the_original():
    image = chest()
    forgery = KINDS["inject"](diameter=14.0, how="ct_gan").forge(image, seed=1)
    assert (forgery.image.pixels >= image.pixels).all()


def test_the_attack_takes_volumes_in_hu_alone():
    image = Image(np.zeros((40, 80, 80), np.int16), spacing=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="HU"):
        KINDS["inject"](diameter=10.0, how="ct_gan").forge(image)
    with pytest.raises(UsageError, match="seamless, ct_gan"):
        KINDS["erase"](how="magic").forge(image)
