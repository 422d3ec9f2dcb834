"""What copy-move copies, from where and how."""

import numpy as np
import pytest
from scipy import ndimage

from intact.forge import FORGED, KINDS, SOURCE
from intact.image import Image
from intact.residual import correlation, residual


def textured(shape=(160, 176), seed=0, bits=12):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 3000, shape), 8)
    return Image(np.clip(2000 + smooth + rng.normal(0, 25, shape), 0, 4095).astype(np.uint16), bits=bits)


def test_a_plain_copy_repeats_every_value():
    image = textured()
    forgery = KINDS["copy_move"](diameter=30.0).forge(image, seed=5)
    drawn = forgery.record["drawn"]
    shift = np.subtract(drawn["target"], drawn["from"])
    forged = np.argwhere(forgery.labels == FORGED)
    before = tuple((forged - shift).T)
    assert (forgery.image.pixels[tuple(forged.T)] == image.pixels[before]).all()
    source = np.zeros(image.shape, bool)
    source[before] = True
    assert (source == (forgery.labels == SOURCE)).all()


def test_source_and_target_are_apart():
    for seed in range(20):
        drawn = KINDS["copy_move"](diameter=20.0).forge(textured(), seed=seed).record["drawn"]
        assert np.linalg.norm(np.subtract(drawn["target"], drawn["from"])) >= 1.5 * 20


@pytest.mark.parametrize("mirror", [False, True])
def test_a_half_turn_is_exact_and_maps_source_to_target(mirror):
    image = textured()
    forgery = KINDS["copy_move"](diameter=30.0, rotation=180.0, mirror=mirror).forge(image, seed=6)
    drawn = forgery.record["drawn"]
    away = np.argwhere(forgery.labels == FORGED) - drawn["target"]
    back = tuple((np.array([-1, 1 if mirror else -1]) * away + drawn["from"]).T)
    assert (forgery.image.pixels[forgery.labels == FORGED] == image.pixels[back]).all()
    assert (forgery.labels[back] == SOURCE).all()


@pytest.mark.parametrize("fields", [{"rotation": 30.0}, {"scale": 1.2}, {"rotation": -75.0, "scale": 0.85}])
def test_turned_and_scaled_copies_show_the_source_turned_and_scaled(fields):
    """The forged region, brought back, has the source's fine structure, and nothing else has."""
    image = textured()
    forgery = KINDS["copy_move"](diameter=36.0, **fields).forge(image, seed=7)
    drawn = forgery.record["drawn"]
    angle, scale = np.radians(fields.get("rotation", 0.0)), fields.get("scale", 1.0)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = np.stack(np.meshgrid(np.arange(-8, 9), np.arange(-8, 9), indexing="ij"))
    there = np.tensordot(turn, grid, axes=1) + np.reshape(drawn["target"], (2, 1, 1))
    brought_back = ndimage.map_coordinates(forgery.image.pixels.astype(float), there, order=3)
    rows, columns = (slice(at - 8, at + 9) for at in drawn["from"])
    source = image.pixels[rows, columns].astype(float)
    assert correlation(residual(brought_back), residual(source)) > 0.7
    elsewhere = image.pixels[rows.start : rows.stop, columns.start - 20 : columns.stop - 20].astype(float)
    assert abs(correlation(residual(brought_back), residual(elsewhere))) < 0.3
    ratio = np.sum(forgery.labels == SOURCE) / np.sum(forgery.labels == FORGED)
    assert ratio == pytest.approx(1 / scale**2, rel=0.1)


def test_volumes_are_copied_as_volumes():
    rng = np.random.default_rng(3)
    image = Image(rng.normal(500, 40, (20, 60, 64)).astype(np.int16), spacing=(2.0, 1.0, 1.0))
    forgery = KINDS["copy_move"](diameter=12.0, form="rectangle").forge(image, seed=1)
    planes = np.flatnonzero((forgery.labels == FORGED).any(axis=(1, 2)))
    assert len(planes) in (5, 6)  # a cube of 10.6 mm in planes of 2 mm
    shift = np.subtract(forgery.record["drawn"]["target"], forgery.record["drawn"]["from"])
    forged = np.argwhere(forgery.labels == FORGED)
    assert (forgery.image.pixels[tuple(forged.T)] == image.pixels[tuple((forged - shift).T)]).all()


def test_gain_and_offset_change_level_and_contrast():
    image = textured()
    plain = KINDS["copy_move"](diameter=40.0).forge(image, seed=2).image.pixels.astype(float)
    forgery = KINDS["copy_move"](diameter=40.0, gain=0.9, offset=4.0).forge(image, seed=2)
    inside = forgery.labels == FORGED
    toned = forgery.image.pixels[inside].astype(float)
    assert toned.std() / plain[inside].std() == pytest.approx(0.9, rel=0.02)
    assert toned.mean() - plain[inside].mean() == pytest.approx(4 * 25, rel=0.15)


def test_variation_follows_its_laws():
    image = textured((96, 96))
    drawn = [
        KINDS["copy_move"](diameter=16.0, vary=True).forge(image, seed=seed).record["drawn"]
        for seed in range(60)
    ]
    rotations = np.array([one["rotation"] for one in drawn])
    assert 8 <= np.sum(rotations == 0) <= 30 and np.any(np.abs(rotations) > 60)
    assert min(one["scale"] for one in drawn) >= 0.8 and max(one["scale"] for one in drawn) <= 1.25
    assert {one["blend"] for one in drawn} == {"hard", "feather", "poisson"}
    assert 5 <= sum(one["mirror"] for one in drawn) <= 27
