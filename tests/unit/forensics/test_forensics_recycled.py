"""A slice that comes again in another study is found however it was disguised; likeness alone is none."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset

from intact.data.phantom import brain_mr
from intact.forensics.base import Severity
from intact.forensics.slices.fingerprint import body, fingerprint, turn, turned
from intact.forensics.slices.recycled import Archive, describe
from intact.image import Identity, Image


@cache
def head(seed, noise=0):
    """A head on a wide background; the same anatomy has other noise in another scan."""
    pixels = brain_mr(seed, shape=(1, 128, 128), lesion=False, sequence="T1")[0].pixels.squeeze()
    pixels = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1.5)  # its noise would be in both scans
    own = np.random.default_rng(100 * seed + noise).normal(0, 50, (160, 160))
    return np.rint(np.abs(np.pad(pixels, 16) + own)).astype(np.uint16)


def image(pixels, name, patient="p", study="s", instance="", header=None):
    who = Identity(path=name, patient=patient, study=study, instance=instance)
    return Image(np.ascontiguousarray(pixels), identity=who, header=header)


class Shelf(Archive):
    """An archive that keeps its images in memory."""

    def __init__(self):
        self.images = {}
        super().__init__(load=self.images.__getitem__)

    def put(self, *images):
        self.images |= {one.identity.path: one for one in images}
        return self.examine(found for one in images for found in describe(one))


def ten():
    shelf = Shelf()
    assert shelf.put(*(image(head(n), f"{n}.dcm", f"p{n}", f"s{n}") for n in range(10))) == []
    return shelf


def window(pixels):
    return np.clip((pixels.astype(np.float32) - 30) / 1100 * 255, 0, 255).astype(np.uint8)


def moved(pixels):
    return cv2.warpAffine(pixels, np.float32([[1, 0, -6], [0, 1, 9]]), (160, 160))


DISGUISES = {
    "none": lambda pixels: pixels,
    "mirrored left to right": lambda pixels: pixels[:, ::-1],
    "mirrored top to bottom": lambda pixels: pixels[::-1],
    "turned by 180": lambda pixels: pixels[::-1, ::-1],
    "moved by 9 rows and -6 columns": moved,
    "window": window,
    "gamma": lambda pixels: ((pixels / pixels.max()) ** 0.8 * 4000).astype(np.uint16),
    "cropped": lambda pixels: pixels[3:-3, 2:-5],
    "mirrored left to right and moved": lambda pixels: window(moved(pixels[:, ::-1])),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_slice_of_another_patient_is_found_in_disguise(disguise):
    (finding,) = ten().put(image(DISGUISES[disguise](head(4)), "new.dcm", "other", "later"))
    assert finding.severity == Severity.UNUSUAL and finding.files == ("new.dcm", "4.dcm")
    assert "of another patient" in finding.explanation
    if disguise.startswith(("mirrored", "moved", "turned")):
        assert disguise in finding.explanation


def test_noise_that_was_added_does_not_hide_it():
    noisy = head(4) + np.random.default_rng(9).normal(0, 10, head(4).shape)
    (finding,) = ten().put(image(noisy.astype(np.float32), "new.dcm", "other", "later"))
    assert "4.dcm" in finding.files


def test_the_same_anatomy_scanned_again_raises_nothing():
    shelf = ten()
    for n in range(10):
        assert shelf.put(image(head(n, noise=1), f"again{n}.dcm", f"p{n}", "follow-up")) == []


def test_one_study_gives_one_finding():
    shelf = Shelf()
    shelf.put(*(image(head(n), f"{n}.dcm", "p", "s") for n in range(6)))
    (finding,) = shelf.put(*(image(head(n), f"copy{n}.dcm", "p", "t") for n in range(4)))
    assert finding.explanation.startswith("4 slices") and len(finding.files) == 8
    assert "of the same patient" in finding.explanation


def test_one_study_is_not_compared_with_itself():
    shelf = ten()
    assert shelf.put(image(head(4), "sharper kernel.dcm", "p4", "s4")) == []


def test_declared_copies_raise_nothing():
    shelf = Shelf()
    shelf.put(image(head(4), "4.dcm", "p4", "s", instance="1.2.4"))
    assert shelf.put(image(head(4), "sent twice.dcm", "p4", "t", instance="1.2.4")) == []
    source, header = Dataset(), Dataset()
    source.ReferencedSOPInstanceUID = "1.2.4"
    header.SourceImageSequence, header.file_meta = Sequence([source]), FileMetaDataset()
    assert shelf.put(image(head(4), "derived.dcm", "p4", "t", header=header)) == []


def test_an_anonymised_copy_is_benign_and_no_patient_is_told():
    header = Dataset()
    header.PatientIdentityRemoved, header.file_meta = "YES", FileMetaDataset()
    shelf = Shelf()
    shelf.put(image(head(1), "a.dcm", "Mustermann", "s"))
    (finding,) = shelf.put(image(head(1), "b.dcm", "Anon", "t", header=header))
    assert finding.severity == Severity.BENIGN
    assert "Mustermann" not in finding.explanation and "Anon" not in finding.explanation


def test_volumes_are_taken_plane_by_plane():
    shelf = Shelf()
    volume = np.stack([head(n) for n in range(3)])
    assert shelf.put(image(volume, "a.nii")) == [] and len(shelf) == 3
    (finding,) = shelf.put(image(volume[:, :, ::-1], "b.nii", "q", "t"))
    assert finding.explanation.startswith("3 slices") and finding.files == ("b.nii", "a.nii")


@pytest.mark.parametrize("pixels", [
    np.zeros((160, 160), np.uint16), np.ones((3, 3)), np.full((64, 64), np.nan),
    (np.indices((160, 160)).sum(0) % 40 < 20).astype(np.uint8), np.zeros((1, 1), np.int16),
    np.pad(np.ones((100, 100), np.uint8), 30),
])  # fmt: skip
def test_what_holds_no_noise_is_not_remembered(pixels):
    shelf = Shelf()
    assert shelf.put(image(pixels, "a"), image(pixels, "b", "q", "t")) == []
    assert len(shelf) == 0


def test_colour_is_compared_as_grey():
    colour = np.repeat(head(2)[..., None], 3, axis=-1)
    new = replace(image(colour, "photo.png", "q", "t"), photometric="RGB")
    assert ten().put(new)[0].files == ("photo.png", "2.dcm")


@pytest.mark.parametrize("how", range(4))
def test_the_fingerprint_of_a_turned_body_is_known_without_turning_it(how):
    plane = head(3).astype(np.float32)
    upright = fingerprint(plane[body(plane)])
    other = turn(plane, how)
    found = fingerprint(other[body(other)])
    assert np.bitwise_count(turned(upright)[how] ^ found).sum() <= 2


def test_many_fingerprints_are_searched(monkeypatch):
    shelf = Shelf()
    rng = np.random.default_rng(0)
    shelf._bits = rng.integers(0, 2**63, (4, 50_000), dtype=np.uint64)
    shelf._seen = [None] * 50_000
    target = shelf._bits[:, 777] ^ np.uint64(0b1011)
    assert list(shelf._alike(target)) == [(777, 0)]
    assert list(shelf._alike(turned(target)[1])) == [(777, 1)]
