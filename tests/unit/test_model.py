"""A model from the inside: batches across images, volumes, p-values, doubts, saving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from intact.anomaly.base import SCORE_BATCH, Batches, Detector, Images
from intact.data.transforms import Preparation
from intact.errors import ModelError, OutputError, UsageError
from intact.image import Image
from intact.model import Card, Model
from intact.scores import Calibration, Scores


@dataclass(eq=False)
class Brightness(Detector):
    """The mean is the score and the image the map: what a model does with it is easy to foresee."""

    size: int = 16
    seed: int = 0
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "made for this test"

    def _fit(self, batches: Batches) -> None:
        self.seen_ = torch.tensor(sum(len(b) for b in batches))

    def _score(self, images: Images) -> Scores:
        assert len(images) == SCORE_BATCH
        return Scores(images.mean(dim=(1, 2, 3)), images[:, 0])


def made(volumes: bool = False, normals: int = 99, groups: tuple[str, ...] = ()) -> Model:
    detector = Brightness().fit([torch.rand(4, 1, 16, 16)])
    scores = np.linspace(0, 0.5, normals)
    calibration = Calibration(scores, scores, np.linspace(0, 0.5, 1001), groups)
    card = Card("m", "brightness", "2026-01-01", 4, normals, 4, "MR", 16, volumes)
    return Model(detector, Preparation(16, "full"), calibration, card)


def flat(value: float, *shape: int) -> Image:
    return Image(np.full(shape, round(value * 65535), np.uint16), modality="MR")


def test_readings_come_one_per_image_in_order_whatever_the_batches():
    values = [0.1, 0.9, 0.3, 0.5, 0.2]
    shapes = [(16, 16), (5, 16, 16), (20, 16, 16), (16, 16), (3, 16, 16)]
    readings = list(made().read([flat(v, *s) for v, s in zip(values, shapes, strict=True)]))
    assert [r.score for r in readings] == pytest.approx(values, abs=1e-4)
    assert [len(r.pixel) for r in readings] == [1, 5, 20, 1, 3]


def test_a_volume_scores_as_its_highest_plane():
    volume = np.zeros((7, 16, 16), np.uint16)
    volume[4] = 40000
    (reading,) = made().read([Image(volume)])
    assert reading.score == pytest.approx(40000 / 65535, abs=1e-4)


def test_the_map_lies_in_the_grid_of_the_image():
    model = made()
    volume = np.zeros((3, 20, 31), np.uint16)
    volume[1, 5:9, 20:25] = 60000
    image = Image(volume, spacing=(5.0, 1.0, 1.0))
    (reading,) = model.read([image])
    score_map = model.map(reading, image)
    assert score_map.shape == image.shape
    plane, row, column = np.unravel_index(score_map.argmax(), score_map.shape)
    assert plane == 1 and 4 <= row <= 9 and 19 <= column <= 25


def test_a_volume_that_meets_a_model_of_planes_is_corrected_for_their_number():
    model, image = made(), flat(0.49, 4, 16, 16)
    (reading,) = model.read([image])
    single = float(model.calibration.p_value(reading.score))
    assert model.p_value(reading, image) == pytest.approx(4 * single)
    assert made(volumes=True).p_value(reading, image) == pytest.approx(single)


@pytest.mark.parametrize(
    ("image", "doubt"),
    [
        (Image(np.zeros((8, 8), np.uint16), modality="CT"), "fitted on MR, this image is CT"),
        (Image(np.zeros((8, 8), np.uint8), modality="MR"), "16-bit images, this one has 8 bits"),
        (Image(np.zeros((4, 8, 8), np.uint16), modality="MR"), "this is a volume"),
        (Image(np.zeros((8, 8, 3), np.uint16), "RGB", modality="MR"), "in colour"),
    ],
)
def test_an_image_of_another_kind_is_doubted(image, doubt):
    assert any(doubt in text for text in made().misfit(image))


def test_an_image_of_the_same_kind_is_not():
    assert made().misfit(flat(0.2, 8, 8)) == []


def test_a_changed_model_is_refused(tmp_path):
    made().save(tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match="digest"):
        Model.load(tmp_path / "m")


def test_a_model_of_another_format_or_method_is_refused(tmp_path):
    made().save(tmp_path / "m")
    with pytest.raises(ModelError, match="'brightness', which this version does not have"):
        Model.load(tmp_path / "m")
    manifest = tmp_path / "m" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ModelError, match="format 99"):
        Model.load(tmp_path / "m")
    with pytest.raises(ModelError, match="not a model folder"):
        Model.load(tmp_path / "nothing")


def test_a_model_never_overwrites_what_is_not_a_model(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").touch()
    with pytest.raises(UsageError, match="not a model"):
        made().save(tmp_path / "images")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        made().save(tmp_path / "file" / "model")
    made().save(tmp_path / "m")
    made(normals=5).save(tmp_path / "m")  # a model may be fitted again
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["manifest.json", "weights.safetensors"]
