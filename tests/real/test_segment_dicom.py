"""Masks of every image of the DICOM pack, written as segmentations and found again on their sources."""

import csv
import os
import subprocess
from pathlib import Path
from shutil import which

import highdicom.seg
import numpy as np
import pydicom
import pytest

from intact.errors import UsageError
from intact.io import index, read_unit
from intact.io.dicom import quiet
from intact.report.dicom_seg import write_seg

pytestmark = pytest.mark.real

INDEX = Path(os.environ.get("INTACT_DATA", "")) / "dicom" / "index.csv"
ROWS = list(csv.DictReader(INDEX.read_text().splitlines())) if INDEX.is_file() else []
SERIES = {"series_ct_3slice": 3, "series_mr_adc_prostate": 20, "series_torchio": 17}
FILES = [
    row["file"] for row in ROWS if row["rows"] and row["file"].startswith(("mixed/", "transfer_syntaxes/"))
]
NAMELESS = "no Study Instance UID"
UNPLACED = "planes do not say where they are in the patient"
REFUSED = {
    "mixed/HTJ2KLossless_08_RGB.dcm": NAMELESS,
    "mixed/HTJ2K_08_RGB.dcm": NAMELESS,
    "mixed/JLSL_08_07_0_1F.dcm": NAMELESS,
    "mixed/JLSL_16_15_1_1F.dcm": NAMELESS,
    "mixed/JLSL_RGB_ILV0.dcm": NAMELESS,
    "mixed/JLSL_RGB_ILV1.dcm": NAMELESS,
    "mixed/JLSL_RGB_ILV2.dcm": NAMELESS,
    "mixed/JLSN_RGB_ILV0.dcm": NAMELESS,
    "mixed/OBXXXX1A_2frame.dcm": UNPLACED,
    "mixed/OBXXXX1A_rle_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_16bit_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_expb_16bit_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_expb_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_rle_16bit_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_rle_2frame.dcm": UNPLACED,
    "mixed/SC_rgb_rle_32bit_2frame.dcm": UNPLACED,
    "mixed/emri_small.dcm": UNPLACED,
    "mixed/emri_small_RLE.dcm": UNPLACED,
    "mixed/emri_small_big_endian.dcm": UNPLACED,
    "mixed/emri_small_jpeg_2k_lossless.dcm": UNPLACED,
    "mixed/emri_small_jpeg_ls_lossless.dcm": UNPLACED,
}


def drawn_on(image):
    """Two masks that overlap, from the image's own values."""
    values = image.display().reshape(*image.shape, -1).mean(axis=-1)
    return {"bright": values > np.median(values), "dark": values < 200}


def found_again(path, unit, image):
    """The masks of the file, each frame put at the plane that it refers to."""
    made = pydicom.dcmread(path)
    with quiet():
        sources = [
            pydicom.dcmread(source.path, stop_before_pixels=True, force=True) for source in unit.sources
        ]
    at = {source.SOPInstanceUID: plane for plane, source in enumerate(sources)}
    masks = np.zeros((len(made.SegmentSequence), image.planes, *image.shape[-2:]), bool)
    frames = made.pixel_array.reshape(-1, *image.shape[-2:])
    for frame, groups in zip(frames, made.PerFrameFunctionalGroupsSequence, strict=True):
        [reference] = groups.DerivationImageSequence[0].SourceImageSequence
        plane = at[reference.ReferencedSOPInstanceUID] + reference.get("ReferencedFrameNumber", 1) - 1
        assert reference.ReferencedSOPClassUID == sources[0].SOPClassUID
        masks[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1, plane] = frame
    return masks.reshape(-1, *image.shape)


def check(unit, path):
    image = read_unit(unit)
    masks = drawn_on(image)
    write_seg(masks, unit, path, algorithm="median", family="threshold")
    np.testing.assert_array_equal(found_again(path, unit, image), [*masks.values()])
    assert highdicom.seg.segread(path).number_of_segments == 2
    if which("dcmdump"):
        dumped = subprocess.run(["dcmdump", "-q", "+L", path], capture_output=True, text=True, check=False)
        assert (dumped.returncode, dumped.stderr) == (0, "")


@pytest.fixture
def pack(data_folder):
    return data_folder / "dicom"


def test_the_index_was_found():
    assert len(FILES) > 100
    assert set(REFUSED) <= set(FILES)


@pytest.mark.parametrize("file", [file for file in FILES if file not in REFUSED])
def test_each_file(pack, tmp_path, file):
    [unit] = index([pack / file])
    check(unit, tmp_path / "seg.dcm")


@pytest.mark.parametrize(("file", "reason"), REFUSED.items())
def test_what_no_segmentation_can_refer_to(pack, tmp_path, file, reason):
    [unit] = index([pack / file])
    with pytest.raises(UsageError, match=reason):
        write_seg(
            drawn_on(read_unit(unit)), unit, tmp_path / "seg.dcm", algorithm="median", family="threshold"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("folder", "slices"), SERIES.items())
def test_each_series(pack, tmp_path, folder, slices):
    [unit] = index([pack / folder])
    assert len(unit.sources) == slices
    check(unit, tmp_path / "seg.dcm")
    assert pydicom.dcmread(tmp_path / "seg.dcm").FrameOfReferenceUID
