"""Series forgeries do to pixels and headers what they say, and the checks of a series find them."""

import io

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless
from scipy import ndimage

from intact.errors import UsageError
from intact.forensics.header.examine import examine_headers
from intact.forensics.instance import Instance, Series
from intact.forensics.slices.continuity import examine_continuity
from intact.forensics.slices.recycled import Archive, describe
from intact.forge.series import DoubleSlice, DropSlice, Recycle, Reorder
from intact.io.dicom import read_dicom

SIDE, COUNT = 96, 16


def volume():
    """Anatomy that goes on from slice to slice in a round body, and noise."""
    rng = np.random.default_rng(0)
    anatomy = ndimage.gaussian_filter(rng.normal(0, 1, (COUNT, SIDE, SIDE)), (3, 6, 6))
    down, across = np.mgrid[:SIDE, :SIDE]
    body = np.hypot(down - 48, (across - 46) * 1.2) < 40
    values = body * (1000 + 200 * anatomy / anatomy.std()) + rng.normal(0, 12, anatomy.shape)
    return np.rint(np.abs(values)).astype(np.uint16)


def scan(compressed=False):
    slices = []
    for number, pixels in enumerate(volume()):
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, f"1.2.3.{number + 1}"
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID = "1.2", "1.2.3", "P"
        made.Modality, made.RepetitionTime, made.InstanceNumber = "MR", 500, number + 1
        made.ImagePositionPatient = [0, 0, 3 * number]
        made.ImageOrientationPatient, made.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        made.Rows = made.Columns = SIDE
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
        made.add_new("PixelData", "OW", pixels.tobytes())
        if compressed:
            made.compress(RLELossless, generate_instance_uid=False)
        slices.append(made)
    return slices


def read_again(slices):
    instances = []
    for n, one in enumerate(slices):
        stream = io.BytesIO()
        one.save_as(stream, enforce_file_format=False)
        image = read_dicom(stream.getvalue(), name=f"{n:03d}.dcm")
        instances.append(Instance(f"{n:03d}.dcm", image))
    return Series(instances)


def pixels_of(slices):
    return np.stack([one.image.pixels for one in read_again(slices).instances]).astype(float)


def found(slices):
    series = read_again(slices)
    pixels = np.stack([one.image.pixels for one in series.instances])
    return [*examine_headers(series), *examine_continuity(pixels, series.names)]


def heavy(slices):
    return [finding for finding in found(slices) if finding.severity >= 2]


def test_the_untouched_scan_raises_nothing():
    assert heavy(scan()) == []


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("how", "weights"),
    [("mean", {-1: 0.5, 1: 0.5}), ("cubic", {-2: -1 / 6, -1: 2 / 3, 1: 2 / 3, 2: -1 / 6}), ("copy", {-1: 1})],
)
def test_a_computed_slice_is_what_its_record_says(how, weights, compressed):
    forgery = DoubleSlice(how).forge(scan(compressed), seed=3)
    (at,) = forgery.record["touched"]
    assert forgery.record["drawn"] == {"from": [at + step for step in weights], "to": at}
    before, after = volume().astype(float), pixels_of(forgery.slices)
    expected = sum(weight * before[at + step] for step, weight in weights.items())
    np.testing.assert_array_equal(after[at], np.rint(expected).clip(0, 4095))
    np.testing.assert_array_equal(np.delete(after, at, 0), np.delete(before, at, 0))
    assert forgery.slices[at].SOPInstanceUID == f"1.2.3.{at + 1}"


def test_added_noise_has_its_strength():
    forgery = DoubleSlice("noise", strength=0.5).forge(scan(), seed=3)
    (at,) = forgery.record["touched"]
    added = pixels_of(forgery.slices)[at] - volume()[at - 1]
    assert 4 < added[40:56, 40:56].std() < 8  # half of 12


@pytest.mark.parametrize("how", ["copy", "noise", "mean", "cubic"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("compressed", [False, True])
def test_every_doubled_slice_is_found(how, seed, compressed):
    forgery = DoubleSlice(how).forge(scan(compressed), seed=seed)
    (at,) = forgery.record["touched"]
    findings = heavy(forgery.slices)
    assert findings and any(f"{at:03d}.dcm" in finding.files for finding in findings)
    assert all(len(finding.files) <= 2 for finding in findings)


@pytest.mark.parametrize("fields", [{}, {"renumber": True}, {"close": True}])
def test_dropped_slices_are_found(fields):
    assert heavy(DropSlice(**fields).forge(scan(), seed=1).slices)


@pytest.mark.parametrize("seed", range(3))
def test_exchanged_slices_are_found(seed):
    forgery = Reorder().forge(scan(), seed=seed)
    named = {file for finding in heavy(forgery.slices) for file in finding.files}
    assert named & {f"{at:03d}.dcm" for at in forgery.record["touched"]}


@pytest.mark.parametrize("mirror", [False, True])
def test_a_recycled_series_is_found_beside_its_source(mirror):
    forgery = Recycle(mirror).forge(scan(), seed=1)
    assert heavy(forgery.slices) == []  # in itself it is consistent
    before, after = pixels_of(scan()), pixels_of(forgery.slices)
    np.testing.assert_array_equal(after, before[:, :, ::-1] if mirror else before)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert not {one.get(keyword) for one in forgery.slices} & {one.get(keyword) for one in scan()}
    kept = {}
    shelf = Archive(load=kept.__getitem__)
    for name, slices in (("old", scan()), ("new", forgery.slices)):
        images = [one.image for one in read_again(slices).instances]
        for image in images:
            object.__setattr__(image.identity, "path", f"{name}/{image.identity.path}")
            kept[image.identity.path] = image
        findings = shelf.examine(found for one in images for found in describe(one))
    (finding,) = findings
    assert "another patient" in finding.explanation and ("mirrored left" in finding.explanation) == mirror


def test_the_same_seed_makes_the_same_forgery():
    for forger in (DoubleSlice("noise"), Recycle(mirror=True)):
        one, other = (forger.forge(scan(), seed=5) for _ in range(2))
        assert [s.SOPInstanceUID for s in one.slices] == [s.SOPInstanceUID for s in other.slices]
        assert [s.PixelData for s in one.slices] == [s.PixelData for s in other.slices]


def test_what_cannot_be_done_is_refused():
    with pytest.raises(UsageError, match="is not one of copy, noise"):
        DoubleSlice("other").forge(scan())
    with pytest.raises(UsageError, match="takes more than 4 slices"):
        DoubleSlice("cubic").forge(scan()[:4])
