"""Every file of the DICOM pack: decoded as its index says, or refused with the right error."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from intact.errors import InputError, NotAnImageError, UnreadableError
from intact.io import index, read, read_dicom, read_unit, write_dicom

pytestmark = pytest.mark.real

INDEX = Path(os.environ.get("INTACT_DATA", "")) / "dicom" / "index.csv"
ROWS = list(csv.DictReader(INDEX.read_text().splitlines())) if INDEX.is_file() else []

# What cannot be decoded by anyone: damaged, or without pixels although a class promises them.
UNREADABLE = {
    "broken/MR_truncated.dcm": "8,192 bytes .* expected .* 8,130 found",
    "broken/badVR.dcm": "Number of Frames .* '1A'",
    "broken/emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
    "broken/meta_missing_tsyntax.dcm": "Rows .* is missing",
    "broken/no_meta_group_length.dcm": "ends before its pixel data",
    "mixed/nested_priv_SQ.dcm": "Rows .* is missing",
    "mixed/priv_SQ.dcm": "ends before its pixel data",
}
IMAGES = [row["file"] for row in ROWS if row["file"] not in UNREADABLE and row["rows"]]
WITHOUT_PIXELS = [row["file"] for row in ROWS if row["file"] not in UNREADABLE and not row["rows"]]
LOSSLESS = ("RLE", "JPLL", "JLSL", "J2KR")
# Largest error of 12-bit lossy JPEG against the original, in stored values.
LOSSY_12_BIT = {"MR1": 128, "MR3": 55, "MR4": 40, "XA1": 116}


@pytest.fixture
def pack(data_folder):
    return data_folder / "dicom"


def test_the_index_was_found(pack):
    assert len(ROWS) == 219
    assert len(IMAGES) + len(WITHOUT_PIXELS) + len(UNREADABLE) == 219


@pytest.mark.parametrize("row", [row for row in ROWS if row["file"] in IMAGES], ids=lambda row: row["file"])
def test_an_image_has_the_listed_shape_and_depth(pack, row):
    image = read_dicom(pack / row["file"])
    frames = int(row["frames"] or 1)
    plane = (int(row["rows"]), int(row["columns"]))
    assert image.shape == (plane if frames == 1 else (frames, *plane))
    assert image.bits == int(row["bits_stored"] or 8 * image.pixels.itemsize)
    assert image.modality == row["modality"]
    listed = row["photometric"]
    decoded = {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB", "YBR_ICT": "RGB"}.get(listed, listed)
    assert image.photometric == decoded
    assert image.display().shape[: len(image.shape)] == image.shape


@pytest.mark.parametrize("file", WITHOUT_PIXELS)
def test_what_holds_no_pixels_is_no_image(pack, file):
    with pytest.raises(NotAnImageError, match="without pixels"):
        read_dicom(pack / file)


@pytest.mark.parametrize(("file", "reason"), UNREADABLE.items())
def test_what_is_damaged_says_how(pack, file, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_dicom(pack / file)


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in IMAGES
        if file.startswith("transfer_syntaxes/") and file.removesuffix(".dcm").endswith(LOSSLESS)
    ],
)
def test_lossless_variants_are_equal_to_the_original(pack, file):
    original = file.rpartition("_")[0] + "_UNC.dcm"
    if not (pack / original).exists():
        original = {"transfer_syntaxes/US1": "mixed/US1_UNCR.dcm"}[file.rpartition("_")[0]]
    stored, expected = read(pack / file), read(pack / original)
    np.testing.assert_array_equal(stored.pixels, expected.pixels, strict=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MR_small", "MR_small_RLE"),
        ("MR_small", "MR_small_bigendian"),
        ("MR_small", "MR_small_expb"),
        ("MR_small", "MR_small_implicit"),
        ("MR_small", "MR_small_jp2klossless"),
        ("MR_small", "MR_small_jpeg_ls_lossless"),
        ("MR_small", "MR_small_padded"),
        ("emri_small", "emri_small_RLE"),
        ("emri_small", "emri_small_big_endian"),
        ("emri_small", "emri_small_jpeg_2k_lossless"),
        ("emri_small", "emri_small_jpeg_ls_lossless"),
        ("OBXXXX1A", "OBXXXX1A_rle"),
        ("OBXXXX1A_2frame", "OBXXXX1A_rle_2frame"),
        ("SC_rgb_16bit_2frame", "SC_rgb_rle_16bit_2frame"),
        ("SC_rgb_32bit", "SC_rgb_rle_32bit"),
        ("SC_rgb_32bit", "SC_rgb_expb_32bit"),
        ("color-px", "color-pl"),
        ("US1_UNCR", "US1_J2KR"),
        ("rtdose", "rtdose_rle"),
        ("rtdose", "rtdose_expb"),
        ("liver", "liver_deflate"),
        ("liver", "liver_rle"),
        ("liver", "liver_j2k"),
        ("liver", "liver_expb"),
        ("liver_nonbyte_aligned", "liver_nonbyte_aligned_deflate"),
        ("liver_nonbyte_aligned", "liver_nonbyte_aligned_rle"),
        ("liver_nonbyte_aligned", "liver_nonbyte_aligned_j2k"),
    ],
)
def test_the_same_image_in_two_encodings_is_the_same(pack, one, other):
    first, second = (read(pack / "mixed" / f"{name}.dcm") for name in (one, other))
    np.testing.assert_array_equal(first.pixels, second.pixels, strict=True)
    np.testing.assert_array_equal(first.physical(), second.physical())


@pytest.mark.parametrize(("name", "largest"), LOSSY_12_BIT.items())
def test_12_bit_lossy_jpeg_is_close_to_the_original(pack, name, largest):
    folder = pack / "transfer_syntaxes"
    lossy, original = read(folder / f"{name}_JPLY.dcm"), read(folder / f"{name}_UNC.dcm")
    error = np.abs(lossy.pixels.astype(int) - original.pixels.astype(int))
    assert lossy.pixels.max() > 255
    assert error.max() <= largest
    assert error.mean() < 0.01 * original.pixels.max()


@pytest.mark.parametrize(
    ("series", "shape"),
    [
        ("series_ct_3slice", (3, 512, 512)),
        ("series_mr_adc_prostate", (20, 256, 256)),
        ("series_torchio", (17, 128, 88)),
    ],
)
def test_a_series_becomes_one_ordered_volume(pack, series, shape):
    (unit,) = index([pack / series])
    volume = read_unit(unit)
    assert volume.shape == shape
    slices = [read_dicom(source.path) for source in unit.sources]
    positions = np.array([plane.affine[:3, 3] for plane in slices])
    for plane, position in enumerate(positions):
        placed = volume.affine @ [0, 0, plane, 1]
        np.testing.assert_allclose(placed[:3], position, atol=0.05 * volume.spacing[0])
        np.testing.assert_array_equal(volume.pixels[plane], slices[plane].pixels, strict=True)


def test_the_index_holds_every_file_once(pack):
    found = index([pack])
    named = [s.name for one in found if hasattr(one, "sources") for s in one.sources]
    named += [one.name for one in found if hasattr(one, "reason")]
    files = [str(path) for path in pack.rglob("*") if path.is_file()]
    assert sorted(named) == sorted(files)


@pytest.mark.parametrize("compress", ["none", "rle", "jpeg-ls", "jpeg-2000"])
@pytest.mark.parametrize(
    "file",
    ["CT1_JPLL", "MR4_UNC", "NM1_RLE", "US1_RLE", "XA1_JPLL"],
)
def test_real_images_survive_being_written(pack, tmp_path, file, compress):
    image = read(pack / "transfer_syntaxes" / f"{file}.dcm")
    back = read(write_dicom(image, tmp_path / "a.dcm", compress=compress))
    np.testing.assert_array_equal(back.pixels, image.pixels, strict=True)
    assert (back.bits, back.photometric, back.spacing) == (
        image.bits,
        image.photometric,
        image.spacing,
    )
    assert back.identity.instance == image.identity.instance


def test_damage_of_any_kind_gives_an_input_error(pack):
    rng = np.random.default_rng(0)
    files = [
        pack / "mixed" / name
        for name in (
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "MR_small.dcm",
            "SC_rgb_jpeg_dcmtk.dcm",
            "SC_rgb_jpeg_gdcm.dcm",
            "emri_small_RLE.dcm",
            "liver_rle.dcm",
            "rtdose.dcm",
        )
    ]
    for round_ in range(180):
        data = bytearray(files[round_ % len(files)].read_bytes())
        for place in rng.integers(0, len(data), rng.choice([1, 20])):
            data[place] = rng.integers(256)
        try:
            read_dicom(bytes(data), name="damaged")
        except InputError:
            continue
