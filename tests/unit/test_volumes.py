"""Volumes: neighbouring planes as channels, and maps that are smoothed in three dimensions by millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

import intact
from intact.anomaly import METHODS, Detector
from intact.anomaly.reconstruction import Reconstruction
from intact.data.transforms import CT_WIDE, Placement, Preparation, choose_preparation
from intact.data.volumes import Smoothing, neighbours_of, smooth, smoothing_of, top_mean
from intact.errors import UsageError
from intact.image import Image, Scale
from intact.model import Card, Model, planes_of
from intact.scores import Calibration, Scores


@dataclass(eq=False)
class Shown(Detector):
    """The image is the map, its mean the score."""

    size: int = 16
    seed: int = 0
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "made for this test"
    trains: ClassVar[bool] = False

    def _fit(self, batches):
        self.seen_ = torch.tensor(sum(len(images) for images in batches))

    def _score(self, images):
        return Scores(images.mean(dim=(1, 2, 3)), images.mean(dim=1))


@dataclass(eq=False)
class Rebuilt(Reconstruction):
    """Rebuilds an image as it is."""

    size: int = 16
    seed: int = 0
    source: ClassVar[str] = "made for this test"

    def _fit(self, batches):
        pass

    def _rebuild(self, images):
        return images


def model_of(preparation: Preparation) -> Model:
    detector = Shown().fit([torch.rand(4, preparation.channels, 16, 16)])
    calibration = Calibration(np.linspace(0, 1, 9), np.linspace(0, 1, 9), np.linspace(0, 1, 1001))
    return Model(detector, preparation, calibration, Card("m", "shown", "2026", 4, 9, 4, "MR", 16, True))


def ramp(planes: int) -> Image:
    """Plane k holds k in every pixel."""
    return Image(np.full((16, 16), 1, np.uint16) * np.arange(planes, dtype=np.uint16)[:, None, None])


def test_a_plane_comes_with_its_neighbours_and_the_ends_repeat():
    seen = [plane for plane, _ in planes_of(ramp(4), Preparation(16, "full", neighbours=1))]
    values = [torch.round(plane[:, 8, 8] * 65535).int().tolist() for plane in seen]
    assert values == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_a_twin_is_of_the_plane_without_its_neighbours():
    preparation = Preparation(16, neighbours=1, percentiles=(0, 100))
    detector = Rebuilt().fit([torch.rand(4, 3, 16, 16)])
    calibration = Calibration(np.linspace(0, 1, 9), np.linspace(0, 1, 9), np.linspace(0, 1, 1001))
    model = Model(detector, preparation, calibration, Card("m", "rebuilt", "2026", 4, 9, 4, "MR", 16, True))
    pair = model.twin(Image(ramp(5).pixels ** 2), 2)
    assert np.unique(pair).tolist() == [round(255 * 4 / 16)]


def test_a_single_plane_is_its_own_neighbour():
    image = Image(np.random.default_rng(0).integers(0, 60000, (16, 16), np.uint16))
    ((plane, _),) = planes_of(image, Preparation(16, "full", neighbours=2))
    assert plane.shape == (5, 16, 16) and (plane == plane[0]).all() and plane.std() > 0


def test_neighbours_stay_within_their_volume_of_a_time_series():
    assert neighbours_of(3, depth=3, reach=1) == [3, 3, 4]
    assert neighbours_of(5, depth=3, reach=2) == [3, 4, 5, 5, 5]


def test_channels_count_the_neighbours():
    assert Preparation(16, neighbours=2).channels == 5
    assert Preparation(16, "windows", CT_WIDE, neighbours=1).channels == 3
    assert Preparation(16).channels == 1


def test_ct_with_neighbours_is_seen_through_one_wide_window_and_not_through_three():
    ct = Image(np.zeros((3, 8, 8), np.int16), modality="CT", scale=Scale(1.0, -1024.0, unit="HU"))
    assert choose_preparation([ct], 16, neighbours=1).windows == CT_WIDE
    with pytest.raises(UsageError, match="2 already: give one window only"):
        choose_preparation([ct], 16, [(40, 400), (-600, 1500)], neighbours=1)
    with pytest.raises(UsageError, match="3 already"):
        Preparation(16, colour=True, neighbours=1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (2.0, 0.5, 0.5)])
def test_smoothing_is_in_millimetres_along_every_axis(spacing):
    image = Image(np.zeros((41, 48, 48), np.uint8), spacing=spacing)
    smoothing = smoothing_of(image, Preparation(64, "full", smooth_mm=3.0))
    point = torch.zeros(41, 64, 64)
    point[20, 32, 32] = 1.0
    spread = torch.stack(smooth(list(point), smoothing)).double().numpy()
    voxel = spacing[0], 0.75 * spacing[1], 0.75 * spacing[2]  # 48 pixels became 64
    for axis, (side, middle) in enumerate(zip(voxel, (20, 32, 32), strict=True)):
        profile = spread.sum(axis=tuple({0, 1, 2} - {axis}))
        along = (np.arange(len(profile)) - middle) * side
        assert profile.sum() == pytest.approx(1.0, abs=1e-3)
        assert np.sqrt((profile * along**2).sum()) == pytest.approx(3.0, rel=0.02)


def test_volumes_of_a_time_series_are_smoothed_apart():
    maps = torch.cat([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    smoothed = smooth(list(maps), Smoothing(Placement((8, 8), 0, 0, 8, 8), 3, (2.0, 1.0, 1.0)))
    torch.testing.assert_close(torch.stack(smoothed), maps)


def test_the_top_mean_is_that_of_the_highest_thousandth_inside_the_image():
    maps = torch.zeros(10, 20, 20)
    maps[:, 0, 0] = 99.0  # outside the image
    maps[4, 10, 10], maps[5, 10, 10] = 3.0, 1.0
    inside = Placement((10, 20), top=5, left=0, rows=10, columns=20)  # 2000 pixels of 10 planes: 2 are top
    assert top_mean(list(maps), inside) == 2.0
    assert top_mean([maps[4]], inside) == 3.0


def test_a_lesion_of_many_planes_outscores_a_brighter_speck_only_when_smoothed():
    lesion, speck = np.zeros((2, 12, 16, 16), np.uint16)
    lesion[3:9, 6:11, 6:11], speck[5, 8, 8] = 40000, 60000
    images = [Image(pixels, spacing=(1.0, 1.0, 1.0)) for pixels in (lesion, speck)]

    def peaks(smooth_mm):
        preparation = Preparation(16, "full", smooth_mm=smooth_mm)
        return [reading.peak for reading in model_of(preparation).read(images)]

    raw, smoothed = peaks(0.0), peaks(1.5)
    assert raw[0] < raw[1] and smoothed[0] > 2 * smoothed[1]


def test_the_smoothed_map_is_what_is_scored_and_lies_in_the_grid_of_the_image():
    volume = np.zeros((9, 20, 30), np.uint16)
    volume[3:6, 4:9, 20:26] = 60000
    image = Image(volume, spacing=(3.0, 1.0, 1.0))
    model = model_of(Preparation(16, "full", smooth_mm=2.0))
    (reading,) = model.read([image])
    found = model.map(reading, image)
    assert found.shape == image.shape and found[2].max() > 0 < found[6].max()
    assert np.unravel_index(found.argmax(), found.shape)[0] == 4
    assert reading.score == pytest.approx(top_mean(reading.pixel, reading.placements[0]))


def test_unknown_spacing_is_doubted_where_maps_are_smoothed():
    image = ramp(4)
    smoothing = model_of(Preparation(16, "full", smooth_mm=2.0))
    assert any("as if it were 1 mm" in doubt for doubt in smoothing.misfit(image))
    assert not any("1 mm" in doubt for doubt in smoothing.misfit(replace(image, spacing=(1.0, 1.0, 1.0))))
    assert not any("1 mm" in doubt for doubt in model_of(Preparation(16, "full")).misfit(image))


@pytest.fixture
def normals(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "shown", Shown)
    rng = np.random.default_rng(0)
    for k in range(8):
        noise = rng.integers(0, 1000, (5, 16, 16)).astype(np.uint16)
        intact.write(Image(noise, spacing=(2.0, 1.0, 1.0), affine=np.diag([1.0, 1.0, 2.0, 1.0])),
                     tmp_path / f"{k}.nii.gz")  # fmt: skip
    return tmp_path


def test_held_out_volumes_are_scored_as_screened_ones_and_a_saved_model_goes_on_so(normals, tmp_path):
    fit = intact.fit([normals], method="shown", neighbours=1, smooth_mm=2.0)
    fit.model.save(tmp_path / "m")
    model = Model.load(tmp_path / "m")
    assert (model.preparation.neighbours, model.preparation.smooth_mm) == (1, 2.0)
    readings = list(model.read([intact.read(normals / name) for name in fit.held_out]))
    assert [reading.score for reading in readings] == model.calibration.image.tolist()
    assert [reading.peak for reading in readings] == model.calibration.peak.tolist()


def test_a_preparation_stored_before_there_were_neighbours_still_loads():
    stored = {"size": 16, "intensity": "full", "windows": [], "percentiles": [0.5, 99.5], "colour": False}
    old = Preparation(**stored, region="")
    assert (old.neighbours, old.smooth_mm, old.channels) == (0, 0.0, 1)


def test_a_backbone_takes_no_five_channels(normals):
    with pytest.raises(UsageError, match="make 5 channels, but narrow_resnet18 takes 1 or 3"):
        fields = {"backbone": "narrow_resnet18", "size": 32}
        intact.fit([normals], method="padim", fields=fields, neighbours=2)


def test_planes_are_not_smoothed_in_3d(tmp_path):
    for k in range(8):
        intact.write(Image(np.full((16, 16), k, np.uint8)), tmp_path / f"{k}.png")
    with pytest.raises(UsageError, match="most of these images are single planes"):
        intact.fit([tmp_path], method="ae", smooth_mm=2.0)
