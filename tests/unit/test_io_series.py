import random

import numpy as np
import pytest
from made_dicom import AXIAL, data_set, save, slices
from pydicom.uid import generate_uid

from intact.errors import SeriesError, UnreadableError
from intact.io import Unit, index, read, read_unit


def planes(image):
    """What each plane holds everywhere, in order."""
    return list(image.pixels.reshape(len(image.pixels), -1)[:, 0])


def units(folder):
    found = index([folder])
    assert all(isinstance(one, Unit) for one in found)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_slices_are_ordered_by_position_whatever_their_names(tmp_path, seed):
    order = list(range(7))
    random.Random(seed).shuffle(order)
    save(slices(7), tmp_path, order)
    image = read(tmp_path)
    assert planes(image) == [0, 1, 2, 3, 4, 5, 6]
    assert image.spacing == (2.5, 0.8, 0.7)
    np.testing.assert_allclose(image.affine @ [1, 1, 2, 1], [-9.3, -19.2, 5.0, 1])
    assert image.notes == ()


def test_instance_numbers_that_run_the_other_way_do_not_matter(tmp_path):
    made = slices(4)
    for one in made:
        one.InstanceNumber = 5 - one.InstanceNumber
    save(made, tmp_path)
    assert planes(read(tmp_path)) == [0, 1, 2, 3]


def test_a_series_of_one_slice_is_a_plain_image(tmp_path):
    save(slices(1), tmp_path)
    (unit,) = units(tmp_path)
    assert unit.name.endswith("000")
    assert read_unit(unit).shape == (4, 6)


def test_localisers_of_the_same_series_are_images_of_their_own(tmp_path):
    sagittal = data_set(
        np.full((4, 6), 99, np.uint16),
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
    save([*slices(3), sagittal], tmp_path)
    assert sorted(len(unit.sources) for unit in units(tmp_path)) == [1, 3]


@pytest.mark.parametrize(
    "keyword",
    ["EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber"],
)
def test_repetitions_of_the_same_places_are_volumes_of_their_own(tmp_path, keyword):
    made = []
    for moment in (1, 2):
        for one in slices(4):
            setattr(one, keyword, moment)
            one.PixelData = (np.frombuffer(one.PixelData, np.uint16) + 10 * moment).tobytes()
            made.append(one)
    random.Random(0).shuffle(made)
    save(made, tmp_path)
    volumes = sorted(planes(read_unit(unit)) for unit in units(tmp_path))
    assert volumes == [[10, 11, 12, 13], [20, 21, 22, 23]]


def test_repetitions_with_nothing_to_tell_them_are_dealt_by_instance_number(tmp_path):
    made = [*slices(3), *slices(3)]
    for number, one in enumerate(made):
        one.InstanceNumber = number
        one.PixelData = np.full((4, 6), number, np.uint16).tobytes()
    random.Random(1).shuffle(made)
    save(made, tmp_path)
    assert sorted(planes(read_unit(unit)) for unit in units(tmp_path)) == [[0, 1, 2], [3, 4, 5]]


def test_a_slice_that_is_there_twice_does_not_spoil_the_volume(tmp_path):
    made = slices(4)
    save([*made, made[2]], tmp_path)
    assert sorted(len(unit.sources) for unit in units(tmp_path)) == [1, 4]


def test_a_series_copied_into_two_folders_is_two_volumes(tmp_path):
    save(slices(3), tmp_path / "one")
    save(slices(3), tmp_path / "two")
    assert [(len(unit.sources), unit.folder) for unit in units(tmp_path)] == [
        (3, "one"),
        (3, "two"),
    ]


def test_files_without_geometry_or_series_stay_alone(tmp_path):
    pixels = np.zeros((4, 6), np.uint16)
    save([data_set(pixels), data_set(pixels)], tmp_path)
    assert [len(unit.sources) for unit in units(tmp_path)] == [1, 1]


def test_mixed_sizes_are_told_with_files_and_shapes(tmp_path):
    odd = data_set(
        np.zeros((5, 5), np.uint16),
        ImagePositionPatient=[-10, -20, 99],
        ImageOrientationPatient=AXIAL,
    )
    save([*slices(3), odd], tmp_path)
    (unit,) = units(tmp_path)
    with pytest.raises(SeriesError, match=r"4 x 6 uint16.* in 3 .*5 x 5 uint16.* in 1"):
        read_unit(unit)


def test_mixed_spacing_is_no_volume(tmp_path):
    made = slices(3)
    made[1].PixelSpacing = [0.5, 0.5]
    save(made, tmp_path)
    with pytest.raises(SeriesError, match="spacing"):
        read(tmp_path)


def test_a_missing_slice_is_noted(tmp_path):
    made = slices(6)
    del made[3]
    save(made, tmp_path)
    image = read(tmp_path)
    assert planes(image) == [0, 1, 2, 4, 5]
    assert any("not evenly spaced" in note for note in image.notes)


def test_one_unreadable_slice_is_named(tmp_path):
    paths = save(slices(3), tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    with pytest.raises(UnreadableError, match="001: is truncated"):
        read(tmp_path)


def test_a_folder_with_two_volumes_is_not_one_image(tmp_path):
    other = generate_uid()
    save(slices(3), tmp_path / "a")
    save(slices(3, SeriesInstanceUID=other), tmp_path / "b")
    with pytest.raises(SeriesError, match="holds 2 images"):
        read(tmp_path)


def test_slopes_of_each_plane_are_kept(tmp_path):
    made = slices(3)
    for slope, one in zip((2, 3, 4), made, strict=True):
        one.RescaleSlope, one.RescaleIntercept = slope, 0
    save(made, tmp_path)
    image = read(tmp_path)
    np.testing.assert_array_equal(image.scale.slope, [2, 3, 4])
    assert image.physical()[2].max() == 8


def test_a_tilted_gantry_keeps_its_shear(tmp_path):
    made = slices(4)
    for index_, one in enumerate(made):
        one.ImagePositionPatient = [0, 1.0 * index_, 2.5 * index_]
    save(made, tmp_path)
    image = read(tmp_path)
    np.testing.assert_allclose(image.affine[:3, 2], [0, 1.0, 2.5])
    assert image.spacing[0] == 2.5
