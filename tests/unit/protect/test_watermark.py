"""The watermark: exactly the altered blocks are named, and what stood there can be shown again."""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.protect import watermark
from intact.protect.blocks import BLOCK
from intact.protect.watermark import LEAST_FREE, SHARE

SLOTS = 1376
GOLDEN_SLOTS = "472c019c8bc19b885070dab24a50829d"
GOLDEN_PIXELS = "e864b58ae01ce6a41f05bb1de3609078"

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
SHAPES = [(1, 64, 64), (1, 70, 95), (3, 48, 61), (2, 33, 100)]
DTYPES = [np.uint8, np.uint16, np.int16, np.int32]


def noise(shape, dtype=np.uint8, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def smooth(shape):
    _, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    return np.rint(120 + 70 * np.sin(x / 25) * np.cos(y / 31)).astype(np.uint8)


def centre(shape, height, width):
    inside = np.zeros(shape, bool)
    h, w = shape[1:]
    inside[:, (h - height) // 2 : (h + height) // 2, (w - width) // 2 : (w + width) // 2] = True
    return inside


def everywhere(shape):
    return np.ones(shape, bool)


def clear(planes, layout):
    cleared = planes.copy()
    cleared.ravel()[layout.slots] &= ~planes.dtype.type(1)
    return cleared


def seal(planes, free=None, region=None, key=KEY, samples=1, bits=5):
    free = everywhere(planes.shape) if free is None else free
    layout = watermark.layout(planes.shape, free, region, key, samples, bits)
    low, high = int(planes.min()), int(planes.max())
    return layout, watermark.write(clear(planes, layout), planes, layout, key, low, high)


def blocks_of(shape):
    """Slices of every block, written out with np.array_split."""
    ys, xs = (np.array_split(np.arange(side), max(1, side // BLOCK)) for side in shape[1:])
    return [np.s_[p, y[0] : y[-1] + 1, x[0] : x[-1] + 1] for p in range(shape[0]) for y in ys for x in xs]


def holding(layout, positions):
    """Numbers of the blocks where flat positions are."""
    number = np.empty(layout.grid.shape, int)
    for k, place in enumerate(blocks_of(layout.grid.shape)):
        number[place] = k
    return number.ravel()[positions]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kept", [False, True])
def test_what_was_written_is_sound_and_only_slots_have_changed(shape, dtype, kept):
    planes = noise(shape, dtype)
    free = everywhere(shape)
    if kept:
        free &= ~centre(shape, 20, 20)
    before = planes.copy()
    layout, written = seal(planes, free)
    damage = watermark.check(written, layout, KEY)
    assert damage.sound.all() and not damage.grid.spread(~damage.sound).any()
    assert written.dtype == planes.dtype
    np.testing.assert_array_equal(clear(written, layout), clear(planes, layout))
    np.testing.assert_array_equal(planes, before)
    shown, known = watermark.recover(written, layout, damage, 0, 1)
    np.testing.assert_array_equal(shown, written)
    assert not known.any()


@given(st.integers(0, 2**32 - 1))
def test_slots_are_free_distinct_and_not_too_many_in_any_block(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 3)), int(rng.integers(33, 100)), int(rng.integers(33, 100)))
    free = rng.random(shape) < rng.choice([0.5, 0.8, 1])
    free &= ~centre(shape, *rng.integers(0, 40, 2))
    region = rng.random(shape) < rng.choice([0, 0.001, 1])
    layout = watermark.layout(shape, free, region, KEY, int(rng.integers(0, 3)), 5)
    if layout is None:
        return
    assert free.ravel()[layout.slots].all()
    assert np.unique(layout.slots).size == layout.slots.size
    places = blocks_of(shape)
    room = np.array([free[place].sum() for place in places])
    share = np.bincount(holding(layout, layout.slots), minlength=room.size)
    assert (share * SHARE[1] <= room * SHARE[0]).all()
    np.testing.assert_array_equal(layout.hosts, np.flatnonzero(room >= LEAST_FREE))
    np.testing.assert_array_equal(layout.others.blocks, np.flatnonzero(room < LEAST_FREE))
    if layout.copies.blocks.size:
        meets = np.flatnonzero([region[place].any() for place in places])
        np.testing.assert_array_equal(layout.copies.blocks, meets)
    assert (holding(layout, layout.tags) == layout.hosts[:, None]).all()
    for kept in (layout.others, layout.copies):
        assert (holding(layout, kept.slots) == kept.holders[:, :, None]).all()
        assert (kept.holders != kept.blocks).all() and (kept.holders[0] != kept.holders[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tag_is_that_of_the_block_cut_out_by_hand(dtype):
    shape = (2, 50, 67)
    layout, written = seal(noise(shape, dtype), ~centre(shape, 34, 34))
    cleared = written.copy()
    cleared.ravel()[layout.tags.ravel()] &= ~np.dtype(dtype).type(1)
    places = blocks_of(shape)
    tags = list(zip(layout.hosts, layout.tags, strict=True))
    for slots in layout.others.slots:
        tags += zip(layout.others.blocks, slots, strict=True)
    assert len(tags) == len(places) + layout.others.blocks.size > len(places)
    for block, slots in tags:
        pixels = cleared[places[block]].astype(np.dtype(dtype).newbyteorder("<"))
        plane, number = divmod(int(block), len(places) // 2)
        state = hashlib.blake2s(key=KEY, digest_size=4, person=b"intactWM")
        state.update(struct.pack("<3I", *shape) + np.dtype(dtype).str[1:].encode())
        state.update(struct.pack("<4I", plane, number, *pixels.shape) + pixels.tobytes())
        found = np.packbits(written.ravel()[slots].astype(np.int64) & 1).tobytes()
        assert found == state.digest()


def one_pixel(rng, planes, layout, foreign):
    at = rng.integers(planes.size)
    planes.ravel()[at] += rng.choice([-1, 1])  # wraps around, which is a change as well


def a_few_pixels(rng, planes, layout, foreign):
    at = rng.choice(planes.size, rng.integers(2, 9), replace=False)
    planes.ravel()[at] ^= rng.integers(1, 255, at.size, planes.dtype)


def a_block_replaced(rng, planes, layout, foreign):
    place = blocks_of(planes.shape)[rng.integers(layout.grid.sides.shape[0])]
    planes[place] = rng.integers(0, 255, planes[place].shape, planes.dtype)


def a_block_flattened(rng, planes, layout, foreign):
    planes[blocks_of(planes.shape)[rng.integers(layout.grid.sides.shape[0])]] = 0


def blocks_swapped(rng, planes, layout, foreign):
    places = blocks_of(planes.shape)
    a, b = (places[k] for k in rng.choice(len(places), 2, replace=False))
    if planes[a].shape == planes[b].shape:
        planes[a], planes[b] = planes[b].copy(), planes[a].copy()


def a_block_from_another_image(rng, planes, layout, foreign):
    places = blocks_of(planes.shape)
    place = places[rng.integers(len(places))]
    planes[place] = foreign[place]


def remainders_kept(rng, planes, layout, foreign):
    place = blocks_of(planes.shape)[rng.integers(layout.grid.sides.shape[0])]
    step = rng.choice([2, 4, 64])
    planes[place] += (step * rng.integers(1, 128 // step, planes[place].shape)).astype(planes.dtype)


def slots_flipped(rng, planes, layout, foreign):
    planes.ravel()[rng.choice(layout.slots, rng.integers(1, 5), replace=False)] ^= 1


EDITS = [
    one_pixel,
    a_few_pixels,
    a_block_replaced,
    a_block_flattened,
    blocks_swapped,
    a_block_from_another_image,
    remainders_kept,
    slots_flipped,
]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_exactly_the_altered_blocks_are_found(edit, kept):
    rng = np.random.default_rng(EDITS.index(edit))
    shape = (1, 82, 117)
    free = ~centre(shape, 46, 50) if kept else everywhere(shape)
    layout, written = seal(noise(shape), free)
    foreign = seal(noise(shape, seed=1), free, key=OTHER_KEY)[1]
    assert (layout.others.blocks.size > 0) == kept
    places = blocks_of(shape)
    for _ in range(70):
        planes = written.copy()
        for _ in range(rng.integers(1, 4)):
            edit(rng, planes, layout, foreign)
        edited = np.array([not np.array_equal(planes[place], written[place]) for place in places])
        lost = np.zeros(len(places), bool)
        lost[layout.others.blocks] = edited[layout.others.holders].all(axis=0)
        damage = watermark.check(planes, layout, KEY)
        np.testing.assert_array_equal(damage.altered.ravel(), edited & ~lost)
        np.testing.assert_array_equal(damage.unknown.ravel(), lost)
        assert damage.grid.spread(~damage.sound)[planes != written].all()


def test_a_block_whose_tags_are_lost_is_unknown_whether_altered_or_not():
    shape = (1, 96, 96)
    layout, written = seal(noise(shape), ~centre(shape, 48, 48))
    places = blocks_of(shape)
    block, holders = layout.others.blocks[0], layout.others.holders[:, 0]
    for too in (False, True):
        planes = written.copy()
        planes[places[holders[0]]] ^= 2
        assert watermark.check(planes, layout, KEY).sound.ravel()[block]
        planes[places[holders[1]]] ^= 2
        if too:
            planes[places[block]] ^= 2
        damage = watermark.check(planes, layout, KEY)
        assert damage.unknown.ravel()[block] and not damage.sound.ravel()[block]
        assert damage.altered.sum() == 2


def test_a_tag_in_an_altered_block_is_not_believed():
    """Block and tag from another image with the same key; the tag's holder is altered besides."""
    shape = (1, 96, 96)
    free = ~centre(shape, 48, 48)
    (layout, planes), (_, foreign) = (seal(noise(shape, seed=seed), free) for seed in (0, 1))
    places = blocks_of(shape)
    block, holder = layout.others.blocks[0], layout.others.holders[0, 0]
    for number in (block, holder):
        planes[places[number]] = foreign[places[number]]
    assert watermark.check(planes, layout, KEY).sound.all()  # why a key is for one image only
    planes[places[holder]] ^= 64
    damage = watermark.check(planes, layout, KEY)
    np.testing.assert_array_equal(np.flatnonzero(damage.altered), sorted([block, holder]))


def test_nothing_is_sound_with_another_key_dtype_or_height():
    planes = noise((1, 64, 64))
    layout, written = seal(planes)
    assert not watermark.check(written, layout, OTHER_KEY).sound.any()
    assert not watermark.check(written.view(np.int8), layout, KEY).sound.any()
    cut = np.ascontiguousarray(written[:, :32])
    shorter = watermark.layout(cut.shape, everywhere(cut.shape), None, KEY, 1, 5)
    assert not watermark.check(cut, shorter, KEY).sound.any()


def test_byte_order_and_strides_do_not_matter():
    planes = noise((1, 48, 64), np.int16)
    layout, written = seal(planes)
    foreign = written.astype(written.dtype.newbyteorder(">"))
    assert watermark.check(foreign, layout, KEY).sound.all()
    assert watermark.check(np.asfortranarray(written), layout, KEY).sound.all()
    np.testing.assert_array_equal(seal(planes.astype(foreign.dtype))[1], written)


@pytest.mark.parametrize(("samples", "least"), [(1, 28), (2, 37), (3, 41)])
def test_a_smooth_image_comes_back(samples, least):
    planes = smooth((1, 160, 160))
    layout, written = seal(planes, samples=samples, bits=6)
    altered = np.where(centre(planes.shape, 80, 80), 255 - written, written)
    damage = watermark.check(altered, layout, KEY)
    assert damage.altered.sum() == 36
    shown, known = watermark.recover(altered, layout, damage, int(planes.min()), int(planes.max()))
    lost = damage.grid.spread(~damage.sound)
    assert known[lost].mean() > 0.9 and not known[~lost].any()
    np.testing.assert_array_equal(shown[~known], altered[~known])
    error = shown[known].astype(float) - planes[known]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > least


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_copies_are_means_rounded_to_levels(dtype, samples):
    planes = noise((1, 64, 83), dtype)
    planes = np.sort(planes.ravel()).reshape(planes.shape)  # all values, not just the middle of the range
    layout = watermark.layout(planes.shape, everywhere(planes.shape), None, KEY, samples, 6)
    low, high = (int(np.quantile(planes, q)) for q in (0.3, 0.7))
    written = watermark.write(clear(planes, layout), planes, layout, KEY, low, high)
    places = blocks_of(planes.shape)
    seen = set()
    for slots in layout.copies.slots:
        for block, bits in zip(layout.copies.blocks, written.ravel()[slots] & 1, strict=True):
            found = bits.reshape(-1, 6).astype(int) @ [32, 16, 8, 4, 2, 1]
            pixels = planes[places[block]].astype(object)
            h, w = pixels.shape
            rows, columns = ([k * side // samples for k in range(samples + 1)] for side in (h, w))
            cells = [
                pixels[rows[j] : rows[j + 1], columns[i] : columns[i + 1]]
                for j in range(samples)
                for i in range(samples)
            ]
            level = [63 * (Fraction(cell.sum(), cell.size) - low) / (high - low) for cell in cells]
            assert found.tolist() == [min(63, max(0, floor(exact + Fraction(1, 2)))) for exact in level]
            seen |= set(found)
    assert {0, 63} < seen


@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_images_come_back_within_their_bounds(dtype):
    info = np.iinfo(dtype)
    low, high = info.min + 10, info.max - 10
    for value in np.linspace(info.min, info.max, 20).astype(np.int64):
        planes = np.full((1, 64, 80), value, dtype)
        layout = watermark.layout(planes.shape, everywhere(planes.shape), None, KEY, 2, 6)
        written = watermark.write(clear(planes, layout), planes, layout, KEY, low, high)
        written[0, 20:30, 20:30] ^= 1
        damage = watermark.check(written, layout, KEY)
        shown, known = watermark.recover(written, layout, damage, low, high)
        assert known.sum() == BLOCK**2
        error = shown[known].astype(np.int64) - np.clip(value, low, high)
        assert np.abs(error).max() <= (high - low) / 63 + 1


def test_copies_show_the_original():
    planes = smooth((1, 64, 64))
    layout = watermark.layout(planes.shape, everywhere(planes.shape), None, KEY, 2, 6)
    low, high = int(planes.min()), int(planes.max())
    written = watermark.write(np.zeros_like(planes), planes, layout, KEY, low, high)
    written[0, :, :16] ^= 1
    damage = watermark.check(written, layout, KEY)
    shown, known = watermark.recover(written, layout, damage, low, high)
    assert known.any() and np.abs(shown[known].astype(int) - planes[known]).mean() < 12


def test_only_the_region_comes_back_and_its_copies_lie_outside_where_they_can():
    planes = smooth((1, 128, 128))
    region = centre(planes.shape, 60, 60)
    layout, written = seal(planes, region=region, samples=2, bits=6)
    inside = np.isin(layout.copies.holders, layout.copies.blocks)
    assert layout.copies.blocks.size == 16 and not inside.any()
    altered = written.copy()
    altered[region] = 0
    altered[0, 32:96, 96:112] = 0  # next to the region, and no context for what is shown in it
    altered[0, 0, 0] ^= 1
    damage = watermark.check(altered, layout, KEY)
    shown, known = watermark.recover(altered, layout, damage, int(planes.min()), int(planes.max()))
    assert known[region].mean() > 0.9 and not known[0, :16, :16].any()
    assert np.abs(shown[known].astype(int) - planes[known]).max() < 16


def test_copies_in_altered_blocks_are_not_believed():
    planes = smooth((1, 96, 96))
    layout, written = seal(planes, samples=2, bits=6)
    places = blocks_of(planes.shape)
    block, (first, second) = layout.copies.blocks[7], layout.copies.holders[:, 7]
    low, high = int(planes.min()), int(planes.max())
    altered = written.copy()
    for there, holder in ((True, block), (True, first), (False, second)):
        altered[places[holder]] = 0
        damage = watermark.check(altered, layout, KEY)
        shown, known = watermark.recover(altered, layout, damage, low, high)
        assert known[places[block]].all() == there
        if there:
            assert np.abs(shown[places[block]].astype(int) - planes[places[block]]).max() < 12


def test_holders_are_far_away():
    layout = watermark.layout((1, 320, 320), everywhere((1, 320, 320)), None, KEY, 1, 6)
    places = np.stack(np.unravel_index([layout.copies.blocks, *layout.copies.holders], (20, 20)))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.hypot(*(places[:, a] - places[:, b])).min() >= 5


def test_holders_in_colour_images_are_elsewhere_in_the_plane():
    shape = (3, 96, 96)
    layout = watermark.layout(shape, everywhere(shape), None, KEY, 1, 6)
    here = np.stack([layout.copies.blocks, *layout.copies.holders]) % 36
    assert all((here[a] != here[b]).all() for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("shape", "samples"),
    [((1, 8, 8), 0), ((1, 8, 40), 0), ((1, 31, 31), 0), ((1, 5, 100), 2), ((5, 9, 12), 4)],
)
def test_small_planes(shape, samples):
    layout, written = seal(noise(shape), samples=samples, bits=1)
    assert watermark.check(written, layout, KEY).sound.all()
    written[0, 0, 0] ^= 1
    damage = watermark.check(written, layout, KEY)
    assert damage.altered.sum() == 1 and damage.altered[0, 0, 0]
    _, known = watermark.recover(written, layout, damage, 0, 255)
    assert known[0, 0, 0] == (samples > 0)


def test_blocks_thinner_than_a_copy_give_it_fewer_samples():
    planes = np.broadcast_to(np.arange(31, dtype=np.uint8) > 15, (5, 7, 31)) * np.uint8(200)
    region = np.arange(5)[:, None, None] == np.zeros((7, 31))
    layout, written = seal(planes, region=region, samples=8, bits=1)
    assert layout.samples == (7, 8)
    altered = written.copy()
    altered[0] ^= 255
    shown, known = watermark.recover(altered, layout, watermark.check(altered, layout, KEY), 0, 200)
    np.testing.assert_array_equal(known, region)
    assert (shown[0] // 100 == planes[0] // 100).mean() > 0.9


@pytest.mark.parametrize(
    ("shape", "free", "samples", "bits"),
    [
        ((1, 64, 64), np.zeros, 0, 6),  # no pixel may be used
        ((1, 7, 9), np.ones, 0, 6),  # fewer than a tag and its reserve need
        ((1, 1, 500), np.ones, 0, 6),
        ((1, 16, 32), np.ones, 1, 6),  # two blocks, and a copy needs two others
        ((1, 64, 64), np.ones, 8, 6),  # copies larger than blocks
        ((1, 64, 64), np.ones, 4, 6),  # larger than what blocks give
        ((0, 64, 64), np.ones, 0, 6),
        ((1, 0, 64), np.ones, 0, 6),
    ],
)
def test_too_little_room(shape, free, samples, bits):
    assert watermark.layout(shape, free(shape, bool), None, KEY, samples, bits) is None


def test_the_format_never_changes():
    """Renew only together with a new format number: older files could no longer be checked."""
    shape = (2, 50, 67)
    planes = (np.arange(np.prod(shape)).reshape(shape) % 251).astype(np.int16)
    region = centre(shape, 20, 20)
    layout, written = seal(planes, ~centre(shape, 34, 34), region, samples=2, bits=5)
    slots = layout.slots.astype("<i8")
    assert layout.others.blocks.size and layout.copies.blocks.size and slots.size == SLOTS
    assert hashlib.sha256(slots.tobytes()).hexdigest()[:32] == GOLDEN_SLOTS
    assert hashlib.sha256(written.astype("<i2").tobytes()).hexdigest()[:32] == GOLDEN_PIXELS
