"""Pixels that were compressed with loss are found where the header denies it, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from scipy import ndimage

from intact.forensics.base import Severity
from intact.forensics.header.compression import MOST, RULES
from intact.forensics.instance import Instance, Series
from intact.image import Image


def textured(seed=0, shape=(96, 104)):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    plane = 128 + 30 * smooth / smooth.std() + rng.normal(0, 4, shape)
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def jpeg(plane, quality=75):
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.array(Picture.open(file))


def instance(pixels, name="0.dcm", syntax=ExplicitVRLittleEndian, **elements):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return Instance(name, Image(pixels, header=header))


def findings(*instances):
    return [finding for rule in RULES for finding in rule(Series(instances))]


@pytest.mark.parametrize(
    ("elements", "severity"),
    [({"LossyImageCompression": "00"}, Severity.IMPOSSIBLE), ({}, Severity.UNUSUAL)],
    ids=["denied", "silent"],
)
def test_a_grid_that_the_header_denies_is_found(elements, severity):
    (found,) = findings(instance(jpeg(textured()), **elements))
    assert found.rule == "R15" and found.severity == severity and "(0028,2110)" in found.element


def test_who_admits_to_the_loss_is_left_alone():
    assert not findings(instance(jpeg(textured()), LossyImageCompression="01"))


@pytest.mark.parametrize(
    "pixels",
    [textured(), textured().astype(np.uint16), np.zeros((96, 96), np.uint8), np.zeros((3, 3), np.uint8)],
    ids=["never compressed", "deep", "constant", "tiny"],
)
def test_without_a_grid_nothing_is_found(pixels):
    assert not findings(instance(pixels, LossyImageCompression="00"))


def test_a_film_is_examined_by_its_middle_and_a_palette_not_at_all():
    film = np.stack([textured(1), jpeg(textured(1)), textured(1)])
    assert findings(instance(film, LossyImageCompression="00"))
    indices = Image(
        jpeg(textured()), photometric="PALETTE COLOR", palette=np.zeros((256, 3), np.uint8), header=Dataset()
    )
    assert not findings(Instance("0.dcm", indices))


def test_of_a_long_series_a_few_evenly_spaced_files_are_examined():
    plane = jpeg(textured())
    many = [instance(plane, f"{n:03d}.dcm", LossyImageCompression="00") for n in range(300)]
    (found,) = findings(*many)
    assert len(found.files) == MOST and found.files[0] == "000.dcm" and found.files[-1] == "299.dcm"


def test_the_last_method_is_that_of_the_transfer_syntax():
    pixels = jpeg(textured())
    known = {"syntax": JPEGBaseline8Bit, "LossyImageCompression": "01"}
    right = instance(pixels, LossyImageCompressionMethod=["ISO_15444_1", "ISO_10918_1"], **known)
    wrong = instance(pixels, LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"], **known)
    assert not findings(right)
    (found,) = findings(wrong)
    assert found.rule == "B8" and found.severity == Severity.UNUSUAL and "last" not in found.element


def test_a_method_without_a_loss_is_found():
    denied = instance(textured(), LossyImageCompression="00", LossyImageCompressionMethod="ISO_10918_1")
    (found,) = findings(denied)
    assert found.rule == "B8" and "a method is named" in found.explanation
