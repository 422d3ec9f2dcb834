"""Choosing a method without labels: normal images are changed, and whoever tells it best is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy import ndimage

import intact
from intact.anomaly import METHODS
from intact.anomaly.base import Batches, Detector, Images
from intact.choose import Trial, choose, read_some_of, tell_apart
from intact.errors import IntactError, UsageError
from intact.image import Image
from intact.imitations import CLOUD, TASKS, UNTOUCHED, imitate, score_imitations
from intact.scores import Scores


@dataclass(eq=False)
class Blind(Detector):
    """Says of every image what a hash of it says."""

    size: int = 16
    seed: int = 0
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "made for this test"
    trains: ClassVar[bool] = False
    fitted: ClassVar[list[int]] = []

    def _fit(self, batches: Batches) -> None:
        self.seen_ = torch.tensor(sum(len(images) for images in batches))
        self.fitted.append(int(self.seen_))

    def _score(self, images: Images) -> Scores:
        return Scores((1e4 * images.sum(dim=(1, 2, 3))).sin(), None)


@dataclass(eq=False)
class Template(Blind):
    """Distance of each pixel to its mean over normals: these all show the same, so any change is seen."""

    size: int = 64
    side: int = 0

    def _fit(self, batches: Batches) -> None:
        images = torch.cat(list(batches))
        self.fitted.append(len(images))
        self.mean_, self.deviation_ = images.mean(dim=0), images.std(dim=0) + 0.01

    def _score(self, images: Images) -> Scores:
        return Scores(((images - self.mean_) / self.deviation_).square().mean(dim=(1, 2, 3)), None)


@dataclass(eq=False)
class Taught(Template):
    """The same, but it says that it learned from lesions that it made."""

    family: ClassVar[str] = "synthesis"


@dataclass(eq=False)
class Broken(Blind):
    def _fit(self, batches: Batches) -> None:
        raise FloatingPointError("the loss became nan")


@pytest.fixture(scope="module")
def images():
    """The same texture in all, with noise of their own."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (96, 96)), 3)
    texture = 1500 + 300 * texture / texture.std()
    return [
        Image(np.clip(texture + rng.normal(0, 20, (96, 96)), 0, 4095).astype(np.uint16), bits=12)
        for _ in range(24)
    ]


@pytest.fixture
def folder(images, tmp_path, monkeypatch):
    for name, kind in (("blind", Blind), ("template", Template), ("taught", Taught), ("broken", Broken)):
        monkeypatch.setitem(METHODS, name, kind)
    monkeypatch.setattr(Blind, "fitted", [])
    for number, image in enumerate(images):
        intact.write(image, tmp_path / f"{number:02d}.png")
    return tmp_path


def test_every_image_is_changed_once_for_every_task_and_only_in_a_place(images):
    made = list(imitate(images[:4], seed=3))
    assert sorted((one.task, one.original) for one in made) == sorted(
        (task, n) for task in (*TASKS, CLOUD) for n in range(4)
    )
    for one in made:
        changed = one.image.pixels != images[one.original].pixels
        assert one.image.made and one.image.bits == 12
        assert 0 < changed.mean() < (0.3 if one.task == CLOUD else 0.1), one.task


def test_imitations_are_those_of_the_seed(images):
    first, again, other = (list(imitate(images[:2], seed)) for seed in (0, 0, 9))
    assert all((a.image.pixels == b.image.pixels).all() for a, b in zip(first, again, strict=True))
    assert not all((a.image.pixels == b.image.pixels).all() for a, b in zip(first, other, strict=True))


def test_an_image_without_room_is_passed_over(images):
    dot = replace(images[0], pixels=np.full((96, 96), 1000, np.uint16))
    made = [one for one in imitate([images[0], dot]) if one.original == 1]
    assert {one.task for one in made} < {*TASKS, CLOUD}


def test_the_scores_of_imitations_stand_where_their_originals_do(images, folder):
    fitted = intact.fit([folder], method="template", in_turns=False)
    held = read_some_of([folder], fitted.held_out)
    scores = score_imitations(fitted.model, held)
    assert scores[UNTOUCHED] == pytest.approx(fitted.model.calibration.image)
    made = {(one.task, one.original): one.image for one in imitate(held)}
    for (task, number), image in list(made.items())[::5]:
        assert scores[task][number] == pytest.approx(next(fitted.model.read([image])).score)


def test_auroc_is_of_changed_beside_untouched_and_skips_what_was_passed_over():
    scores = {UNTOUCHED: np.array([1.0, 2.0]), "a": np.array([np.nan, 3.0]), "b": np.array([1.5, 0.0])}
    assert tell_apart(scores) == {"a": 1.0, "b": 0.25}
    assert Trial("m", tell_apart(scores), 1.0, None).mean == pytest.approx(0.625)


def test_who_sees_changes_is_chosen_and_all_learn_from_the_same_normals(folder):
    trials = choose([folder], methods=["blind", "template"])
    assert [trial.method for trial in trials] == ["template", "blind"]
    assert trials[0].mean > 0.85 > 0.7 > trials[1].mean  # what is "foreign" is the same texture here
    assert Blind.fitted == [18, 18]
    assert trials[0].fit.held_out == trials[1].fit.held_out
    assert set(trials[0].auroc) == {*TASKS, CLOUD}


def test_who_learned_from_made_lesions_is_told_after_the_others(folder):
    trials = choose([folder], methods=["broken", "taught", "blind"])
    assert [trial.method for trial in trials] == ["blind", "taught", "broken"]
    assert trials[1].mean > trials[0].mean and trials[1].flattered and not trials[0].flattered


def test_a_method_that_fails_comes_last_with_its_reason(folder):
    trials = choose([folder], methods=["broken", "blind"])
    assert [trial.method for trial in trials] == ["blind", "broken"]
    assert trials[1].fit is None and "nan" in trials[1].reason and np.isnan(trials[1].mean)
    with pytest.raises(IntactError, match="no method could be fitted; broken: the loss"):
        choose([folder], methods=["broken"])


def test_fields_belong_to_their_method(folder):
    (trial,) = choose([folder], methods=["template"], fields={"template": {"side": 7}})
    assert trial.fit.model.detector.side == 7
    with pytest.raises(UsageError, match="no methods"):
        choose([folder], methods=[])


def test_images_to_hold_out_have_to_be_there(folder):
    names = [str(folder / "03.png"), str(folder / "07.png")]
    fitted = intact.fit([folder], method="template", held_out=names)
    assert fitted.held_out == names and fitted.model.card.normals_fitted == 22
    with pytest.raises(UsageError, match="1 of 1 images to hold out"):
        intact.fit([folder], method="template", held_out=["elsewhere.png"])
