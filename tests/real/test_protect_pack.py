"""Every file of the DICOM pack that can be decoded is sealed and returns byte for byte."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from intact.errors import CapacityError, InputError, NotAnImageError, UnreadableError, UnsealableError
from intact.io import read_dicom
from intact.protect import Key, restore, restore_file, seal_file, verify_file

pytestmark = pytest.mark.real

INDEX = Path(os.environ.get("INTACT_DATA", "")) / "dicom" / "index.csv"
FILES = [row["file"] for row in csv.DictReader(INDEX.read_text().splitlines())] if INDEX.is_file() else []
KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
# Too small for a seal in the pixels, or of floating point: their envelope carries it.
BY_ENVELOPE = {
    "mixed/SC_rgb_small_odd.dcm",
    "mixed/SC_rgb_small_odd_jpeg.dcm",
    "mixed/parametric_map_double_float.dcm",
    "mixed/parametric_map_float.dcm",
    "mixed/rtdose_1frame.dcm",
    "mixed/rtdose_expb_1frame.dcm",
    "mixed/rtdose_rle_1frame.dcm",
}


@pytest.fixture
def pack(data_folder):
    return data_folder / "dicom"


@pytest.mark.parametrize("file", FILES)
def test_every_image_returns_byte_for_byte(pack, file):
    original = (pack / file).read_bytes()
    try:
        image = read_dicom(original)
    except (NotAnImageError, UnreadableError) as error:
        with pytest.raises(type(error)):
            seal_file(original, file, KEY)
        return
    carrier = "envelope" if file in BY_ENVELOPE else "pixels"
    if carrier == "envelope":
        with pytest.raises((CapacityError, UnsealableError), match="envelope"):
            seal_file(original, file, KEY)
    sealed, name = seal_file(original, Path(file).name, KEY, carrier=carrier)
    assert restore_file(sealed, "sealed", KEY) == (original, name)
    assert verify_file(sealed, name, OTHER).state == "wrong key"
    found = read_dicom(sealed)
    if carrier == "pixels":
        np.testing.assert_array_equal(restore(found, KEY).pixels, image.pixels, strict=True)
    assert (found.shape, found.photometric, found.spacing) == (image.shape, image.photometric, image.spacing)
    header = pydicom.dcmread(io.BytesIO(sealed), force=True)  # some originals lack the preamble
    assert header.ImageType[0] == "DERIVED"


@pytest.mark.parametrize("file", FILES[::8])
def test_no_changed_byte_passes(pack, file):
    original = (pack / file).read_bytes()
    try:
        sealed, name = seal_file(original, file, KEY, carrier="envelope" if file in BY_ENVELOPE else "pixels")
    except (NotAnImageError, UnreadableError):
        return
    for place in np.random.default_rng(0).integers(0, len(sealed), 10):
        hit = bytearray(sealed)
        hit[place] ^= 1 + place % 255
        with pytest.raises(InputError):
            restore_file(bytes(hit), name, KEY)


def test_the_pack_was_found(pack):
    assert len(FILES) == 219 and set(FILES) >= BY_ENVELOPE
