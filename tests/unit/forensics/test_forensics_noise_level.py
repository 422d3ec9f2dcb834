"""Regions with too little or too much noise are found; noise that goes with the signal is left alone."""

import re

import numpy as np
import pytest
from pydicom import Dataset
from scipy import ndimage

from intact.data.phantom import brain_mr, chest_xray
from intact.forensics.noise_level import NoiseLevel, block_sigmas, daubechies, diagonal_band
from intact.forge import FORGED, KINDS
from intact.image import Image
from intact.metrics.segmentation import dice


def smooth(seed=0, shape=(256, 256)):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(0, 1, shape), 12)
    return 1500 + 300 * field / field.std()


def noise(seed=0, shape=(256, 256), sigma=25.0):
    return np.random.default_rng(100 + seed).normal(0, sigma, shape)


def stored(plane, dtype=np.uint16):
    """An angiogram, which the body fills."""
    return Image(np.clip(np.rint(plane), 0, 4095).astype(dtype), bits=12, modality="XA")


def disc(at=(130, 100), radius=24, shape=(256, 256)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - at[0]) ** 2 + (columns - at[1]) ** 2 < radius**2


def test_the_wavelet_is_daubechies():
    root = np.sqrt(3)
    known = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * np.sqrt(2))
    np.testing.assert_allclose(daubechies(2), known, atol=1e-12)
    taps = np.array(daubechies(8))
    assert len(taps) == 16
    for shift in range(8):
        assert taps[2 * shift :] @ taps[: 16 - 2 * shift] == pytest.approx(float(shift == 0), abs=1e-9)
    high = taps[::-1] * (-1.0) ** np.arange(16)
    for power in range(8):
        assert high @ np.linspace(-1, 1, 16) ** power == pytest.approx(0, abs=1e-8)


def test_the_diagonal_band_holds_noise_and_no_smooth_anatomy():
    rows, columns = np.mgrid[:64, :64] / 64
    hill = (1000 * rows**3 - 500 * columns**2 * rows).astype(np.float32)
    assert np.abs(diagonal_band(hill)[8:-8, 8:-8]).max() < 0.05
    white = noise(sigma=10.0).astype(np.float32)
    assert diagonal_band(white).std() == pytest.approx(10, rel=0.03)


def test_blocks_tell_the_standard_deviation_of_the_noise():
    by_quartile, by_median = block_sigmas((smooth() + noise()).astype(np.float32))
    assert np.median(by_median) == pytest.approx(25, rel=0.05)
    assert np.median(by_quartile) == pytest.approx(25, rel=0.08)


@pytest.mark.parametrize(("factor", "word"), [(0.0, "filled"), (0.1, "filled"), (8.0, "noisier")])
def test_a_region_with_other_noise_is_found(factor, word):
    truth = disc()
    plane = smooth() + np.where(truth, factor, 1.0) * noise()
    evidence = NoiseLevel().examine(stored(plane))
    assert evidence.p_value < 1e-3 and evidence.score > 3
    assert dice(evidence.map > 0, truth) > 0.7
    assert word in evidence.explanation
    times = float(re.search(r"noise is ([\d.]+) times", evidence.explanation)[1])
    assert times == pytest.approx(max(factor, 0.288 / 25), rel=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_noise_that_goes_with_the_signal_raises_nothing(seed):
    anatomy = smooth(seed)
    poisson = np.random.default_rng(seed).poisson(np.maximum(anatomy, 0))
    weak = np.maximum(anatomy - 1200, 0) / 4
    rician = np.hypot(weak + noise(seed), noise(seed + 50))
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    radial = anatomy + noise(seed) * (1.6 - 0.8 * np.hypot(rows, columns))
    for plane in (poisson, rician, radial, anatomy + noise(seed)):
        evidence = NoiseLevel().examine(stored(plane))
        assert evidence.p_value > 0.01 and not evidence.map.any()


@pytest.mark.parametrize("seed", [0, 2])
def test_phantoms_raise_nothing_and_their_forgeries_do(seed):
    for image in (brain_mr(seed)[0], chest_xray(seed // 2 + 1)[0]):  # with a letter in it
        genuine = NoiseLevel().examine(image)
        assert genuine.p_value > 0.01
    image = brain_mr(seed)[0]
    forgery = KINDS["remove"](diameter=0.12 * image.shape[0] * image.spacing[0]).forge(image, seed=1)
    evidence = NoiseLevel().examine(forgery.image)
    assert evidence.p_value < 1e-3
    assert (evidence.map > 0)[forgery.labels == FORGED].mean() > 0.2
    assert dice(evidence.map > 0, forgery.labels == FORGED) > 0.35


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = smooth() + np.where(disc(), 0.1, 1.0) * noise()
    plane = plane / 12 if dtype == np.uint8 else plane - 1024 if dtype == np.int16 else plane / 4096
    assert NoiseLevel().examine(Image(plane.astype(dtype), modality="XA")).p_value < 1e-3


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((128, 128), 9, np.uint8), "hardly any of the body"),
        (np.full((128, 128), np.nan, np.float32), "hardly any of the body"),
        (smooth(shape=(128, 128)).astype(np.uint16), "hardly any noise"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = NoiseLevel().examine(Image(pixels, modality="XA"))
    assert np.isnan(evidence.score) and evidence.map is None and why in evidence.abstained


def test_it_abstains_on_what_was_compressed_with_loss():
    header = Dataset()
    header.LossyImageCompression = "01"
    image = Image((smooth() + noise()).astype(np.uint16), header=header)
    assert "with loss" in NoiseLevel().examine(image).abstained


def test_what_was_not_measured_and_what_was_clipped_is_left_out():
    plane = (smooth() + noise()).astype(np.float32)
    plane[:60, :60] = np.nan
    plane[200:, 180:] = np.inf
    assert NoiseLevel().examine(Image(plane, modality="XA")).p_value > 0.01
    clipped = np.clip(smooth() + noise(), 1300, 1900)
    assert NoiseLevel().examine(stored(clipped)).p_value > 0.01


def test_planes_of_a_volume_and_colour_are_examined():
    planes = np.stack([smooth(n) + np.where(disc() & (n == 1), 0.1, 1.0) * noise(n) for n in range(3)])
    evidence = NoiseLevel().examine(stored(planes))
    assert evidence.explanation.startswith("Plane 2 of 3") and evidence.map[1].any()
    colour = np.repeat(((smooth() + noise()) / 12).astype(np.uint8)[..., None], 3, axis=-1)
    assert not NoiseLevel().examine(Image(colour, photometric="RGB", modality="XA")).abstained
