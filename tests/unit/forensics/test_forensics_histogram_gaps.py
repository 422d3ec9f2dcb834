"""Combs are told as history; a region whose values disagree with the rest is found."""

import re

import numpy as np
import pytest
from scipy import ndimage

from intact.data.phantom import brain_mr
from intact.forensics.histogram_gaps import HistogramGaps, comb_of
from intact.image import Image

REGION = (slice(60, 124), slice(70, 134))


def textured(seed=21, shape=(512, 512), noise=20.0, smooth=1.5):
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.normal(0, 1, shape), smooth)
    plane = 1000 + 200 * coarse / coarse.std() + rng.normal(0, noise, shape)
    return np.clip(np.rint(plane), 0, 4095)


def exported(plane):
    """Through a window of 1,200 values and 8 bits, and back."""
    return np.rint(np.rint((np.clip(plane, 400, 1600) - 400) / 1200 * 255) * 1200 / 255 + 400)


def stored(plane, dtype=np.uint16, bits=12):
    return Image(np.rint(plane).astype(dtype), bits=bits)


@pytest.mark.parametrize(
    ("change", "empty", "strength", "period"),
    [
        (exported, 0.788, 12560, 4.71),
        (lambda plane: np.rint(1.3 * plane), 0.231, 18136, 4.33),
        (lambda plane: np.rint(0.8 * plane), 0.0, 11713, 4.0),
    ],
)
def test_combs_have_the_share_strength_and_period_of_their_making(change, empty, strength, period):
    comb = comb_of(change(textured()).astype(int).ravel())
    assert comb.empty == pytest.approx(empty, abs=0.01)
    assert comb.strength == pytest.approx(strength, rel=0.1)
    assert comb.period == pytest.approx(period, rel=0.01)


def test_untouched_and_smoothly_curved_values_have_no_comb():
    plane = textured()
    for values in (plane, np.rint(4095 * (plane / 4095) ** 1.1)):
        comb = comb_of(values.astype(int).ravel())
        assert comb.empty == 0 and comb.strength < 20
    noisy = np.rint(exported(plane) + np.random.default_rng(0).normal(0, 2, plane.shape))
    assert comb_of(noisy.astype(int).ravel()).strength > 40


@pytest.mark.parametrize("change", [exported, lambda plane: 1.3 * plane - 300])
def test_a_region_with_gaps_is_found(change):
    plane = textured(0, (256, 256), smooth=8.0)
    plane[REGION] = change(plane[REGION])
    evidence = HistogramGaps().examine(stored(plane))
    truth = np.zeros(plane.shape, bool)
    truth[REGION] = True
    assert evidence.p_value < 1e-8 and evidence.score > 8
    assert evidence.map[truth].mean() > 0.6 and evidence.map[~truth].mean() < 0.1
    assert re.search("gaps in their values|comb of their own", evidence.explanation)


def test_doubled_values_and_noisy_gaps_are_found_by_their_phase():
    rng = np.random.default_rng(1)
    for change in (
        lambda plane: 0.8 * plane + 200,
        lambda plane: exported(plane) + rng.normal(0, 1, plane.shape),
    ):
        plane = textured(0, (256, 256), smooth=8.0)
        plane[REGION] = change(plane[REGION])
        evidence = HistogramGaps().examine(stored(plane))
        assert evidence.p_value < 1e-8 and "comb of their own" in evidence.explanation


def test_a_region_that_fills_the_gaps_of_the_rest_is_found():
    plane = exported(textured(0, (256, 256), smooth=8.0))
    plane[REGION] = textured(1, (256, 256), smooth=8.0)[REGION]
    evidence = HistogramGaps().examine(stored(plane))
    inside = evidence.map[REGION].mean()
    assert evidence.p_value < 1e-20 and inside > 0.7 and evidence.map.sum() < 1.3 * 64 * 64
    assert "fill the gaps" in evidence.explanation and "its history" in evidence.explanation


@pytest.mark.parametrize(
    "change",
    [
        lambda plane: plane,
        exported,
        lambda plane: 1.3 * plane,
        lambda plane: 0.8 * plane,
        lambda plane: 16 * plane,
        lambda plane: 4095 * (plane / 4095) ** 0.8,
        lambda plane: 3 * np.rint(plane / 3),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_what_happened_to_the_whole_image_raises_nothing(change, seed):
    plane = change(textured(seed, (256, 256), smooth=8.0))
    evidence = HistogramGaps().examine(stored(plane, bits=16))
    assert evidence.p_value > 0.01 and not evidence.map.any()


@pytest.mark.parametrize("seed", range(2))
def test_air_whose_noise_is_cut_off_raises_nothing(seed):
    """Outside the field of view of a CT, air is noisier or darker than inside, and nothing goes below 0."""
    rng = np.random.default_rng(seed)
    plane = textured(seed)
    plane[:, :260] = np.clip(rng.normal(30, 15, (512, 260)), 3, None)
    plane[340:500, :130] = np.clip(rng.normal(12, 15, (160, 130)), 3, None)
    plane[:4, :300] = 0
    assert HistogramGaps().examine(stored(plane)).p_value > 0.01


def test_values_in_steps_are_counted_in_steps():
    plane = textured(0, (256, 256))
    same = HistogramGaps().examine(stored(16 * plane, bits=16))
    assert "comb" not in same.explanation


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_any_depth_will_do(dtype):
    plane = textured(0, (256, 256), smooth=8.0, noise=40.0)
    plane = (plane - 1000) / 10 + 128 if dtype == np.uint8 else plane - 1000 * (dtype == np.int16)
    plane[REGION] = (
        1.3 * (np.rint(plane[REGION]) - plane[REGION].mean().round()) + plane[REGION].mean().round()
    )
    evidence = HistogramGaps().examine(Image(np.rint(plane).astype(dtype)))
    assert evidence.p_value < 1e-6


def test_a_phantom_brain_raises_nothing():
    image = brain_mr(4)[0]
    evidence = HistogramGaps().examine(image.plane(image.planes // 2))
    assert evidence.abstained or evidence.p_value > 0.01


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.zeros((3, 3), np.uint8), "smaller than"),
        (np.full((100, 100), 7, np.uint8), "hardly any"),
        (np.zeros((100, 100), np.float32), "no gaps"),
        (np.kron(np.eye(4, dtype=np.uint8), np.full((40, 40), 9, np.uint8)), "hardly any"),
    ],
)
def test_it_abstains_where_there_is_nothing_to_compare(pixels, why):
    evidence = HistogramGaps().examine(Image(pixels))
    assert why in evidence.abstained and evidence.map is None


def test_padding_and_colour_are_no_obstacle():
    plane = textured(0, (128, 128), smooth=8.0)
    padded = Image(plane.astype(np.uint16), padding=(0, 5000))
    assert HistogramGaps().examine(padded).abstained
    colour = np.repeat((plane / 16).astype(np.uint8)[..., None], 3, axis=2)
    assert HistogramGaps().examine(Image(colour, photometric="RGB")).map.shape == plane.shape


def test_it_abstains_on_ultrasound_and_drawings():
    echo = Image(textured().astype(np.uint16), modality="US")
    assert "beams" in HistogramGaps().examine(echo).abstained
    bars = np.kron(np.arange(64).reshape(8, 8), np.ones((40, 40))).astype(np.uint8)
    assert "noise" in HistogramGaps().examine(Image(bars)).abstained
