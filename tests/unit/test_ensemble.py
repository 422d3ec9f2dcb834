"""An ensemble adds what unlike members find surprising, and is calibrated on normals strange to all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import stats

import intact
from intact.anomaly import METHODS
from intact.anomaly.base import Batches, Detector, Images
from intact.anomaly.reconstruction import Reconstruction
from intact.ensemble import (
    COMBINE,
    Ensemble,
    fit_ensemble,
    load_model,
    pixel_surprise,
    surprise,
    surprises_of_normals,
)
from intact.errors import ModelError, UsageError
from intact.image import Image
from intact.metrics import false_alarm_acceptance
from intact.model import Model
from intact.scores import Calibration, Scores


@dataclass(eq=False)
class Mean(Detector):
    """The mean is the score, and the image the map."""

    size: int = 16
    seed: int = 0
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "made for this test"
    trains: ClassVar[bool] = False

    def _fit(self, batches: Batches) -> None:
        self.seen_ = torch.cat([images.mean(dim=(1, 2, 3)) for images in batches])

    def _score(self, images: Images) -> Scores:
        return Scores(images.mean(dim=(1, 2, 3)), images[:, 0])


@dataclass(eq=False)
class Spread(Mean):
    """The deviation is the score, and there is no map."""

    size: int = 32

    def _score(self, images: Images) -> Scores:
        return Scores(images.std(dim=(1, 2, 3)), None)


@dataclass(eq=False)
class Halved(Reconstruction):
    """Rebuilds an image at half its brightness."""

    size: int = 32
    seed: int = 0
    source: ClassVar[str] = "made for this test"

    def _fit(self, batches: Batches) -> None:
        pass

    def _rebuild(self, images: Images) -> Images:
        return images / 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "mean", Mean)
    monkeypatch.setitem(METHODS, "spread", Spread)
    rng = np.random.default_rng(0)
    normals = tmp_path / "normals"
    normals.mkdir()
    for i in range(80):
        plane = rng.integers(0, 200 + i % 40, (32, 32)).astype(np.uint8)
        intact.write(Image(plane), normals / f"{i:03d}.png")
    return normals


def test_surprise_counts_among_normals_and_falls_off_exponentially_above_them():
    normals = np.arange(1.0, 101.0)
    assert surprise(np.array(0.0), normals) == pytest.approx(-np.log(101 / 101))
    assert surprise(np.array(50.0), normals) == pytest.approx(-np.log(52 / 101))
    # The upper tenth begins above 90 and lies 5.5 above it on average.
    assert surprise(np.array(90.0 + 55), normals) == pytest.approx(np.log(101 / 11) + 10)
    rising = surprise(np.linspace(0, 1000, 5000), normals)
    assert (np.diff(rising) >= 0).all() and (np.diff(rising[600:]) > 0).all()


def test_surprise_of_an_exponential_score_is_the_score():
    normals = np.random.default_rng(0).exponential(size=20_000)
    found = surprise(np.array([0.5, 2.0, 5.0, 12.0]), normals)
    assert found == pytest.approx([0.5, 2.0, 5.0, 12.0], rel=0.06)


def test_each_normal_is_judged_by_the_others():
    scores = np.array([1.0, 2.0, 3.0, 4.0, 50.0])
    found = surprises_of_normals(scores)
    assert found[4] == surprise(np.array(50.0), scores[:4]) > surprise(np.array(50.0), scores)


def test_fisher_adds_and_harmonic_means():
    p = np.array([[0.01, 0.5], [0.2, 0.5], [0.5, 0.5]])
    surprises = -np.log(p)
    assert [2 * v for v in COMBINE["fisher"](surprises)] == pytest.approx(
        [stats.combine_pvalues(column).statistic for column in p.T]
    )
    assert np.exp(-COMBINE["harmonic"](surprises)) == pytest.approx(stats.hmean(p, axis=0))


def test_members_hold_the_same_images_out_and_each_has_its_part(folder):
    fitted = fit_ensemble([folder], ["mean", "spread"])
    ensemble = fitted.model
    assert ensemble.card.method == "mean+spread" and ensemble.family == "ensemble"
    assert [len(m.detector.seen_) for m in ensemble.members] == [60, 60]
    assert [len(m.calibration) for m in ensemble.members] == [20, 20] == [len(fitted.held_out)] * 2
    images = [intact.read(name) for name in fitted.held_out]
    for member in ensemble.members:
        scores = [reading.score for reading in member.read(images)]
        assert member.calibration.image == pytest.approx(scores)
    (reading,) = ensemble.read(images[:1])
    assert [part.method for part in reading.parts] == ["mean", "spread"]
    for part, member in zip(reading.parts, ensemble.members, strict=True):
        assert part.p_value == member.calibration.p_value(part.score)
    summed = sum(surprise(np.array(p.score), m.calibration.image) for p, m in zip(
        reading.parts, ensemble.members, strict=True))  # fmt: skip
    assert reading.score == pytest.approx(float(summed))


def test_false_alarms_keep_their_rate_though_members_agree(folder, monkeypatch):
    """Two copies of one member: Fisher's own p-value would be far too small."""
    monkeypatch.setitem(METHODS, "again", type("Again", (Mean,), {"source": "made for this test"}))
    ensemble = fit_ensemble([folder], ["mean", "again"], calibrate=0.6).model
    rng = np.random.default_rng(1)
    fresh = [Image(rng.integers(0, 200 + i % 40, (32, 32)).astype(np.uint8)) for i in range(300)]
    p = [ensemble.p_value(r, i) for r, i in zip(ensemble.read(fresh), fresh, strict=True)]
    least, most = false_alarm_acceptance(0.1, len(ensemble.calibration), len(fresh))
    assert least <= np.count_nonzero(np.array(p) <= 0.1) <= most


def test_maps_are_joined_at_the_largest_size_and_only_of_members_that_localise(folder):
    ensemble = fit_ensemble([folder], ["mean", "spread"]).model
    image = Image(np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1)))
    (reading,) = ensemble.read([image])
    assert [tuple(one.shape) for one in reading.pixel] == [(32, 32)]
    assert reading.peak == pytest.approx(float(reading.pixel[0].max()))
    assert ensemble.map(reading, image).shape == (32, 32)
    assert len(ensemble.calibration.peak) == 20 and len(ensemble.calibration.pixel) == 1001


def test_the_twin_is_made_by_the_first_member_that_rebuilds_images(folder, monkeypatch):
    monkeypatch.setitem(METHODS, "halved", Halved)
    ensemble = fit_ensemble([folder], ["mean", "halved"]).model
    image = Image(np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1)))
    pair = ensemble.twin(image, 0)
    assert pair.dtype == np.uint8 and pair.shape == (32, 64)
    seen, twin = np.split(pair.astype(int), 2, axis=1)
    assert seen[:, -2].min() > 220 and np.abs(seen - 2 * twin).max() <= 1
    assert fit_ensemble([folder], ["mean", "spread"]).model.twin(image, 0) is None


def test_pixel_surprise_is_the_share_of_normal_pixels_above():
    values = np.random.default_rng(0).exponential(size=200_000)
    calibration = Calibration(np.zeros(1), np.zeros(1), np.quantile(values, np.linspace(0, 1, 1001)))
    found = pixel_surprise(np.array([[0.5, 3.0, 8.0, 20.0]]), calibration)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(np.array([0.5, 3.0, 8.0, 20.0]) / np.log(10), rel=0.03)


@pytest.mark.parametrize("combine", COMBINE)
def test_a_saved_ensemble_says_the_same(folder, tmp_path, combine):
    ensemble = fit_ensemble([folder], ["mean", "spread"], combine=combine).model
    ensemble.save(tmp_path / "both")
    loaded = load_model(tmp_path / "both")
    assert isinstance(loaded, Ensemble) and loaded.card.name == "both" and loaded.combine == combine
    images = [intact.read(path) for path in sorted(folder.iterdir())[:5]]
    for one, other in zip(ensemble.read(images), loaded.read(images), strict=True):
        assert (one.score, one.parts) == (other.score, other.parts)
        assert torch.equal(one.pixel[0], other.pixel[0])
    with pytest.raises(ModelError, match="holds several"):
        Model.load(tmp_path / "both")
    ensemble.members[0].save(tmp_path / "one")
    assert isinstance(load_model(tmp_path / "one"), Model)
    with pytest.raises(ModelError, match="no ensemble"):
        Ensemble.load(tmp_path / "one")


@pytest.mark.parametrize(
    ("methods", "combine", "said"),
    [
        (["mean"], "fisher", "at least two"),
        (["mean", "mean"], "fisher", "each once"),
        (["mean", "spread"], "vote", "way to combine"),
    ],
)
def test_what_is_no_ensemble_is_refused(folder, methods, combine, said):
    with pytest.raises(UsageError, match=said):
        fit_ensemble([folder], methods, combine=combine)


def test_screening_shows_the_parts_of_every_image(folder, tmp_path):
    fit_ensemble([folder], ["mean", "spread"]).model.save(tmp_path / "both")
    bright = tmp_path / "bright.png"
    intact.write(Image(np.tile(np.uint8([0, 255]), (32, 16))), bright)
    outcome = intact.screen(
        [bright], tmp_path / "out", models=[tmp_path / "both"], forensics=False, workers=0
    )
    (row,) = map(json.loads, (tmp_path / "out" / "findings.jsonl").read_text().splitlines())
    assert outcome.flagged == 1 and row["family"] == "ensemble" and row["map"]
    assert [part["method"] for part in row["parts"]] == ["mean", "spread"]
    assert all(0 < part["p_value"] <= 1 for part in row["parts"])


def test_readings_of_members_stay_in_step(folder):
    """Volumes and planes mixed: members fill their batches at other moments."""
    ensemble = fit_ensemble([folder], ["mean", "spread"]).model
    rng = np.random.default_rng(2)
    images = [Image(rng.integers(0, 255, s).astype(np.uint8)) for s in ((9, 32, 32), (32, 32), (3, 32, 32))]
    together = [reading.parts for reading in ensemble.read(images)]
    assert together == [next(ensemble.read([image])).parts for image in images]
