"""A learned start: Reptile's steps against a slow computation, what it is good for, and what is refused."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import intact
from intact import progress
from intact.anomaly import METHODS, Detector
from intact.data.transforms import Preparation
from intact.errors import InputError, ModelError, TooFewNormalsError, UsageError
from intact.image import Image
from intact.meta import epsilon, moved
from intact.model import Model
from intact.scores import Scores
from intact.start import Start
from intact.train import train

meta = importlib.import_module("intact.meta")
SIDE = 8
SMALL = {"size": 16, "latent": 2}


@dataclass(eq=False)
class Level(Detector):
    """Learns the mean of its images by descending (level - mean)²; scores how far an image's is from it."""

    size: int = SIDE
    steps: int = 3
    lr: float = 0.1
    seed: int = 0
    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "made for this test"
    seen: ClassVar[list[float]] = []  # mean of the images of every training

    def _build(self, channels):
        self.net = nn.Linear(1, 1, bias=False)
        self.net.register_buffer("count", torch.tensor(0))
        self.net.register_buffer("average", torch.tensor(0.0))
        nn.init.constant_(self.net.weight, -3.0)

    def _fit(self, batches):
        self.seen.append(torch.cat(list(batches)).double().mean().item())
        self.net.count += self.steps
        self.net.average.fill_(self.seen[-1])
        optimiser = torch.optim.SGD(self.net.parameters(), lr=self.lr)
        train(self.net, lambda x: (self.net.weight - x.mean()).square().sum(), batches,
              steps=self.steps, optimiser=optimiser, max_norm=1e9)  # fmt: skip

    def _score(self, images):
        return Scores((images.mean(dim=(1, 2, 3)) - self.net.weight).abs().flatten(), None)


@pytest.fixture
def level(monkeypatch):
    monkeypatch.setitem(METHODS, "level", Level)
    monkeypatch.setattr(Level, "seen", [])


def write_task(folder, bright, count=6, seed=0):
    """Images `bright` of whose pixels are white and the others black, so that their mean is known."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(count):
        pixels = rng.permutation(np.arange(SIDE * SIDE) < bright * SIDE * SIDE) * 255
        intact.write(Image(pixels.reshape(SIDE, SIDE).astype(np.uint8)), folder / f"{i}.png")
    return folder


@pytest.fixture
def tasks(tmp_path):
    return [write_task(tmp_path / "dark", 0.25), write_task(tmp_path / "light", 0.75)]


@pytest.fixture
def noise(tmp_path):
    """Two tasks for small autoencoders."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            intact.write(Image(rng.integers(0, 256, (16, 16), np.uint8)), tmp_path / name / f"{i}.png")
    return [tmp_path / "a", tmp_path / "b"]


def test_epsilon_falls_from_one_linearly_to_nought():
    np.testing.assert_allclose([epsilon(done, 5) for done in range(6)], [1.0, 0.8, 0.6, 0.4, 0.2, 0.0])


def test_weights_and_running_means_move_a_share_and_counts_are_taken_over():
    start = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3), "seen": torch.tensor(False)}
    learned = {"w": torch.tensor([1.0, 0.0]), "n": torch.tensor(7), "seen": torch.tensor(True)}
    found = moved(start, learned, 0.25)
    assert found["w"].tolist() == [0.25, 3.0] and found["n"] == 7 and found["seen"]
    assert start["w"].tolist() == [0.0, 4.0]


def test_rounds_are_those_of_a_slow_computation(level, tasks):
    rounds, lr, steps = 7, 0.1, 4
    start = intact.learn_start(tasks, method="level", rounds=rounds, images=3, inner_steps=steps).start
    weight, average = -3.0, 0.0
    for number, mean in enumerate(Level.seen):
        own = weight
        for _ in range(steps):
            own -= lr * 2 * (own - mean)
        share = 1 - number / rounds
        weight += share * (own - weight)
        average += share * (mean - average)
    assert len(Level.seen) == rounds
    assert {round(mean, 4) for mean in Level.seen} == {0.25, 0.75}  # both tasks are drawn, never mixed
    np.testing.assert_allclose(start.weights["net.weight"].item(), weight, rtol=1e-5)
    np.testing.assert_allclose(start.weights["net.average"].item(), average, rtol=1e-5)


def test_a_start_is_nearer_to_a_new_task_than_a_random_one(level, tasks, tmp_path):
    start = intact.learn_start(tasks, method="level", rounds=40, images=3, inner_steps=3).start
    assert 0.25 < start.weights["net.weight"].item() < 0.75
    new = write_task(tmp_path / "new", 0.5, count=8)
    near, far = (intact.fit([new], method="level", start=s).model for s in (start, None))
    assert near.calibration.image.max() < 0.2 < far.calibration.image.min()


def test_fitting_takes_preparation_and_fields_from_the_start(level, tasks, tmp_path):
    start = intact.learn_start(tasks, method="level", fields={"steps": 5, "lr": 0.02}, rounds=2,
                               images=3, inner_steps=1).start  # fmt: skip
    new = write_task(tmp_path / "new", 0.5, count=8)
    fitted = intact.fit([new], start=start, fields={"lr": 0.03}, seed=4)
    assert fitted.model.detector.fields() == {"size": SIDE, "steps": 5, "lr": 0.03, "seed": 4}
    assert fitted.model.preparation == Preparation(SIDE)
    assert "dark (6 images)" in fitted.model.card.start and any("start" in note for note in fitted.notes)


def test_same_seed_same_start_and_another_seed_another(noise):
    first, again, other = (
        intact.learn_start(noise, fields=SMALL, rounds=3, images=4, inner_steps=2, seed=seed).start.weights
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["net.encoder.6.weight"], other["net.encoder.6.weight"])


def test_a_run_that_was_stopped_goes_on_to_the_same_start(noise, tmp_path, monkeypatch):
    monkeypatch.setattr(meta, "SAVE_EVERY", 0.0)
    settings = {"fields": SMALL, "rounds": 5, "images": 4, "inner_steps": 2}
    rounds: list[int] = []

    def stop_after_two(what, done, total):
        if what == "learning a start":
            rounds.append(done)
            if rounds == [1, 2, 3]:
                raise KeyboardInterrupt

    with progress.showing(stop_after_two), pytest.raises(KeyboardInterrupt):
        intact.learn_start(noise, out=tmp_path / "start", **settings)
    half = Start.load(tmp_path / "start")
    assert half.done == 2
    with pytest.raises(UsageError, match="unfinished"):
        intact.fit([noise[0]], start=half)
    with progress.showing(stop_after_two):
        intact.learn_start(noise, out=tmp_path / "start", **settings)
    assert rounds == [1, 2, 3, 3, 4, 5]
    found, whole = Start.load(tmp_path / "start"), intact.learn_start(noise, **settings).start
    assert found.describe() == whole.describe() and found.done == 5
    assert all(torch.equal(found.weights[name], whole.weights[name]) for name in whole.weights)


def test_other_settings_begin_anew(noise, tmp_path):
    settings = {"fields": SMALL, "images": 4, "inner_steps": 1, "out": tmp_path / "start"}
    intact.learn_start(noise, rounds=1, **settings)
    assert intact.learn_start(noise, rounds=2, **settings).start.done == 2
    assert Start.load(tmp_path / "start").rounds == 2


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("ae", {"size": 32, "latent": 4}),
        ("vae", {"size": 32, "latent": 4}),
        ("memae", {"size": 32, "latent": 4}),
        ("ganomaly", {"size": 32}),
        ("stfpm", {"size": 32, "backbone": "narrow_resnet18"}),
        ("edc", {"size": 32, "backbone": "narrow_resnet18", "encoder_lr": 0.0}),
        ("cutpaste", {"size": 32, "backbone": "narrow_resnet18", "pretrained_lr": 0.0}),
    ],
)
def test_training_begins_at_the_start(method, fields):
    """Without a learning rate it also ends there: pretrained parts, too, come from the start."""

    def detector():
        return METHODS[method](**fields, steps=1, lr=0.0)

    images = [torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))]
    first = detector().fit(images)
    start = {name: w + 0.01 if w.is_floating_point() else w for name, w in first.weights().items()}
    found = detector().fit(images, start).weights()
    parameters = [
        f"{of}.{name}" for of, net in first._networks().items() for name, _ in net.named_parameters()
    ]
    assert parameters
    assert all(torch.equal(found[name], start[name]) for name in parameters)


@pytest.mark.parametrize("method", ["patchcore", "padim"])
def test_methods_that_train_no_network_are_refused_and_others_named(noise, method):
    with pytest.raises(UsageError, match=f"{method} trains no network.*ae, .*vae"):
        intact.learn_start(noise, method=method)


def test_one_task_is_too_few_also_if_it_is_given_twice(noise):
    for tasks in ([], noise[:1], [noise[0], noise[0].parent / "b" / ".." / "a"]):
        with pytest.raises(UsageError, match="at least two tasks"):
            intact.learn_start(tasks)


def test_a_folder_without_images_is_named(noise, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty.*holds no image"):
        intact.learn_start([*noise, tmp_path / "empty"], fields=SMALL)


def test_a_task_with_fewer_images_than_a_round_draws_is_named(noise):
    with pytest.raises(TooFewNormalsError, match="a gives 6 images, but each round draws 7"):
        intact.learn_start(noise, fields=SMALL, images=7)


def test_colour_beside_grey_is_refused_and_colour_alone_is_kept(noise, tmp_path, level):
    rng = np.random.default_rng(0)
    for name in ("red", "green"):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            intact.write(Image(pixels, photometric="RGB"), tmp_path / name / f"{i}.png")
    colour = [tmp_path / "red", tmp_path / "green"]
    with pytest.raises(UsageError, match="red: colour images"):
        intact.learn_start([*noise, colour[0]], fields=SMALL)
    start = intact.learn_start(colour, method="level", rounds=1, images=2, inner_steps=1).start
    assert start.preparation.colour and start.preparation.channels == 3
    with pytest.raises(UsageError, match="learned on colour images and these are grey"):
        intact.fit([noise[0]], start=start)


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"images": 1}, {"inner_steps": 0}])
def test_numbers_out_of_range_are_refused(noise, settings):
    with pytest.raises(UsageError, match="at least 1 round, 2 images and 1 step"):
        intact.learn_start(noise, **settings)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"method": "vae"}, "one of ae.*'vae'"),
        ({"windows": [(40, 400)]}, "16 x 16 pixels, no windows"),
        ({"neighbours": 1}, "no neighbours"),
        ({"fields": {"size": 32}}, "16 x 16 pixels"),
        ({"fields": {"latent": 3}}, "other networks"),
    ],
)
def test_what_does_not_suit_the_start_is_refused(noise, asked, said):
    start = intact.learn_start(noise, fields=SMALL, rounds=1, images=4, inner_steps=1).start
    with pytest.raises(UsageError, match=said):
        intact.fit([noise[0]], start=start, **asked)


def test_a_start_is_no_model_and_a_model_no_start(noise, tmp_path):
    settings = {"fields": SMALL, "rounds": 1, "images": 4, "inner_steps": 1}
    intact.learn_start(noise, out=tmp_path / "start", **settings)
    with pytest.raises(ModelError, match="is a start, not a model"):
        Model.load(tmp_path / "start")
    start = Start.load(tmp_path / "start")
    intact.fit([noise[0]], start=start, fields={"steps": 1}).model.save(tmp_path / "model")
    with pytest.raises(ModelError, match="not a start"):
        Start.load(tmp_path / "model")
    with pytest.raises(UsageError, match="is a model, which a start would replace"):
        intact.learn_start(noise, out=tmp_path / "model", **settings)


def test_a_method_of_whole_volumes_learns_its_start_from_cubes(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("heads", "knees"):
        (tmp_path / name).mkdir()
        for k in range(3):
            volume = Image(rng.integers(0, 4000, (6, 16, 16)).astype(np.uint16), spacing=(2.0, 1.0, 1.0))
            intact.write(volume, tmp_path / name / f"{k}.nii.gz")
    fields = {"dims": 3, "size": 16, "width": 4, "depth": 2}
    start = intact.learn_start(
        [tmp_path / "heads", tmp_path / "knees"],
        method="many_tasks", fields=fields, rounds=2, images=2, inner_steps=1,
    ).start  # fmt: skip
    assert start.preparation.whole and [task.planes for task in start.tasks] == [3, 3]
    weights = [each for name, each in start.weights.items() if name.endswith("weight")]
    assert {each.ndim for each in weights} >= {5}  # of convolutions in three dimensions
