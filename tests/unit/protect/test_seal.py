"""Sealing an `Image`: whatever it shows, its stored values return, and every change has a name."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from intact.errors import (
    AlreadySealedError,
    AlteredError,
    CapacityError,
    InputError,
    NotSealedError,
    UnsealableError,
    UsageError,
    WrongKeyError,
)
from intact.image import Identity, Image, Scale
from intact.protect import Key, restore, seal, verify
from intact.protect.header import Header
from intact.protect.seal import Verdict, planes_of, state_of, with_planes

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))


def waves(*shape, dtype=np.uint8, seed=0, noise=1.0, middle=100):
    """Smooth planes with a little noise, of any shape."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape[:2] if shape[-1] == 3 else shape[-2:])
    plane = middle + 20 * np.sin(x / 9) + 15 * np.cos(y / 7)
    plane = plane[..., None] if shape[-1] == 3 else plane
    return (plane + rng.normal(0, noise, shape)).round().astype(dtype)


def palette():
    return np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)


IMAGES = {
    "grey": Image(waves(80, 90)),
    "12 of 16 bits": Image(waves(80, 90, dtype=np.uint16, middle=2000), bits=12, modality="CT"),
    "signed, 12 bits": Image(waves(80, 90, dtype=np.int16, middle=-900), bits=12, scale=Scale(1.0, -1024.0)),
    "MONOCHROME1": Image(waves(80, 90, dtype=np.uint16), photometric="MONOCHROME1", bits=10),
    "colour": Image(waves(80, 90, 3), photometric="RGB"),
    "YBR": Image(waves(80, 90, 3), photometric="YBR_FULL"),
    "palette": Image(waves(80, 90), photometric="PALETTE COLOR", palette=palette()),
    "multi-frame": Image(waves(6, 80, 90, dtype=np.uint16), bits=12),
    "colour frames": Image(waves(70, 80, 3)[None].repeat(4, axis=0), photometric="RGB"),
    "time series": Image(waves(3, 4, 40, 44, dtype=np.int16, noise=3), spacing=(2.0, 1.0, 1.0)),
    "32 bits": Image(waves(80, 90, dtype=np.uint32, middle=3e9)),
    "one bit": Image((waves(90, 90, noise=0.1) > 125).astype(np.uint8), bits=1),
    "a black frame": Image(np.pad(waves(60, 60), 30), bits=8),
}
every_kind = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def edited(image, *place, by=1):
    pixels = image.pixels.copy()
    pixels[place] += by
    return replace(image, pixels=pixels)


@every_kind
def test_every_stored_value_returns(image):
    before = image.pixels.copy()
    sealed = seal(image, KEY)
    assert (sealed.pixels != before).any()
    assert sealed.pixels.dtype == image.pixels.dtype and sealed.shape == image.shape
    restored = restore(sealed, KEY)
    np.testing.assert_array_equal(restored.pixels, before, strict=True)
    np.testing.assert_array_equal(image.pixels, before)
    assert verify(sealed, KEY) == Verdict("sound") and verify(sealed, KEY).sound


@every_kind
def test_values_stay_within_the_bits(image):
    sealed = seal(image, KEY).pixels
    low, high = 0, 2**image.bits - 1
    if image.pixels.dtype.kind == "i":
        low, high = -(2 ** (image.bits - 1)), 2 ** (image.bits - 1) - 1
    assert low <= sealed.min() and sealed.max() <= high


@every_kind
def test_all_but_the_pixels_stays_as_it_is(image):
    described = replace(image, identity=Identity(path="a.dcm", patient="P7"), notes=("assumed",))
    sealed = seal(described, KEY)
    for field in fields(Image):
        if field.name != "pixels":
            assert getattr(sealed, field.name) is getattr(described, field.name)


@every_kind
def test_planes_come_back_as_pixels(image):
    planes = planes_of(image)
    assert planes.shape == (image.planes * (3 if image.colour else 1), *image.shape[-2:])
    np.testing.assert_array_equal(with_planes(image, planes).pixels, image.pixels, strict=True)


def test_a_sealed_image_looks_as_before():
    image = IMAGES["12 of 16 bits"]
    assert np.abs(seal(image, KEY).pixels.astype(int) - image.pixels).max() <= 1


@pytest.mark.parametrize(
    ("above", "below"),
    [(4095, 0), (0, 4095), (4095, 4095), (0, 0), (-2048, 2047), (2047, 2047), (-2048, -2048)],
)
def test_values_at_the_ends_of_the_bits_do_not_leave_them(above, below):
    signed = above < 0 or below == 2047
    pixels = np.full((100, 90), above, np.int16 if signed else np.uint16)
    pixels[50:] = below
    image = Image(pixels, bits=12)
    low, high = (-2048, 2047) if signed else (0, 4095)
    sealed = seal(image, KEY)
    assert low <= sealed.pixels.min() < sealed.pixels.max() <= high
    np.testing.assert_array_equal(restore(sealed, KEY).pixels, image.pixels)


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [(waves(80, 90), 4), (waves(80, 90, dtype=np.int16, middle=-900), 8), (waves(80, 90), 12)],
    ids=["values beyond the bits", "signed ones", "more bits than there are"],
)
def test_a_header_that_is_wrong_about_the_bits_does_no_harm(pixels, bits):
    top = np.iinfo(pixels.dtype).max
    pixels[20:40] = top
    image = Image(pixels, bits=bits)
    np.testing.assert_array_equal(restore(seal(image, KEY), KEY).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint64, bool])
def test_what_cannot_carry_bits_is_refused(dtype):
    with pytest.raises(UnsealableError, match=r"integers of up to 32 bits.*envelope as carrier"):
        seal(Image(waves(80, 80).astype(dtype), identity=Identity(path="a.nii")), KEY)
    with pytest.raises(NotSealedError):
        restore(Image(waves(80, 80).astype(dtype)), KEY)


@pytest.mark.parametrize("localise", [False, True])
def test_an_image_is_not_sealed_twice(localise):
    sealed = seal(IMAGES["grey"], KEY, localise=localise)
    for key in (KEY, OTHER):
        with pytest.raises(AlreadySealedError, match="restore it first"):
            seal(sealed, key)
    restored = restore(sealed, KEY)
    np.testing.assert_array_equal(restore(seal(restored, KEY), KEY).pixels, restored.pixels)


@pytest.mark.parametrize("shape", [(80, 89), (90, 80), (80,), (2, 80, 90), (80, 90, 3)])
def test_a_region_of_another_size_is_refused(shape):
    with pytest.raises(UsageError, match=r"shape .* the image \(80, 90\): give a mask of the image's own"):
        seal(IMAGES["grey"], KEY, keep=np.zeros(shape, bool))


def test_a_region_is_kept_in_every_plane():
    image, keep = IMAGES["multi-frame"], np.zeros((6, 80, 90), bool)
    keep[1, 10:20, 10:20], keep[5, 60:64, 60:64] = True, True
    for given in (keep, keep.any(axis=0)):
        sealed = seal(image, KEY, keep=given)
        np.testing.assert_array_equal(sealed.pixels[:, keep.any(0)], image.pixels[:, keep.any(0)])
        np.testing.assert_array_equal(restore(sealed, KEY).pixels, image.pixels)
    colour, keep = IMAGES["colour"], keep.any(axis=0)
    sealed = seal(colour, KEY, keep=keep)
    np.testing.assert_array_equal(sealed.pixels[keep], colour.pixels[keep])
    np.testing.assert_array_equal(restore(sealed, KEY).pixels, colour.pixels)


def test_too_small_an_image_is_refused_by_name():
    with pytest.raises(CapacityError, match=r"^a\.png: .* envelope carry the seal$"):
        seal(Image(waves(16, 16), identity=Identity(path="a.png")), KEY)


def test_what_is_not_sealed_is_told():
    image = replace(IMAGES["grey"], identity=Identity(path="a.png"))
    with pytest.raises(NotSealedError, match=r"^a\.png: carries no seal, or lost it"):
        restore(image, KEY)
    assert verify(image, KEY).state == "not sealed"


def test_another_key_is_told():
    sealed = seal(IMAGES["grey"], KEY)
    with pytest.raises(WrongKeyError, match="sealed for other keys"):
        restore(sealed, OTHER)
    verdict = verify(sealed, OTHER)
    assert (verdict.state, verdict.sound, verdict.damage) == ("wrong key", False, None)


@pytest.mark.parametrize("localise", [False, True])
def test_any_change_is_told(localise):
    image = Image(waves(96, 112))
    sealed = seal(image, KEY, localise=localise)
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, 96, 20), rng.integers(0, 112, 20), strict=True):
        hit = edited(sealed, row, column)
        with pytest.raises(AlteredError, match="pixels were changed"):
            restore(hit, KEY)
        verdict = verify(hit, KEY)
        assert verdict.state == "pixels" and (verdict.damage is not None) == localise


def test_any_bit_of_the_header_is_told_as_a_change_of_pixels():
    """Also one of the salt, which makes every key look like a wrong one."""
    sealed = seal(IMAGES["grey"], KEY)
    for place in range(8 * Header.SIZE):
        pixels = sealed.pixels.copy()
        pixels.ravel()[place] ^= 1
        hit = replace(sealed, pixels=pixels)
        with pytest.raises(AlteredError):
            restore(hit, KEY)
        assert verify(hit, KEY).state == "pixels"


@pytest.mark.parametrize("change", ["crop", "flip", "resize", "smooth", "shift values", "other type"])
def test_what_was_processed_is_never_restored(change):
    sealed = seal(Image(waves(96, 96)), KEY).pixels
    processed = {
        "crop": sealed[:90, :90],
        "flip": sealed[:, ::-1],
        "resize": sealed[::2, ::2],
        "smooth": ((sealed.astype(int) + np.roll(sealed, 1, 0)) // 2).astype(np.uint8),
        "shift values": sealed + 2,
        "other type": sealed.astype(np.uint16),
    }[change]
    with pytest.raises((AlteredError, NotSealedError)):
        restore(Image(np.ascontiguousarray(processed)), KEY)
    assert verify(Image(processed), KEY).state in ("pixels", "not sealed")


@pytest.mark.parametrize(
    "edit",
    [(slice(3, 4), slice(5, 6)), (slice(40, 60), slice(70, 75)), (slice(112, 128), slice(0, 144))],
    ids=["a pixel", "a spot", "the last rows"],
)
def test_damage_names_exactly_the_edited_blocks(edit):
    image = Image(waves(4, 128, 144, dtype=np.uint16, noise=2), bits=12)
    sealed = seal(image, KEY, localise=True)
    touched = np.zeros(sealed.pixels.shape, bool)
    touched[2][edit] = True
    damage = verify(replace(sealed, pixels=sealed.pixels + touched), KEY).damage
    expected = touched.reshape(4, 8, 16, 9, 16).any(axis=(2, 4))
    np.testing.assert_array_equal(damage.altered, expected)
    assert damage.sound.sum() == damage.altered.size - expected.sum()


def test_swapped_blocks_and_frames_do_not_pass():
    image = Image(np.stack([waves(96, 96, noise=0.4)] * 2), bits=8)
    sealed = seal(image, KEY, localise=True)
    swapped = replace(sealed, pixels=sealed.pixels[::-1].copy())
    with pytest.raises(AlteredError):
        restore(swapped, KEY)
    pixels = sealed.pixels.copy()
    pixels[0, 64:80, :16], pixels[0, 64:80, 32:48] = (
        pixels[0, 64:80, 32:48].copy(),
        pixels[0, 64:80, :16].copy(),
    )
    damage = verify(replace(sealed, pixels=pixels), KEY).damage
    assert damage.altered[0, 4, 0] and damage.altered[0, 4, 2] and damage.altered.sum() == 2


def test_colour_damage_is_in_the_channel_that_was_edited():
    sealed = seal(Image(waves(128, 128, 3), photometric="RGB"), KEY, localise=True)
    damage = verify(edited(sealed, 70, 20, 1, by=9), KEY).damage
    assert np.argwhere(damage.altered).tolist() == [[1, 4, 1]]


def test_states_are_named_for_every_error():
    assert [
        state_of(error)
        for error in (
            AlteredError("a", "b", "resized"),
            WrongKeyError("a", "b"),
            NotSealedError("a", "b"),
            InputError("a", "b"),
        )
    ] == ["resized", "wrong key", "not sealed", "unreadable"]
