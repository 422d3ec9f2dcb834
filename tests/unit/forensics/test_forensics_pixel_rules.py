"""Pixels that are not what the header says of them are found; genuine slices of every kind raise nothing."""

import io
from functools import cache

import cv2
import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from intact.data.phantom import thorax_ct
from intact.forensics.base import Severity
from intact.forensics.header import ct, pixels
from intact.forensics.header.icon import icon_of, likeness
from intact.forensics.instance import Instance, Series
from intact.io.dicom import read_dicom

SIDE = 128
OUTSIDE = np.hypot(*(np.indices((SIDE, SIDE)) - (SIDE - 1) / 2)) > SIDE / 2


@cache
def chest():
    """HU of one slice, without noise."""
    return cv2.GaussianBlur(thorax_ct(2, shape=(1, SIDE, SIDE))[0].physical().squeeze(), (0, 0), 1)


def ct_slice(number=0, sigma=20.0, **header):
    """A CT slice: a circle of reconstruction 100 mm across in a padded square."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.Modality, made.SOPInstanceUID = CTImageStorage, "CT", f"1.2.3.{number + 1}"
    made.SeriesInstanceUID, made.StudyInstanceUID = "1.2.3", "1.2"
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness, made.ReconstructionDiameter = [100 / SIDE] * 2, 2, 100
    made.RescaleSlope, made.RescaleIntercept, made.Exposure = 1, -1024, 100
    made.Rows = made.Columns = SIDE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    noise = np.random.default_rng(number).normal(0, sigma, (SIDE, SIDE))
    pixels = np.rint(chest() + 1024 + noise).clip(0, 4095).astype(np.int16)
    pixels[OUTSIDE] = -2000
    made.add_new("PixelPaddingValue", "SS", -2000)
    made.PixelData = pixels.tobytes()
    for keyword, value in header.items():
        setattr(made, keyword, value)
    return made


def pixels_of(made):
    return np.frombuffer(made.PixelData, np.int16).reshape(SIDE, SIDE).copy()


def examine(*slices):
    instances = []
    for n, one in enumerate(slices):
        stream = io.BytesIO()
        one.save_as(stream, enforce_file_format=False)
        instances.append(Instance(f"{n}.dcm", read_dicom(stream.getvalue(), name=f"{n}.dcm")))
    series = Series(instances)
    return [found for rule in (*pixels.RULES, *ct.RULES) for found in rule(series)]


def scan(count=12, **header):
    return [ct_slice(n, **header) for n in range(count)]


def test_a_genuine_scan_raises_nothing():
    assert examine(*scan()) == [] and examine(ct_slice()) == []


def test_pixel_data_that_are_too_long_are_told():
    slices = scan()
    slices[3].PixelData += bytes(64)
    (finding,) = examine(*slices)
    assert (finding.rule, finding.severity, finding.files) == ("R7", Severity.UNUSUAL, ("3.dcm",))


def test_a_high_bit_that_disagrees_is_told():
    slices = scan()
    slices[3].HighBit = 11
    (finding,) = examine(*slices)
    assert finding.rule == "R7" and finding.files == ("3.dcm",) and "High Bit" in finding.explanation


def test_a_slice_of_another_size_is_told():
    slices = scan()
    slices[3].PixelData = np.pad(pixels_of(slices[3]), 1, mode="edge").tobytes()
    slices[3].Rows = slices[3].Columns = SIDE + 2
    found = examine(*slices)
    assert ("R7", ("3.dcm",)) in [(finding.rule, finding.files) for finding in found]


@pytest.mark.parametrize("side", [1, 5])
@pytest.mark.parametrize("alone", [True, False])
def test_padding_inside_the_body_is_told(side, alone):
    slices = scan(1 if alone else 12)
    pixels = pixels_of(slices[0])
    pixels[60 : 60 + side, 70 : 70 + side] = -2000
    slices[0].PixelData = pixels.tobytes()
    (finding,) = examine(*slices)
    assert (finding.rule, finding.severity, finding.files) == ("R9", Severity.UNUSUAL, ("0.dcm",))


def test_a_padding_value_among_measured_values_raises_nothing():
    """Many MR files name 0, which air holds too."""
    made = ct_slice(Modality="MR")
    made["PixelPaddingValue"].value = 0
    made.PixelData = pixels_of(made).clip(0).tobytes()
    assert examine(made) == []


def test_a_padded_notch_raises_nothing():
    made = ct_slice()
    pixels = pixels_of(made)
    pixels[100:, 60:64] = -2000
    made.PixelData = pixels.tobytes()
    assert examine(made) == []


@pytest.mark.parametrize(
    ("header", "heard"),
    [
        ({}, 0),
        ({"ReconstructionDiameter": 130}, 1),
        ({"ReconstructionDiameter": 98.5}, 0),
        ({"PixelSpacing": [1, 1]}, 1),
        ({"ReconstructionDiameter": 130, "DataCollectionDiameter": 100}, 0),
    ],
)
def test_the_circle_of_reconstruction_has_its_diameter(header, heard):
    slices = scan()
    for keyword, value in header.items():
        setattr(slices[4], keyword, value)
    found = [finding for finding in examine(*slices) if finding.rule == "B7"]
    assert [finding.files for finding in found] == [("4.dcm",)] * heard
    assert all("diameter of the circle" in finding.explanation for finding in found)


def test_no_circle_is_no_diameter():
    made = ct_slice(ReconstructionDiameter=130)
    pixels = pixels_of(made)
    pixels[OUTSIDE] = 24
    pixels[:30] = pixels[-20:] = -2000
    pixels[:, 0] = pixels[:, -1] = -2000
    made.PixelData = pixels.tobytes()
    assert examine(made) == []


def square(number=0, **header):
    """Without a circle: air up to the corners."""
    made = ct_slice(number, **header)
    made.PixelData = np.where(OUTSIDE, 24, pixels_of(made)).tobytes()
    del made.ReconstructionDiameter
    return made


def test_air_that_is_warm_is_told():
    slices = [square(n) for n in range(12)]
    assert examine(*slices) == []
    slices[5].RescaleIntercept = 0
    (finding,) = examine(*slices)
    assert finding.rule == "B7" and finding.files == ("5.dcm",) and "Rescale Intercept" in finding.element
    everywhere = examine(*(square(n, RescaleIntercept=0) for n in range(12)))
    assert [finding.severity for finding in everywhere] == [Severity.BENIGN]


def test_an_image_of_tissue_alone_raises_nothing():
    made = square()
    inside = np.random.default_rng(0).normal(1074, 20, (SIDE, SIDE))
    inside[50:80, 50:80] += 900  # bone
    inside[90:100, 60:70] -= 900  # gas
    made.PixelData = inside.astype(np.int16).tobytes()
    assert examine(made) == []


def test_values_below_air_are_told():
    slices = scan()
    pixels = pixels_of(slices[7])
    pixels[40:44, 40:44] = -900
    slices[7].PixelData = pixels.tobytes()
    (finding,) = examine(*slices)
    assert finding.rule == "B7" and finding.files == ("7.dcm",) and "no CT measures" in finding.explanation


@pytest.mark.parametrize(("sigma", "heard"), [(20.0, 0), (26.0, 0), (50.0, 1), (8.0, 1)])
def test_noise_follows_the_exposure(sigma, heard):
    slices = scan()
    slices[6] = ct_slice(6, sigma=sigma)
    found = examine(*slices)
    assert [(finding.rule, finding.files) for finding in found] == [("B7", ("6.dcm",))] * heard


def test_noise_that_dose_explains_raises_nothing():
    slices = scan()
    slices[6] = ct_slice(6, sigma=50.0, Exposure=16)
    assert examine(*slices) == []
    slices[6] = ct_slice(6, sigma=20.0, Exposure=16)
    assert [finding.files for finding in examine(*slices)] == [("6.dcm",)]


def with_icon(made, shown, palette=False, bits=8, keep_out=0):
    icon = Dataset()
    icon.Rows, icon.Columns = shown.shape
    icon.SamplesPerPixel, icon.BitsAllocated, icon.BitsStored, icon.HighBit = 1, bits, bits, bits - 1
    icon.PixelRepresentation, icon.PhotometricInterpretation = 0, "MONOCHROME2"
    if palette:
        icon.PhotometricInterpretation = "PALETTE COLOR"
        shown = 255 - shown  # the palette turns it back
        for name in ("Red", "Green", "Blue"):
            setattr(icon, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
            icon.add_new(
                f"{name}PaletteColorLookupTableData", "OW", np.arange(255, -1, -1, np.uint8).tobytes()
            )
    icon.PixelData = shown.astype(f"<u{bits // 8}").tobytes()
    made.IconImageSequence = Sequence([icon])
    return made


def thumbnail(made, how=cv2.INTER_AREA, low=700, high=1300, side=64):
    shown = np.clip((pixels_of(made) - low) / (high - low), 0, 1) * 255
    small = cv2.resize(shown.astype(np.float32), (side, side), interpolation=how)
    return small.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", [cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC])
@pytest.mark.parametrize("palette", [True, False])
def test_an_icon_of_the_image_raises_nothing(how, palette):
    made = ct_slice(WindowCenter=-24, WindowWidth=600)
    assert examine(with_icon(made, thumbnail(made, how), palette)) == []


def test_deeper_and_letterboxed_icons_are_understood():
    made = ct_slice(WindowCenter=-24, WindowWidth=600)
    assert examine(with_icon(made, thumbnail(made).astype(np.uint16) * 16, bits=16)) == []
    boxed = np.zeros((64, 96), np.uint8)
    boxed[:, 16:80] = thumbnail(made)
    assert examine(with_icon(made, boxed)) == []


@pytest.mark.parametrize("palette", [True, False])
def test_an_icon_of_another_image_is_told(palette):
    made = ct_slice(WindowCenter=-24, WindowWidth=600)
    shown = thumbnail(made)
    pixels = pixels_of(made)
    pixels[30:70, 20:50] = 1100  # a lung filled after the icon was made
    made.PixelData = pixels.tobytes()
    (finding,) = examine(with_icon(made, shown, palette))
    assert (finding.rule, finding.severity) == ("B10", Severity.UNUSUAL)
    mirrored = examine(with_icon(ct_slice(WindowCenter=-24, WindowWidth=600), shown[::-1], palette))
    assert [found.rule for found in mirrored] == ["B10"]


def test_icons_that_cannot_be_read_are_left_alone():
    made = with_icon(ct_slice(), np.zeros((64, 64), np.uint8))
    assert examine(made) == []  # nothing in it
    made.IconImageSequence[0].PixelData = b"\xff\xd8"  # compressed
    assert examine(made) == [] and icon_of(made) is None
    assert icon_of(Dataset()) is None


def test_films_have_no_one_frame_to_compare():
    image = read_dicom(_bytes(ct_slice()), name="x")
    film = type(image)(np.stack([image.pixels] * 3))
    assert likeness(np.random.default_rng(0).random((64, 64)), film) == -1


def _bytes(made):
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=False)
    return stream.getvalue()
