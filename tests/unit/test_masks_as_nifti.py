"""A mask written as NIfTI lies on the voxels it was drawn on, whatever the image was read from."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from made_dicom import data_set, save

from intact.image import Image
from intact.io import read, write_nifti

STRAIGHT = np.diag([-2.0, 0.5, 1.25, 1.0])
OBLIQUE = np.array([[0.6, -0.3, 0.1, -9], [0.2, 0.7, 0.4, 12.5], [-0.1, -0.4, 2.9, 30], [0, 0, 0, 1]])
SWAPPED = np.array([[0, 0, 3.0, 1], [-1.5, 0, 0, 2], [0, 0.75, 0, 3], [0, 0, 0, 1]])
MIRRORED = np.array([[1.0, 0, 0, 4], [0, 1, 0, 5], [0, 0, -2, 6], [0, 0, 0, 1]])


def drawn_on(image, *, header=None):
    """A random mask, and the image that holds it."""
    mask = np.random.default_rng(0).random(image.shape) < 0.3
    return mask, Image(mask.astype(np.uint8), spacing=image.spacing, affine=image.affine, header=header)


@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE, SWAPPED, MIRRORED])
@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (0, 4)])
@pytest.mark.parametrize("keep", [False, True])
def test_of_a_nifti_volume(tmp_path, affine, codes, keep):
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    source = nib.Nifti1Image(voxels, affine)
    source.header.set_qform(affine, codes[0])
    source.header.set_sform(affine, codes[1])
    nib.save(source, tmp_path / "a.nii.gz")
    image = read(tmp_path / "a.nii.gz")
    mask, drawn = drawn_on(image, header=image.header if keep else None)
    back = nib.load(write_nifti(drawn, tmp_path / "m.nii.gz"))
    original = nib.load(tmp_path / "a.nii.gz")
    assert back.shape == original.shape
    np.testing.assert_array_equal(back.affine, original.affine)
    np.testing.assert_allclose(back.header.get_zooms(), original.header.get_zooms(), rtol=1e-6)
    assert voxels[np.asarray(back.dataobj) > 0].sum() == image.pixels[mask].sum()
    np.testing.assert_array_equal(read(tmp_path / "m.nii.gz").pixels, mask)


def test_of_a_nifti_volume_that_has_a_quaternion_only(tmp_path):
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [0.5, 0.75, 3], [1, -2, 3]
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    source.header.set_qform(affine, 1)
    nib.save(source, tmp_path / "a.nii")
    _, drawn = drawn_on(read(tmp_path / "a.nii"))
    back = nib.load(write_nifti(drawn, tmp_path / "m.nii"))
    np.testing.assert_allclose(back.affine, affine, atol=1e-6)
    np.testing.assert_allclose(back.header.get_qform(), affine, atol=1e-6)


@pytest.mark.parametrize("codes", [(1, 2), (0, 0), (0, 2), (2, 0)])
def test_with_the_header_both_forms_are_those_of_the_source(tmp_path, codes):
    moved = STRAIGHT.copy()
    moved[:3, 3] = [5, 6, 7]
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    source.header.set_qform(STRAIGHT, codes[0])
    source.header.set_sform(moved, codes[1])
    source.header.set_slope_inter(2, -1024)
    nib.save(source, tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    mask, drawn = drawn_on(image, header=image.header)
    back, original = nib.load(write_nifti(drawn, tmp_path / "m.nii")), nib.load(tmp_path / "a.nii")
    assert (int(back.header["qform_code"]), int(back.header["sform_code"])) == codes
    np.testing.assert_array_equal(back.header.get_qform(), original.header.get_qform())
    np.testing.assert_array_equal(back.header.get_sform(), original.header.get_sform())
    np.testing.assert_array_equal(back.get_fdata().T, mask)
    assert back.get_data_dtype() == np.uint8


def test_of_a_nifti_volume_in_microns(tmp_path):
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([500.0, 250, 100, 1]))
    source.header.set_xyzt_units("micron")
    nib.save(source, tmp_path / "a.nii")
    _, drawn = drawn_on(read(tmp_path / "a.nii"))
    back = nib.load(write_nifti(drawn, tmp_path / "m.nii"))
    assert back.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(back.affine, np.diag([0.5, 0.25, 0.1, 1]), atol=1e-7)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
def test_of_a_dicom_series(tmp_path, order):
    across, down = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, 0.8])
    slices = [
        data_set(
            np.full((7, 9), k, np.int16),
            ImageOrientationPatient=[*across, *down],
            ImagePositionPatient=[round(v, 6) for v in np.cross(across, down) * 2.5 * k + [-10, 20, 30.5]],
        )
        for k in range(5)
    ]
    save(slices, tmp_path / "mr", order=order)
    image = read(tmp_path / "mr")
    mask, drawn = drawn_on(image)
    back = nib.load(write_nifti(drawn, tmp_path / "m.nii.gz"))
    voxels = np.asarray(back.dataobj)
    for path in (tmp_path / "mr").iterdir():
        one = pydicom.dcmread(path)
        spot = np.array([4, 2])  # column, row
        place = np.array(one.ImagePositionPatient) + spot[0] * 0.7 * across + spot[1] * 0.8 * down
        i, j, k, _ = np.linalg.solve(back.affine, [-place[0], -place[1], place[2], 1])
        np.testing.assert_allclose([i, j], spot, atol=1e-5)
        plane = round(k)
        assert abs(k - plane) < 1e-5 and image.pixels[plane, 0, 0] == one.pixel_array[0, 0]
        np.testing.assert_array_equal(voxels[:, :, plane].T, mask[plane])


def test_of_a_single_plane(tmp_path):
    source = nib.Nifti1Image(np.zeros((4, 5, 1), np.uint8), OBLIQUE)
    nib.save(source, tmp_path / "a.nii")
    mask, drawn = drawn_on(read(tmp_path / "a.nii"))
    back = nib.load(write_nifti(drawn, tmp_path / "m.nii"))
    np.testing.assert_allclose(back.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(back.dataobj).T, mask)
