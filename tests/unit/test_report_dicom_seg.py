"""Masks as DICOM segmentations, read back with pydicom and highdicom."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import which

import highdicom.seg
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_dicom import AXIAL, data_set, encoded, save
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

import intact
from intact.errors import OutputError, UnreadableError, UsageError
from intact.io import index, read_unit
from intact.io.dicom import quiet
from intact.io.discover import Unit
from intact.io.source import Source
from intact.report.dicom_seg import write_seg
from intact.report.seg_codes import _MEANINGS, FAMILIES, meaning

OBLIQUE = [0.8, 0.6, 0.0, -0.36, 0.48, 0.8]  # rows and columns that lie in no plane of the body
RETIRED_ULTRASOUND = UID("1.2.840.10008.5.1.4.1.1.6")
OTSU = {"algorithm": "Otsu", "family": "threshold"}


def ct_series(orientation, planes=5, gap=2.5, **elements):
    """CT slices of int16; slice k holds the value -k and lies k gaps along the normal."""
    across, down = np.reshape(orientation, (2, 3))
    normal = np.cross(across, down)
    return [
        data_set(
            np.full((7, 9), -k, np.int16),
            SOPClassUID=CTImageStorage,
            Modality="CT",
            FrameOfReferenceUID="1.2.99",
            SliceThickness=2,
            SeriesNumber=4,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[round(v, 6) for v in normal * gap * k + [-10, 20, 30.5]],
            **elements,
        )
        for k in range(planes)
    ]


def enhanced(heights, *, turned=None):
    """One file of many frames; frame k holds the value k."""
    made = data_set(
        np.zeros((6, 5), np.uint16),
        SOPClassUID=EnhancedMRImageStorage,
        FrameOfReferenceUID="1.2.98",
        NumberOfFrames=len(heights),
        PixelSpacing=None,
    )
    made.PixelData = np.stack([np.full((6, 5), k, np.uint16) for k in range(len(heights))]).tobytes()
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 3
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for k, height in enumerate(heights):
        frame, place, plane = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [1, 2, height]
        plane.ImageOrientationPatient = turned if turned and k else AXIAL
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [place], [plane]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    return made


def unit_of(folder: Path) -> Unit:
    [found] = index([folder])
    return found


def random_masks(shape, *labels, seed=0):
    rng = np.random.default_rng(seed)
    return {label: rng.random(shape) < 0.4 for label in labels}


def frames_by_reference(path):
    """{(segment, referenced instance, referenced frame): pixels, position}, by pydicom alone."""
    made = pydicom.dcmread(path)
    pixels = made.pixel_array.reshape(-1, made.Rows, made.Columns)
    [shared] = made.SharedFunctionalGroupsSequence
    found = {}
    for frame, groups in zip(pixels, made.PerFrameFunctionalGroupsSequence, strict=True):
        named = groups if "SegmentIdentificationSequence" in groups else shared
        segment = named.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        [image] = groups.DerivationImageSequence[0].SourceImageSequence
        place = groups.get("PlanePositionSequence")
        key = (segment, image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber"))
        assert key not in found
        found[key] = frame.astype(bool), place and [float(v) for v in place[0].ImagePositionPatient]
    return found


@pytest.fixture
def ct(tmp_path):
    """Slices whose file names say nothing about their order."""
    save(ct_series(OBLIQUE), tmp_path / "ct", order=[3, 0, 4, 1, 2])
    return unit_of(tmp_path / "ct")


@pytest.fixture
def single(tmp_path):
    def saved(made):
        save([made], tmp_path / "single")
        return unit_of(tmp_path / "single")

    return saved


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, [0, 1, 0, 0, 0, -1]])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2]])
def test_each_frame_refers_to_the_slice_it_was_drawn_on(tmp_path, orientation, order):
    slices = ct_series(orientation)
    save(slices, tmp_path / "ct", order=order)
    unit = unit_of(tmp_path / "ct")
    image = read_unit(unit)
    masks = random_masks(image.shape, "lung", "lesion")
    path = write_seg(masks, unit, tmp_path / "seg.dcm", **OTSU)
    found = frames_by_reference(path)
    assert len(found) == 2 * len(slices)
    for segment, mask in enumerate(masks.values(), start=1):
        for plane, drawn in zip(image.pixels, mask, strict=True):
            source = slices[-int(plane[0, 0])]  # its value says which slice a plane is
            pixels, position = found[segment, source.SOPInstanceUID, None]
            np.testing.assert_array_equal(pixels, drawn)
            np.testing.assert_allclose(position, source.ImagePositionPatient, atol=1e-9)
    shared = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, orientation)
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.8, 0.7]


def test_masks_lie_where_the_image_lies(ct, tmp_path):
    image = read_unit(ct)
    mask = random_masks(image.shape, "lung")["lung"]
    volume = highdicom.seg.segread(write_seg({"lung": mask}, ct, tmp_path / "seg.dcm", **OTSU)).get_volume()
    inside = np.argwhere(volume.array[..., 0] if volume.array.ndim == 4 else volume.array)
    drawn = np.argwhere(mask)
    there = np.c_[inside, np.ones(len(inside))] @ volume.affine.T
    here = np.c_[drawn[:, ::-1], np.ones(len(drawn))] @ image.affine.T
    assert len(inside) == mask.sum()
    np.testing.assert_allclose(there[np.lexsort(there.T)], here[np.lexsort(here.T)], atol=1e-4)


def test_highdicom_finds_the_masks_by_source_instance(ct, tmp_path):
    masks = random_masks((5, 7, 9), "lung", "lesion")
    made = highdicom.seg.segread(write_seg(masks, ct, tmp_path / "seg.dcm", **OTSU))
    instances = [pydicom.dcmread(source.path).SOPInstanceUID for source in ct.sources]
    pixels = made.get_pixels_by_source_instance(instances)
    for drawn, found in zip(masks.values(), np.moveaxis(pixels, -1, 0), strict=True):
        np.testing.assert_array_equal(found, drawn)


@pytest.mark.parametrize(
    ("kind", "modality", "elements"),
    [
        (DigitalXRayImageStorageForPresentation, "DX", {"PixelSpacing": None, "ImagerPixelSpacing": [1, 1]}),
        (DigitalXRayImageStorageForPresentation, "DX", {}),
        (UltrasoundImageStorage, "US", {"PixelSpacing": None}),
        (SecondaryCaptureImageStorage, "OT", {"PixelSpacing": None}),
        (RETIRED_ULTRASOUND, "US", {"PixelSpacing": None}),
        (UltrasoundMultiFrameImageStorage, "US", {"PixelSpacing": None, "NumberOfFrames": 1}),
        (NuclearMedicineImageStorage, "NM", {"NumberOfFrames": 1}),
        (MRImageStorage, "MR", {}),
        (MRImageStorage, "MR", {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [1, 2, 3]}),
        (UID("1.2.3.4.5"), "OT", {"PixelSpacing": None}),
    ],
)
def test_a_plane_without_a_place_keeps_its_own_pixel_grid(single, tmp_path, kind, modality, elements):
    made = data_set(np.zeros((5, 7), np.uint8), SOPClassUID=kind, Modality=modality, **elements)
    unit = single(made)
    masks = random_masks(read_unit(unit).shape, "lung", "text")
    path = write_seg(masks, unit, tmp_path / "seg.dcm", **OTSU)
    found = frames_by_reference(path)
    for segment, mask in enumerate(masks.values(), start=1):
        pixels, position = found[segment, made.SOPInstanceUID, None]
        np.testing.assert_array_equal(pixels, mask)
        assert position is None
    written = highdicom.seg.segread(path)
    np.testing.assert_array_equal(
        written.get_pixels_by_source_instance([made.SOPInstanceUID])[0], np.stack([*masks.values()], -1)
    )
    assert "FrameOfReferenceUID" not in written
    assert {element.value for element in written.iterall() if element.keyword == "ReferencedSOPClassUID"} == {
        kind
    }


def test_a_located_plane_has_a_place(single, tmp_path):
    [made] = ct_series(OBLIQUE, planes=1)
    unit = single(made)
    path = write_seg(random_masks((7, 9), "lung"), unit, tmp_path / "seg.dcm", **OTSU)
    [(_, position)] = frames_by_reference(path).values()
    assert position == made.ImagePositionPatient
    assert pydicom.dcmread(path).FrameOfReferenceUID == "1.2.99"


@pytest.mark.parametrize("heights", [[0, 2, 4, 6], [6, 0, 4, 2], [7, 5, 1]])
def test_frames_of_one_file_are_referred_to_by_number(single, tmp_path, heights):
    made = enhanced(heights)
    unit = single(made)
    image = read_unit(unit)
    masks = random_masks(image.shape, "brain", "lesion")
    path = write_seg(masks, unit, tmp_path / "seg.dcm", **OTSU)
    found = frames_by_reference(path)
    for segment, mask in enumerate(masks.values(), start=1):
        for number, height in enumerate(heights, start=1):
            pixels, position = found[segment, made.SOPInstanceUID, number]
            np.testing.assert_array_equal(pixels, mask[number - 1])
            assert position == [1, 2, height]
    [shared] = pydicom.dcmread(path).SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.25]


def test_a_slice_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k, made in enumerate(ct_series(AXIAL)):
            archive.writestr(f"{9 - k}.dcm", encoded(made))
    masks = random_masks((5, 7, 9), "lung")
    path = write_seg(masks, unit_of(tmp_path / "a.zip"), tmp_path / "seg.dcm", **OTSU)
    assert np.count_nonzero(pydicom.dcmread(path).pixel_array) == masks["lung"].sum()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(3, 11), columns=st.integers(3, 11), planes=st.integers(1, 3), seed=st.integers(0, 9))
def test_no_bit_moves_whatever_the_size(tmp_path, rows, columns, planes, seed):
    slices = ct_series(AXIAL, planes)
    for one in slices:
        one.Rows, one.Columns, one.PixelData = rows, columns, bytes(2 * rows * columns)
    sources = tuple(Source(path) for path in save(slices, tmp_path / "any"))
    masks = random_masks((planes, rows, columns) if planes > 1 else (rows, columns), "a", "b", seed=seed)
    path = write_seg(masks, Unit("any", "dicom", sources), tmp_path / "seg.dcm", **OTSU)
    found = frames_by_reference(path)
    nothing = (np.zeros((rows, columns), bool), None)
    some = any(mask.any() for mask in masks.values())
    for segment, mask in enumerate(masks.values(), start=1):
        for one, drawn in zip(slices, mask.reshape(planes, rows, columns), strict=True):
            key = (segment, one.SOPInstanceUID, None)
            assert (key in found) == (drawn.any() or not some)
            np.testing.assert_array_equal(found.get(key, nothing)[0], drawn)


def test_a_segmentation_belongs_to_the_patient_and_tells_nothing_else(tmp_path):
    given = {
        "PatientName": "Doe^Jane",
        "PatientID": "77",
        "IssuerOfPatientID": "Ward 9",
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "StudyDate": "20200304",
        "StudyTime": "101112.5",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Smith^John",
    }
    kept_back = (
        "PatientComments",
        "PatientAddress",
        "InstitutionName",
        "StudyDescription",
        "OperatorsName",
        "StationName",
        "Manufacturer",
    )
    slices = ct_series(AXIAL, **given, **dict.fromkeys(kept_back, "secret"))
    save(slices, tmp_path / "ct")
    unit = unit_of(tmp_path / "ct")
    path = write_seg(random_masks((5, 7, 9), "lung"), unit, tmp_path / "a.dcm", **OTSU)
    made, source = pydicom.dcmread(path), slices[0]
    for keyword in (*given, "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[keyword].value == source[keyword].value, keyword
    assert b"secret" not in path.read_bytes()
    assert made.SOPClassUID == SegmentationStorage
    assert (made.Modality, made.SegmentationType, made.SegmentsOverlap) == ("SEG", "BINARY", "NO")
    assert (made.Manufacturer, made.SoftwareVersions) == ("Intact", intact.__version__)
    assert (made.SeriesDescription, made.SeriesNumber) == ("Segmentation by Otsu", 1004)
    other = pydicom.dcmread(write_seg(random_masks((5, 7, 9), "lung"), unit, tmp_path / "b.dcm", **OTSU))
    used = {source.SeriesInstanceUID, *(one.SOPInstanceUID for one in slices)}
    used |= {made.SeriesInstanceUID, made.SOPInstanceUID, other.SeriesInstanceUID, other.SOPInstanceUID}
    assert len(used) == 1 + len(slices) + 4


def test_what_a_header_leaves_out_or_writes_wrongly_stays_empty(single, tmp_path):
    with quiet():  # pydicom warns of such values
        unit = single(
            data_set(
                np.zeros((4, 4), np.uint8),
                SOPClassUID=SecondaryCaptureImageStorage,
                PatientSex="X",
                StudyDate="2020",
                StudyTime="noon",
                ReferringPhysicianName="A^B\\C^D",
            )
        )
    made = pydicom.dcmread(write_seg(random_masks((4, 4), "lung"), unit, tmp_path / "seg.dcm", **OTSU))
    for keyword in ("PatientSex", "StudyDate", "StudyTime", "PatientID", "PatientName", "StudyID"):
        assert not made[keyword].value, keyword
    assert made.ReferringPhysicianName == "A^B"


def test_names_and_labels_in_any_script(single, tmp_path):
    source = data_set(
        np.zeros((4, 4), np.uint8), SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"
    )
    masks = random_masks((4, 4), "Läsion ③")
    made = pydicom.dcmread(write_seg(masks, single(source), tmp_path / "seg.dcm", **OTSU))
    assert made.PatientName == "Müller^Jörg"
    assert made.SegmentSequence[0].SegmentLabel == "Läsion ③"


def test_segments_say_what_they_are_and_what_made_them(single, tmp_path):
    unit = single(data_set(np.zeros((4, 4), np.uint8)))
    masks = random_masks((4, 4), "Left lung", "brain tumours", "something")
    path = write_seg(masks, unit, tmp_path / "seg.dcm", algorithm="GraphCut", family="graph", guided=True)
    segments = pydicom.dcmread(path).SegmentSequence
    assert [one.SegmentLabel for one in segments] == [*masks]
    assert [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in segments] == [
        "39607008",
        "108369006",
        "85756007",
    ]
    for one in segments:
        [by] = one.SegmentationAlgorithmIdentificationSequence
        assert (one.SegmentAlgorithmType, by.AlgorithmName) == ("SEMIAUTOMATIC", "GraphCut")
        assert by.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Neighborhood Analysis"


@pytest.mark.parametrize(
    ("label", "category", "kind"),
    [
        ("lung", "Anatomical Structure", "Lung"),
        ("LUNGS", "Anatomical Structure", "Lung"),
        ("body", "Anatomical Structure", "Entire body"),
        ("whole", "Anatomical Structure", "Entire body"),
        ("head", "Anatomical Structure", "Head"),
        ("retinal vessels", "Anatomical Structure", "Blood Vessel"),
        ("lung_nodule", "Morphologically Abnormal Structure", "Nodule"),
        ("mass", "Morphologically Abnormal Structure", "Mass"),
        ("lesion-2", "Morphologically Abnormal Structure", "Lesion"),
        ("text", "Physical object", "Other Marker"),
        ("forehead", "Tissue", "Tissue"),
        ("", "Tissue", "Tissue"),
    ],
)
def test_meanings_of_labels(label, category, kind):
    assert [code.meaning for code in meaning(label)] == [category, kind]


def test_codes_are_those_of_the_standard():
    categories = {getattr(codes.cid7150, name) for name in codes.cid7150.dir()}
    types = {getattr(codes.cid7151, name) for name in codes.cid7151.dir()}
    families = {getattr(codes.cid7162, name) for name in codes.cid7162.dir()}
    for label in (*_MEANINGS, "else"):
        category, kind = meaning(label)
        assert category in categories and kind in types
    assert set(FAMILIES.values()) <= families


def test_finding_nothing_is_written_too(ct, tmp_path):
    empty = np.zeros((5, 7, 9), bool)
    path = write_seg({"lesion": empty, "lung": empty}, ct, tmp_path / "none.dcm", **OTSU)
    found = frames_by_reference(path)
    assert len(found) == 10
    assert not any(pixels.any() for pixels, _ in found.values())


def test_planes_where_a_segment_is_empty_are_left_out(ct, tmp_path):
    lung, empty = np.zeros((5, 7, 9), bool), np.zeros((5, 7, 9), bool)
    lung[2, 3, 4] = True
    path = write_seg({"lung": lung, "lesion": empty}, ct, tmp_path / "seg.dcm", **OTSU)
    [((segment, instance, _), (pixels, _))] = frames_by_reference(path).items()
    assert (segment, np.argwhere(pixels).tolist()) == (1, [[3, 4]])
    assert instance == pydicom.dcmread(ct.sources[2].path).SOPInstanceUID
    made = highdicom.seg.segread(path)
    instances = [pydicom.dcmread(source.path).SOPInstanceUID for source in ct.sources]
    pixels = made.get_pixels_by_source_instance(instances, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(pixels, np.stack([lung, empty], axis=-1))


def test_a_series_that_names_no_space_gets_one_and_always_the_same(tmp_path):
    slices = ct_series(AXIAL)
    for one in slices:
        del one.FrameOfReferenceUID, one.SliceThickness
    save(slices, tmp_path / "ct")
    unit = unit_of(tmp_path / "ct")
    masks = random_masks((5, 7, 9), "lung")
    first, second = (
        highdicom.seg.segread(write_seg(masks, unit, tmp_path / name, **OTSU)) for name in ("a", "b")
    )
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    [measures] = first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == measures.SpacingBetweenSlices == 2.5


def test_lossy_images_stay_known_as_such(single, tmp_path):
    source = data_set(
        np.zeros((4, 4), np.uint8),
        LossyImageCompression="01",
        LossyImageCompressionRatio=[2.5, 4],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    made = pydicom.dcmread(write_seg(random_masks((4, 4), "a"), single(source), tmp_path / "s", **OTSU))
    assert (made.LossyImageCompression, made.LossyImageCompressionRatio) == ("01", [2.5, 4])


def test_nothing_given_is_changed(ct, tmp_path):
    masks = random_masks((5, 7, 9), "lung")
    kept, files = masks["lung"].copy(), [source.read() for source in ct.sources]
    write_seg(masks, ct, tmp_path / "seg.dcm", **OTSU)
    np.testing.assert_array_equal(masks["lung"], kept, strict=True)
    assert files == [source.read() for source in ct.sources]


def refused(unit, shape, path, **changed):
    with pytest.raises(UsageError) as caught:
        write_seg(changed.pop("masks", random_masks(shape, "lung")), unit, path, **{**OTSU, **changed})
    assert not path.exists()
    return str(caught.value)


def test_sources_that_no_segmentation_can_refer_to(single, tmp_path):
    out = tmp_path / "seg.dcm"
    assert "no Series Instance UID (0020,000E)" in refused(
        single(data_set(np.zeros((4, 4), np.uint8), SeriesInstanceUID=None)), (4, 4), out
    )
    cine = data_set(np.zeros((4, 4), np.uint8), SOPClassUID=UltrasoundMultiFrameImageStorage)
    cine.NumberOfFrames, cine.PixelData = 3, bytes(48)
    assert "3 planes do not say where they are" in refused(single(cine), (3, 4, 4), out)
    assert "at one place" in refused(single(enhanced([0, 2, 0, 2])), (4, 6, 5), out)
    assert "not parallel" in refused(single(enhanced([0, 2], turned=OBLIQUE)), (2, 6, 5), out)


def test_wrong_arguments(ct, tmp_path):
    shape, out = (5, 7, 9), tmp_path / "seg.dcm"
    assert "(5, 9, 7) and its image (5, 7, 9)" in refused(ct, (5, 9, 7), out)
    assert "no mask" in refused(ct, shape, out, masks={})
    assert "no backslash" in refused(ct, shape, out, masks=random_masks(shape, "a\\b"))
    assert "1 to 64 characters" in refused(ct, shape, out, masks=random_masks(shape, "a" * 65))
    assert "'magic' is no family" in refused(ct, shape, out, family="magic")
    other = Unit("a.nii", "nifti", ct.sources)
    assert "is nifti" in refused(other, shape, out)


def test_files_that_are_gone_or_cannot_be_written(ct, tmp_path):
    masks = random_masks((5, 7, 9), "lung")
    with pytest.raises(OutputError):
        write_seg(masks, ct, tmp_path / "nowhere" / "seg.dcm", **OTSU)
    ct.sources[1].path.unlink()
    with pytest.raises(UnreadableError):
        write_seg(masks, ct, tmp_path / "seg.dcm", **OTSU)


def test_dcmtk_accepts_the_files(ct, single, tmp_path):
    if not which("dcmdump"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("dcmtk is not installed")
    plain = single(
        data_set(np.zeros((7, 9), np.uint8), PatientName="Müller", SpecificCharacterSet="ISO_IR 100")
    )
    for unit, shape in ((ct, (5, 7, 9)), (plain, (7, 9))):
        path = write_seg(random_masks(shape, "lung", "Läsion"), unit, tmp_path / "seg.dcm", **OTSU)
        dumped = subprocess.run(["dcmdump", "-q", "+L", path], capture_output=True, text=True, check=False)
        assert (dumped.returncode, dumped.stderr) == (0, "")
        assert "=SegmentationStorage" in dumped.stdout


def test_highdicom_is_imported_only_to_write():
    """It takes a second, which no other command should spend."""
    code = "import sys, intact.report.dicom_seg; sys.exit('highdicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
