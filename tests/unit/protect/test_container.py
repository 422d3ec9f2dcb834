"""The seal in the pixels: exact both ways, and no change to a single bit goes unnoticed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intact.errors import AlteredError, CapacityError, NotSealedError, SealError, WrongKeyError
from intact.protect import container
from intact.protect.coding import unpack
from intact.protect.container import damage_of, digest_of, open_planes, recover_region, seal_planes
from intact.protect.header import MARK, SCHEMES, TOLERATED, Header, find_header
from intact.protect.hiding import METHODS
from intact.protect.hiding.base import span_of
from intact.protect.keys import derive
from intact.protect.plan import CELL, COPIES, plan_for

CONTENT, SALT = bytes(range(32)), bytes(range(16))
OTHER = bytes(range(1, 33))
DTYPES = (np.uint8, np.uint16, np.int16, np.uint32)
BITS = 8 * Header.SIZE  # of a header without a tail


def smooth(shape, dtype=np.uint8, seed=0, noise=1.0):
    """Planes like those of a scanner: slow waves and a little noise."""
    y, x = np.indices(shape[-2:])
    waves = 100 + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)
    return (waves + np.random.default_rng(seed).normal(0, noise, shape)).round().astype(dtype)


def sealed(planes, *, content=CONTENT, salt=SALT, depth=0, **options):
    return seal_planes(planes, content, salt, depth=depth or 8 * planes.itemsize, **options)


def squares(shape, tile, share=0.05):
    """Few squares of -3 or 3."""
    rng = np.random.default_rng(0)
    p, h, w = shape
    levels = 3 * rng.choice([-1, 0, 1], (p, h // tile, w // tile), p=[share / 2, 1 - share, share / 2])
    spread = levels.repeat(tile, 1).repeat(tile, 2)
    return np.pad(spread, ((0, 0), (0, h % tile), (0, w % tile))).astype(np.int32)


def allowed_change(planes, depth, keep, share):
    """Few squares, where they may be and values stay in range."""
    change = squares(planes.shape, 2, share)
    span = span_of(planes.dtype, depth)
    changed = planes.astype(np.int64) + change
    change[(changed < span.low) | (changed > span.high)] = 0
    if keep is not None:
        change[:, keep] = 0
    return change


def opened(planes, content=CONTENT):
    return open_planes(planes, find_header(planes), content)


def header_bits(header):
    return np.unpackbits(np.frombuffer(header.to_bytes(), np.uint8))


def with_header(planes, header):
    """Planes with another header written over that of a seal without copies."""
    bits, forged = header_bits(header), planes.copy()
    forged.ravel()[: bits.size] = forged.ravel()[: bits.size] & ~np.array(1, planes.dtype) | bits
    return forged


def flipped(planes, *places, bit=0):
    changed = planes.copy()
    changed.ravel()[list(places)] ^= np.array(1, planes.dtype) << np.array(bit, planes.dtype)
    return changed


@pytest.mark.parametrize("localise", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 80, 90), (3, 77, 83), (12, 64, 64)])
def test_original_planes_return_exactly(dtype, shape, localise):
    planes = smooth(shape, dtype)
    if np.dtype(dtype).kind == "i":
        planes -= 110
    before = planes.copy()
    marked = sealed(planes, localise=localise)
    assert (marked != planes).any() and marked.dtype == dtype and marked.shape == shape
    np.testing.assert_array_equal(opened(marked).planes, before, strict=True)
    np.testing.assert_array_equal(planes, before)
    assert np.abs(marked.astype(np.int64) - before).max() <= (16 if localise else 1)


def test_planes_may_lie_in_memory_in_any_order():
    planes = np.asfortranarray(smooth((2, 80, 90), np.uint16))
    np.testing.assert_array_equal(opened(sealed(planes)).planes, planes)
    view = smooth((2, 160, 180), np.uint16)[:, ::2, ::-2]
    np.testing.assert_array_equal(opened(sealed(view)).planes, view)
    marked = np.asfortranarray(sealed(planes))
    np.testing.assert_array_equal(opened(marked).planes, planes)


@pytest.mark.parametrize("depth", [9, 12, 15])
def test_marked_values_stay_within_the_bits_that_the_file_says(depth):
    top = 2**depth - 1
    rng = np.random.default_rng(depth)
    planes = np.where(rng.random((1, 120, 120)) < 0.001, 0, top)
    planes[:, 60:] = top - np.abs(rng.normal(0, 0.6, (1, 60, 120))).astype(int)
    for localise in (False, True):
        marked = sealed(planes.astype(np.uint16), depth=depth, localise=localise)
        assert marked.max() <= top
        np.testing.assert_array_equal(opened(marked).planes, planes)


@pytest.mark.parametrize("count", [1, 5])
def test_a_change_made_beforehand_is_undone(count):
    planes = smooth((count, 90, 90))
    for change in (squares(planes.shape, 2), np.zeros(planes.shape, np.int32)):
        marked = sealed(planes, change=change)
        assert not change.any() or np.abs(marked.astype(int) - planes - change).max() <= 2
        found = opened(marked)
        np.testing.assert_array_equal(found.planes, planes)
        np.testing.assert_array_equal(found.change, change)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "|u1"])
def test_the_digest_is_that_of_shape_type_and_little_endian_values(dtype):
    planes = smooth((2, 8, 9)).astype(dtype)
    data = f"(2, 8, 9) {planes.dtype.name}".encode() + planes.astype(planes.dtype.newbyteorder("<")).tobytes()
    assert digest_of(planes) == hashlib.sha256(data).digest()
    assert digest_of(planes.reshape(1, 16, 9)) != digest_of(planes) != digest_of(planes.astype("<u4"))


def test_the_payload_is_encrypted():
    marked = sealed(smooth((1, 96, 96)))
    lowest = np.packbits((marked.ravel() & 1).astype(np.uint8)).tobytes()
    assert digest_of(smooth((1, 96, 96))) not in lowest


@pytest.mark.parametrize("localise", [False, True])
def test_the_header_says_what_stands_in_it(localise):
    header = find_header(sealed(smooth((1, 80, 80)), localise=localise))
    assert header.sound and header.localise == localise and header.planes == 1
    assert header.salt == SALT and header.check == derive(CONTENT, "check", 8)
    assert SCHEMES[header.scheme] == opened(sealed(smooth((1, 80, 80)), localise=localise)).scheme
    assert header.fits(CONTENT) and not header.fits(OTHER)
    assert Header.from_bytes(header.to_bytes() + b"what follows") == header
    assert header.to_bytes().startswith(MARK)


def test_the_numbers_of_the_schemes_never_change():
    """What is sealed today must open in ten years."""
    assert SCHEMES[:6] == (
        "one_sided_pee",
        "sorted_pee",
        "histogram_shifting",
        "difference_expansion",
        "pee",
        "pairwise_pee",
    )
    assert set(METHODS) <= set(SCHEMES) and len(set(SCHEMES)) == len(SCHEMES) <= 16
    header = Header(1, 2, SALT, b"checkchk", True, b"tail", b"guarding")
    assert header.to_bytes().hex() == (
        "c0044c1c0fe3d003110100020004000102030405060708090a0b0c0d0e0f"
        "636865636b63686b6775617264696e677461696ccdfbfeaf"
    )


def test_a_sound_header_of_a_newer_version_asks_for_an_update(monkeypatch):
    planes = smooth((1, 80, 80))
    with monkeypatch.context() as later:
        later.setattr("intact.protect.header.VERSION", 2)
        newer = sealed(planes)
    with pytest.raises(SealError, match=r"version 2, which a newer Intact made: update"):
        find_header(newer)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((8, 80, 80), 1), ((8, 32, 32), 2), ((64, 8, 8), 32), ((3, 24, 24), 3)],
    ids=["one is enough", "two", "many small ones", "all"],
)
def test_more_planes_are_used_only_when_fewer_are_too_small(shape, count):
    planes = np.full(shape, 7, np.uint8)  # of which nearly every pixel carries a bit
    marked = sealed(planes)
    assert find_header(marked).planes == count
    np.testing.assert_array_equal(marked[count:], planes[count:])
    assert (marked[:count] != planes[:count]).any()
    np.testing.assert_array_equal(opened(marked).planes, planes)
    if count > 1:
        with pytest.raises(CapacityError):
            sealed(planes[: -(-count // 2)])  # their number doubles


def test_planes_behind_those_that_carry_are_protected_as_well():
    marked = sealed(smooth((8, 80, 80)))
    marked[7, 40, 40] += 1
    with pytest.raises(AlteredError):
        opened(marked)


def test_all_planes_carry_where_changes_are_localised():
    planes = smooth((4, 80, 80))
    marked = sealed(planes, localise=True)
    assert find_header(marked).planes == 4
    assert (marked != planes).any(axis=(1, 2)).all()


@pytest.mark.parametrize("localise", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (37, 51), (98, 100)], ids=["start", "middle", "end"])
def test_a_region_to_keep_stays_bit_for_bit(localise, place):
    planes, keep = smooth((2, 128, 120)), np.zeros((128, 120), bool)
    keep[place[0] : place[0] + 20, place[1] : place[1] + 11] = True
    marked = sealed(planes, keep=keep, localise=localise)
    cells = np.zeros((128, 120), bool)
    for row, column in np.argwhere(keep):
        row, column = row // CELL * CELL, column // CELL * CELL
        cells[row : row + CELL, column : column + CELL] = True
    np.testing.assert_array_equal(marked[:, cells], planes[:, cells])
    np.testing.assert_array_equal(opened(marked).planes, planes)
    assert (marked[0, ~cells] != planes[0, ~cells]).any()


def test_the_region_to_keep_travels_in_the_header():
    planes, keep = smooth((1, 100, 100)), np.zeros((100, 100), bool)
    keep[20:41, 30:70] = True
    header = find_header(sealed(planes, keep=keep))
    expected = np.zeros((13, 13), bool)
    expected[2:6, 3:9] = True
    np.testing.assert_array_equal(unpack(header.tail), expected)
    assert find_header(sealed(planes)).tail == b""


def test_an_empty_region_to_keep_keeps_nothing():
    planes = smooth((1, 80, 80))
    marked = sealed(planes, keep=np.zeros((80, 80), bool))
    np.testing.assert_array_equal(opened(marked).planes, planes)


def test_a_scattered_region_leaves_no_place_for_a_header():
    """However large the image and its region, what does not fit is a `CapacityError`."""
    keep = np.random.default_rng(0).random((8 * 760, 8 * 760)) < 1 / 64
    with pytest.raises(CapacityError, match="a smaller region to keep"):
        sealed(np.zeros((1, *keep.shape), np.uint8), keep=keep)


def test_more_planes_than_a_header_can_tell_are_refused():
    with pytest.raises(CapacityError, match="no localising"):
        sealed(np.zeros((2**16, 4, 4), np.uint8), localise=True)


@pytest.mark.parametrize(
    ("planes", "options", "advice"),
    [
        (smooth((1, 8, 8)), {}, "it is too small or too noisy"),
        (smooth((1, 18, 18)), {}, "it is too small or too noisy"),
        (smooth((1, 40, 40)), {"localise": True}, "try no localising, or"),
        (
            smooth((1, 60, 60)),
            {"localise": True, "change": squares((1, 60, 60), 1, 0.9)},
            "try no localising, or",
        ),
        (smooth((1, 40, 40)), {"keep": np.ones((40, 40), bool)}, "try a smaller region to keep, or"),
        (smooth((1, 80, 80), noise=60), {}, "it is too small or too noisy"),
        (
            smooth((1, 40, 40)),
            {"keep": np.eye(40) > 0, "localise": True},
            "try a smaller region to keep or no localising, or",
        ),
    ],
)
def test_what_does_not_fit_says_how_much_and_what_would_help(planes, options, advice):
    with pytest.raises(CapacityError) as caught:
        sealed(planes, name="a.png", **options)
    error = caught.value
    assert error.name == "a.png" and 0 <= error.available < error.needed
    assert f"{error.needed:,} bits have to be hidden and it can hold {error.available:,}" in error.reason
    assert error.advice.startswith(advice) and "envelope" in error.advice


def test_the_need_and_the_room_of_a_refusal_are_those_of_the_attempt_that_came_closest(monkeypatch):
    """With reduced copies more is needed, and more of it may fit, than without."""
    lacking, hide = [], container._hide

    def attempt(*arguments):
        try:
            return hide(*arguments)
        except CapacityError as error:
            lacking.append((error.needed, error.available))
            raise

    monkeypatch.setattr(container, "_hide", attempt)
    with pytest.raises(CapacityError) as caught:
        sealed(smooth((1, 90, 90), noise=25), localise=True)
    assert len(set(lacking)) > 1
    closest = min(needed - available for needed, available in lacking)
    assert (caught.value.needed, caught.value.available) in lacking
    assert caught.value.needed - caught.value.available == closest


@pytest.mark.parametrize("localise", [False, True])
def test_another_key_is_told_from_damage(localise):
    with pytest.raises(WrongKeyError, match="sealed for other keys"):
        opened(sealed(smooth((1, 80, 80)), localise=localise), OTHER)


def test_unsealed_planes_have_no_header():
    for planes in (smooth((3, 80, 80)), np.zeros((1, 64, 64), np.uint8), smooth((1, 3, 3))):
        assert find_header(planes) is None
    assert find_header(np.full((1, 64, 64), 2**16 - 1, np.uint16)) is None


def test_random_bits_are_not_taken_for_a_damaged_header():
    """100,000 rows, as of a large series: none may look like a seal that was there."""
    rows = np.random.default_rng(3).integers(0, 256, (1, 100_000, 400), np.uint8)
    close = np.unpackbits(np.frombuffer(MARK, np.uint8))
    rows[0, 50_000, :64] = close
    rows[0, 50_000, :10] ^= 1
    assert find_header(rows) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("localise", [False, True])
def test_any_bit_of_any_pixel_counts(dtype, localise):
    marked = sealed(smooth((1, 64, 70), dtype), localise=localise)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, marked.size, 80):
        bit = rng.choice([0, 0, rng.integers(8 * marked.itemsize)])
        with pytest.raises(AlteredError) as caught:
            opened(flipped(marked, place, bit=bit))
        assert caught.value.what == "pixels"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
@pytest.mark.parametrize("noise", [0.5, 3])
def test_any_bit_of_the_header_and_of_the_notes_for_the_decoder_counts(dtype, noise):
    """Some notes may be changed without a change to what is decoded, such as the depth."""
    marked = sealed(smooth((1, 64, 60), dtype, noise=noise))
    for place in range(BITS + 120):
        with pytest.raises(AlteredError):
            opened(flipped(marked, place))


def test_any_bit_that_was_displaced_counts():
    """Those of the copies of the header, of tags and of reduced copies, of which the payload says nothing."""
    keep = np.zeros((96, 96), bool)
    keep[40:60, 40:60] = True
    marked = sealed(smooth((1, 96, 96)), keep=keep, localise=True)
    plan = plan_for((1, 96, 96), CONTENT, find_header(marked))
    assert len(plan.strips) == COPIES
    for places in (*plan.strips, plan.blocks.tags, plan.blocks.copies.slots):
        for place in np.random.default_rng(0).choice(places.ravel(), min(places.size, 40), replace=False):
            with pytest.raises(AlteredError):
                opened(flipped(marked, place))


def test_with_copies_of_the_header_damage_to_one_is_no_loss():
    marked = sealed(smooth((1, 128, 128)), localise=True)
    header = find_header(marked)
    first = plan_for((1, 128, 128), CONTENT, header).strips[0]
    for places in (first[:70], first[70:90]):  # with and without its mark
        hit = flipped(marked, *places)
        assert find_header(hit) == header
        damage = damage_of(hit, header, CONTENT)
        assert damage.altered.any() and damage.altered[:, 1:].sum() == 0


@pytest.mark.parametrize("count", range(1, TOLERATED + 1))
@pytest.mark.parametrize(("field", "start"), [("mark", 0), ("salt", 112), ("check", 240), ("guard", 304)])
def test_a_damaged_header_is_still_a_header(field, start, count):
    marked = sealed(smooth((1, 80, 80)))
    places = start + np.random.default_rng(count).choice(64, count, replace=False)
    hit = flipped(marked, *places)
    header = find_header(hit)
    assert header is not None and not header.sound
    assert (header.salt == SALT) == (field != "salt") and header.fits(CONTENT) == (field != "check")
    with pytest.raises(AlteredError):
        open_planes(hit, header, CONTENT)


def test_a_header_is_found_behind_a_region_to_keep():
    keep = np.zeros((120, 120), bool)
    keep[:30] = True
    marked = sealed(smooth((1, 120, 120)), keep=keep)
    assert find_header(marked).sound


def test_one_image_sealed_twice_is_sealed_differently():
    planes = smooth((1, 80, 80))
    once, again = sealed(planes), sealed(planes, content=OTHER, salt=bytes(16))
    assert np.count_nonzero(once != again) > 50
    np.testing.assert_array_equal(opened(once).planes, planes)
    np.testing.assert_array_equal(opened(again, OTHER).planes, planes)


def test_a_payload_belongs_to_its_header_shape_and_type():
    marked = sealed(smooth((2, 80, 80)))
    for other in (marked.astype(np.uint16), marked.reshape(1, 160, 80), marked[:1], marked.astype(np.int16)):
        with pytest.raises(AlteredError):
            opened(other)


def test_parts_of_two_images_with_one_content_key_do_not_mix():
    one, other = sealed(smooth((1, 80, 80))), sealed(smooth((1, 80, 80), seed=1))
    mixed = np.concatenate([one[:, :40], other[:, 40:]], axis=1)
    with pytest.raises(AlteredError):
        opened(mixed)


@pytest.mark.parametrize("localise", [False, True])
def test_forged_headers_open_nothing(localise):
    """The CRC of a header needs no key, so anyone can write one."""
    keep = np.zeros((96, 96), bool)
    keep[50:60, 40:60] = True
    planes = smooth((2, 96, 96))
    marked = sealed(planes, localise=localise, keep=keep)
    header, rng = find_header(marked), np.random.default_rng(0)
    for forged in forgeries(header, rng):
        changed = with_header(marked, forged)
        with pytest.raises(AlteredError):
            opened(changed)
        damage_of(changed, find_header(changed), CONTENT)


def forgeries(header, rng):
    """Headers with a right CRC that nobody wrote."""
    yield from (replace(header, scheme=scheme) for scheme in range(16) if scheme != header.scheme)
    yield from (replace(header, planes=planes) for planes in (0, 1, 2, 3, 65535) if planes != header.planes)
    yield replace(header, localise=not header.localise)
    yield replace(header, tail=b"")
    for size in (1, 5, len(header.tail) - 1, len(header.tail) + 1, 80):
        yield replace(header, tail=rng.bytes(size))
    for _ in range(40):
        tail = bytearray(header.tail)
        for place in rng.integers(0, len(tail), 2):
            tail[place] ^= rng.integers(1, 256)
        yield replace(header, tail=bytes(tail))


@pytest.mark.parametrize("edit", [(5, 5, 1, 1), (40, 70, 20, 9), (120, 120, 8, 8)], ids=str)
def test_damage_is_in_the_blocks_that_were_edited(edit):
    row, column, height, width = edit
    marked = sealed(smooth((2, 128, 128)), localise=True)
    header = find_header(marked)
    assert not (~damage_of(marked, header, CONTENT).sound).any()
    hit = marked.copy()
    hit[1, row : row + height, column : column + width] ^= 4
    damage = damage_of(hit, header, CONTENT)
    expected = np.zeros((2, 128, 128), bool)
    expected[1, row : row + height, column : column + width] = True
    expected = expected.reshape(2, 8, 16, 8, 16).any(axis=(2, 4))
    np.testing.assert_array_equal(damage.altered, expected)
    assert not damage.unknown.any()


def test_damage_is_unknown_without_tags_and_to_other_keys():
    marked = sealed(smooth((1, 128, 128)), localise=True)
    header = find_header(marked)
    assert damage_of(marked, header, OTHER) is None
    assert damage_of(marked, replace(header, sound=False), CONTENT) is None
    plain = sealed(smooth((1, 128, 128)))
    assert damage_of(plain, find_header(plain), CONTENT) is None
    with pytest.raises(NotSealedError, match="nothing can be recovered"):
        recover_region(plain, find_header(plain), CONTENT)


def test_reduced_copies_show_what_stood_in_altered_blocks():
    planes = smooth((1, 256, 256), np.uint16, noise=2)
    marked = sealed(planes, localise=True, depth=12)
    hit = marked.copy()
    hit[:, 64:128, 64:128] = 0
    shown, known = recover_region(hit, find_header(hit), CONTENT)
    assert known[:, 64:128, 64:128].mean() > 0.9 and not known[:, :64].any()
    error = np.abs(shown.astype(int) - planes)[known]
    assert error.mean() < 5
    np.testing.assert_array_equal(shown[~known], hit[~known])


TEXTURES = {
    "all zero": lambda rng, shape, top: np.zeros(shape),
    "all max": lambda rng, shape, top: np.full(shape, top),
    "two values": lambda rng, shape, top: rng.choice([0, top], shape),
    "near two": lambda rng, shape, top: rng.choice([top // 2, top // 2 + 1], shape),
    "dark noise": lambda rng, shape, top: np.abs(rng.normal(0, 0.7, shape)),
    "bright noise": lambda rng, shape, top: top - np.abs(rng.normal(0, 0.7, shape)),
    "clipped gradient": lambda rng, shape, top: (
        np.indices(shape).sum(0) * rng.uniform(0.2, 3) - 20 + rng.normal(0, 0.3, shape)
    ),
    "gradient clipped above": lambda rng, shape, top: (
        top + 20 - np.indices(shape).sum(0) * rng.uniform(0.2, 3) + rng.normal(0, 0.3, shape)
    ),
    "noise": lambda rng, shape, top: top / 2 + rng.normal(0, rng.uniform(0, 8), shape),
    "wild noise": lambda rng, shape, top: rng.integers(0, top, shape, endpoint=True),
}
ROOMY = ("all zero", "all max", "near two", "dark noise", "bright noise")

drawn = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(DTYPES),
        "shape": st.tuples(st.sampled_from([1, 1, 2, 5]), st.integers(24, 90), st.integers(24, 90)),
        "texture": st.sampled_from(sorted(TEXTURES)),
        "depth": st.integers(2, 32),
        "seed": st.integers(0, 2**16),
        "localise": st.booleans(),
        "kept": st.sampled_from([0.0, 0.0, 0.1, 0.4, 1.0]),
        "changed": st.sampled_from([0.0, 0.0, 0.01, 0.1]),
    }
)


@given(drawn)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_can_be_sealed_returns_and_is_guarded(case):
    planes, depth, keep = made(case)
    change = allowed_change(planes, depth, keep, case["changed"])
    options = {"change": change, "localise": case["localise"], "keep": keep, "depth": depth}
    before = planes.copy()
    try:
        marked = sealed(planes, **options)
    except CapacityError as error:
        assert 0 <= error.available < error.needed
        roomy = case["texture"] in ROOMY and not (case["kept"] or case["localise"] or case["changed"])
        assert not roomy or planes.shape[1] * planes.shape[2] < 70 * 70
        marked = None
    np.testing.assert_array_equal(planes, before)
    if marked is None:
        return
    found = opened(marked)
    np.testing.assert_array_equal(found.planes, before, strict=True)
    np.testing.assert_array_equal(found.change, change)
    span = span_of(marked.dtype, depth)
    assert span.low <= marked.min() and marked.max() <= span.high
    if keep is not None:
        np.testing.assert_array_equal(marked[:, keep], before[:, keep])
    rng = np.random.default_rng(case["seed"])
    changed = flipped(marked, rng.integers(marked.size), bit=rng.integers(depth - 1))
    with pytest.raises(AlteredError):
        opened(changed)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24)),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.sampled_from(sorted(TEXTURES)),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tiny_planes_are_sealed_or_refused(shape, dtype, localise, texture):
    planes = textured(texture, 0, shape, dtype, 8)
    try:
        marked = sealed(planes, localise=localise)
    except CapacityError as error:
        assert 0 <= error.available < error.needed
        assert find_header(planes) is None
    else:
        np.testing.assert_array_equal(opened(marked).planes, planes, strict=True)


def textured(texture, seed, shape, dtype, depth):
    """Planes over the whole range that `depth` bits of `dtype` can store."""
    span = span_of(np.dtype(dtype), depth)
    values = TEXTURES[texture](np.random.default_rng(seed), shape, span.high - span.low)
    return (np.clip(np.round(values), 0, span.high - span.low).astype(np.int64) + span.low).astype(dtype)


def made(case):
    """Planes, how many bits their values use, and the region to keep."""
    dtype, shape = np.dtype(case["dtype"]), case["shape"]
    depth = min(case["depth"], 8 * dtype.itemsize)
    planes = textured(case["texture"], case["seed"], shape, dtype, depth)
    if not case["kept"]:
        return planes, depth, None
    keep = np.zeros(shape[1:], bool)
    keep[int((1 - case["kept"]) * shape[1]) :] = True
    return planes, depth, keep


@pytest.mark.parametrize("localise", [False, True])
def test_a_region_across_all_rows_leaves_the_columns_for_the_header(localise):
    planes, keep = smooth((1, 160, 160)), np.zeros((160, 160), bool)
    keep[:, 72:80] = True
    marked = sealed(planes, keep=keep, localise=localise)
    np.testing.assert_array_equal(marked[:, keep], planes[:, keep])
    assert find_header(marked).sound
    np.testing.assert_array_equal(opened(marked).planes, planes)
    with pytest.raises(AlteredError):
        opened(flipped(marked, 5, bit=1))
