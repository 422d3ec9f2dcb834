import subprocess
from dataclasses import replace
from shutil import which

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_dicom import data_set, encoded, save, slices
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from intact.errors import OutputError, UsageError
from intact.image import Identity, Image, Scale, Window
from intact.io import read, read_dicom, write, write_dicom, write_series

RAMP12 = np.arange(4096, dtype=np.uint16).reshape(64, 64)
RAMP16 = np.arange(65536, dtype=np.uint16).reshape(256, 256)
CODECS = ["none", "rle", "jpeg-ls", "jpeg-2000"]
OBLIQUE = np.array([[0.7, 0, 0, -9.5], [0, 0.48, -2.0, 12], [0, 0.64, 1.5, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("compress", CODECS)
@pytest.mark.parametrize(
    ("ramp", "bits"),
    [
        (RAMP12, 12),
        (RAMP16, 16),
        ((RAMP16 - 32768).view(np.int16), 16),
        ((RAMP12.astype(np.int16) - 2048), 12),
    ],
    ids=["12", "16", "signed 16", "signed 12"],
)
def test_a_full_ramp_survives_every_codec(tmp_path, compress, ramp, bits):
    back = read(write_dicom(Image(ramp, bits=bits), tmp_path / "a.dcm", compress=compress))
    np.testing.assert_array_equal(back.pixels, ramp, strict=True)
    assert back.bits == bits


@settings(max_examples=40, deadline=None)
@given(
    compress=st.sampled_from(CODECS[:2]),
    pixels=st.sampled_from(["u1", "i1", "u2", "i2"]).flatmap(
        lambda dtype: arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9)))
    ),
    bits=st.integers(1, 16),
)
def test_any_value_survives_whatever_bits_were_promised(tmp_path_factory, compress, pixels, bits):
    image = Image(pixels, bits=bits)
    path = write_dicom(image, tmp_path_factory.mktemp("d") / "a.dcm", compress=compress)
    np.testing.assert_array_equal(read(path).pixels, pixels, strict=True)


@pytest.mark.parametrize("compress", CODECS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_survives_every_codec(tmp_path, compress, dtype):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, np.iinfo(dtype).max, (32, 40, 3), dtype=dtype)
    image = Image(colour, photometric="RGB")
    back = read(write_dicom(image, tmp_path / "a.dcm", compress=compress))
    np.testing.assert_array_equal(back.pixels, colour, strict=True)
    assert back.photometric == "RGB"


@pytest.mark.parametrize("compress", CODECS)
def test_all_other_elements_of_a_header_are_kept(tmp_path, compress):
    made = data_set(
        RAMP12,
        PatientID="P1",
        StudyDescription="Neuro",
        BitsStored=12,
        HighBit=11,
        RescaleSlope="2.50",
        RescaleIntercept="-1024",
    )
    made.add_new(0x00091001, "LO", "private")
    image = read_dicom(encoded(made))
    changed = replace(image, pixels=image.pixels[::-1])
    path = write_dicom(changed, tmp_path / "a.dcm", compress=compress)
    written = pydicom.dcmread(path)
    np.testing.assert_array_equal(written.pixel_array, RAMP12[::-1])
    for element in made:
        if element.keyword != "PixelData":
            assert written[element.tag] == element
    np.testing.assert_array_equal(image.pixels, RAMP12)  # the image itself is not changed


def test_values_beyond_the_promised_bits_raise_bits_stored(tmp_path):
    image = read_dicom(encoded(data_set(RAMP12, BitsStored=12, HighBit=11)))
    bigger = replace(image, pixels=image.pixels + 1000)
    back = read(write(bigger, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(back.pixels, bigger.pixels)
    assert back.bits == 13


@pytest.mark.parametrize("compress", ["none", "rle"])
def test_big_endian_headers_are_kept_and_their_tables_still_mean_the_same(tmp_path, compress):
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new(0x00283006, "OW", (RAMP12.ravel() * 3).astype(">u2").tobytes())
    made = data_set(RAMP12, PixelData=RAMP12.astype(">u2").tobytes(), ModalityLUTSequence=[table])
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image = read_dicom(encoded(made))
    np.testing.assert_array_equal(image.physical(), RAMP12 * np.float32(3))
    back = read(write_dicom(image, tmp_path / "a.dcm", compress=compress))
    np.testing.assert_array_equal(back.pixels, RAMP12, strict=True)
    np.testing.assert_array_equal(back.physical(), image.physical())


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image(RAMP12, modality="CT", affine=np.eye(4), spacing=(1, 1)), CTImageStorage),
        (Image(RAMP12, modality="MR", affine=np.eye(4), spacing=(1, 1)), MRImageStorage),
        (Image(RAMP12, modality="DX", spacing=(0.1, 0.1)), DigitalXRayImageStorageForPresentation),
        (Image(RAMP12, modality="CT"), SecondaryCaptureImageStorage),
        (Image(RAMP12), SecondaryCaptureImageStorage),
    ],
)
def test_a_new_instance_has_the_class_it_can_fill(tmp_path, image, expected):
    path = write(image, tmp_path / "a.dcm")
    written = pydicom.dcmread(path)
    assert written.SOPClassUID == written.file_meta.MediaStorageSOPClassUID == expected
    assert written.PatientID == "ANONYMOUS"
    assert written.StudyInstanceUID.is_valid
    assert written.PatientBirthDate == ""
    if which("dcmdump"):
        dumped = subprocess.run(["dcmdump", "-q", path], capture_output=True, text=True)
        assert (dumped.returncode, dumped.stderr) == (0, "")


def test_a_new_instance_keeps_identity_scale_windows_and_padding(tmp_path):
    image = Image(
        RAMP12.astype(np.int16) - 2048,
        modality="CT",
        spacing=(0.5, 0.25),
        affine=np.eye(4),
        scale=Scale(1.5, -1024.0, unit="HU"),
        windows=(Window(40, 400), Window(-600, 1500)),
        padding=(-2048.0, -2000.0),
        bits=12,
        identity=Identity(study="1.2", series="1.3", instance="1.4", patient="P7"),
    )
    back = read(write(image, tmp_path / "a.dcm"))
    assert (back.scale, back.windows, back.padding) == (image.scale, image.windows, image.padding)
    assert replace(back.identity, path="") == image.identity
    assert back.spacing == image.spacing


def test_palette_images(tmp_path):
    palette = np.random.default_rng(0).integers(0, 256, (7, 3), dtype=np.uint8)
    indices = np.random.default_rng(0).integers(0, 7, (9, 9), dtype=np.uint8)
    image = Image(indices, photometric="PALETTE COLOR", palette=palette)
    back = read(write(image, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(back.display(), palette[indices])


@pytest.mark.parametrize("compress", CODECS)
def test_a_volume_becomes_a_series_that_reads_back_as_it(tmp_path, compress):
    rng = np.random.default_rng(0)
    volume = Image(
        rng.integers(-1000, 3000, (4, 32, 40)).astype(np.int16),
        modality="CT",
        spacing=(2.5, 0.8, 0.7),
        affine=OBLIQUE,
        scale=Scale(1.0, -1024.0, unit="HU"),
    )
    paths = write_series(volume, tmp_path / "series", compress=compress)
    assert [path.name for path in paths] == ["0001.dcm", "0002.dcm", "0003.dcm", "0004.dcm"]
    back = read(tmp_path / "series")
    np.testing.assert_array_equal(back.pixels, volume.pixels, strict=True)
    np.testing.assert_allclose(back.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(back.spacing, volume.spacing, rtol=1e-6)
    written = [pydicom.dcmread(path) for path in paths]
    assert len({one.SOPInstanceUID for one in written}) == 4
    assert len({one.SeriesInstanceUID for one in written}) == 1
    assert len({one.FrameOfReferenceUID for one in written}) == 1
    assert [one.InstanceNumber for one in written] == [1, 2, 3, 4]


def test_a_series_read_from_dicom_keeps_its_header_in_every_plane(tmp_path):
    made = slices(3, StudyDescription="Neuro")
    for slope, one in enumerate(made, 1):
        one.RescaleSlope, one.RescaleIntercept = slope, 0
    save(made, tmp_path / "in")
    volume = read(tmp_path / "in")
    np.testing.assert_array_equal(volume.scale.slope, [1, 2, 3])
    paths = write_series(volume, tmp_path / "out")
    assert {pydicom.dcmread(path).StudyDescription for path in paths} == {"Neuro"}
    back = read(tmp_path / "out")
    np.testing.assert_array_equal(back.pixels, volume.pixels, strict=True)
    np.testing.assert_array_equal(back.scale.slope, [1, 2, 3])
    np.testing.assert_allclose(back.affine, volume.affine)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image(np.zeros((3, 4, 5), np.uint16)), "write_series"),
        (Image(np.zeros((4, 5), np.float32)), "float32"),
        (Image(np.zeros((4, 5), np.int32)), "int32"),
    ],
)
def test_what_a_new_instance_cannot_hold_is_refused(tmp_path, image, reason):
    with pytest.raises(UsageError, match=reason):
        write(image, tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []


def test_32_bits_are_refused_by_the_codecs_but_not_uncompressed(tmp_path):
    image = read_dicom(encoded(data_set(RAMP16.astype(np.uint32) * 65537)))
    np.testing.assert_array_equal(read(write(image, tmp_path / "a.dcm")).pixels, image.pixels)
    with pytest.raises(UsageError, match="8 or 16 bits"):
        write_dicom(image, tmp_path / "b.dcm", compress="jpeg-ls")


def test_a_missing_folder_is_told_and_an_old_file_survives_a_failure(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        write(Image(RAMP12), tmp_path / "missing" / "a.dcm")
    path = write(Image(RAMP12), tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(UsageError):
        write(Image(RAMP12.astype(np.float32)), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]
