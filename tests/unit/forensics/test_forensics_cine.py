"""Frames left out, put in, repeated and looped are told; beating hearts and contrast are not."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from intact.forensics.base import Severity
from intact.forensics.slices.cine import examine_cine

SIDE = 96


def echo(seed=0, frames=24, period=12):
    """A ring that beats, in speckle that moves with it."""
    rng = np.random.default_rng(seed)
    speckle = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.2)
    speckle = np.exp(0.5 * speckle / speckle.std())
    rows, columns = np.indices((SIDE, SIDE)) - SIDE / 2
    film = []
    for t in range(frames):
        phase = 2 * np.pi * t / period + 0.02 * rng.normal()
        size = 1 + 0.12 * np.cos(phase) + 0.03 * np.cos(2 * phase)
        wall = 40 + 100 * np.exp(-(((np.hypot(rows, columns) * size - 26) / 7) ** 2))
        places = [rows * size + SIDE / 2, columns * size + SIDE / 2]
        moved = ndimage.map_coordinates(speckle, places, order=1, mode="reflect")
        grain = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 0.7)
        film.append(wall * moved * np.exp(0.15 * grain))
    return np.clip(np.stack(film), 0, 255).round().astype(np.float32)


def angiogram(seed=0, frames=24, period=9):
    """Vessels that fill and empty, in a chest that breathes."""
    rng = np.random.default_rng(seed)
    chest = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 8)
    chest = 90 * chest / chest.std()
    rows, columns = np.indices((SIDE, SIDE), float)
    film = []
    for t in range(frames):
        shift = 3 * np.sin(2 * np.pi * t / period)
        full = np.exp(-max(0, t - 15) / 8) / (1 + np.exp(-(t * 8 - rows - 10) / 6))
        middles = [SIDE * (0.15 + 0.17 * k) + 7 * np.sin(rows / 15 + k) + shift for k in range(5)]
        vessels = sum(np.exp(-(((columns - middle) / 2.5) ** 2)) for middle in middles)
        still = ndimage.shift(chest, (shift / 2, 0), order=1, mode="nearest")
        film.append(600 + still - 220 * vessels * full + 6 * rng.normal(size=still.shape))
    return np.stack(film).round().astype(np.float32)


def said(film):
    return [finding.explanation for finding in examine_cine(film, "film.dcm")]


@pytest.mark.parametrize("make", [echo, angiogram])
@pytest.mark.parametrize("period", [7, 12, 60])
@pytest.mark.parametrize("seed", range(2))
def test_clean_films_are_silent(make, period, seed):
    assert said(make(seed, period=period)) == []


def test_a_compressed_film_is_silent():
    frames = []
    for frame in echo(3):
        file = io.BytesIO()
        Picture.fromarray(frame.astype(np.uint8)).save(file, "JPEG", quality=75)
        frames.append(np.array(Picture.open(file)))
    assert said(np.stack(frames)) == []


@pytest.mark.parametrize(("make", "at"), [(echo, 14), (angiogram, 11)])
def test_frames_left_out_are_told(make, at):
    sentences = said(np.delete(make(period=12), [at, at + 1, at + 2], axis=0))
    assert len(sentences) == 1 and f"Between frames {at} and {at + 1} " in sentences[0]


@pytest.mark.parametrize("make", [echo, angiogram])
def test_a_foreign_frame_is_told(make):
    sentences = said(np.insert(make(), 12, make(9)[5], axis=0))
    assert any("both sides of frame 13" in sentence for sentence in sentences)


@pytest.mark.parametrize("make", [echo, angiogram])
def test_a_repeated_frame_is_impossible(make):
    film = make()
    findings = examine_cine(np.insert(film, 12, film[12], axis=0), "film.dcm")
    assert [(one.rule, one.severity, one.files) for one in findings] == [
        ("TCE", Severity.IMPOSSIBLE, ("film.dcm",))
    ]
    assert "frame 14 repeats" in findings[0].explanation


@pytest.mark.parametrize("make", [echo, angiogram])
def test_a_loop_is_told_with_what_it_repeats(make):
    film = make()
    sentences = said(np.concatenate([film, film[6:14]]))
    assert "Frames 25 to 32 have the noise of frames 7 to 14" in sentences[0]


def test_a_loop_with_some_noise_added_is_told():
    film = echo()
    again = film[6:14] + np.random.default_rng(1).normal(0, 0.5, (8, SIDE, SIDE))
    assert any("frames 7 to 14" in sentence for sentence in said(np.concatenate([film, again])))


def test_films_of_a_converted_rate_and_frozen_ones_are_benign():
    for film in (np.repeat(echo(), 2, axis=0), np.concatenate([echo(), echo()[-1:]])):
        findings = examine_cine(film, "film.dcm")
        assert [finding.severity for finding in findings] == [Severity.BENIGN]


def test_writing_that_stands_still_is_no_loop():
    film = echo()
    film[:, :12, :60] = 0
    film[:, 4:8, 4:56:3] = 255
    assert said(film) == []


@pytest.mark.parametrize(
    "film",
    [
        np.zeros((12, 3, 3), np.float32),
        np.full((12, 40, 40), 7, np.float32),
        np.full((12, 40, 40), np.nan, np.float32),
        echo()[:7],
        np.repeat(echo()[:1], 12, axis=0),
        np.random.default_rng(0).normal(size=(9, 3, 3)).astype(np.float32),
        np.random.default_rng(0).normal(size=(9, 20, 300)).astype(np.float32),
    ],
)
def test_nothing_is_said_where_there_is_no_film(film):
    assert said(film) == []
