"""Block matching finds copies at any depth, and leaves twins, edges and patterns alone."""

import re

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.errors import UsageError
from intact.forensics.block_dct import BlockDCT
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(224, 224), sigma=25.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 8)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def stored(plane, dtype=np.uint16):
    return Image(np.clip(plane, 0, 4095).astype(dtype), bits=12 if dtype == np.uint16 else 0)


def test_a_known_clone_is_found_with_its_shift_and_all_its_blocks():
    plane = textured()
    plane[140:188, 150:198] = plane[20:68, 30:78]
    evidence = BlockDCT().examine(stored(plane))
    truth = np.zeros(plane.shape, bool)
    truth[140:188, 150:198] = truth[20:68, 30:78] = True
    assert evidence.score > 0.7 and evidence.p_value < 1e-30
    assert dice(evidence.map > 0, truth) > 0.9
    assert "120 rows and 120 columns" in evidence.explanation


@pytest.mark.parametrize("seed", range(5))
def test_genuine_texture_raises_nothing(seed):
    evidence = BlockDCT().examine(stored(textured(seed)))
    assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


@pytest.mark.parametrize("seed", range(4))
def test_symmetric_and_periodic_anatomy_raises_nothing(seed):
    """Both halves show the same anatomy, each with noise of its own; ribs repeat."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (224, 224)), 5)
    smooth = 300 * (smooth + smooth[:, ::-1]) / smooth.std()
    repeated = smooth + np.roll(smooth, 100, axis=1)
    ribs = 200 * np.sin(np.arange(224)[:, None] / 5)
    for anatomy in (smooth, repeated, ribs + smooth):
        evidence = BlockDCT().examine(stored(2000 + anatomy + rng.normal(0, 25, anatomy.shape)))
        assert evidence.score == 0


def test_edges_raise_nothing():
    """A collimator's edge is like itself all along, to the last bit where there is no noise."""
    plane = textured(sigma=3.0)
    plane[:, :12] = 0
    plane[:30] = np.linspace(0, 3000, 30)[:, None]
    assert BlockDCT().examine(stored(plane)).score == 0


def test_a_phantom_brain_raises_nothing_and_its_forgery_does():
    image = brain_mr(4)[0]
    image = image.plane(image.planes // 2)
    assert BlockDCT().examine(image).score == 0
    forgery = KINDS["copy_move"](diameter=40.0).forge(image, seed=1)
    evidence = BlockDCT().examine(forgery.image)
    assert evidence.score > 0.4
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.7


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = textured()
    plane[140:188, 150:198] = plane[20:68, 30:78]
    plane = plane / 16 if dtype == np.uint8 else plane
    assert BlockDCT().examine(Image(plane.astype(dtype))).score > 0.7


def test_a_brighter_copy_is_found():
    image = stored(textured())
    forgery = KINDS["copy_move"](diameter=44.0, offset=6.0).forge(image, seed=3)
    assert BlockDCT().examine(forgery.image).score > 0.7


def test_planes_of_a_volume_are_examined_one_by_one():
    planes = np.stack([textured(seed) for seed in range(3)])
    planes[1, 140:188, 150:198] = planes[1, 20:68, 30:78]
    evidence = BlockDCT().examine(Image(planes.astype(np.int16)))
    assert evidence.map.shape == planes.shape and evidence.explanation.startswith("Plane 2 of 3")
    assert evidence.map[1].any() and not evidence.map[0].any() and not evidence.map[2].any()


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((40, 200), np.uint8), "smaller than"),
        (np.full((200, 200), 9, np.uint8), "no noise|hardly any"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = BlockDCT().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and re.search(why, evidence.abstained)


def test_a_palette_is_refused():
    image = Image(
        np.zeros((80, 80), np.uint8), photometric="PALETTE COLOR", palette=np.zeros((256, 3), np.uint8)
    )
    with pytest.raises(UsageError, match="PALETTE"):
        BlockDCT().examine(image)
