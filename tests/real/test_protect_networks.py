"""Real radiographs, misread by a classifier that learned from others, lungs untouched, restored exactly."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from intact.classify import learn, load
from intact.io import read
from intact.protect import Against, new_key, restore_archive, seal_archive
from intact.protect.cloak import answer
from intact.segment import REGIONS

SMALL = {"network": "small_vgg", "size": 96, "steps": 80, "rate": 2e-3}
COUNT = 4  # images protected


@pytest.mark.real
def test_radiographs(data_folder, tmp_path):
    pack = data_folder / "chest_xray" / "test"
    for kind in ("good", "bacteria"):
        files = sorted((pack / kind).iterdir())
        (tmp_path / kind).mkdir()
        for file in files[:40]:
            shutil.copy(file, tmp_path / kind)
    (tmp_path / "in").mkdir()
    for file in files[-COUNT:]:
        shutil.copy(file, tmp_path / "in")
    folders = {kind: tmp_path / kind for kind in ("good", "bacteria")}
    learn(folders, fields=SMALL).save(tmp_path / "model")
    classifier, key = load(tmp_path / "model")[0], new_key(tmp_path / "key")
    against = Against((("", tmp_path / "model"),), fields=(("epsilon", 16.0),))
    outcome = seal_archive([tmp_path / "in"], tmp_path / "out", key, keep="lungs", against=against, workers=0)
    assert outcome.counts == {"done": COUNT} and outcome.misread["model"][0] >= COUNT - 1
    restored = restore_archive([tmp_path / "out"], tmp_path / "back", key, workers=0)
    assert restored.counts == {"done": COUNT}
    for file in sorted((tmp_path / "in").iterdir()):
        before, after = read(file), read(tmp_path / "out" / f"{file.name}.png")
        lungs = REGIONS["lungs"](before)
        assert lungs.mean() > 0.05 and (before.pixels == after.pixels)[lungs].all()
        error = ((before.pixels.astype(float) - after.pixels) ** 2).mean()
        assert 10 * np.log10(255**2 / error) > 26
        assert (answer(classifier, before) != answer(classifier, after)) == outcome_of(outcome, file.name)
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def outcome_of(outcome, name):
    """What the run said of an image."""
    return next(done.details["misread"]["model"] for done in outcome.results if done.name == name)
