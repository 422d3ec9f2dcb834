from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intact.anomaly import sohn_two_stage
from intact.anomaly.one_class import HEADS, sharp_gamma
from intact.anomaly.sohn_two_stage import SohnTwoStage, projection, view
from intact.errors import UsageError

FIELDS = {"size": 32, "depth": 2, "steps": 2}


def images(n=6, channels=1, seed=0):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return SohnTwoStage(**FIELDS, head="kde").fit([images(), images(4, seed=1)])


def test_the_papers_networks_have_their_sizes():
    with torch.device("meta"):
        made = SohnTwoStage(backbone="resnet18")
        made._build(1)
    assert sum(p.numel() for p in made.net.parameters()) == 11_689_512 - 513_000  # without its classifier
    linear = [m for m in made.projection if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(512, 512)] * 8 + [(512, 128)]
    assert all(m.bias is None for m in linear)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in made.projection) == 8


def test_a_projection_may_have_no_hidden_layer():
    assert projection(7, 0)(torch.ones(2, 7)).shape == (2, 128)


def test_the_loss_is_the_cross_entropy_among_the_second_views_alone(detector):
    first, second = images(5, seed=2), images(5, seed=3)
    one = F.normalize(detector.projection(detector._features(first)), dim=1)
    other = F.normalize(detector.projection(detector._features(second)), dim=1)
    slow = 0.0
    for i in range(5):
        powers = [
            math.exp(sum(a * b for a, b in zip(x, y, strict=True)) / 0.2)
            for x in [one[i].tolist()]
            for y in other.tolist()
        ]
        slow -= math.log(powers[i] / sum(powers)) / 5
    assert detector._loss(first, second).item() == pytest.approx(slow, abs=1e-4)


def test_both_views_of_an_image_are_turned_alike(monkeypatch):
    """A turned image is another image, not another view."""
    seen = []
    monkeypatch.setattr(sohn_two_stage, "view", lambda turned, rng: seen.append(turned) or turned)
    monkeypatch.setattr(SohnTwoStage, "_loss", lambda self, a, b: self.projection[0].weight.sum() * 0)
    SohnTwoStage(**FIELDS, head="kde").fit([images(40)])
    assert len(seen) == 4 and seen[0] is seen[1] and seen[2] is seen[3]
    turns = {
        next(k for k in range(4) if torch.equal(turned, image.rot90(k, (1, 2))))
        for turned, image in zip(seen[0], images(40), strict=True)
    }
    assert turns == {0, 1, 2, 3}


def test_training_is_that_of_the_authors(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, schedule, max_norm):
        seen.update(nets=nets, group=optimiser.param_groups[0], schedule=schedule, max_norm=max_norm)
        nets.eval()

    monkeypatch.setattr(sohn_two_stage, "train", train)
    SohnTwoStage(**FIELDS, head="kde").fit([images()])
    group = seen["group"]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 3e-4)
    assert not group["nesterov"] and seen["max_norm"] == math.inf
    assert len(group["params"]) == sum(1 for _ in seen["nets"].parameters())
    assert seen["schedule"].T_max == 2 and seen["schedule"].eta_min == 0


def test_the_network_starts_untrained():
    made = SohnTwoStage(**FIELDS)
    made._build(1)
    weight = made.net.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_a_view_is_cropped_mirrored_and_recoloured():
    colours = images(64, 3)
    made = view(colours, torch.Generator().manual_seed(0))
    assert made.shape == colours.shape
    grey = (made.amax(dim=1) - made.amin(dim=1)).flatten(1).amax(dim=1) < 1e-5
    assert 4 <= grey.sum() <= 24  # a fifth


@pytest.mark.parametrize("head", HEADS)
def test_the_head_sees_pooled_features_of_length_one(head):
    made = SohnTwoStage(**FIELDS, head=head).fit([images(), images(4, seed=1)])
    assert not any(m.training for m in made.net.modules())
    with torch.no_grad():
        x, new = (
            made.net(i)[0].mean(dim=(2, 3))
            for i in (torch.cat([images(), images(4, seed=1)]), images(8, seed=5))
        )
    x, new = x / x.norm(dim=1, keepdim=True), new / new.norm(dim=1, keepdim=True)
    expected = HEADS[head].score(new, HEADS[head].fit(x, sharp_gamma(x)))
    scores = made.score(images(8, seed=5))
    assert scores.pixel is None
    torch.testing.assert_close(scores.image, expected, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("head", HEADS)
def test_what_a_head_learned_is_saved(head):
    made = SohnTwoStage(**FIELDS | {"steps": 1}, head=head).fit([images(channels=3)])
    again = SohnTwoStage(**FIELDS | {"steps": 1}, head=head).load_state(made.state())
    new = images(3, 3, seed=5)
    assert torch.equal(again.score(new).image, made.score(new).image)


def test_an_unknown_head_is_refused():
    with pytest.raises(UsageError, match="forest"):
        SohnTwoStage(head="forest")
