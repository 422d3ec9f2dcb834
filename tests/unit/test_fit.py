"""Fitting never lets a normal image be judged by a detector that has seen it."""

import importlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import intact
from intact.anomaly import METHODS, Detector
from intact.image import Image
from intact.scores import Scores


@dataclass(eq=False)
class Memory(Detector):
    """Scores the distance to the nearest image it was fitted on: nought for one it has seen."""

    size: int = 16
    seed: int = 0
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "made for this test"
    trains: ClassVar[bool] = False

    def _fit(self, batches):
        self.seen_ = torch.cat([images.flatten(1) for images in batches])

    def _score(self, images):
        return Scores(torch.cdist(images.flatten(1), self.seen_).amin(dim=1), None)


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    def fit(count):
        monkeypatch.setitem(METHODS, "memory", Memory)
        rng = np.random.default_rng(0)
        for i in range(count):
            intact.write(Image(rng.integers(0, 256, (16, 16), np.uint8)), tmp_path / f"{i:03d}.png")
        return intact.fit([tmp_path], method="memory")

    return fit


def test_of_many_patients_a_quarter_is_held_out_once(fitted, monkeypatch):
    monkeypatch.setattr(importlib.import_module("intact.fit"), "MANY", 40)
    fit = fitted(200)
    assert (fit.model.card.normals_fitted, fit.model.card.normals_calibrated) == (150, 50)
    assert fit.model.calibration.image.min() > 1
    assert len(fit.model.detector.seen_) == 150


def test_networks_hold_out_once_whatever_the_number(fitted, monkeypatch):
    monkeypatch.setattr(Memory, "trains", True)
    fit = fitted(40)
    assert (fit.model.card.normals_fitted, fit.model.card.normals_calibrated) == (30, 10)
    assert fit.model.calibration.image.min() > 1


def test_of_few_patients_each_is_held_out_in_turn_and_all_are_learned_from(fitted):
    fit = fitted(30)
    assert (fit.model.card.normals_fitted, fit.model.card.normals_calibrated) == (30, 30)
    assert fit.model.calibration.image.min() > 1
    assert len(fit.model.detector.seen_) == 30
    assert any("turn" in note for note in fit.notes)
