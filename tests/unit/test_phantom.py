"""The phantoms: plausible physics, exact masks, and an archive that other software can read."""

from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Raster
from scipy.ndimage import distance_transform_edt, label

from intact.data.phantom import PHANTOMS, brain_mr, chest_xray, thorax_ct, write_archive
from intact.errors import UsageError

SMALL = {"brain_mr": (1, 112, 112), "thorax_ct": (4, 80, 80), "chest_xray": (112, 112)}
# mm around the mask that a lesion may change: displaced tissue, soft edges, edge enhancement.
REACH = {"brain_mr": 25.0, "thorax_ct": 12.0, "chest_xray": 32.0}
SEEDS = range(6)


@pytest.fixture(scope="module", params=PHANTOMS, ids=str)
def pairs(request):
    """Patients, each without and with a lesion."""
    kind = request.param
    return kind, [
        tuple(PHANTOMS[kind](seed, shape=SMALL[kind], lesion=lesion) for lesion in (False, True))
        for seed in SEEDS
    ]


def test_the_mask_is_empty_exactly_when_there_is_no_lesion(pairs):
    for (image, none), (diseased, some) in pairs[1]:
        assert not none.any()
        assert some.any()
        assert none.shape == some.shape == image.shape == diseased.shape
        assert some.dtype == bool


def test_a_lesion_changes_nothing_but_its_surroundings(pairs):
    kind, patients = pairs
    for (normal, _), (diseased, mask) in patients:
        far = distance_transform_edt(~mask, sampling=normal.spacing) > REACH[kind]
        assert far.any()
        np.testing.assert_array_equal(normal.pixels[far], diseased.pixels[far])


def test_a_lesion_changes_what_its_mask_says(pairs):
    for (normal, _), (diseased, mask) in pairs[1]:
        changed = normal.pixels != diseased.pixels
        assert changed[mask].mean() > 0.5
        assert changed[mask].mean() > 2 * changed[~mask].mean()


def test_the_seed_decides_everything(pairs):
    kind, patients = pairs
    again, mask = PHANTOMS[kind](SEEDS[0], shape=SMALL[kind], lesion=True)
    np.testing.assert_array_equal(again.pixels, patients[0][1][0].pixels)
    np.testing.assert_array_equal(mask, patients[0][1][1])
    assert (patients[0][0][0].pixels != patients[1][0][0].pixels).mean() > 0.5


def test_none_lets_the_seed_decide_whether_there_is_a_lesion(pairs):
    kind, _ = pairs
    found = {PHANTOMS[kind](s, shape=SMALL[kind])[1].any() for s in range(12)}
    assert found == {True, False}


def test_stored_values_use_at_most_twelve_bits(pairs):
    for image in (image for pair in pairs[1] for image, _ in pair):
        signed = image.pixels.dtype.kind == "i"
        low, high = (-2048, 2047) if signed else (0, 4095)
        assert image.bits == 12
        assert low <= image.pixels.min()
        assert image.pixels.max() <= high
        assert np.unique(image.pixels).size > 200


def test_geometry_is_in_millimetres_and_the_affine_agrees(pairs):
    for (image, _), _ in pairs[1]:
        assert len(image.spacing) == len(image.shape)
        if image.affine is None:
            continue
        steps = np.linalg.norm(image.affine[:3, :3], axis=0)
        np.testing.assert_allclose(steps[:2], image.spacing[::-1][:2])
        if len(image.shape) == 3:
            np.testing.assert_allclose(steps[2], image.spacing[0])


def test_neither_brightness_nor_a_mean_image_gives_the_lesions_away():
    for kind in ("brain_mr", "chest_xray"):
        normal = [PHANTOMS[kind](s, shape=SMALL[kind], lesion=False)[0] for s in range(40)]
        diseased = [PHANTOMS[kind](s, shape=SMALL[kind], lesion=True)[0] for s in range(40, 80)]
        for measure in (np.mean, np.max):
            low, high = ([measure(_shown(i)) for i in group] for group in (normal, diseased))
            assert abs(_auroc(low, high) - 0.5) < 0.2
        mean = np.mean([_shown(i) for i in normal[:20]], axis=0)
        low, high = ([np.abs(_shown(i) - mean).mean() for i in group] for group in (normal[20:], diseased))
        assert _auroc(low, high) < 0.8


def test_the_magnitude_noise_of_mr_is_rician():
    for seed in SEEDS:
        pixels = brain_mr(seed, lesion=False)[0].pixels.astype(float)
        air = np.concatenate([c.ravel() for c in (pixels[:20, :20], pixels[-20:, -20:])])
        # Rayleigh: sqrt(pi / 2) / sqrt(2 - pi / 2).
        assert air.mean() / air.std() == pytest.approx(1.913, rel=0.12)


def test_one_plane_is_an_image_and_several_are_a_volume():
    image, mask = brain_mr(3, shape=(3, 96, 96), lesion=True)
    assert image.shape == mask.shape == (3, 96, 96)
    neighbours = np.corrcoef(image.pixels[0].ravel(), image.pixels[1].ravel())[0, 1]
    assert 0.8 < neighbours < 0.999


@pytest.fixture(scope="module")
def chest():
    image, _ = thorax_ct(2, shape=(12, 192, 192), lesion=False)
    return image


def test_tissues_have_their_hounsfield_units():
    for seed in range(4):
        image, _ = thorax_ct(seed, shape=(4, 160, 160), lesion=False)
        measured = ~image.padding_mask()
        hu = image.physical()
        lung = hu[_largest((hu > -970) & (hu < -600) & measured)]
        assert -875 < np.median(lung) < -700
        for low, high, expected in ((-190, -50, (-125, -80)), (0, 110, (25, 80))):
            tissue = _largest((hu > low) & (hu < high) & measured)
            assert expected[0] < np.median(hu[tissue]) < expected[1]
        assert (hu[measured] > 300).mean() > 0.005
        assert hu[measured].min() >= -1024


def test_padding_fills_the_corners_and_only_them(chest):
    padded = chest.padding_mask()
    rows, columns = chest.shape[1:]
    assert padded[:, 0, 0].all()
    assert padded[:, -1, -1].all()
    assert not padded[:, rows // 2, columns // 2].any()
    assert padded.mean() == pytest.approx(1 - np.pi / 4, abs=0.02)
    assert (chest.pixels[padded] == -2000).all()


def test_ct_noise_is_grainy_as_a_ramp_filter_leaves_it():
    one, _ = thorax_ct(5, shape=(4, 192, 192), lesion=False)
    two, _ = thorax_ct(5, shape=(4, 192, 192), lesion=False)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    hu = one.physical()
    soft = np.where((hu > 0) & (hu < 100) & ~one.padding_mask(), hu, np.nan)
    noise = soft - np.nanmean(soft)
    # Neighbours are alike, far points are not.
    near = np.nanmean(noise[:, :, 1:] * noise[:, :, :-1]) / np.nanmean(noise**2)
    far = np.nanmean(noise[:, :, 9:] * noise[:, :, :-9]) / np.nanmean(noise**2)
    assert near > 0.15
    assert far < near / 2


def test_vessels_and_ribs_continue_from_slice_to_slice(chest):
    hu = chest.physical()
    bone = hu > 350
    overlap = [(a & b).sum() / b.sum() for a, b in pairwise(bone)]
    assert np.mean(overlap) > 0.35
    assert np.mean(overlap) < 0.98


def test_both_photometric_interpretations_show_the_spine_bright():
    kinds = {}
    for seed in range(12):
        image, _ = chest_xray(seed, shape=(96, 96), lesion=False)
        shown = image.display()
        kinds[image.photometric] = True
        middle = shown[30:75, 44:53].mean()
        assert middle > shown[30:60, 22:36].mean()
    assert set(kinds) == {"MONOCHROME1", "MONOCHROME2"}


def test_an_archive_has_the_layout_of_mvtec(tmp_path):
    folder = tmp_path / "archive"
    write_archive(
        folder, "chest_xray", train=2, test_normal=1, test_lesion=2, seed=4, options={"shape": (96, 80)}
    )
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == [
        "ground_truth/lesion/PHANTOM-0004.png", "ground_truth/lesion/PHANTOM-0005.png",
        "test/good/PHANTOM-0003.dcm", "test/lesion/PHANTOM-0004.dcm",
        "test/lesion/PHANTOM-0005.dcm", "train/good/PHANTOM-0001.dcm",
        "train/good/PHANTOM-0002.dcm",
    ]  # fmt: skip
    mask = np.asarray(Raster.open(folder / "ground_truth/lesion/PHANTOM-0004.png"))
    assert mask.shape == (96, 80)
    assert set(np.unique(mask)) == {0, 255}
    patients = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    assert {p.PatientID for p in patients} == {f"PHANTOM-{k:04d}" for k in range(1, 6)}
    for level in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert len({p[level].value for p in patients}) == 5


@pytest.mark.parametrize("kind", PHANTOMS)
def test_the_same_seed_writes_the_same_bytes(kind, tmp_path):
    for name in ("one", "two"):
        write_archive(tmp_path / name, kind, train=1, test_normal=0, test_lesion=1, seed=9,
                      options={"shape": SMALL[kind]})  # fmt: skip
    one, two = (_bytes(tmp_path / name) for name in ("one", "two"))
    assert len(one) >= 3
    assert one == two


def test_a_volume_is_a_folder_of_slices_with_its_mask_on_the_same_grid(tmp_path):
    shape = (5, 64, 80)
    write_archive(
        tmp_path, "thorax_ct", train=0, test_normal=0, test_lesion=1, seed=1, options={"shape": shape}
    )
    slices = [pydicom.dcmread(p) for p in sorted((tmp_path / "test/lesion/PHANTOM-0001").iterdir())]
    mask = nib.load(tmp_path / "ground_truth/lesion/PHANTOM-0001.nii.gz")
    assert len(slices) == 5
    assert mask.shape == shape[::-1]
    assert len({s.SOPInstanceUID for s in slices}) == 5
    assert len({(s.SeriesInstanceUID, s.FrameOfReferenceUID) for s in slices}) == 1
    first, second = slices[:2]
    assert (first.Modality, first.BitsStored, first.PixelRepresentation) == ("CT", 12, 1)
    assert (first.RescaleSlope, first.RescaleIntercept) == (1, -1024)
    assert first.PixelPaddingValue == -2000
    # NIfTI is RAS, DICOM LPS.
    np.testing.assert_allclose(mask.affine[:3, 3] * [-1, -1, 1], first.ImagePositionPatient, atol=1e-3)
    step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    np.testing.assert_allclose(mask.affine[:3, 2] * [-1, -1, 1], step, atol=1e-3)
    assert list(first.PixelSpacing) == pytest.approx(list(mask.header.get_zooms()[1::-1]), rel=1e-4)
    assert first.pixel_array.min() == -2000


def test_nifti_archives_hold_the_same_image(tmp_path):
    shape = (64, 64)
    for form in ("dicom", "nifti"):
        write_archive(
            tmp_path / form, "chest_xray", train=6, test_normal=0, test_lesion=0, seed=2,
            options={"shape": shape}, format=form,
        )  # fmt: skip
    inverted = 0
    for path in sorted((tmp_path / "dicom/train/good").iterdir()):
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            stored, inverted = 4095 - stored, inverted + 1
        volume = nib.load(tmp_path / "nifti/train/good" / f"{path.stem}.nii.gz")
        np.testing.assert_array_equal(np.asarray(volume.dataobj).squeeze().T, stored)
    assert 0 < inverted < 6


def test_wrong_use_is_refused_before_anything_is_written(tmp_path):
    counts = {"train": 1, "test_normal": 0, "test_lesion": 0, "seed": 0}
    with pytest.raises(UsageError, match="brain_mr"):
        write_archive(tmp_path / "a", "knee", **counts)
    with pytest.raises(UsageError, match="dicom"):
        write_archive(tmp_path / "a", "brain_mr", format="png", **counts)
    assert not (tmp_path / "a").exists()
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="empty folder"):
        write_archive(tmp_path, "brain_mr", **counts)


def _shown(image):
    stored = image.pixels.astype(float)
    return 4095 - stored if image.photometric == "MONOCHROME1" else stored


def _auroc(low, high):
    gap = np.asarray(high)[:, None] - np.asarray(low)[None]
    return np.mean(gap > 0) + np.mean(gap == 0) / 2


def _largest(mask):
    parts, _ = label(mask)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def _bytes(folder: Path):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
