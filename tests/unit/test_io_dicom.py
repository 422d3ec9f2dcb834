import warnings
import zlib

import numpy as np
import pytest
from jpeg_ls import encode_array
from made_dicom import data_set, encoded
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRBigEndian, JPEGLSLossless

from intact.errors import NotAnImageError, UnreadableError
from intact.image import Image, Window
from intact.io import limits, read, read_dicom, write_dicom
from intact.io.gdcm_frame import Layout, decode_frame_apart

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def item(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def read_made(pixels=RAMP, **elements):
    return read_dicom(encoded(data_set(pixels, **elements)), name="made.dcm")


def noted(image, words):
    return any(words in note for note in image.notes)


def test_stored_values_and_their_meaning():
    image = read_made(
        BitsStored=12,
        HighBit=11,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        RescaleType="HU",
        WindowCenter=[40, -600],
        WindowWidth=[400, 1500],
        VOILUTFunction="SIGMOID",
        PatientID="P1",
    )
    np.testing.assert_array_equal(image.pixels, RAMP, strict=True)
    assert image.bits == 12
    assert (image.scale.slope, image.scale.intercept, image.scale.unit) == (2, -1024, "HU")
    assert image.windows == (Window(40, 400, "SIGMOID"), Window(-600, 1500, "SIGMOID"))
    assert image.spacing == (0.8, 0.7)
    assert (image.identity.study, image.identity.series) == ("1.2.3", "1.2.3.4")
    assert image.identity.patient == "P1"
    assert image.identity.path == "made.dcm"
    assert image.notes == ()


def test_the_affine_maps_column_row_plane_to_the_patient():
    image = read_made(
        ImagePositionPatient=[10, 20, 30],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        SliceThickness=5,
    )
    np.testing.assert_allclose(image.affine @ [2, 3, 0, 1], [10, 20 + 2 * 0.7, 30 - 3 * 0.8, 1])
    np.testing.assert_allclose(image.affine[:3, 2], np.cross([0, 1, 0], [0, 0, -1]) * 5)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelPaddingValue": -2000}, (-2000, -2000)),
        ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1900}, (-2000, -1900)),
        ({}, None),
    ],
)
def test_padding_is_signed_like_the_pixels(elements, expected):
    assert read_made(RAMP.astype(np.int16) - 2000, **elements).padding == expected


def test_padding_stored_as_unsigned_although_pixels_are_signed():
    made = data_set(RAMP.astype(np.int16), PixelPaddingValue=0)
    made["PixelPaddingValue"].VR = "US"
    made["PixelPaddingValue"].value = 63536
    assert read_dicom(encoded(made)).padding == (-2000, -2000)


def test_signed_values_in_fewer_bits_are_sign_extended():
    stored = np.array([[0x0FFF, 0x0800], [0x07FF, 0]], np.uint16)
    image = read_made(stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(image.pixels, np.array([[-1, -2048], [2047, 0]], np.int16))


def test_modality_table_and_voi_table():
    table, voi = Dataset(), Dataset()
    table.add_new(0x00283002, "US", [4, 0, 16])
    table.add_new(0x00283006, "US", [0, 100, 1000, 60000])
    voi.add_new(0x00283002, "US", [3, 5, 12])
    voi.add_new(0x00283006, "OW", np.array([0, 2048, 4095], "<u2").tobytes())
    image = read_made(
        np.array([[0, 1], [2, 3]], np.uint16), ModalityLUTSequence=[table], VOILUTSequence=[voi]
    )
    np.testing.assert_array_equal(image.physical(), [[0, 100], [1000, 60000]])
    assert (image.voi.first, image.voi.bits, list(image.voi.values)) == (5, 12, [0, 2048, 4095])


def test_planar_colour_is_interleaved():
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    made = data_set(
        colour,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=1,
        PixelData=colour.transpose(2, 0, 1).tobytes(),
    )
    made["PixelData"].VR = "OB"
    image = read_dicom(encoded(made))
    np.testing.assert_array_equal(image.pixels, colour, strict=True)


def test_uncompressed_ybr_stays_ybr_and_shows_as_rgb():
    grey = np.full((2, 2, 3), 128, np.uint8)
    grey[..., 0] = [[0, 255], [10, 20]]
    image = read_made(grey, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
    assert image.photometric == "YBR_FULL"
    np.testing.assert_array_equal(image.pixels, grey)
    np.testing.assert_array_equal(image.display(), np.repeat(grey[..., :1], 3, axis=-1))


def test_a_palette_image_keeps_indices():
    colours = np.random.default_rng(0).integers(0, 65536, (256, 3), dtype=np.uint16)
    tables = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, channel].tobytes()
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read_made(indices, PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_array_equal(image.pixels, indices, strict=True)
    np.testing.assert_array_equal(image.palette, colours, strict=True)


def test_enhanced_frames_have_their_own_place_and_scale():
    frames = np.stack([RAMP, RAMP, RAMP])
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, -4.0 * k])],
            PixelValueTransformationSequence=[item(RescaleSlope=k + 1, RescaleIntercept=0, RescaleType="US")],
            FrameVOILUTSequence=[item(WindowCenter=10 * k, WindowWidth=100)],
        )
        for k in range(3)
    ]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    image = read_made(
        RAMP,
        NumberOfFrames=3,
        PixelData=frames.tobytes(),
        PixelSpacing=None,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
    )
    assert image.shape == (3, 64, 64)
    assert image.spacing == (4.0, 0.5, 0.25)
    np.testing.assert_allclose(image.affine @ [4, 2, 2, 1], [1, 1, -8, 1])
    np.testing.assert_array_equal(image.scale.slope, [1, 2, 3])
    np.testing.assert_array_equal(image.physical()[2], RAMP * 3)
    assert [window.center for window in image.windows] == [0, 10, 20]


def test_dose_is_in_gray_and_its_planes_follow_the_offsets():
    doses = np.arange(24, dtype=np.uint32).reshape(4, 3, 2)
    image = read_made(
        doses[0],
        NumberOfFrames=4,
        PixelData=doses.tobytes(),
        Modality="RTDOSE",
        DoseGridScaling="0.001",
        DoseUnits="GY",
        GridFrameOffsetVector=[0, 3, 6, 9],
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    assert image.scale.unit == "Gy"
    assert image.spacing == (3.0, 0.8, 0.7)
    np.testing.assert_allclose(image.physical(), doses * 0.001, rtol=1e-6)


def test_float_pixels_keep_nan():
    pixels = np.array([[0.5, np.nan]], np.float32)
    made = data_set(pixels, BitsStored=None, HighBit=None, PixelRepresentation=None, PixelData=None)
    made.FloatPixelData = pixels.tobytes()
    image = read_dicom(encoded(made))
    np.testing.assert_array_equal(image.pixels, pixels, strict=True)


def test_one_bit_masks_are_unpacked():
    mask = np.random.default_rng(0).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    made = data_set(
        mask[0],
        NumberOfFrames=3,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=np.packbits(mask, bitorder="little").tobytes(),
    )
    image = read_dicom(encoded(made))
    np.testing.assert_array_equal(image.pixels, mask, strict=True)
    assert image.bits == 1


def test_frames_deflated_one_by_one():
    def deflated(frame):
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(frame.tobytes()) + packer.flush()

    made = data_set(RAMP, NumberOfFrames=2, PixelData=encapsulate([deflated(RAMP), deflated(RAMP[::-1])]))
    made.file_meta.TransferSyntaxUID = JPEGLSLossless
    made["PixelData"].is_undefined_length = True
    data = encoded(made).replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.8.1\0")
    image = read_dicom(data)
    np.testing.assert_array_equal(image.pixels, np.stack([RAMP, RAMP[::-1]]), strict=True)


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("PixelSpacing", "Pixel Spacing (0028,0030) is missing"),
        ("BitsAllocated", "Bits Allocated (0028,0100) is missing; 16 was assumed"),
        ("BitsStored", "Bits Stored (0028,0101) is missing; 16 was assumed"),
        ("PixelRepresentation", "Pixel Representation (0028,0103) is missing; 0 was assumed"),
        ("SamplesPerPixel", "Samples per Pixel (0028,0002) is missing; 1 was assumed"),
        ("PhotometricInterpretation", "MONOCHROME2 was assumed"),
    ],
)
def test_what_can_be_inferred_is_and_a_note_says_so(keyword, words):
    image = read_made(**{keyword: None})
    np.testing.assert_array_equal(image.pixels, RAMP, strict=True)
    assert noted(image, words)


def test_detector_spacing_is_noted():
    image = read_made(PixelSpacing=None, ImagerPixelSpacing=[0.14, 0.14])
    assert image.spacing == (0.14, 0.14)
    assert noted(image, "at the detector")


def test_a_slope_of_zero_does_not_flatten_the_image():
    image = read_made(RescaleSlope=0, RescaleIntercept=0)
    np.testing.assert_array_equal(image.physical(), RAMP)
    assert noted(image, "Rescale Slope (0028,1053) is 0")


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_without_rows_or_columns_nothing_is_guessed(keyword):
    with pytest.raises(UnreadableError, match=f"{keyword} .* is missing"):
        read_made(**{keyword: None})


def test_without_preamble_and_meta_information():
    image = read_dicom(encoded(data_set(RAMP), plain=True))
    np.testing.assert_array_equal(image.pixels, RAMP, strict=True)
    assert noted(image, "Transfer Syntax UID (0002,0010) is missing; Implicit VR")


def test_meta_information_without_transfer_syntax():
    data = encoded(data_set(RAMP))
    place = data.index(b"\x02\x00\x10\x00UI")
    length = 8 + int.from_bytes(data[place + 6 : place + 8], "little")
    assert data[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    size = int.from_bytes(data[140:144], "little") - length
    cut = data[:140] + size.to_bytes(4, "little") + data[144:place] + data[place + length :]
    image = read_dicom(cut)
    np.testing.assert_array_equal(image.pixels, RAMP, strict=True)
    assert noted(image, "Transfer Syntax UID (0002,0010) is missing; Explicit VR")


@pytest.mark.parametrize("left", [0.999, 0.6, 0.05])
def test_a_truncated_file_is_unreadable(left):
    data = encoded(data_set(RAMP))
    with pytest.raises(UnreadableError, match="truncated"):
        read_dicom(data[: int(left * len(data))])


@pytest.mark.parametrize("part", [0.5, 1.0])
@pytest.mark.parametrize("codec", ["rle", "jpeg-ls", "jpeg-2000"])
def test_a_truncated_compressed_file_is_unreadable(tmp_path, codec, part):
    data = write_dicom(Image(RAMP), tmp_path / "a.dcm", compress=codec).read_bytes()
    with pytest.raises(UnreadableError, match="ends before its pixel data"):
        read_dicom(data[: int(part * len(data)) - 20])


def test_the_length_of_pixel_data_is_told_when_it_is_wrong():
    with pytest.raises(UnreadableError, match=r"8,192 bytes .* expected .* 8,000 found"):
        read_made(PixelData=RAMP.tobytes()[:8000])


def test_more_data_than_pixels_is_noted():
    assert noted(read_made(PixelData=RAMP.tobytes() + bytes(64)), "64 bytes after the last pixel")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"is empty \(0 bytes\)"):
        read(tmp_path / "a.dcm")


def test_a_report_is_no_image_and_is_named():
    made = data_set(
        RAMP,
        PixelData=None,
        Rows=None,
        Columns=None,
        Modality="SR",
        SOPClassUID=ComprehensiveSRStorage,
    )
    with pytest.raises(NotAnImageError, match=r"without pixels: Comprehensive SR Storage \(SR\)"):
        read_dicom(encoded(made))


def test_video_and_unknown_syntaxes_are_named():
    made = data_set(RAMP, PixelData=encapsulate([bytes(100)]))
    made.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    made["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableError, match="not one that can be decoded"):
        read_dicom(encoded(made))


def test_an_image_that_asks_for_too_much_memory_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 8000)
    with pytest.raises(UnreadableError, match=r"8,192 bytes of memory"):
        read_made()


def test_a_number_that_is_none_is_told_with_its_tag():
    data = encoded(data_set(RAMP, NumberOfFrames=17)).replace(b"IS\x02\x0017", b"IS\x02\x001A")
    with pytest.raises(UnreadableError, match=r"Number of Frames \(0028,0008\) is not a number"):
        read_dicom(data)


def test_pydicoms_warnings_stay_inside():
    made = data_set(RAMP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.add_new(0x00080018, "UI", "not a uid" * 10)
        data = encoded(made)
    read_dicom(data)


def test_big_endian_values_come_in_native_order():
    made = data_set(RAMP, PixelData=RAMP.astype(">u2").tobytes())
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image = read_dicom(encoded(made))
    np.testing.assert_array_equal(image.pixels, RAMP, strict=True)
    assert image.pixels.dtype.isnative


@pytest.mark.parametrize("codec", ["jpeg-ls", "jpeg-2000"])
def test_a_frame_coded_larger_than_declared_is_refused_before_decoding(tmp_path, codec):
    data = write_dicom(Image(RAMP), tmp_path / "a.dcm", compress=codec).read_bytes()
    if codec == "jpeg-ls":
        at = data.index(b"\xff\xf7") + 5
        data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    else:
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data = data[:at] + b"\0\1\0\0\0\1\0\0" + data[at + 8 :]
    with pytest.raises(UnreadableError, match=r"65\d\d\d, 65\d\d\d, 1.*declares \(64, 64, 1\)"):
        read_dicom(data)


def test_a_jpeg_ls_frame_that_charls_refuses_is_decoded_in_a_process_of_its_own():
    layout = Layout("1.2.840.10008.1.2.4.80", "MONOCHROME2", 64, 64, 1, 16, 16, 0)
    coded = bytes(encode_array(RAMP))
    assert decode_frame_apart(coded, layout) == RAMP.tobytes()
    with pytest.raises(ValueError, match="GDCM"):
        decode_frame_apart(b"\xff\xd8" + bytes(100), layout)


@pytest.mark.parametrize("meaning", ["HSV", "MONOCHROME2", "YBR_PARTIAL_422"])
def test_three_samples_of_unknown_meaning_are_not_taken_for_planes(meaning):
    with pytest.raises(UnreadableError, match=f"is {meaning} with 3 samples"):
        read_made(
            np.zeros((4, 5, 3), np.uint8),
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            PhotometricInterpretation=meaning,
        )
