"""What a program made says so in every file, and loses the mark in none."""

import numpy as np
import pytest

from intact.errors import UsageError
from intact.image import Image
from intact.io import read, write

MADE = "forged by intact 0.1.0: CopyMove"
VOLUME = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii", "a.nii.gz", "a.dcm"])
def test_a_made_image_says_so_in_its_file(tmp_path, name):
    image = Image(VOLUME[0], spacing=(0.5, 0.5), made=MADE)
    assert read(write(image, tmp_path / name)).made == MADE
    again = read(write(read(tmp_path / name), tmp_path / f"again-{name}"))
    assert again.made == MADE and (again.pixels == VOLUME[0]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii", "a.dcm", "a.npy"])
def test_other_images_say_nothing(tmp_path, name):
    assert read(write(Image(VOLUME[0]), tmp_path / name)).made == ""


def test_a_format_without_a_place_for_the_mark_is_refused(tmp_path):
    with pytest.raises(UsageError, match="made by a program"):
        write(Image(VOLUME[0], made=MADE), tmp_path / "a.npy")


def test_dicom_marks_by_the_standards_own_element(tmp_path):
    header = read(write(Image(VOLUME[0], made=MADE), tmp_path / "a.dcm")).header
    assert header.SyntheticData == "YES"


def test_dicom_of_another_program_that_says_it_is_synthetic(tmp_path):
    image = read(write(Image(VOLUME[0]), tmp_path / "a.dcm"))
    image.header.SyntheticData = "YES"
    assert read(write(image, tmp_path / "b.dcm")).made == "by an unnamed program"
