"""The dense field finds copies that were turned, mirrored and scaled, and leaves symmetric anatomy alone."""

import re

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr, chest_xray
from intact.forensics.copies.dense_field import fit_error, in_leaves, nearest
from intact.forensics.patchmatch import PatchMatch, linear_regions
from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.metrics.segmentation import dice


def textured(seed=0, shape=(160, 160), sigma=25.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    return 2000 + 300 * smooth / smooth.std() + rng.normal(0, sigma, shape)


def stored(plane, **more):
    return Image(np.clip(plane, 0, 4095).astype(np.uint16), bits=12, **more)


def copied(seed=1, **kind):
    return KINDS["copy_move"](diameter=44.0, **kind).forge(stored(textured(seed)), seed=seed)


@pytest.mark.parametrize("field", [(3.0, 0.0, 0.0), (-40.0, 0.3, -1.2), (7.0, -2.0, 0.0)])
def test_the_error_of_a_linear_field_is_zero_and_of_chance_it_is_not(field):
    rows, columns = np.mgrid[:40, :40]
    linear = field[0] + field[1] * rows + field[2] * columns
    assert fit_error(linear, 4)[4:-4, 4:-4].max() < 1e-6
    chance = np.random.default_rng(0).uniform(-40, 40, (40, 40))
    assert fit_error(chance, 4)[4:-4, 4:-4].min() > 2000


def test_the_error_is_that_of_a_least_squares_fit():
    values = np.random.default_rng(1).normal(0, 5, (9, 9))
    rows, columns = np.argwhere(np.hypot(*np.mgrid[-4:5, -4:5]) <= 4).T
    known = np.column_stack([np.ones(len(rows)), rows, columns])
    _, left, *_ = np.linalg.lstsq(known, values[rows, columns], rcond=None)
    assert fit_error(values, 4)[4, 4] == pytest.approx(left[0])


def test_nearest_finds_twins_and_respects_the_distance():
    rng = np.random.default_rng(2)
    places = np.argwhere(np.ones((48, 48), bool))
    features = ndimage.gaussian_filter(rng.normal(0, 1, (48, 48, 11)), (1, 1, 0))
    features[30:44, 28:42] = features[4:18, 3:17]
    features = features.reshape(-1, 11).astype(np.float32)
    likes = nearest(features, features, places, apart=10.0)
    inside = ((places >= (4, 3)) & (places < (18, 17))).all(axis=1)
    assert ((places[likes] - places)[inside] == (26, 25)).all(axis=1).mean() > 0.95
    assert (np.hypot(*(places[likes] - places).T) >= 10).all()
    first, costs = in_leaves(features, features, places, 10.0, np.random.default_rng(0))
    assert (((features - features[likes]) ** 2).sum(axis=1) <= costs + 1e-4).all() and first.max() < len(
        places
    )


def test_regions_of_one_map_are_told_from_chance():
    rng = np.random.default_rng(3)
    places = np.argwhere(np.ones((64, 64), bool))
    wanted = rng.integers(0, 64, places.shape)
    inside = ((places >= 10) & (places < 30)).all(axis=1)
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    wanted[inside] = places[inside] @ turn.T + (20, 60)
    regions = linear_regions(places, wanted[:, 0] * 64 + wanted[:, 1], (64, 64), area=64)
    assert len(regions) == 1
    mask, matrix = regions[0]
    # The region's rim belongs to chance.
    np.testing.assert_allclose(matrix, np.column_stack([turn, (20, 60)]), atol=1.5)
    assert mask[14:26, 14:26].mean() > 0.9 and mask.sum() <= 400


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({}, "rows and -?56 columns further"),
        ({"rotation": 90.0}, "turned by -?90 degrees"),
        ({"rotation": 33.0}, "turned by -?33 degrees"),
        ({"mirror": True}, "mirrored"),
        ({"scale": 1.15}, "scaled by"),
        ({"gain": 1.1, "offset": 2.0}, "columns further"),
    ],
)
def test_copies_are_found_with_what_was_done_to_them(kind, said):
    forgery = copied(**kind)
    evidence = PatchMatch().examine(forgery.image)
    assert evidence.score > 0.7 and evidence.p_value < 1e-6
    assert dice(evidence.map > 0, np.isin(forgery.labels, (FORGED, SOURCE))) > 0.65
    assert re.search(said, evidence.explanation)


@pytest.mark.parametrize("seed", range(2))
def test_genuine_symmetric_and_repeated_anatomy_raises_nothing(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (128, 128)), 4)
    smooth *= 300 / smooth.std()
    table = np.zeros_like(smooth)
    table[104:110, 10:-10] = 900
    mirrored = (smooth + smooth[:, ::-1]) / 2 + table
    for anatomy in (smooth, mirrored, smooth + np.roll(smooth, 64, axis=1)):
        evidence = PatchMatch().examine(stored(1500 + anatomy + rng.normal(0, 25, anatomy.shape)))
        assert evidence.score == 0 and not evidence.map.any() and evidence.p_value == 1


def test_a_phantom_brain_raises_nothing():
    image = brain_mr(3)[0]
    assert not PatchMatch().examine(image.plane(image.planes // 2)).score > 0


def test_large_images_are_searched_smaller_and_mapped_back():
    plane = ndimage.zoom(textured(4, (240, 240), sigma=0), 2, order=1)
    plane += np.random.default_rng(4).normal(0, 25, plane.shape)
    plane[300:380, 320:400] = np.rot90(plane[60:140, 50:130])
    evidence = PatchMatch().examine(stored(plane))
    truth = np.zeros(plane.shape, bool)
    truth[300:380, 320:400] = truth[60:140, 50:130] = True
    assert evidence.score > 0.7 and dice(evidence.map > 0, truth) > 0.75


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_depth_will_do(dtype):
    plane = textured(5)
    plane[90:140, 95:145] = np.rot90(plane[15:65, 20:70])
    plane = plane / 16 if dtype == np.uint8 else plane
    image = Image(plane.astype(dtype))
    assert PatchMatch().examine(image).score > 0.7
    if dtype == np.float32:
        image.pixels[:5, :5] = np.nan
        assert PatchMatch().examine(image).score > 0.7


def test_the_same_image_gives_the_same_evidence():
    image = copied(rotation=20.0).image
    one, two = (PatchMatch().examine(image) for _ in range(2))
    assert one.score == two.score and (one.map == two.map).all()


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((100, 100), 9, np.uint8), "no noise|hardly any"),
        (np.full((100, 100), np.nan, np.float32), "nothing was measured"),
        (np.full((100, 100), 0.5), "hardly any"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = PatchMatch().examine(Image(pixels))
    assert np.isnan(evidence.score) and evidence.map is None and re.search(why, evidence.abstained)


@pytest.mark.parametrize("seed", range(4))
def test_two_sides_of_a_chest_raise_nothing(seed):
    assert PatchMatch().examine(chest_xray(seed, shape=(128, 112))[0]).score == 0
