from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import anoddpm
from intact.anomaly.anoddpm import AnoDDPM
from intact.errors import UsageError
from intact.nets.diffusion import (
    Denoiser,
    cleaned,
    cosine_schedule,
    follow,
    linear_schedule,
    noised,
    step_back,
)

FIELDS = {"size": 16, "width": 4, "multipliers": (1, 2), "attention": (8,), "frequency": 8.0, "steps": 2}


def images(n=4, channels=1, seed=0):
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return AnoDDPM(**FIELDS, stride=125).fit([images()])


def test_the_full_network_is_as_large_as_the_authors():
    """131,649,793 is what their own network for 256 x 256 pixels has."""
    with torch.device("meta"):
        net = Denoiser(1, 128, (1, 1, 2, 2, 4, 4), 2, (False,) * 3 + (True,) * 3, heads=2)
    assert sum(p.numel() for p in net.parameters()) == 131_649_793


def test_the_network_keeps_the_shape_and_starts_at_zero():
    net = Denoiser(3, 8, (1, 2), 1, (False, True), heads=2)
    assert torch.equal(net(torch.rand(2, 3, 16, 16), torch.tensor([0, 999])), torch.zeros(2, 3, 16, 16))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    x = torch.rand(2, 3, 16, 16)
    early, late = net(x, torch.tensor([0, 0])), net(x, torch.tensor([999, 999]))
    assert early.shape == x.shape and not torch.allclose(early, late, atol=1e-4)


def test_the_linear_schedule_is_the_product_of_what_each_step_keeps():
    kept, product = linear_schedule(1000).tolist(), 1.0
    for step in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * step / 999)
        assert kept[step] == pytest.approx(product)
    assert linear_schedule(100)[-1].item() == pytest.approx(kept[-1], abs=1e-4)


def test_the_cosine_schedule_is_a_squared_cosine_until_its_last_step():
    kept = cosine_schedule(1000).tolist()
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for step in (1, 250, 500, 999):
        expected = math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / start
        assert kept[step - 1] == pytest.approx(expected, abs=1e-6)
    assert kept[999] == pytest.approx(kept[998] * 0.001)


def test_noise_that_is_known_can_be_taken_away():
    x, noise = images(2), torch.randn(2, 1, 16, 16)
    there = noised(x, noise, torch.tensor([0.5, 0.9]))
    torch.testing.assert_close(there[1], math.sqrt(0.9) * x[1] + math.sqrt(0.1) * noise[1])
    torch.testing.assert_close(cleaned(there[:1], noise[:1], 0.5), x[:1], atol=1e-5, rtol=0)


def test_a_step_back_is_the_posterior_of_one_forward_step():
    """Eq. 7 of Ho et al. as it is printed, for neighbouring times."""
    kept = linear_schedule(1000)
    x, clean, noise = (torch.randn(1, 1, 4, 4) for _ in range(3))
    t, before = kept[300].item(), kept[299].item()
    beta = 1 - t / before
    mean = math.sqrt(before) * beta / (1 - t) * clean + math.sqrt(1 - beta) * (1 - before) / (1 - t) * x
    torch.testing.assert_close(step_back(x, clean, noise, t, before), mean + math.sqrt(beta) * noise)


def test_a_step_back_keeps_the_noise_as_strong_as_its_time_wants():
    """With the larger variance a little stronger, by less than what one step adds."""
    rng = torch.Generator().manual_seed(0)
    clean, first, fresh = (torch.randn(1, 1, 300, 300, generator=rng) for _ in range(3))
    x = noised(clean, first, torch.tensor([0.6]))
    left = step_back(x, clean, fresh, 0.6, 0.65) - math.sqrt(0.65) * clean
    smaller = (1 - 0.65) / (1 - 0.6) * (1 - 0.6 / 0.65)
    assert left.square().mean().item() == pytest.approx(0.35 + (1 - 0.6 / 0.65) - smaller, rel=0.02)


def test_the_last_step_back_is_the_clean_image():
    x, clean, noise = (torch.randn(1, 1, 4, 4) for _ in range(3))
    torch.testing.assert_close(step_back(x, clean, noise, 0.98, 1.0), clean)


def test_an_average_follows_its_network():
    average, net = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    expected = 0.9 * average.weight + 0.1 * net.weight
    follow(average, net, 0.9)
    torch.testing.assert_close(average.weight, expected)


@pytest.mark.parametrize("noise", ["simplex", "gaussian"])
def test_the_loss_is_the_squared_error_of_the_noise(monkeypatch, noise):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser):
        for p in net.parameters():  # else the network says zero
            torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(1))
        seen.update(net=net, loss=loss(images()).item(), lr=optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(anoddpm, "train", train)
    made = AnoDDPM(**FIELDS, noise=noise, seed=3, reach=50).fit([images()])
    rng = torch.Generator().manual_seed(3)
    times = torch.randint(50, (4,), generator=rng)
    fields = made._draw(4, images(), rng)
    total = 0.0
    for image, t, field in zip(images(), times, fields, strict=True):
        kept = linear_schedule(1000)[t].item()
        x = math.sqrt(kept) * (2 * image - 1) + math.sqrt(1 - kept) * field
        total += ((seen["net"](x[None], t[None])[0] - field) ** 2).sum().item()
    assert seen["loss"] == pytest.approx(total / images().numel(), rel=1e-4)
    assert seen["lr"] == 1e-3 and seen["net"] is not made.net


def test_what_is_kept_is_the_average_of_the_weights(monkeypatch):
    seen = []

    def train(net, loss, batches, *, steps, optimiser):
        bias = net.net.time_embed[0].bias
        seen.append(bias.detach().clone())
        for value in (1.0, 2.0, 4.0):
            loss(images())
            torch.nn.init.constant_(bias, value)

    monkeypatch.setattr(anoddpm, "train", train)
    made = AnoDDPM(**FIELDS, decay=0.5).fit([images()])
    expected = 0.5 * (0.5 * (0.5 * seen[0] + 0.5 * 1) + 0.5 * 2) + 0.5 * 4
    torch.testing.assert_close(made.net.net.time_embed[0].bias.detach(), expected)
    assert not made.net.training


def test_a_perfect_network_gives_the_image_back(detector, monkeypatch):
    """One that knows the clean image names the noise exactly, whatever was drawn."""
    x, kept = images(8), linear_schedule(1000)

    def knows(noisy, t):
        k = kept[t].view(-1, 1, 1, 1).float()
        return (noisy - k.sqrt() * (2 * x - 1)) / (1 - k).sqrt()

    monkeypatch.setattr(detector.net, "forward", knows)
    torch.testing.assert_close(detector._rebuild(x), x, atol=1e-4, rtol=0)


def test_the_network_is_asked_at_the_times_of_the_way_back(detector, monkeypatch):
    asked = []

    def notes(noisy, t):
        asked.append(t.tolist())
        return torch.zeros_like(noisy)

    monkeypatch.setattr(detector.net, "forward", notes)
    detector._there_and_back(images(2), torch.Generator().manual_seed(0))
    assert asked == [[249, 249], [124, 124]]


def test_all_images_get_the_same_noise_and_it_is_averaged_over_draws(detector):
    x = images(1).expand(8, -1, -1, -1)
    rebuilt = detector._rebuild(x)
    torch.testing.assert_close(rebuilt, rebuilt[:1].expand_as(rebuilt))
    rng = torch.Generator().manual_seed(0)
    several = [(detector._there_and_back(2 * x - 1, rng) + 1) / 2 for _ in range(3)]
    assert not torch.allclose(several[0], several[1], atol=0.01)
    torch.testing.assert_close(rebuilt, sum(several) / 3)


def test_the_map_is_the_squared_error_and_the_score_its_mean(detector):
    x = images(8)
    scores = detector.score(x)
    with torch.no_grad():
        expected = (x - detector._rebuild(x)).square()[:, 0]
    torch.testing.assert_close(scores.pixel, expected)
    torch.testing.assert_close(scores.image, expected.mean(dim=(1, 2)))


def test_several_channels_have_noise_of_their_own(detector):
    drawn = detector._draw(2, images(2, channels=3), torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 3, 16, 16)
    assert not torch.allclose(drawn[0, 0], drawn[0, 1], atol=0.1)
    assert AnoDDPM(**FIELDS, stride=250).fit([images(4, 3)]).score(images(1, 3)).pixel.shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"noise": "perlin"}, "noise"),
        ({"size": 17}, "halvings"),
        ({"level": 1001}, "level"),
        ({"level": 0}, "level"),
    ],
)
def test_impossible_fields_are_refused(fields, match):
    with pytest.raises(UsageError, match=match):
        AnoDDPM(**FIELDS | fields)
