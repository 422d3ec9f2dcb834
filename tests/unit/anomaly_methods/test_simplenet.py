from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import simplenet
from intact.anomaly.parts import Parts
from intact.anomaly.simplenet import SimpleNet
from intact.errors import UsageError
from intact.filters import gaussian_blur, upsample
from intact.nets.patch_discriminator import adaptor, aggregated, patch_discriminator

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "dimensions": 24, "hidden": 12, "steps": 2}


def images(n=4, seed=0, channels=1):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return SimpleNet(**FIELDS).fit([images()])


def pooled(numbers, length):
    """Means of `length` groups that cover all numbers, as evenly as whole numbers allow."""
    n = len(numbers)
    bounds = [(i * n // length, -(-(i + 1) * n // length)) for i in range(length)]
    return [sum(numbers[a:b]) / (b - a) for a, b in bounds]


def test_a_patch_averages_its_neighbourhood_in_groups():
    first, second = torch.randn(1, 4, 6, 6), torch.randn(1, 7, 6, 6)  # no enlarging to disturb
    found = aggregated([first, second], 10)
    assert found.shape == (1, 6, 6, 10)
    for row, column in ((0, 0), (2, 3), (5, 1)):
        levels = []
        for features in (first, second):
            padded = torch.nn.functional.pad(features, (1, 1, 1, 1))[0]
            around = [
                padded[c, row + i, column + j].item()
                for c in range(len(padded))
                for i in range(3)
                for j in range(3)
            ]
            levels += pooled(around, 10)
        assert found[0, row, column].tolist() == pytest.approx(pooled(levels, 10), abs=1e-5)


def test_the_coarser_map_is_enlarged_between_its_positions():
    """A ramp stays a ramp, away from the border."""
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 5, 8, 8)
    found = aggregated([torch.zeros(1, 5, 16, 16), ramp], 9)[0, 8, :, -1]
    torch.testing.assert_close(found[4:12].diff(), torch.full((7,), 0.5))


def test_the_papers_sizes():
    maps = [torch.zeros(2, 512, 36, 36), torch.zeros(2, 1024, 18, 18)]
    assert aggregated(maps, 1536).shape == (2, 36, 36, 1536)
    assert sum(p.numel() for p in adaptor(1536).parameters()) == 1536 * 1536 + 1536
    counted = sum(p.numel() for p in patch_discriminator(1536, 1024).parameters())
    assert counted == 1536 * 1024 + 1024 + 2 * 1024 + 1024  # no bias at the end


def test_weights_start_as_xavier_has_them():
    torch.manual_seed(0)
    assert adaptor(400).weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)
    first, *_, last = patch_discriminator(400, 200)
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 600), rel=0.02)
    assert last.weight.std().item() == pytest.approx(math.sqrt(2 / 201), rel=0.15)


def test_the_loss_is_a_hinge_on_normal_and_noisy_features():
    made = SimpleNet(**FIELDS, noise=0.3)
    made._build(1)
    loss = made._loss(images(), torch.Generator().manual_seed(5))
    with torch.no_grad():
        normal = made.adaptor(made._patches(images()).flatten(0, 2))
        noisy = normal + 0.3 * torch.randn(normal.shape, generator=torch.Generator().manual_seed(5))
        high, low = made.discriminator(torch.cat([normal, noisy])).split(len(normal))
    slow = sum(max(0.0, 0.5 - v) for v in high[:, 0].tolist()) / len(high)
    slow += sum(max(0.0, 0.5 + v) for v in low[:, 0].tolist()) / len(low)
    assert loss.item() == pytest.approx(slow, abs=1e-5)


def test_only_adaptor_and_discriminator_learn_each_at_its_rate(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, max_norm):
        seen.update(loss=loss(images()), groups=optimiser.param_groups, batches=batches, max_norm=max_norm)

    monkeypatch.setattr(simplenet, "train", train)
    made = SimpleNet(**FIELDS, batch=3).fit([images()])
    seen["loss"].backward()
    assert all(p.grad is not None for net in (made.adaptor, made.discriminator) for p in net.parameters())
    assert all(p.grad is None for p in made.eyes.parameters())
    slow, fast = seen["groups"]
    assert {id(p) for p in slow["params"]} == {id(p) for p in made.adaptor.parameters()}
    assert {id(p) for p in fast["params"]} == {id(p) for p in made.discriminator.parameters()}
    assert (slow["lr"], slow["weight_decay"]) == (1e-4, 0.01)
    assert (fast["lr"], fast["weight_decay"]) == (2e-4, 1e-5)
    assert seen["max_norm"] == math.inf
    assert [len(part) for part in seen["batches"]] == [2, 2]


def test_the_score_is_minus_the_worst_patch_before_smoothing(detector):
    x = images(8)
    with torch.no_grad():
        patches = detector._patches(x)
        assert patches.shape == (8, 4, 4, 24)
        found = torch.stack(
            [-detector.discriminator(detector.adaptor(p.flatten(0, 1))).view(4, 4) for p in patches]
        )
    scores = detector.score(x)
    torch.testing.assert_close(scores.image, found.amax(dim=(1, 2)), rtol=1e-4, atol=1e-5)
    pixel = gaussian_blur(upsample(found, (32, 32)), 4.0)
    torch.testing.assert_close(scores.pixel, pixel, rtol=1e-4, atol=1e-5)


def test_nothing_is_in_training_mode_when_it_scores(detector):
    assert not any(m.training for net in (detector.adaptor, detector.discriminator) for m in net.modules())


def test_it_learns_to_tell_noisy_features():
    """The margin is met on most features."""
    x = images(16)
    made = SimpleNet(**FIELDS | {"steps": 150}, noise=2.0, lr=5e-3, adaptor_lr=1e-3).fit([x])
    with torch.no_grad():
        normal = made.adaptor(made._patches(x).flatten(0, 2))
        noisy = normal + 2.0 * torch.randn(normal.shape, generator=torch.Generator().manual_seed(9))
        assert (made.discriminator(normal) > 0).float().mean() > 0.9
        assert (made.discriminator(noisy) < 0).float().mean() > 0.9


def test_colour_works_too():
    made = SimpleNet(**FIELDS).fit([images(channels=3)])
    assert made.score(images(channels=3)).image.isfinite().all()


def test_a_size_that_the_backbone_cannot_halve_is_refused():
    with pytest.raises(UsageError):
        SimpleNet(size=72)


@pytest.mark.parametrize(
    ("given", "most", "wanted"), [(9, 8, [5, 4]), (8, 8, [8]), (32, 8, [8] * 4), (3, 8, [3])]
)
def test_batches_are_cut_into_even_parts(given, most, wanted):
    batches = [torch.arange(float(given)), torch.arange(float(given))]
    parts = list(Parts(batches, most))
    assert [len(p) for p in parts] == 2 * wanted
    assert torch.equal(torch.cat(parts), torch.cat(batches))
    assert len(list(Parts(batches, most))) == len(parts)  # can be gone through again
