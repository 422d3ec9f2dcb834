"""The trace of interpolation is where theory puts it, and a region that has it alone is found."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.resampling import Resampling, resampling_peak
from intact.forge import FORGED, KINDS
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(512, 512), noise=20.0, smooth=1.5):
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.normal(0, 1, shape), smooth)
    plane = 1000 + 200 * coarse / coarse.std() + rng.normal(0, noise, shape)
    return np.clip(np.rint(plane), 0, 4095).astype(np.float32)


def noisy(seed=0, shape=(256, 256)):
    return textured(seed, shape, smooth=8.0)


@pytest.mark.parametrize(
    ("factor", "order", "strength", "frequency"),
    [
        (1.2, 1, 1038, 0.166),
        (1.465, 1, 1512, 0.317),
        (0.8, 1, 63, 0.249),
        (1.2, 3, 280, 0.166),
        (1.465, 3, 167, 0.317),
    ],
)
def test_scaling_leaves_a_peak_of_known_place_and_height(factor, order, strength, frequency):
    scaled = np.rint(ndimage.zoom(textured(), factor, order=order))[:400, :400]
    peak = resampling_peak(scaled)
    assert peak.frequency == pytest.approx(frequency, abs=0.003)
    assert peak.strength == pytest.approx(strength, rel=0.21)  # differs from texture to texture


def test_an_untouched_texture_has_no_peak():
    assert resampling_peak(textured()[:400, :400]).strength < 30


@pytest.mark.parametrize(("factor", "order"), [(1.2, 1), (1.465, 1), (1.2, 3)])
def test_a_scaled_region_is_found_with_its_frequency(factor, order):
    image = Image(noisy().astype(np.uint16), bits=12)
    forgery = KINDS["resample"](factor=factor, order=order, diameter=80.0).forge(image, seed=1)
    evidence = Resampling().examine(forgery.image)
    assert evidence.p_value < 1e-6 and evidence.score > 6
    assert dice(evidence.map > 0, forgery.labels == FORGED) > 0.5
    found = float(evidence.explanation.split(" times per pixel")[0].split()[-1])
    assert found == pytest.approx(abs(1 / factor - round(1 / factor)), abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_genuine_texture_raises_nothing(seed):
    evidence = Resampling().examine(Image(noisy(seed).astype(np.uint16), bits=12))
    assert evidence.p_value > 0.01 and not evidence.map.any()


@pytest.mark.parametrize(("factor", "order"), [(1.2, 1), (1.465, 3), (2.0, 1), (0.8, 1)])
def test_an_image_scaled_as_a_whole_raises_nothing(factor, order):
    scaled = np.rint(ndimage.zoom(noisy(), factor, order=order))
    evidence = Resampling().examine(Image(scaled.astype(np.uint16), bits=12))
    assert evidence.p_value > 0.01
    if factor != 0.8:
        assert "its history" in evidence.explanation


def test_zero_filled_mr_raises_nothing():
    spectrum = np.fft.fftshift(np.fft.fft2(noisy(shape=(160, 160))))
    filled = np.abs(np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, 48)))) * (256 / 160) ** 2
    assert Resampling().examine(Image(np.rint(filled).astype(np.uint16))).p_value > 0.01


def test_jpeg_edges_and_grids_raise_nothing():
    plane = noisy()
    file = io.BytesIO()
    Picture.fromarray((plane / 8).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    barred = plane + 60 * np.sin(2 * np.pi * 0.21 * np.arange(256))
    stepped = plane.copy()
    stepped[:, 100:] += 800
    stepped[90:140, 30:80] += 600
    for pixels in (np.array(Picture.open(file)), barred.astype(np.uint16), stepped.astype(np.uint16)):
        assert Resampling().examine(Image(pixels)).p_value > 1e-3


def test_a_phantom_brain_raises_nothing():
    image = brain_mr(4)[0]
    evidence = Resampling().examine(image.plane(image.planes // 2))
    assert evidence.abstained or evidence.p_value > 0.01


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_signed_and_floating_values_will_do(dtype):
    image = Image((noisy() - 1000).astype(dtype))
    forgery = KINDS["resample"](factor=1.465, order=1, diameter=80.0).forge(image, seed=1)
    assert Resampling().examine(forgery.image).p_value < 1e-6


def test_what_is_not_finite_is_left_out():
    plane = noisy()
    plane[:40] = np.nan
    plane[50, 60] = np.inf
    assert Resampling().examine(Image(plane)).p_value > 0.01


@pytest.mark.parametrize("pixels", [np.zeros((3, 3), np.uint8), np.full((200, 200), 7, np.int16)])
def test_it_abstains_where_there_is_nothing_to_examine(pixels):
    evidence = Resampling().examine(Image(pixels))
    assert evidence.abstained and evidence.map is None


def test_it_abstains_on_ultrasound_and_drawings():
    echo = Image(noisy().astype(np.uint16), modality="US")
    assert "beams" in Resampling().examine(echo).abstained
    bars = np.kron(np.arange(64).reshape(8, 8), np.ones((40, 40))).astype(np.uint8)
    assert "noise" in Resampling().examine(Image(bars)).abstained
