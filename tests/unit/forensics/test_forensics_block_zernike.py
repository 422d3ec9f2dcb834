"""Block matching by Zernike moments finds turned and mirrored copies, and leaves symmetric anatomy alone."""

import re

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.block_zernike import BlockZernike, turns_between
from intact.forensics.copies.zernike import ORDERS, zernike
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(160, 160), sigma=25.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def stored(plane):
    return Image(np.clip(plane, 0, 4095).astype(np.uint16), bits=12)


def moments(plane):
    real, imag = zernike(np.ascontiguousarray(plane, np.float32), 16, ORDERS[1:])
    middle = plane.shape[0] // 2
    return (real + 1j * imag)[:, middle, middle][None]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_phases_tell_the_turn_and_mirroring(turns, mirrored):
    patch = np.random.default_rng(0).normal(0, 1, (33, 33))
    other = np.rot90(patch[::-1] if mirrored else patch, turns)
    matrix, agree = turns_between(moments(patch), moments(other))
    at = np.array([5, -3])
    there = np.rint(matrix[0] @ at).astype(int)
    assert agree[0] and other[16 + there[0], 16 + there[1]] == patch[16 + at[0], 16 + at[1]]


def test_phases_of_different_patches_do_not_agree():
    rng = np.random.default_rng(1)
    one, two = (np.vstack([moments(rng.normal(0, 1, (33, 33))) for _ in range(50)]) for _ in range(2))
    assert turns_between(one, two)[1].mean() < 0.2


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({}, "further have"),
        ({"rotation": 45.0}, "turned by -?4[456] degrees"),
        ({"mirror": True}, "mirrored"),
        ({"offset": 3.0}, "further have"),
    ],
)
def test_copies_are_found_with_what_was_done_to_them(kind, said):
    forgery = KINDS["copy_move"](diameter=44.0, **kind).forge(stored(textured(1)), seed=1)
    evidence = BlockZernike().examine(forgery.image)
    assert evidence.score > 0.7 and evidence.p_value < 1e-6
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.65
    assert re.search(said, evidence.explanation)


@pytest.mark.parametrize("seed", range(2))
def test_genuine_symmetric_and_repeated_anatomy_raises_nothing(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (128, 128)), 4)
    smooth *= 300 / smooth.std()
    mirrored = (smooth + smooth[:, ::-1]) / 2
    for anatomy in (smooth, mirrored, smooth + np.roll(smooth, 64, axis=1)):
        evidence = BlockZernike().examine(stored(1500 + anatomy + rng.normal(0, 25, anatomy.shape)))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


def test_a_phantom_brain_raises_nothing():
    image = brain_mr(3)[0]
    assert not BlockZernike().examine(image.plane(image.planes // 2)).score > 0


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((100, 100), 9, np.uint8), "no noise|hardly any"),
        (np.full((100, 100), np.nan, np.float32), "nothing was measured"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = BlockZernike().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and re.search(why, evidence.abstained)
