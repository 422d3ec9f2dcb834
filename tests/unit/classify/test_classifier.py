"""Classifiers learn what parts classes, repeat it, keep it, and let attacks look through their eyes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intact.classify import NETWORKS, Classifier, learn, load
from intact.classify.classifier import varied
from intact.data.transforms import Preparation
from intact.errors import ModelError, NotFittedError, UsageError
from intact.image import Image, Scale
from intact.io import write
from intact.protect.attack import METHODS as ATTACKS
from made_classes import SMALL, folders_of_patterns, pattern


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return folders_of_patterns(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def learned(folders):
    return learn(folders, fields=SMALL)


def test_classes_are_told_apart(learned):
    assert learned.card.accuracy[0] > 0.8 and learned.card.accuracy[1] <= learned.card.accuracy[0]
    assert sum(learned.card.images) + sum(learned.card.held_out) == 32
    assert len(set(learned.judged)) == sum(learned.card.held_out)
    for kind in ("disc", "stripes"):
        found = learned.classifier.probabilities(Image(pattern(kind, 999)))
        assert set(found) == {"disc", "stripes"} and abs(sum(found.values()) - 1) < 1e-6
        assert max(found, key=found.get) == kind


def test_a_model_comes_back_as_it_was(learned, tmp_path):
    learned.save(tmp_path / "model")
    again, card = load(tmp_path / "model")
    image = Image(pattern("disc", 7))
    assert again.probabilities(image) == learned.classifier.probabilities(image)
    assert card.classes == ("disc", "stripes") and card.name == "model"


def test_the_same_seed_learns_the_same(learned, folders):
    again = learn(folders, fields=SMALL)
    image = Image(pattern("stripes", 3))
    assert again.classifier.probabilities(image) == learned.classifier.probabilities(image)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (1.0, 2.0)])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_an_attack_sees_what_the_classifier_sees(learned, spacing, photometric):
    pixels = pattern("disc", 5).astype(np.int16) * 10 - 300
    image = Image(pixels, spacing=spacing, photometric=photometric, scale=Scale(2.0, -7.0))
    view = learned.classifier.view(image)
    low, high = view.window
    shown = torch.from_numpy(np.clip((pixels - low) / (high - low), 0, 1)).float()[None, None]
    found = view(shown).softmax(1)[0]
    said = learned.classifier.probabilities(image)
    np.testing.assert_allclose(found.numpy(), list(said.values()), atol=1e-4)


def test_windows_are_seen_too():
    preparation = Preparation(32, "windows", ((-600.0, 1500.0), (40.0, 400.0), (500.0, 1800.0)))
    rng = np.random.default_rng(0)
    planes, labels = rng.random((6, 3, 32, 32), np.float32), np.array([0, 1] * 3)
    classifier = Classifier(**SMALL | {"steps": 2}).fit(planes, labels, ["a", "b"], preparation)
    pixels = rng.integers(-1000, 1400, (40, 40)).astype(np.int16)
    image = Image(pixels, modality="CT", scale=Scale(unit="HU"))
    view = classifier.view(image)
    assert view.window == (-1350.0, 1400.0)
    shown = torch.from_numpy((pixels + 1350.0) / 2750.0).float()[None, None]
    found = view(shown).softmax(1)[0]
    np.testing.assert_allclose(found.numpy(), list(classifier.probabilities(image).values()), atol=2e-3)


def test_saved_images_are_attacked_through_a_view(learned):
    pixels = np.stack([pattern("disc", seed) for seed in range(40, 44)])
    view = learned.classifier.view(Image(pixels[0]))
    change = ATTACKS["pgd"](epsilon=24, step=6).perturb(view, pixels, np.zeros(4, int), window=view.window)
    before, after = (
        np.mean([learned.classifier.probabilities(Image(of.astype(np.uint8)))["disc"] for of in images])
        for images in (pixels, pixels + change)
    )
    assert after < before - 0.2


def test_a_table_of_values_cannot_be_attacked(learned):
    image = Image(np.zeros((8, 8), np.uint8), scale=Scale(table=np.arange(256, dtype=np.float32) ** 2))
    with pytest.raises(UsageError, match="one rising line"):
        learned.classifier.view(image)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_gives_one_logit_for_each_class(network):
    net = NETWORKS[network](3).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 1, 64, 64)).shape == (2, 3) and net(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_images_are_varied_each_by_itself():
    images = torch.rand(4, 1, 24, 24)[[0, 0, 1, 1]]
    found = varied(images, 0.05, torch.Generator().manual_seed(0))
    assert not torch.equal(found[0], found[1]) and found.min() >= 0 and found.max() <= 1
    assert torch.equal(found, varied(images, 0.05, torch.Generator().manual_seed(0)))


def test_noise_is_of_another_strength_each_time_up_to_the_largest():
    flat = torch.full((64, 1, 32, 32), 0.5)
    middle = varied(flat, 0.1, torch.Generator().manual_seed(0))[
        ..., 12:20, 12:20
    ]  # never from beyond the edge
    strengths = middle.flatten(1).std(dim=1)
    assert 0.08 < strengths.max() < 0.13 and strengths.min() < 0.02


def test_what_is_wrong_is_told(folders, tmp_path):
    with pytest.raises(UsageError, match="unknown network 'alexnet'"):
        Classifier(network="alexnet")
    with pytest.raises(UsageError, match="noise"):
        Classifier(noise=-0.1)
    with pytest.raises(NotFittedError):
        Classifier().probabilities(Image(np.zeros((8, 8), np.uint8)))
    with pytest.raises(UsageError, match="two folders"):
        learn({"disc": folders["disc"]})
    (tmp_path / "one").mkdir()
    write(Image(pattern("disc", 1)), tmp_path / "one" / "a.png")
    with pytest.raises(UsageError, match="fewer than two"):
        learn({"disc": folders["disc"], "one": tmp_path / "one"}, fields=SMALL)
    with pytest.raises(ModelError):
        load(tmp_path / "nothing")
