"""What holds for every examiner that is taught, whatever it looks at."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from intact.errors import NotFittedError
from intact.forensics import LEARNED, Evidence
from intact.image import Image
from intact.metrics import auroc

GRID = [pytest.param(name, id=name) for name in LEARNED]
# Fields with which a method learns the lesson below in seconds.
SMALL = {
    "backbone": {"steps": 40, "crop": 64, "width": 8},
    "btd": {"steps": 60, "crop": 32, "lr": 0.003},
    "cascade": {"steps": 150, "batch": 16, "width": 8, "lr": 0.003},
    "constrained_cnn": {"steps": 150, "window": 32, "stride": 8, "batch": 16},
    "dct_stream": {"steps": 30, "crop": 64, "width": 8, "batch": 4},
    "dfst_unet": {"steps": 65, "crop": 64, "batch": 2, "lr": 0.003},
    "ela_cnn": {"steps": 80, "window": 32, "stride": 16, "batch": 16},
    "faster_rcnn": {"steps": 100, "crop": 96, "batch": 4, "width": 8, "lr": 0.003, "sizes": (28,)},
    "fusion": {"members": ("backbone", "noise_level", "histogram_gaps"), "steps": 30},
    "generated": {"steps": 60, "window": 32, "stride": 16, "batch": 16, "width": 8},
    "mantra": {"steps": 80, "first_steps": 10, "crop": 48, "batch": 4, "lr": 0.002, "widest": 8},
    "mscscc_net": {"steps": 60, "crop": 32, "batch": 8, "lr": 0.003},
    "patch_channel": {"steps": 200, "window": 32, "stride": 8, "batch": 32},
    "pscc": {"steps": 60, "crop": 32, "batch": 8, "lr": 0.003},
    "rgb_n": {"steps": 90, "crop": 96, "batch": 2, "width": 8, "lr": 0.005, "sizes": (28,)},
    "sd_net": {"steps": 60, "crop": 64, "batch": 4, "lr": 0.003},
    "sfta_net": {"steps": 100, "crop": 64, "widths": (8, 16, 16, 32), "lr": 0.003},
    "svm": {"window": 32, "stride": 8, "windows": 400},
}
SIDE = 96
torch.set_num_threads(1)


def tissue(seed, dtype=np.uint16):
    """Smooth anatomy with noise of its own."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 9)
    plane = 1000 + 200 * smooth / smooth.std() + rng.normal(0, 40, (SIDE, SIDE))
    return np.clip(plane / 8 if dtype == np.uint8 else plane, 0, 4000).astype(dtype)


def forged(seed):
    """Tissue with a disc whose noise was wiped out, and its labels."""
    pixels, rng = tissue(seed), np.random.default_rng(seed)
    row, column = rng.integers(24, SIDE - 24, 2)
    y, x = np.indices(pixels.shape)
    disc = (y - row) ** 2 + (x - column) ** 2 < 14**2
    smooth = ndimage.gaussian_filter(pixels.astype(np.float32), 3)
    return np.where(disc, smooth, pixels).astype(pixels.dtype), disc.astype(np.uint8)


def image_of(pixels):
    return Image(pixels, bits=12 if pixels.dtype == np.uint16 else 0)


def lesson(seed):
    if seed % 2:
        pixels, labels = forged(seed)
        return image_of(pixels), labels
    return image_of(tissue(seed)), np.zeros((SIDE, SIDE), np.uint8)


LESSONS = [lesson(seed) for seed in range(24)]
_taught = {}


def taught(method):
    if method not in _taught:
        _taught[method] = LEARNED[method](**SMALL[method]).fit(LESSONS)
    return _taught[method]


def keeps_its_promise(evidence, shape):
    assert isinstance(evidence, Evidence) and evidence.kind
    if evidence.abstained:
        assert math.isnan(evidence.score) and evidence.map is None
        return
    assert math.isfinite(evidence.score) and evidence.explanation and evidence.p_value is None
    assert evidence.map is None or (
        evidence.map.shape == shape
        and evidence.map.dtype == np.float32
        and evidence.map.min() >= 0
        and evidence.map.max() <= 1
    )


def test_every_learned_examiner_is_taught_here():
    assert SMALL.keys() == LEARNED.keys()


@pytest.mark.parametrize("method", GRID)
def test_an_easy_lesson_is_learned(method):
    """A disc without noise is told on images never seen, and where it lies."""
    seeds = range(100, 130)
    told = [taught(method).examine(lesson(seed)[0]) for seed in seeds]
    truth = np.array([seed % 2 == 1 for seed in seeds])
    assert auroc(np.array([one.score for one in told]), truth) > 0.9
    if told[0].map is not None:
        inside = [
            auroc(one.map.ravel(), lesson(seed)[1].ravel() == 1)
            for one, seed in zip(told, seeds, strict=True)
            if seed % 2
        ]
        assert np.mean(inside) > 0.85


DEGENERATE = {
    "constant": np.full((70, 80), 7, np.uint16),
    "tiny": np.arange(9, dtype=np.uint8).reshape(3, 3),
    "a line": np.arange(200, dtype=np.uint16)[None],
    "narrow": tissue(0)[:17],
    "nan": np.full((70, 70), np.nan, np.float32),
    "infinite": np.where(np.arange(4900).reshape(70, 70) % 7 == 0, np.inf, 3.5).astype(np.float32),
    "two values": (np.indices((80, 80)).sum(axis=0) % 2).astype(np.uint8) * 255,
    "odd sides": tissue(1)[:83, :71],
    "huge values": tissue(2).astype(np.float32) * 1e30,
    "one bright pixel": np.where(np.arange(4900).reshape(70, 70) == 99, 60000, 5).astype(np.uint16),
}


@pytest.mark.parametrize("method", GRID)
@pytest.mark.parametrize("case", DEGENERATE)
def test_there_is_no_image_that_a_learned_examiner_fails_at(method, case):
    pixels = DEGENERATE[case]
    keeps_its_promise(taught(method).examine(Image(pixels)), pixels.shape)


@pytest.mark.parametrize("method", GRID)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_all_depths_volumes_and_colour_are_examined(method, dtype):
    pixels = tissue(3, dtype)
    keeps_its_promise(taught(method).examine(image_of(pixels)), pixels.shape)
    keeps_its_promise(taught(method).examine(image_of(np.stack([pixels] * 2))), (2, SIDE, SIDE))
    if dtype == np.uint8:
        colour = np.stack([pixels] * 3, axis=-1)
        keeps_its_promise(taught(method).examine(Image(colour, photometric="RGB")), (SIDE, SIDE))


@pytest.mark.parametrize("method", GRID)
def test_padding_is_never_marked(method):
    pixels = tissue(4).astype(np.int16)
    pixels[:, :30] = -2000
    evidence = taught(method).examine(Image(pixels, padding=(-2000, -2000)))
    assert evidence.map is None or not evidence.map[:, :30].any()


@pytest.mark.parametrize("method", GRID)
def test_units_and_offset_do_not_matter(method):
    """Stored values times eight, plus an offset, tell the same."""
    pixels = forged(5)[0].astype(np.float32)
    one, other = (taught(method).examine(Image(values)) for values in (pixels, pixels * 8 + 512))
    assert other.score == pytest.approx(one.score, abs=1e-2, rel=1e-3)


@pytest.mark.parametrize("method", GRID)
def test_what_was_learned_is_saved_whole_and_the_image_is_left_alone(method):
    examiner, pixels = taught(method), forged(7)[0]
    before = pixels.copy()
    state = {name: tensor.clone() for name, tensor in examiner.state().items()}
    again = LEARNED[method](**examiner.fields()).load_state(state)
    one, other = examiner.examine(image_of(pixels)), again.examine(image_of(pixels))
    assert one.score == other.score and np.array_equal(pixels, before)
    assert one.map is None or np.array_equal(one.map, other.map)


@pytest.mark.parametrize("method", GRID)
def test_the_same_seed_teaches_the_same(method):
    fields = SMALL[method] | ({"steps": 3} if "steps" in SMALL[method] else {})
    one, other = (LEARNED[method](**fields).fit(LESSONS) for _ in range(2))
    for name, tensor in one.state().items():
        assert torch.equal(tensor, other.state()[name]), name


@pytest.mark.parametrize("method", GRID)
def test_before_it_is_taught_it_says_so(method):
    with pytest.raises(NotFittedError, match="learned nothing yet"):
        LEARNED[method]().examine(image_of(tissue(8)))


@pytest.mark.parametrize("method", GRID)
def test_lessons_without_genuine_images_are_refused(method):
    with pytest.raises(ValueError, match="genuine"):
        LEARNED[method](**SMALL[method]).fit([each for each in LESSONS if each[1].any()])


@pytest.mark.parametrize("method", GRID)
def test_methods_are_listed_with_their_paper(method):
    kind = LEARNED[method]
    assert kind.source and kind.kind and kind.__doc__
