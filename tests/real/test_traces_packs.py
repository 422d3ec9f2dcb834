"""Genuine images of every pack raise nothing; a region through an 8-bit window is found in real CT and MR."""

import pytest

from intact.forensics.histogram_gaps import HistogramGaps
from intact.forensics.resampling import Resampling
from intact.forge import KINDS
from intact.io import read

pytestmark = pytest.mark.real


@pytest.mark.parametrize("pack", ["brain_mri", "chest_xray", "lung_ct"])
@pytest.mark.parametrize("examiner", [HistogramGaps, Resampling])
def test_genuine_images_raise_nothing(data_folder, pack, examiner):
    files = sorted((data_folder / pack / "test" / "good").iterdir())[::10]
    said = [examiner().examine(read(file)) for file in files]
    assert len(said) >= 10
    assert all(one.abstained or one.p_value > 1e-3 for one in said)


@pytest.mark.parametrize("name", ["CT2", "MR1"])
def test_a_brightened_region_is_found(data_folder, name):
    image = read(data_folder / "dicom" / "transfer_syntaxes" / f"{name}_UNC.dcm")
    forged = KINDS["contrast"](gain=1.3, diameter=40.0).forge(image, seed=1).image
    genuine, found = (HistogramGaps().examine(one) for one in (image, forged))
    assert genuine.p_value > 1e-3 and found.p_value < 1e-6
