"""Classifiers misread what a cloak changed, in every kind of image, and learned attacks come back."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from intact.classify import learn
from intact.errors import ModelError, UnsealableError, UsageError
from intact.image import Image, Scale
from intact.io import write
from intact.io.png import encode_png
from intact.protect import Against, Cloak, learn_attack, load_attack
from intact.protect.attack import METHODS
from intact.protect.seal import planes_of, with_planes
from made_classes import SMALL, folders_of_patterns, pattern

SHORT = {"steps": 60, "epsilon": 24.0, "rate": 3e-3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return folders_of_patterns(tmp_path_factory.mktemp("cloak"))


@pytest.fixture(scope="module")
def model(folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "classifier"
    learn(folders, fields=SMALL).save(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(model):
    return Against((("", model),)).cloak("any.png").classifiers[0]


def strong(*classifiers):
    return Cloak(classifiers, METHODS["tiles"](epsilon=60.0))


def changed(image, change):
    planes = planes_of(image)
    return with_planes(image, (planes + change).astype(planes.dtype))


@pytest.mark.parametrize("kind", ["disc", "stripes"])
def test_the_classifier_errs(classifier, kind):
    image = Image(pattern(kind, 77))
    allowed = np.ones(image.shape, bool)
    allowed[:10] = False
    cloak = strong(classifier)
    change = cloak.change(image, allowed)
    assert change.shape == (1, 48, 48) and not change[:, :10].any() and np.abs(change).max() <= 60
    assert cloak.misread(image, changed(image, change)) == [True]
    assert cloak.misread(image, image) == [False]


def test_volumes_colour_and_deep_images(classifier):
    discs = np.stack([pattern("disc", seed) for seed in range(3)])
    volume = Image(discs.astype(np.int16) * 8 - 1000, scale=Scale(0.125, 125.0), bits=13)
    colour = Image(np.repeat(discs[0][..., None], 3, axis=-1), photometric="RGB")
    for image, planes in ((volume, 3), (colour, 3)):
        change = strong(classifier).change(image)
        assert change.shape == (planes, 48, 48) and change.any()
        told = classifier.probabilities(changed(image, change))
        assert told["stripes"] > classifier.probabilities(image)["stripes"]


def test_several_classifiers_are_misled_together(classifier, folders):
    other = learn(folders, fields=SMALL | {"seed": 5}).classifier
    cloak = Cloak((classifier, other), METHODS["tiles"](epsilon=60.0, confidence=4.0))
    image = Image(pattern("disc", 42))
    assert cloak.misread(image, changed(image, cloak.change(image))) == [True, True]


def test_a_seal_that_undoes_the_change_is_made_anew(classifier):
    image = Image(pattern("disc", 77))
    cloak = strong(classifier)
    change = cloak.change(image)
    good, bad = (encode_png(one) for one in (changed(image, change), image))
    files = iter([bad, bad, good, bad])
    assert cloak.sealed(image, change, lambda: (next(files), "a.png")) == (good, "a.png", [True])
    assert next(files) == bad  # no more seals than it took


def test_a_change_that_misleads_nobody_is_sealed_once(classifier):
    image, made = Image(pattern("disc", 77)), []

    def seal():
        made.append(encode_png(image))
        return made[-1], "a.png"

    nothing = np.zeros((1, 48, 48), np.int32)
    assert strong(classifier).sealed(image, nothing, seal) == (made[0], "a.png", [False])
    assert len(made) == 1


def test_what_does_not_fit_is_refused(classifier, model, folders, tmp_path):
    with pytest.raises(UsageError, match="nothing to protect against"):
        Cloak((), METHODS["tiles"]())
    indices = Image(pattern("disc", 1), palette=np.zeros((256, 3), np.uint8), photometric="PALETTE COLOR")
    for image, said in (
        (Image(np.zeros((9, 9), np.float32)), "float32"),
        (Image(pattern("disc", 1) // 128), "grey levels"),
        (Image(pattern("disc", 1), scale=Scale(-1.0, 0.0)), "rising line"),
        (indices, "palette"),
    ):
        with pytest.raises(UnsealableError, match=said):
            strong(classifier).change(image)
    foreign = dataclasses.replace(classifier)
    foreign.load(classifier.state(), classifier.learned() | {"classes": ["a", "b"]})
    with pytest.raises(UsageError, match="different classes"):
        strong(classifier, foreign)
    other = dataclasses.replace(classifier)
    windowed = classifier.learned()["preparation"] | {"intensity": "full"}
    other.load(classifier.state(), classifier.learned() | {"preparation": windowed})
    with pytest.raises(UsageError, match="different windows"):
        strong(classifier, other)


def test_each_folder_has_its_own_classifiers(model, tmp_path):
    against = Against((("chest", model), ("chest/old", model)))
    assert len(against.models_for("chest/1.png")) == 1
    with pytest.raises(UsageError, match="same name"):
        against.cloak("chest/old/1.png")
    shutil.copytree(model, tmp_path / "other")
    two = Against((("chest", model), ("chest/old", tmp_path / "other")))
    assert len(two.cloak("chest/old/1.png").classifiers) == 2
    with pytest.raises(UsageError, match="learns beforehand"):
        Against((("", model),), method="uap").check("pixels")
    with pytest.raises(UsageError, match="no classifier is given"):
        against.cloak("head/1.png")
    with pytest.raises(UsageError, match="carrier"):
        against.check("envelope")
    with pytest.raises(ModelError):
        Against((("", tmp_path / "nothing"),)).check("pixels")
    with pytest.raises(UsageError, match="no field"):
        Against((("", model),), fields=(("colour", 1),)).check("pixels")


@pytest.mark.parametrize("method", ["nroi_advgan", "advgan", "uap"])
def test_attacks_learn_without_labels(method, classifier, folders, tmp_path, model):
    learned = learn_attack([*folders.values()], [classifier], method=method, fields=SHORT)
    assert learned.card.images + learned.card.held_out == 32
    assert learned.card.misread > 0.3
    learned.save(tmp_path / "attack")
    again, card = load_attack(tmp_path / "attack")
    assert card.method == method and card.name == "attack"
    image = Image(pattern("stripes", 3, side=60))  # of another size than it learned on
    one, other = (Cloak((classifier,), attack).change(image) for attack in (learned.attack, again))
    np.testing.assert_array_equal(one, other)
    against = Against((("", model),), method=str(tmp_path / "attack"))
    np.testing.assert_array_equal(against.cloak("a.png").change(image), one)
    with pytest.raises(UsageError, match="has learned with its own"):
        Against(against.models, against.method, (("epsilon", 4.0),)).check("pixels")


def test_learning_refuses_what_cannot_be(classifier, folders, model, tmp_path):
    with pytest.raises(UsageError, match="unknown method"):
        learn_attack([folders["disc"]], [classifier], method="tiles")
    with pytest.raises(UsageError, match="unknown region"):
        learn_attack([folders["disc"]], [classifier], keep="nose")
    (tmp_path / "only").mkdir()
    write(Image(pattern("disc", 1)), tmp_path / "only" / "one.png")
    with pytest.raises(UsageError, match="fewer than two"):
        learn_attack([tmp_path / "only"], [classifier])
    with pytest.raises(ModelError, match="no learned attack"):
        load_attack(model)
