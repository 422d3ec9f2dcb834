"""The digest of pixels depends on what they are, not on how a file holds them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from intact.data.phantom import brain_mr
from intact.digest import pixel_digest
from intact.image import Image
from intact.io import read_dicom, write_dicom

RNG = np.random.default_rng(0)
GREY = Image(RNG.integers(0, 4096, (5, 7)).astype(np.uint16), bits=12)


def test_it_is_what_it_says():
    about = b"5 7 1 12 unsigned 1 MONOCHROME2\0"
    assert pixel_digest(GREY) == hashlib.sha256(about + GREY.pixels.astype("<u2").tobytes()).hexdigest()


@pytest.mark.parametrize("dtype", [">u2", "<u4", ">u8"])
def test_byte_order_and_wider_allocation_do_not_matter(dtype):
    assert pixel_digest(replace(GREY, pixels=GREY.pixels.astype(dtype))) == pixel_digest(GREY)


def test_neither_does_the_order_in_memory():
    assert pixel_digest(replace(GREY, pixels=np.asfortranarray(GREY.pixels))) == pixel_digest(GREY)
    assert pixel_digest(replace(GREY, pixels=GREY.pixels[None])) == pixel_digest(GREY)  # one frame


@pytest.mark.parametrize(
    "other",
    [
        replace(GREY, bits=16),
        replace(GREY, photometric="MONOCHROME1"),
        replace(GREY, pixels=GREY.pixels.astype(np.int16)),
        replace(GREY, pixels=GREY.pixels.astype(np.float32)),
        replace(GREY, pixels=GREY.pixels.reshape(7, 5)),
        replace(GREY, pixels=np.stack([GREY.pixels] * 2)),
        replace(GREY, pixels=GREY.pixels ^ (np.arange(35).reshape(5, 7) == 20)),
    ],
)
def test_everything_else_does(other):
    assert pixel_digest(other) != pixel_digest(GREY)


def test_values_beyond_the_bits_stored_count_in_full():
    one = Image(np.array([[0, 300]], np.uint16), bits=8)
    other = replace(one, pixels=np.array([[0, 300 - 256]], np.uint16))
    assert pixel_digest(one) != pixel_digest(other)


def test_a_file_written_and_read_again_has_the_same(tmp_path):
    image = brain_mr(1, shape=(1, 32, 32))[0]
    assert pixel_digest(read_dicom(write_dicom(image, tmp_path / "a.dcm"))) == pixel_digest(image)
