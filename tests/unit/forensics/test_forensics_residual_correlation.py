"""Copies are found by their noise, plain or mirrored; symmetry, patterns and edges raise nothing."""

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.residual_correlation import ResidualCorrelation, _spread, _whitened
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def smooth(seed=0, shape=(224, 224), scale=8.0):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(0, 1, shape), scale)
    return 2000 + 300 * field / field.std()


def noise(seed=0, shape=(224, 224), sigma=25.0):
    return np.random.default_rng(100 + seed).normal(0, sigma, shape)


def ct_noise(seed=0, shape=(224, 224), sigma=20.0):
    """As filtered back-projection leaves it: a ramp that falls off."""
    across, along = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    frequency = np.hypot(across, along)
    shaped = np.fft.irfft2(np.fft.rfft2(noise(seed, shape)) * frequency * np.exp(-((frequency / 0.25) ** 2)))
    return sigma * shaped / shaped.std()


def stored(plane, dtype=np.uint16):
    """An angiogram, which the body fills."""
    return Image(np.clip(np.rint(plane), 0, 4095).astype(dtype), bits=12, modality="XA")


def examined(plane):
    return ResidualCorrelation().examine(stored(plane))


def boxes(*corners, side=40, shape=(224, 224)):
    mask = np.zeros(shape, bool)
    for top, left in corners:
        mask[top : top + side, left : left + side] = True
    return mask


def test_whitening_takes_the_correlation_of_neighbours():
    def neighbours(values):
        return abs((values[1:] * values[:-1]).mean()) / (values**2).mean()

    field = ndimage.gaussian_filter(noise(), 0.8)
    assert neighbours(field) > 0.6
    white = _whitened(field.astype(np.float32))
    assert neighbours(white) < 0.3 and 1 < _spread(white) < 2 < 3 < _spread(field.astype(np.float32))


@pytest.mark.parametrize("made", [noise, ct_noise])
def test_a_copy_is_found_even_where_all_is_smooth(made):
    plane = smooth(scale=30) + made()
    plane[150:190, 140:180] = plane[20:60, 30:70]
    evidence = examined(plane)
    assert evidence.p_value < 1e-20 and evidence.score > 0.8
    assert dice(evidence.map > 0, boxes((20, 30), (150, 140))) > 0.75
    assert "and its copy" in evidence.explanation


def test_a_mirrored_copy_is_found():
    plane = smooth() + ct_noise()
    plane[60:100, 150:190] = plane[60:100, 30:70][:, ::-1]
    evidence = examined(plane)
    assert evidence.p_value < 1e-20 and "mirrored copy" in evidence.explanation
    assert dice(evidence.map > 0, boxes((60, 30), (60, 150))) > 0.75


def test_a_mirrored_copy_elsewhere_is_found():
    plane = smooth() + noise()
    plane[150:190, 20:60] = plane[30:70, 120:160][:, ::-1]
    evidence = examined(plane)
    assert dice(evidence.map > 0, boxes((30, 120), (150, 20))) > 0.75


@pytest.mark.parametrize("seed", range(4))
def test_symmetric_and_repeated_anatomy_raises_nothing(seed):
    """Both halves show the same anatomy, each with noise of its own; ribs repeat."""
    field = smooth(seed, scale=4) - 2000
    symmetric = 0.7 * (field + field[:, ::-1])
    ribs = 400 * (np.sin(np.arange(224)[:, None] / 4) > 0) + 0 * field
    for anatomy in (symmetric, ribs + symmetric, symmetric + np.roll(symmetric, 100, axis=0)):
        evidence = examined(2000 + anatomy + ct_noise(seed))
        assert evidence.score == 0 and evidence.p_value == 1 and not evidence.map.any()


@pytest.mark.parametrize("seed", range(2))
def test_patterns_of_acquisition_raise_nothing(seed):
    """Grid lines, a zipper, a pattern with the period of JPEG's blocks, and enlarging."""
    base = smooth(seed) + noise(seed)
    rows, columns = np.mgrid[:224, :224]
    tile = np.tile(noise(9, (8, 8), 60.0), (28, 28))
    enlarged = ndimage.zoom(smooth(seed, (112, 112)) + noise(seed, (112, 112)), 2, order=1)
    zipper = base + 80 * (-1.0) ** rows * (np.abs(columns - 90) < 2)
    for plane in (base + 40 * np.sin(1.3 * columns), zipper, base + tile, enlarged):
        assert examined(plane).score == 0


def test_a_copy_is_found_beneath_a_pattern_that_repeats_everywhere():
    plane = smooth() + noise()
    plane[150:190, 140:180] = plane[20:60, 30:70]
    plane += 15 * np.sin(1.3 * np.arange(224))
    assert dice(examined(plane).map > 0, boxes((20, 30), (150, 140))) > 0.7


def test_a_bright_symmetric_table_is_no_copy():
    rows, columns = np.mgrid[:224, :224]
    plane = smooth() + ct_noise()
    plane[np.abs(rows - 190 + ((columns - 112) / 20) ** 2) < 2] = 4000
    assert examined(plane).score == 0


@pytest.mark.parametrize("seed", [1, 4])
def test_a_phantom_brain_raises_nothing_and_its_forgery_does(seed):
    image = brain_mr(seed)[0]
    assert ResidualCorrelation().examine(image).score == 0
    forgery = KINDS["copy_move"](diameter=36.0, mirror=seed == 1).forge(image, seed=1)
    evidence = ResidualCorrelation().examine(forgery.image)
    assert evidence.p_value < 1e-6
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.7


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = smooth() + noise()
    plane[150:190, 140:180] = plane[20:60, 30:70]
    plane = plane / 16 if dtype == np.uint8 else plane - 1024 if dtype == np.int16 else plane / 4096
    assert ResidualCorrelation().examine(Image(plane.astype(dtype), modality="XA")).score > 0.8


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((128, 128), 9, np.uint8), "constant"),
        (np.full((128, 128), np.nan, np.float32), "nothing was measured"),
        (np.add.outer(np.arange(128), np.arange(128)).astype(np.uint16), "without noise"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = ResidualCorrelation().examine(Image(pixels, modality="XA"))
    assert np.isnan(evidence.score) and evidence.map is None and why in evidence.abstained


def test_what_was_not_measured_is_left_out():
    plane = (smooth() + noise()).astype(np.float32)
    plane[:60, :60] = np.nan
    plane[160:, 160:] = np.inf
    assert ResidualCorrelation().examine(Image(plane, modality="XA")).score == 0
    plane[70:110, 20:60] = plane[70:110, 150:190]
    assert ResidualCorrelation().examine(Image(plane, modality="XA")).score > 0.8
