"""Turned, scaled and mirrored copies are confirmed by their noise; twins, symmetry and edges are not."""

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from intact.forensics.copies.affine_clone import AffineClone, confirm, confirm_all, told, words
from intact.forensics.copies.affine_map import fitted, inverse, mapped, refined
from intact.forensics.copies.same_noise import grainy

SIDE = 256
HERE, THERE = (80.0, 70.0), (170.0, 180.0)


def anatomy(seed):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE)), 6)
    return 80 * smooth / smooth.std()


def noise(seed, sigma=20.0):
    """Noise as CT has it: hardly any of low frequency."""
    white = np.fft.rfft2(np.random.default_rng(1000 + seed).normal(0, 1, (SIDE, SIDE)))
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    made = np.fft.irfft2(white * frequency * np.exp(-((frequency / 0.35) ** 2)), (SIDE, SIDE))
    return sigma * made / made.std()


def disc(centre, radius=18.0):
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def the_map(degrees=0.0, scale=1.0, mirror=False, off=(0.0, 0.0)):
    """From around HERE to around THERE."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = scale * np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0 if mirror else 1.0])
    return np.column_stack([turn, np.add(THERE, off) - turn @ HERE])


def copied(plane, matrix, radius=18.0):
    """The plane with the disc around HERE copied to THERE."""
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    back = inverse(matrix)
    brought = ndimage.affine_transform(plane, back[:, :2], back[:, 2], order=3)
    return np.where(disc(THERE, radius * scale), brought, plane)


def asked(plane, matrix, seen=None):
    everywhere = np.ones(plane.shape, bool)
    seen = disc(HERE) if seen is None else seen
    return confirm(grainy(plane.astype(np.float32), everywhere), seen, matrix, tests=1)


def map_error(found, true, seen):
    places = np.argwhere(seen)
    gap = (found - true)[:, :2] @ places.T + (found - true)[:, 2:]
    return np.sqrt((gap**2).sum(axis=0).mean())


@pytest.mark.parametrize(
    "kind",
    [{}, {"degrees": 10}, {"degrees": 45}, {"scale": 0.8}, {"scale": 1.1}, {"mirror": True, "degrees": -70}],
)
def test_copies_are_confirmed_and_their_map_is_exact(kind):
    """The given map is off by two pixels and three degrees."""
    true = the_map(**kind)
    plane = copied(anatomy(0) + noise(0), true)
    rough = the_map(**{**kind, "degrees": kind.get("degrees", 0) + 3}, off=(1.4, -1.4))
    clone = asked(plane, rough)
    assert clone.correlation > 0.9 and clone.p_value < 1e-6
    assert map_error(clone.matrix, true, disc(HERE, 15)) < 0.5
    assert (clone.other & disc(THERE, 18 * kind.get("scale", 1))).sum() > 0.9 * clone.other.sum()


def test_it_does_not_matter_which_of_the_two_is_the_copy():
    true = the_map(degrees=20, scale=0.85)
    plane = copied(anatomy(1) + noise(1), true)
    assert asked(plane, inverse(true), mapped(disc(HERE), true)).correlation > 0.9


@pytest.mark.parametrize(("share", "least"), [(0.5, 0.7), (1.0, 0.42)])
def test_noise_that_is_added_later_lowers_the_correlation(share, least):
    true = the_map(degrees=10)
    plane = copied(anatomy(2) + noise(2), true) + noise(77, sigma=20 * share)
    assert least < asked(plane, true).correlation < least + 0.2


@pytest.mark.parametrize("seed", range(8))
def test_twins_with_noise_of_their_own_are_not_copies(seed):
    true = the_map(degrees=10)
    plane = copied(anatomy(seed), true) + noise(seed)
    assert asked(plane, true) is None


@pytest.mark.parametrize("seed", range(4))
def test_symmetry_is_no_copy_even_of_sharp_things(seed):
    """A scanner's table is the same left and right, edges, corners and all."""
    half = anatomy(seed)
    half[100:110] += 900
    half[60:90, 60:66] += 700
    both = np.hstack([half[:, :128], half[:, 127::-1]]) + noise(seed)
    mirror = np.array([[1.0, 0, 0], [0, -1, SIDE - 1]])
    assert asked(both, mirror, disc((95, 70), 30)) is None


def test_an_edge_is_like_itself_without_being_copied():
    plane = anatomy(0) + noise(0, sigma=4.0)
    plane[:, :] += 800 * (np.add.outer(np.arange(SIDE), np.arange(SIDE)) > SIDE)
    along = np.array([[1.0, 0, 40], [0, 1, -40]])
    assert asked(plane, along, disc((118, 138), 20)) is None


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(2, 3),
        np.zeros((2, 3)),
        np.full((2, 3), np.nan),
        np.array([[9.0, 0, 0], [0, 1, 0]]),
        the_map(off=(900, 0)),
    ],
)
def test_maps_that_no_forger_uses_are_refused(matrix):
    assert asked(anatomy(0) + noise(0), matrix) is None


def test_nothing_is_said_of_too_little_or_of_no_noise():
    true = the_map()
    plane = copied(anatomy(0) + noise(0), true)
    assert asked(plane, true, disc(HERE, 3)) is None
    assert asked(plane, true, np.zeros(plane.shape, bool)) is None
    assert asked(np.zeros_like(plane), true) is None


def test_refining_ignores_brightness_and_contrast():
    true = the_map(degrees=-30)
    plane = anatomy(3) + noise(3)
    plane = np.where(disc(THERE), 0.8 * copied(plane, true) + 40, plane)
    found = refined(plane.astype(np.float32), disc(HERE), the_map(degrees=-29, off=(0.4, 0.4)), (0.0,))
    assert map_error(found, true, disc(HERE, 15)) < 0.3


def test_maps_fit_invert_and_move():
    matrix = the_map(degrees=33, scale=1.2, mirror=True)
    places = np.argwhere(disc(HERE, 6)).astype(float)
    likes = places @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(fitted(places, likes), matrix, atol=1e-9)
    np.testing.assert_allclose(fitted(likes, places), inverse(matrix), atol=1e-9)
    moved = mapped(disc(HERE, 6), np.array([[1.0, 0, 9], [0, 1, -4]]))
    np.testing.assert_array_equal(moved, disc((89, 66), 6))
    away = mapped(disc(HERE, 6), np.array([[1.0, 0, 9], [0, 1, -400]]))
    assert away.shape == moved.shape and not away.any()
    np.testing.assert_array_equal(
        mapped(disc((3, 3), 6), np.array([[1.0, 0, -2], [0, 1, 0]])),
        disc((1, 3), 6) & (np.arange(len(moved)) < 8)[:, None],
    )


def test_one_pair_of_regions_is_asked_about_once():
    true = the_map(degrees=45)
    plane = copied(anatomy(4) + noise(4), true).astype(np.float32)
    both = [(disc(HERE), true), (mapped(disc(HERE), true), inverse(true)), (disc((40, 200)), the_map())]
    found = confirm_all(grainy(plane, np.ones(plane.shape, bool)), both)
    assert len(found) == 1 and found[0].correlation > 0.9
    evidence = told(plane.shape, found)
    assert evidence.score == pytest.approx(found[0].correlation) and evidence.map.dtype == np.float32
    assert ((evidence.map > 0) == found[0].both).all()
    assert "turned by 45 degrees" in evidence.explanation
    assert told(plane.shape, []).score == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({}, "90 rows and 110 columns further"),
        (
            {"degrees": -20, "scale": 1.25},
            "90 rows and 110 columns further, turned by -20 degrees, scaled by 1.25",
        ),
        ({"degrees": 90, "mirror": True}, "90 rows and 110 columns further, mirrored, turned by 90 degrees"),
    ],
)
def test_words_say_what_was_done(kind, said):
    mask = disc(HERE)
    assert words(AffineClone(the_map(**kind), mask, mask, 1.0, 0.0)) == said


def test_recompression_lowers_the_correlation_but_a_copy_stays_one():
    true = the_map(degrees=10)
    plane = 128 + copied(anatomy(5) + noise(5), true) / 3
    _, coded = cv2.imencode(".jpg", np.clip(plane, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert asked(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), true).correlation > 0.6
