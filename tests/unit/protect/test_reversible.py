"""Schemes of reversible adversarial examples: what all promise, and what each does."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from intact.errors import CapacityError, UsageError
from intact.protect.coding import pack
from intact.protect.hiding import PEE, DamagedError, HistogramShifting, SortedPEE
from intact.protect.reversible import METHODS, Reversible
from intact.protect.reversible.nroi_rae import NROIRAE
from intact.protect.reversible.rdh_rae import RDHRAE
from intact.protect.reversible.rit_rae import RITRAE, _best_turns, _cut, _limits, _put, _spread, _turned
from intact.protect.reversible.yuv_rae import YUVRAE, to_rgb, to_yuv

SHAPES = [(80, 80), (67, 95), (48, 131), (130, 50), (2001, 3)]
FARTHEST = {"rdh_rae": 3, "rit_rae": 6, "yuv_rae": 1, "nroi_rae": 4}  # mean difference from the adversarial
every_scheme = pytest.mark.parametrize("method", METHODS)


def image(shape=(67, 75), seed=0):
    """Terraces from black to white, with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    scene = 64 * np.rint(5.4 * y - 0.7 + 0.6 * np.sin(4 * x + seed))
    scene += rng.choice([-1, 0, 1], shape, p=[0.1, 0.8, 0.1])
    made = np.clip(scene, 0, 255).astype(np.uint8)
    assert (made == 0).any() and (made == 255).any()
    return made


def attacked(original, seed=0, tile=8, share=0.12):
    """Signs of some tiles, which the ends of the range cut off."""
    rng = np.random.default_rng(seed)
    tiles = [-(-side // tile) for side in original.shape]
    signs = rng.choice([-8, 0, 8], tiles, p=[share / 2, 1 - share, share / 2])
    change = signs.repeat(tile, 0).repeat(tile, 1)[: original.shape[0], : original.shape[1]]
    return np.clip(original + change, 0, 255).astype(np.uint8)


def noise(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@every_scheme
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_original_comes_back_from_what_looks_like_the_adversarial(method, shape, seed):
    original = image(shape, seed)
    adversarial = attacked(original, seed)
    before = original.copy(), adversarial.copy()
    scheme = METHODS[method]()
    marked = scheme.embed(original, adversarial)
    assert marked.dtype == np.uint8 and marked.shape[:2] == shape
    grey = marked if marked.ndim == 2 else marked.mean(axis=2)
    assert np.abs(grey - adversarial.astype(float)).mean() < FARTHEST[method]
    restored = scheme.restore(marked)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, original)
    np.testing.assert_array_equal((original, adversarial), before)


@every_scheme
def test_an_image_that_is_not_changed_comes_back(method):
    original = image()
    scheme = METHODS[method]()
    np.testing.assert_array_equal(scheme.restore(scheme.embed(original, original)), original)


@every_scheme
@pytest.mark.parametrize(
    "original, adversarial",
    [
        (image().astype(np.int16), image()),
        (image(), image().astype(float)),
        (image((64, 64)), image((64, 65))),
        (np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)),
    ],
)
def test_what_is_not_two_grey_images_is_refused(method, original, adversarial):
    with pytest.raises(UsageError, match="8-bit grey"):
        METHODS[method]().embed(original, adversarial)


@every_scheme
@pytest.mark.parametrize("shape", [(64, 64), (3, 3), (1, 40), (2, 700)])
def test_what_cannot_fit_is_refused(method, shape):
    with pytest.raises(CapacityError, match="bits have to be hidden"):
        METHODS[method]().embed(noise(shape, 1), noise(shape, 2))


@every_scheme
@pytest.mark.parametrize("seed", range(3))
def test_images_without_anything_hidden_are_told(method, seed):
    plain = image(seed=seed)
    with pytest.raises(DamagedError):
        METHODS[method]().restore(plain if method != "yuv_rae" else plain[..., None].repeat(3, axis=2))


@every_scheme
def test_images_of_another_number_of_axes_are_told(method):
    other = image() if method == "yuv_rae" else np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(DamagedError):
        METHODS[method]().restore(other)


@every_scheme
@pytest.mark.parametrize("seed", range(12))
def test_damage_is_told_or_gives_some_image(method, seed):
    """None has a checksum, so none can promise more. Damage above hits the side information."""
    rng = np.random.default_rng(seed)
    original = image()
    scheme = METHODS[method]()
    marked = scheme.embed(original, attacked(original))
    hit = rng.random(marked.shape) < 10.0 ** -rng.integers(0, 4)
    hit[: rng.integers(0, 30)] = False
    marked[hit] ^= rng.integers(1, 256, np.count_nonzero(hit)).astype(np.uint8)
    try:
        restored = scheme.restore(marked)
    except DamagedError:
        return
    assert restored.dtype == np.uint8 and restored.shape == original.shape


@every_scheme
def test_damage_of_the_side_information_is_told(method):
    original = image()
    scheme = METHODS[method]()
    marked = scheme.embed(original, attacked(original))
    marked ^= 1
    with pytest.raises(DamagedError):
        scheme.restore(marked)


@pytest.mark.parametrize(
    "scheme, hiding, coder", [(RDHRAE(), PEE(), ""), (NROIRAE(), HistogramShifting(), "rle")]
)
def test_the_change_is_hidden_in_the_adversarial_example(scheme, hiding, coder):
    original = image()
    adversarial = attacked(original)
    cover, bits = hiding.extract(scheme.embed(original, adversarial))
    np.testing.assert_array_equal(cover, adversarial)
    assert np.packbits(bits).tobytes() == pack(adversarial.astype(int) - original, coder=coder)


@pytest.mark.parametrize("scheme, hiding", [(RDHRAE(), PEE()), (NROIRAE(), HistogramShifting())])
@pytest.mark.parametrize(
    "change",
    [np.full((67, 75), 255), np.zeros((67, 75, 2)), np.zeros((1, 75))],
    ids=lambda change: str(change.shape),
)
def test_a_hidden_change_of_another_image_is_told(scheme, hiding, change):
    code = np.frombuffer(pack(change.astype(int)), np.uint8)
    with pytest.raises(DamagedError):
        scheme.restore(hiding.embed(image(), np.unpackbits(code)))


def test_rounds_of_shifting_are_needed_and_limited():
    original = image((130, 131))
    adversarial = attacked(original)
    with pytest.raises(CapacityError):
        NROIRAE(passes=1).embed(original, adversarial)
    np.testing.assert_array_equal(NROIRAE().restore(NROIRAE().embed(original, adversarial)), original)


def test_bits_leave_the_luma_and_go_half_into_each_colour():
    original = image()
    adversarial = attacked(original)
    scheme = YUVRAE()
    luma, *colours = to_yuv(scheme.embed(original, adversarial))
    np.testing.assert_array_equal(luma, adversarial)
    found = [SortedPEE().extract(plane, scheme._usable(luma))[1] for plane in colours]
    assert found[0].size - found[1].size in (0, 1)
    code = np.packbits(np.concatenate(found)).tobytes()
    assert code == pack(adversarial.astype(np.int16) - original)


def test_the_colour_transform_is_that_of_jpeg_2000_and_exact():
    rgb = noise((90, 80, 3), 4)
    luma, u, v = to_yuv(rgb)
    for (red, green, blue), *yuv in zip(
        rgb[:5].reshape(-1, 3).tolist(), luma.flat, u.flat, v.flat, strict=False
    ):
        assert yuv == [(red + 2 * green + blue) // 4, blue - green, red - green]
    np.testing.assert_array_equal(to_rgb(luma, u, v), rgb)


@pytest.mark.parametrize("depth", range(2, 8))
def test_no_colour_is_cut_off_and_no_luma_is_left_out_needlessly(depth):
    values = np.arange(-(2 ** (depth - 1)), 2 ** (depth - 1), dtype=np.int16)
    u, v = np.meshgrid(values, values)
    for luma in range(256):
        colours = to_rgb(np.full_like(u, luma), u, v)
        safe = colours.min() >= 0 and colours.max() <= 255
        assert safe == YUVRAE(depth=depth)._usable(np.array([[luma]], np.int16)).item()


def test_an_image_that_was_in_colour_is_told():
    luma = image().astype(np.int16)
    bits, usable = np.unpackbits(np.frombuffer(pack(luma - luma), np.uint8)), YUVRAE()._usable(luma)
    for tint in (0, 1):
        first = np.zeros_like(luma)
        first[tuple(np.argwhere(usable)[-1])] = tint
        halves = zip((first, np.zeros_like(luma)), np.array_split(bits, 2), strict=True)
        u, v = (SortedPEE().embed(plane, half, usable, depth=4) for plane, half in halves)
        marked = to_rgb(luma, u, v).astype(np.uint8)
        if not tint:
            np.testing.assert_array_equal(YUVRAE().restore(marked), luma)
    with pytest.raises(DamagedError, match="grey"):
        YUVRAE().restore(marked)


@pytest.mark.parametrize("depth", [1, 8])
def test_colour_differences_of_no_use_are_refused(depth):
    with pytest.raises(UsageError, match="bits"):
        YUVRAE(depth=depth)


@pytest.mark.parametrize(
    "fields", [{"block": 0}, {"block": 17}, {"classes": 0}, {"step": 0}, {"smooth": -1}], ids=str
)
def test_blocks_of_no_use_are_refused(fields):
    with pytest.raises(UsageError, match="block"):
        RITRAE(**fields)


@pytest.mark.parametrize(
    "fields", [{}, {"block": 3}, {"block": 1}, {"classes": 1}, {"step": 3, "smooth": 0}], ids=str
)
def test_transformed_blocks_are_the_originals_but_for_shifts(fields):
    original, scheme = image((70, 77)), RITRAE(**fields)
    transformed, _ = scheme._transform(original, attacked(original))
    side = scheme.block

    def shapes(pixels):
        blocks = _cut(pixels, side).reshape(-1, side * side)
        return Counter(tuple(np.sort(block - block.min())) for block in blocks)

    assert shapes(transformed) == shapes(original)
    rest = np.s_[70 - 70 % side :], np.s_[:, 77 - 77 % side :]
    for pixels in rest:
        np.testing.assert_array_equal(transformed[pixels], original[pixels])
    marked = scheme.embed(original, attacked(original))
    np.testing.assert_array_equal(scheme.restore(marked), original)


def test_shifts_bring_means_close_and_stay_in_range():
    original = image((80, 80))
    adversarial = attacked(original)
    transformed, tables = RITRAE()._transform(original, adversarial)
    blocks, wanted = _cut(transformed, 4), _cut(adversarial, 4)
    away = np.abs(blocks.mean(axis=(1, 2)) - wanted.mean(axis=(1, 2)))
    held_back = (blocks.min(axis=(1, 2)) < 8) | (blocks.max(axis=(1, 2)) > 247)
    assert (away[~held_back] <= 4).all() and tables[2].any()


def test_places_of_little_deviation_get_blocks_of_little_deviation_in_raster_order():
    original = image((80, 80))
    adversarial = attacked(original, share=1)
    # Blocks that are neither shifted nor turned can be told apart by their values.
    transformed, (limits, own, *_) = RITRAE(step=255, smooth=255)._transform(original, adversarial)
    there = np.searchsorted(limits, _spread(_cut(transformed, 4)))
    assert (np.diff(there[np.argsort(_spread(_cut(adversarial, 4)), kind="stable")]) >= 0).all()
    assert len(np.unique(own)) > 2
    for number in np.unique(own):
        np.testing.assert_array_equal(
            _cut(transformed, 4)[there == number], _cut(original, 4)[own.ravel() == number]
        )


@pytest.mark.parametrize(
    "number, spoil, said",
    [
        (1, lambda own: own + 1, "classes"),
        (1, lambda own: own[1:], "classes"),
        (2, lambda shifts: shifts[1:], "shifts"),
        (2, lambda shifts: shifts + 99, "beyond"),
        (3, lambda turns: turns[:1], "turns"),
    ],
)
def test_tables_of_another_image_are_told(number, spoil, said):
    original, scheme = noise((40, 44), 3) // 4 + 100, RITRAE()
    transformed, tables = scheme._transform(original, original.T.copy().reshape(40, 44))
    np.testing.assert_array_equal(scheme._transform_back(transformed, tables), original)
    tables[number] = spoil(tables[number])
    with pytest.raises(ValueError, match=said):
        scheme._transform_back(transformed, tables)


def test_turned_blocks_are_turned_to_fit():
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (30, 4, 4))
    turns = rng.integers(0, 4, 30)
    wanted = np.stack([np.rot90(block, turn) for block, turn in zip(blocks, turns, strict=True)])
    np.testing.assert_array_equal(_turned(blocks, turns), wanted)
    np.testing.assert_array_equal(_best_turns(blocks, wanted), turns)
    original, adversarial = (_put(some, np.zeros((20, 24), np.uint8)) for some in (blocks, wanted))
    np.testing.assert_array_equal(RITRAE(classes=1)._transform(original, adversarial)[0], adversarial)


def test_limits_part_deviations_between_the_nearest_means():
    deviations = np.array([0, 1, 2, 40, 41, 90, 92, 94])
    limits = _limits((deviations * 16) ** 2, 3)
    assert np.searchsorted(limits, (deviations * 16) ** 2).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert _limits(np.zeros(0, int), 6).tolist() == [0] * 5


@pytest.mark.parametrize("seed", range(5))
def test_few_deviations_leave_classes_empty_and_the_others_parted(seed):
    spread = np.random.default_rng(seed).choice([25, 900, 1600, 40000], 50)
    limits = _limits(spread, 7)
    own = np.searchsorted(limits, spread)
    means = np.array(
        [np.sqrt(spread[own == number]).mean() if number in own else np.inf for number in range(7)]
    )
    np.testing.assert_array_equal(own, np.abs(np.sqrt(spread)[:, None] - means).argmin(axis=1))
    assert (np.diff(limits) >= 0).all() and len(np.unique(own)) >= 3


def test_the_spread_is_the_deviation_in_whole_numbers():
    blocks = _cut(noise((40, 40), 7), 5)
    np.testing.assert_allclose(np.sqrt(_spread(blocks)), 25 * blocks.std(axis=(1, 2)))


def test_every_scheme_says_where_it_comes_from():
    for scheme in METHODS.values():
        assert issubclass(scheme, Reversible) and scheme.source and scheme.attack
