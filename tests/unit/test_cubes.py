"""Whole volumes: into a cube of isotropic pixels, and maps back into the grid of the volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intact.data.cubes import box_of, into_cube, out_of_cube
from intact.data.transforms import Preparation
from intact.errors import UsageError
from intact.image import Image
from intact.model import cubes_of

SPACING = (4.0, 1.0, 0.5)


def cube_of(image, size=32):
    ((cube, box),) = cubes_of(image, Preparation(size, "full", whole=True))
    return cube, box


def test_a_cube_keeps_the_physical_proportions():
    image = Image(np.full((10, 20, 40), 60000, np.uint16), spacing=SPACING)  # 40 x 20 x 20 mm
    cube, box = cube_of(image)
    assert cube.shape == (1, 32, 32, 32) and box.sides == (32, 16, 16)
    assert (cube[0][box.within] > 0.9).all()
    assert cube.sum() == pytest.approx(float(cube[0][box.within].sum()), rel=1e-4)


@pytest.mark.parametrize("place", [(2, 5, 30), (7, 14, 8)])
def test_a_map_returns_to_where_the_voxel_was(place):
    pixels = np.zeros((10, 20, 40), np.uint16)
    pixels[place[0], place[1] - 1 : place[1] + 2, place[2] - 2 : place[2] + 3] = 60000
    cube, box = cube_of(Image(pixels, spacing=SPACING))
    back = out_of_cube(cube[0], box).numpy()
    assert back.shape == pixels.shape
    found = np.unravel_index(back.argmax(), back.shape)
    assert np.abs(np.subtract(found, place) * SPACING).max() <= 2.0  # mm


def test_planes_that_fit_already_stay_as_they_are():
    planes = torch.rand(2, 16, 16, 16)
    box = box_of((16, 16, 16), (1.0, 1.0, 1.0), 16)
    torch.testing.assert_close(into_cube(list(planes.unbind(1)), box, 16), planes)


def test_every_volume_of_a_time_series_is_a_cube():
    series = np.zeros((3, 6, 8, 8), np.uint16)
    series[1] = 60000
    cubes = [cube for cube, _ in cubes_of(Image(series), Preparation(16, "full", whole=True))]
    assert [float(cube.max()) > 0.5 for cube in cubes] == [False, True, False]


def test_unknown_spacing_counts_as_one_millimetre():
    assert box_of((8, 16, 16), None, 16).sides == (8, 16, 16)
    assert box_of((8, 16, 16), (2.0, 2.0), 16).sides == (4, 16, 16)


def test_whole_volumes_have_no_neighbours_and_are_not_smoothed():
    for field in ({"neighbours": 1}, {"smooth_mm": 2.0}):
        with pytest.raises(UsageError, match="sees whole volumes"):
            Preparation(16, whole=True, **field)
