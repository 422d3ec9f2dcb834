import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from intact.errors import NotAnImageError, UnreadableError, UsageError
from intact.image import Image, Scale
from intact.io import index, read, read_unit, write
from intact.io.nifti import read_nifti

AFFINE = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])


def saved(path, voxels, affine=AFFINE, **header):
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("top", [4096, 65536], ids=["12 bits", "16 bits"])
def test_a_full_ramp_survives(tmp_path, suffix, top):
    ramp = np.arange(top, dtype=np.uint16).reshape(4, -1, 64)
    back = read(write(Image(ramp, spacing=(3.0, 2.0, 1.0)), tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(back.pixels, ramp, strict=True)
    assert back.spacing == (3.0, 2.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_and_type_survives(tmp_path_factory, data):
    shape = data.draw(st.lists(st.integers(2, 4), min_size=2, max_size=4).map(tuple))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])))
    pixels = data.draw(arrays(dtype, shape))
    back = read(write(Image(pixels), tmp_path_factory.mktemp("n") / "a.nii"))
    np.testing.assert_array_equal(back.pixels, pixels, strict=True)


def test_axes_are_transposed_and_space_is_lps(tmp_path):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = read(saved(tmp_path / "a.nii", voxels))
    np.testing.assert_array_equal(image.pixels, voxels.T, strict=True)
    ras = AFFINE @ [1, 2, 3, 1]
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], ras * [-1, -1, 1, 1])
    np.testing.assert_allclose(image.spacing, (2.5, 0.8, 0.7), rtol=1e-6)


def test_stored_integers_are_not_scaled_but_their_scale_is_known(tmp_path):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = saved(tmp_path / "a.nii", voxels)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([2.0, -5.0], "<f4").tobytes()  # scl_slope, scl_inter
    image = read_nifti(bytes(data), "a.nii")
    assert image.pixels.dtype == np.int16
    assert image.scale == Scale(2.0, -5.0)
    written = write(image, tmp_path / "b.nii")
    assert written.read_bytes() == bytes(data)


def test_big_endian_files_come_back_byte_for_byte(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    voxels = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(voxels, AFFINE, header), tmp_path / "a.nii")
    image = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.pixels, voxels.T.astype("=i2"), strict=True)
    assert write(image, tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_time_comes_first_and_a_single_plane_is_two_dimensional(tmp_path):
    assert read(saved(tmp_path / "t.nii", np.zeros((2, 3, 4, 5), np.uint8))).shape == (5, 4, 3, 2)
    flat = read(saved(tmp_path / "f.nii", np.zeros((2, 3, 1), np.uint8)))
    assert flat.shape == (3, 2)
    assert nib.load(write(flat, tmp_path / "g.nii")).shape == (2, 3, 1)


def test_rgb_voxels(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 3), dtype=np.uint8)
    path = write(Image(colour, photometric="RGB"), tmp_path / "a.nii.gz")
    back = read(path)
    np.testing.assert_array_equal(back.pixels, colour, strict=True)
    assert nib.load(path).get_data_dtype().names == ("R", "G", "B")


def test_a_changed_affine_replaces_that_of_the_header(tmp_path):
    image = read(saved(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8)))
    moved = image.affine.copy()
    moved[:3, 3] += 7
    back = read(write(replace(image, affine=moved), tmp_path / "b.nii"))
    np.testing.assert_allclose(back.affine, moved)


def test_a_pair_is_one_image_whichever_file_is_named(tmp_path):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "a.img")
    for name in ("a.hdr", "a.img"):
        np.testing.assert_array_equal(read(tmp_path / name).pixels, voxels.T, strict=True)
    (unit,) = index([tmp_path])
    np.testing.assert_array_equal(read_unit(unit).pixels, voxels.T, strict=True)
    (tmp_path / "a.img").unlink()
    (lost,) = index([tmp_path])
    assert "a.img are missing" in lost.reason


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncation_is_told_with_numbers(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 9999, (20, 20, 20), dtype=np.int16)
    data = saved(tmp_path / f"a{suffix}", noise).read_bytes()
    with pytest.raises(UnreadableError, match=r"truncated|damaged"):
        read_nifti(data[:-500], "a")
    with pytest.raises(UnreadableError):
        read_nifti(data[:200], "a")


def test_a_header_that_claims_too_much_is_refused_before_unpacking(tmp_path):
    data = bytearray(saved(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float64)).read_bytes())
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    with pytest.raises(UnreadableError, match="bytes of memory"):
        read_nifti(gzip.compress(bytes(data)), "bomb.nii.gz")


def test_complex_voxels_are_no_image(tmp_path):
    with pytest.raises(NotAnImageError, match="complex"):
        read(saved(tmp_path / "a.nii", np.zeros((2, 3, 4), np.complex64)))


@pytest.mark.parametrize(
    "image",
    [
        Image(np.zeros((2, 2), np.float16)),
        Image(np.zeros((2, 2), np.uint8), photometric="MONOCHROME1"),
        Image(np.zeros((2, 2, 2), np.uint8), scale=Scale(np.array([1.0, 2.0]))),
        Image(np.zeros((2, 2, 3), np.uint16), photometric="RGB"),
    ],
)
def test_what_nifti_cannot_hold_is_refused(tmp_path, image):
    with pytest.raises(UsageError):
        write(image, tmp_path / "a.nii")
