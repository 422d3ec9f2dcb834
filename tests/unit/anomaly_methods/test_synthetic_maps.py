"""What FPI, PII and NSA share: the loss, the map and the score."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from intact.anomaly import synthetic_maps
from intact.anomaly.synthetic_maps import SyntheticMaps
from intact.errors import UsageError
from intact.forge.synthetic.made import Made


class Finder(SyntheticMaps):
    """Images get a brighter square; the network is one convolution."""

    def _network(self, channels):
        return nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1), nn.Flatten(1, 2))

    def _make(self, images, rng):
        labels = torch.zeros_like(images[:, 0])
        k = int(rng.integers(4))
        labels[:, k : k + 4, 2:6] = 0.7
        return Made(images + labels[:, None], labels)


def images(n=4):
    return torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_binary_cross_entropy_of_every_pixel(monkeypatch):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser, schedule, max_norm):
        seen.update(loss=loss(images()), steps=steps, optimiser=optimiser, schedule=schedule, norm=max_norm)

    monkeypatch.setattr(synthetic_maps, "train", train)
    made = Finder(size=12, steps=7, lr=2e-3, seed=5).fit([images()])
    assert isinstance(seen["optimiser"], torch.optim.Adam) and seen["optimiser"].param_groups[0]["lr"] == 2e-3
    assert seen["steps"] == 7 and seen["schedule"] is None and seen["norm"] == math.inf
    shown, labels = made._make(images(), np.random.default_rng(5))
    with torch.no_grad():
        found = made.net(shown).sigmoid().double()
    slow = [
        -(y * math.log(p) + (1 - y) * math.log(1 - p))
        for p, y in zip(found.flatten().tolist(), labels.flatten().tolist(), strict=True)
    ]
    assert seen["loss"].item() == pytest.approx(sum(slow) / len(slow), rel=1e-5)


def test_the_map_is_the_networks_output_between_0_and_1_and_its_mean_the_score():
    detector = Finder(size=12, steps=2).fit([images()])
    scores = detector.score(images())
    with torch.no_grad():
        expected = 1 / (1 + torch.exp(-detector.net(images())))
    torch.testing.assert_close(scores.pixel, expected)
    torch.testing.assert_close(scores.image, expected.mean(dim=(1, 2)))
    detector.pooling = "max"
    torch.testing.assert_close(detector.score(images()).image, expected.amax(dim=(1, 2)))


def test_it_learns_what_was_put_in():
    detector = Finder(size=12, steps=150, lr=0.1).fit([images(16) / 4])
    marked = images(16) / 4
    marked[:, :, 4:8, 4:8] += 0.7
    pixel = detector.score(marked).pixel
    assert pixel[:, 4:8, 4:8].mean() > pixel.mean() + 0.3


def test_every_step_draws_anew(monkeypatch):
    seen = []
    draw = Finder._make
    monkeypatch.setattr(Finder, "_make", lambda self, x, rng: (seen.append(draw(self, x, rng)), seen[-1])[1])
    Finder(size=12, steps=8).fit([images()])
    assert len(seen) == 8 and len({made.labels.numpy().tobytes() for made in seen}) > 1


def test_an_unknown_pooling_is_refused():
    with pytest.raises(UsageError, match="pooling"):
        Finder(pooling="median")
