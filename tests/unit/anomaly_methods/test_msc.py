from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import msc
from intact.anomaly.msc import MSC, view
from intact.losses import nt_xent
from intact.nets.trainable import TrainableFeatures

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2}


def images(n=6, channels=1, seed=0):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def batches():
    return [images(), images(4, seed=1)]


@pytest.fixture(scope="module")
def detector():
    return MSC(**FIELDS).fit(batches())


def unit(features):
    return features / features.norm(dim=1, keepdim=True)


def pooled(net, x):
    with torch.no_grad():
        return unit(net(x)[0].mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def pretrained():
    net = TrainableFeatures("narrow_resnet18", ("layer3",))
    net.load_pretrained()
    return net.eval()


def test_features_are_pooled_and_of_length_one(detector):
    torch.testing.assert_close(detector._features(images()), pooled(detector.net, images()))


@pytest.mark.parametrize("centring", [0.0, 1.0])
def test_the_loss_sees_two_views_from_the_mean_of_the_pretrained_features(centring, monkeypatch, pretrained):
    seen = {}
    flat = torch.arange(4).view(4, 1, 1, 1) / 4 + torch.zeros(4, 1, 32, 32)
    given = [images(), flat, torch.eye(32).expand(2, 1, -1, -1)]

    def train(net, loss, batches, *, steps, optimiser, max_norm):
        seen.update(loss=loss(images(seed=3)).item(), max_norm=max_norm)

    monkeypatch.setattr(msc, "train", train)
    MSC(**FIELDS, centring=centring).fit(given)
    centre = pooled(pretrained, torch.cat(given)).mean(dim=0)
    assert centre.norm() < 0.97  # or else its length would not show
    if centring:
        centre = centre / centre.norm()
    rng = torch.Generator().manual_seed(0)
    first, second = (pooled(pretrained, view(images(seed=3), rng, 0.2)) - centre for _ in range(2))
    slow = nt_xent(first, second, 0.25).item()
    for shifted in (first, second):
        slow += centring * sum(sum(v * v for v in row) for row in shifted.tolist()) / 6
    assert seen["loss"] == pytest.approx(slow, rel=1e-3)
    assert seen["max_norm"] == math.inf


def test_the_last_stage_alone_learns(pretrained):
    made = MSC(**FIELDS | {"lr": 0.1}).fit(batches())
    start, end = pretrained.state_dict(), made.net.state_dict()
    moved = {k for k in end if not torch.equal(start[k], end[k])}
    assert moved and all(k.startswith("net.layer3.") for k in moved)
    assert not any("running" in k or "tracked" in k for k in moved)
    assert {k for k in end if k.startswith("net.layer3.") and k.endswith("weight")} <= moved


def test_training_is_that_of_the_authors_but_for_the_rate(monkeypatch):
    seen = {}
    monkeypatch.setattr(msc, "train", lambda *a, optimiser, **k: seen.update(optimiser.param_groups[0]))
    made = MSC(**FIELDS).fit(batches())
    assert (seen["lr"], seen["momentum"], seen["weight_decay"]) == (1e-4, 0, 5e-5)
    assert {id(p) for p in seen["params"]} == {id(p) for p in made.net.net.layer3.parameters()}


def test_the_score_is_the_squared_distance_to_the_two_nearest_normals(detector):
    bank, new = pooled(detector.net, torch.cat(batches())), pooled(detector.net, images(8, seed=5))
    torch.testing.assert_close(detector.bank_, bank)
    scores = detector.score(images(8, seed=5))
    assert scores.pixel is None
    for x, found in zip(new, scores.image.tolist(), strict=True):
        squares = sorted(sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True)) for y in bank)
        assert found == pytest.approx(squares[0] + squares[1], abs=2e-6, rel=1e-2)


def test_fewer_normals_than_neighbours_are_enough():
    made = MSC(**FIELDS | {"neighbours": 9}).fit([images(2)])
    assert made.score(images(3, seed=2)).image.isfinite().all()


def test_a_view_may_be_a_fifth_of_the_image_and_is_seldom_blurred():
    colours = images(64, 3)
    made = view(colours, torch.Generator().manual_seed(0), 0.2)
    assert made.shape == colours.shape and made.min() >= 0 and made.max() <= 1
    whole = view(colours, torch.Generator().manual_seed(0), 1.0)
    assert not torch.allclose(made, whole)
