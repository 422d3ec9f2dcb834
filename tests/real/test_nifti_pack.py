"""Every file of the NIfTI pack, against nibabel."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from intact.io import read, write

pytestmark = pytest.mark.real

PACK = Path(os.environ.get("INTACT_DATA", "")) / "nifti"
FILES = sorted(str(path.relative_to(PACK)) for path in PACK.rglob("*.nii*"))


def test_the_pack_was_found(data_folder):
    assert data_folder / "nifti" == PACK
    assert len(FILES) == 12


@pytest.mark.parametrize("file", FILES)
def test_a_volume_reads_as_nibabel_reads_it(data_folder, file):
    image, peer = read(data_folder / "nifti" / file), nib.load(data_folder / "nifti" / file)
    stored = peer.dataobj.get_unscaled()
    np.testing.assert_array_equal(image.pixels, np.asarray(stored).T)
    assert image.pixels.dtype == stored.dtype.newbyteorder("=")
    scaled = np.asarray(peer.dataobj).T
    np.testing.assert_allclose(image.physical(), scaled, rtol=1e-6, atol=1e-6)
    flip = np.diag([-1, -1, 1, 1])
    np.testing.assert_array_equal(flip @ image.affine, peer.affine)
    np.testing.assert_allclose(image.spacing, peer.header.get_zooms()[2::-1])


@pytest.mark.parametrize("file", FILES)
def test_a_volume_is_written_back_byte_for_byte(data_folder, tmp_path, file):
    path = data_folder / "nifti" / file
    written = write(read(path), tmp_path / "a.nii").read_bytes()
    data = path.read_bytes()
    assert written == (gzip.decompress(data) if path.suffix == ".gz" else data)
