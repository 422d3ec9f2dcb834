"""What holds for every examiner of pixels, whatever it looks for."""

import math

import numpy as np
import pytest
from scipy import ndimage

from intact.forensics import METHODS, Evidence
from intact.image import Image

GRID = [pytest.param(name, id=name) for name in METHODS]


def textured(seed=0, shape=(96, 96), dtype=np.uint16):
    """Smooth anatomy with noise of its own, as far from any edit as can be."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), (0,) * (len(shape) - 2) + (7, 7))
    plane = 1000 + 200 * smooth / smooth.std() + rng.normal(0, 15, shape)
    if dtype == np.uint8:
        plane = plane / 8
    return np.clip(plane, 0, 4000).astype(dtype)


def image_of(pixels):
    return Image(pixels, bits=12 if pixels.dtype == np.uint16 else 0)


def keeps_its_promise(evidence, shape):
    assert isinstance(evidence, Evidence) and evidence.kind
    if evidence.abstained:
        assert math.isnan(evidence.score) and evidence.map is None and evidence.p_value is None
        return
    assert math.isfinite(evidence.score) and evidence.explanation
    assert evidence.map.shape == shape and evidence.map.dtype == np.float32
    assert evidence.map.min() >= 0 and evidence.map.max() <= 1
    assert evidence.p_value is None or 0 <= evidence.p_value <= 1
    # Who marks nothing has seen nothing: p-values are of what is told, and a silent one must not flag.
    assert evidence.map.any() or evidence.p_value in (None, 1.0)


@pytest.mark.parametrize("method", GRID)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_evidence_has_the_shape_of_the_image(method, dtype):
    pixels = textured(dtype=dtype)
    keeps_its_promise(METHODS[method]().examine(image_of(pixels)), pixels.shape)


DEGENERATE = {
    "constant": np.full((70, 80), 7, np.uint16),
    "zero": np.zeros((64, 64), np.uint8),
    "tiny": np.arange(9, dtype=np.uint8).reshape(3, 3),
    "one pixel": np.array([[5]], np.int16),
    "a line": np.arange(200, dtype=np.uint16)[None],
    "nan": np.full((70, 70), np.nan, np.float32),
    "infinite": np.where(np.arange(4900).reshape(70, 70) % 7 == 0, np.inf, 3.5).astype(np.float32),
    "two values": (np.indices((80, 80)).sum(axis=0) % 2).astype(np.uint8) * 255,
    "a ramp": np.tile(np.arange(90, dtype=np.int16), (90, 1)),
    "saturated": np.where(textured() > 900, 4095, textured()).astype(np.uint16),
}


@pytest.mark.parametrize("method", GRID)
@pytest.mark.parametrize("case", DEGENERATE)
def test_there_is_no_image_that_an_examiner_fails_at(method, case):
    pixels = DEGENERATE[case]
    keeps_its_promise(METHODS[method]().examine(Image(pixels)), pixels.shape)


@pytest.mark.parametrize("method", GRID)
def test_what_was_not_measured_is_no_evidence(method):
    """An image that is all padding says nothing."""
    pixels = np.full((80, 80), -2000, np.int16)
    evidence = METHODS[method]().examine(Image(pixels, padding=(-2000, -2000)))
    assert evidence.abstained or evidence.p_value in (None, 1.0)
    keeps_its_promise(evidence, pixels.shape)


@pytest.mark.parametrize("method", GRID)
def test_the_same_image_gives_the_same_evidence(method):
    image = image_of(textured(3))
    one, other = (METHODS[method]().examine(image) for _ in range(2))
    assert np.array_equal([one.score], [other.score], equal_nan=True) and one.p_value == other.p_value
    assert one.abstained or np.array_equal(one.map, other.map)


@pytest.mark.parametrize("method", GRID)
def test_the_image_is_left_as_it_was(method):
    pixels = textured(4)
    before = pixels.copy()
    METHODS[method]().examine(image_of(pixels))
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("method", GRID)
def test_volumes_and_colour_are_examined_too(method):
    volume = textured(5, (3, 80, 80))
    keeps_its_promise(METHODS[method]().examine(image_of(volume)), volume.shape)
    colour = np.stack([textured(6, dtype=np.uint8)] * 3, axis=-1)
    evidence = METHODS[method]().examine(Image(colour, photometric="RGB"))
    keeps_its_promise(evidence, colour.shape[:2])


@pytest.mark.parametrize("method", GRID)
def test_genuine_texture_is_no_evidence(method):
    """Of so few images, none may reach a p-value that one in ten thousand does."""
    for seed in range(3):
        evidence = METHODS[method]().examine(image_of(textured(20 + seed, (128, 128))))
        assert evidence.abstained or evidence.p_value is None or evidence.p_value > 1e-4


@pytest.mark.parametrize("method", GRID)
def test_methods_are_listed_with_their_paper(method):
    kind = METHODS[method]
    assert kind.source and kind.kind and kind.__doc__
