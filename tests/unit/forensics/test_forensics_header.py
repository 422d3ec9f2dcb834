"""Every edit of a header breaks its rule; what archives and anonymisers do breaks none that weighs."""

import copy
import io

import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from intact.forensics.base import Severity
from intact.forensics.header.examine import examine_headers
from intact.forensics.instance import Instance, Series, odd_ones
from intact.forge.series import BROKEN, DropSlice, Header
from intact.io.dicom import read_dicom

NAME, PATIENT = "Mustermann^Erika", "HOSPITAL-4711"


def ct_slice(number, series="1.2.840.99.2", current=200):
    """One slice as a scanner writes it, complete with dates, device and exposure."""
    rng = np.random.default_rng(number)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = "1.3.12.2.1107.5.1"
    made.file_meta.ImplementationVersionName = "SCANNER_V1"
    made.SOPClassUID, made.Modality = CTImageStorage, "CT"
    made.SOPInstanceUID = f"1.2.840.99.3.1.{number + 1}"
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.840.99.1", series
    made.FrameOfReferenceUID = "1.2.840.99.4"
    made.PatientID, made.PatientName, made.PatientBirthDate = PATIENT, NAME, "19600305"
    made.PatientAge, made.PatientSex = "060Y", "F"
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20200601"
    made.StudyTime, made.SeriesTime = "100000", "100100"
    made.AcquisitionTime, made.ContentTime = "100130", f"1002{number:02d}"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Manufacturer, made.DeviceSerialNumber, made.StationName = "Maker", "12345", "CT1"
    made.KVP, made.XRayTubeCurrent, made.ConvolutionKernel = "120", current, "B30f"
    made.ImagePositionPatient = [-100.0, -100.0, 2.5 * number]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.SliceLocation, made.InstanceNumber = 2.5 * number, number + 1
    made.PixelSpacing, made.SliceThickness = [0.8, 0.8], 2.5
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    pixels = rng.integers(0, 3000, (16, 16)).astype(np.uint16)
    made.Rows, made.Columns, made.SamplesPerPixel = 16, 16, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.SmallestImagePixelValue, made.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    made.add_new(0x00090010, "LO", "MAKER PRIVATE")
    made.add_new(0x00091001, "LO", "something")
    made.add_new("PixelData", "OW", pixels.tobytes())
    return made


def scan(count=12):
    return [ct_slice(n, current=200 + 5 * (n % 3)) for n in range(count)]


def as_series(slices):
    """As examiners get it: each file written, and read again."""
    instances = []
    for n, one in enumerate(slices):
        name = f"{n:03d}.dcm"
        instances.append(Instance(name, read_dicom(_bytes(one), name=name)))
    return Series(instances)


def _bytes(dataset):
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def heavy(slices):
    return [f for f in examine_headers(as_series(slices)) if f.severity >= Severity.UNUSUAL]


def test_a_genuine_scan_raises_nothing():
    assert examine_headers(as_series(scan())) == []


@pytest.mark.parametrize("edit", BROKEN)
def test_every_edit_breaks_its_rule_and_names_the_slice(edit):
    forgery = Header(edit).forge(scan(), seed=4)
    (touched,) = forgery.record["touched"]
    found = heavy(forgery.slices)
    assert BROKEN[edit] in {finding.rule for finding in found}, found
    (finding,) = [f for f in found if f.rule == BROKEN[edit]][:1]
    assert f"{touched:03d}.dcm" in finding.files and len(finding.files) <= 3
    assert finding.explanation.endswith(").") or "file" in finding.explanation


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({}, {"R10", "R11"}),
        ({"renumber": True}, {"R10"}),
        ({"close": True}, {"R11"}),
        ({"count": 3}, {"R10"}),
    ],
)
def test_dropped_slices_leave_a_gap(fields, rules):
    found = heavy(DropSlice(**fields).forge(scan(), seed=1).slices)
    assert rules <= {finding.rule for finding in found}
    if not fields:
        assert any("room for 1 missing slices" in finding.explanation for finding in found)


def anonymised(slices, method=True):
    """As an anonymiser leaves them: new UIDs and no patient, in every file alike."""
    done = copy.deepcopy(slices)
    for n, one in enumerate(done):
        one.PatientName = one.PatientID = "ANON"
        for keyword in ("PatientBirthDate", "PatientAge", "DeviceSerialNumber", "StationName", "KVP"):
            if keyword in one:
                delattr(one, keyword)
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
        one.SOPInstanceUID = generate_uid(prefix="1.2.3.4.", entropy_srcs=[str(n)])
        one.StudyDate, one.ContentDate = "20300101", "20200101"  # shifted in one place only
        one.PatientIdentityRemoved = "YES"
        if method:
            one.DeidentificationMethod = "basic profile"
        del one[0x00090010]  # the creator is gone, its element stays
        one.file_meta.ImplementationClassUID = "1.2.826.0.1.3680043.8.498.1"
        one.file_meta.ImplementationVersionName = "PYDICOM 3.0.2"
    return done


@pytest.mark.parametrize("method", [True, False])
def test_a_consistent_anonymiser_is_one_programs_doing(method):
    found = examine_headers(as_series(anonymised(scan(), method)))
    assert found and all(finding.severity <= Severity.BENIGN for finding in found)
    told = " ".join(finding.explanation for finding in found)
    assert "one program's doing" in told and "pydicom" in told


def test_an_archive_that_remaps_every_file_raises_nothing_that_weighs():
    slices = scan()
    for one in slices:
        one.file_meta.ImplementationVersionName = "ARCHIVE_7"
        one.SmallestImagePixelValue = 7  # it never updates this
        one.add_new(0x00111001, "LO", "thumbnail")
        one.PatientID = "REMAPPED"
    assert heavy(slices) == []


def test_a_recorded_change_is_excused():
    slices = Header("device").forge(scan(), seed=4).slices
    (touched,) = Header("device").forge(scan(), seed=4).record["touched"]
    before = Dataset()
    before.DeviceSerialNumber = "12345"
    event = Dataset()
    event.ModifyingSystem, event.ModifiedAttributesSequence = "PACS-3", Sequence([before])
    slices[touched].OriginalAttributesSequence = Sequence([event])
    found = [f for f in examine_headers(as_series(slices)) if "Serial" in f.element]
    assert found and found[0].severity == Severity.BENIGN and "PACS-3 changed it" in found[0].explanation


def test_the_writer_of_the_public_attack_is_named():
    """One header on all slices, counts in place of UIDs, intercept 0."""
    slices = scan()
    for n, one in enumerate(slices):
        one.SOPInstanceUID, one.InstanceNumber, one.SliceLocation = str(n), n, n
        one.RescaleIntercept = 0
    found = heavy(slices)
    assert {"B12", "R2", "R10", "R8"} & {finding.rule for finding in found} >= {"B12"}
    assert any("CT-GAN" in finding.explanation for finding in found)


def test_two_echoes_are_no_forgery():
    slices = scan(12)
    for one in slices[:6]:
        one.EchoTime = 10
    for one in slices[6:]:
        one.EchoTime = 80
    assert heavy(slices) == []


def test_no_value_of_the_patient_is_told():
    for edit in BROKEN:
        for finding in examine_headers(as_series(Header(edit).forge(scan(), seed=2).slices)):
            assert NAME not in finding.explanation and PATIENT not in finding.explanation
            assert "1960" not in finding.explanation


def test_single_files_are_examined_by_themselves():
    one = ct_slice(0)
    one.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    one.preamble = b"MZ" + 126 * b"\0"
    found = {(f.rule, f.severity) for f in examine_headers(as_series([one]))}
    assert ("R2", Severity.BENIGN) in found and ("B2", Severity.IMPOSSIBLE) in found


def test_a_denied_loss_is_impossible():
    image = read_dicom(_bytes(ct_slice(0)), name="x")
    image.header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    image.header.LossyImageCompression = "00"
    found = examine_headers(Series([Instance("x", image)]))
    assert [(f.rule, f.severity) for f in found if f.rule == "R15"] == [("R15", Severity.IMPOSSIBLE)]


def test_slices_are_ordered_by_their_places():
    series = as_series(scan()[::-1])
    assert list(series.heights) == sorted(series.heights)
    assert examine_headers(series) == []


def test_odd_ones_need_a_majority():
    assert odd_ones(["a", "a", "b", "a", "a"]) == [2]
    assert odd_ones(["a", "a"]) == [] and odd_ones(["a", "b"]) is None
    assert odd_ones(["a", "b", "c", "a"]) is None
