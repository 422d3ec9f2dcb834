from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import pddpm
from intact.anomaly.pddpm import PDDPM
from intact.errors import UsageError
from intact.filters import median_blur
from intact.nets.diffusion import Denoiser, cosine_schedule
from intact.noise import octave_noise

FIELDS = {"size": 32, "patch": 16, "width": 4, "multipliers": (1, 2), "frequency": 21.0, "steps": 1}


def images(n=4, channels=1, seed=0):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return PDDPM(**FIELDS).fit([images()])


def test_the_full_network_is_as_large_as_the_authors():
    """Theirs has 37,513,857 parameters, and 34,493,313 when its time only shifts."""
    with torch.device("meta"):
        net = Denoiser(1, 128, (1, 2, 2), 3, (False,) * 3, heads=4)
    assert sum(p.numel() for p in net.parameters()) == 34_493_313


def test_the_windows_tile_the_image(detector):
    windows = detector._windows(images())
    expected = torch.zeros(4, 1, 32, 32)
    for i, (row, column) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)]):
        expected[i, 0, row : row + 16, column : column + 16] = 1
    assert torch.equal(windows, expected)
    assert PDDPM()._windows(torch.zeros(1, 1, 96, 96)).shape == (4, 1, 96, 96)


def test_only_the_window_is_noisy(detector, monkeypatch):
    seen = {}

    def notes(noisy, t):
        seen.update(noisy=noisy, t=t)
        return noisy

    monkeypatch.setattr(detector.net, "forward", notes)
    x, noise, t = 2 * images() - 1, torch.randn(4, 1, 32, 32), torch.tensor([10, 400, 700, 999])
    detector._rebuilt(x, detector._windows(x)[[0, 1, 2, 3]], noise, t)
    for i, (row, column) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)]):
        part = (i, 0, slice(row, row + 16), slice(column, column + 16))
        kept = cosine_schedule(1000)[t[i]].item()
        expected = x[i, 0].clone()
        expected[part[2:]] = math.sqrt(kept) * x[part] + math.sqrt(1 - kept) * noise[part]
        torch.testing.assert_close(seen["noisy"][i, 0], expected)
    assert torch.equal(seen["t"], t)


def test_the_loss_is_the_absolute_error_in_the_window_alone(monkeypatch):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser):
        for p in net.parameters():  # else the network says zero
            torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(1))
        seen.update(loss=loss(images()).item(), lr=optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(pddpm, "train", train)
    made = PDDPM(**FIELDS, seed=3).fit([images()])
    rng = torch.Generator().manual_seed(3)
    times, chosen = torch.randint(1000, (4,), generator=rng), torch.randint(4, (4,), generator=rng)
    noise = octave_noise(4, 32, rng, frequency=21.0)
    total = 0.0
    for image, t, window, field in zip(images(), times, chosen, noise, strict=True):
        row, column = 16 * (int(window) // 2), 16 * (int(window) % 2)
        part = (0, slice(row, row + 16), slice(column, column + 16))
        x, kept = 2 * image - 1, cosine_schedule(1000)[t].item()
        noisy = x.clone()
        noisy[part] = math.sqrt(kept) * x[part] + math.sqrt(1 - kept) * field[part[1:]]
        with torch.no_grad():
            found = made.net(noisy[None], t[None])[0]
        total += (found[part] - x[part]).abs().sum().item()
    assert seen["loss"] == pytest.approx(total / images().numel(), rel=1e-4)
    assert seen["lr"] == 1e-3


def test_one_pass_per_window_at_the_level_makes_the_image(detector, monkeypatch):
    asked = []

    def numbers_its_calls(noisy, t):
        asked.append(t.tolist())
        return torch.full_like(noisy, len(asked) / 10)

    monkeypatch.setattr(detector.net, "forward", numbers_its_calls)
    rebuilt = detector._rebuild(images(2))
    assert asked == [[499, 499]] * 4
    for call, (row, column) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)], start=1):
        window = rebuilt[:, :, row : row + 16, column : column + 16]
        torch.testing.assert_close(window, torch.full((2, 1, 16, 16), (call / 10 + 1) / 2))


def test_all_windows_and_images_get_the_same_noise(detector, monkeypatch):
    seen = []
    monkeypatch.setattr(detector.net, "forward", lambda noisy, t: seen.append(noisy) or noisy)
    detector._rebuild(torch.full((2, 1, 32, 32), 0.5))
    whole = sum(noisy for noisy in seen)
    assert torch.equal(whole[0], whole[1])
    field = octave_noise(1, 32, torch.Generator().manual_seed(0), frequency=21.0)
    torch.testing.assert_close(whole[0], math.sqrt(1 - cosine_schedule(1000)[499].item()) * field)


def test_the_map_is_the_smoothed_difference_inside_an_eroded_foreground(monkeypatch):
    made = PDDPM(**FIELDS | {"size": 64}).fit([torch.rand(2, 1, 64, 64)])
    x = torch.zeros(8, 1, 64, 64)
    x[:, :, 10:50, 12:40] = 0.5
    rebuilt = torch.rand(8, 1, 64, 64)
    monkeypatch.setattr(made, "_rebuild", lambda _: rebuilt)
    scores = made.score(x)
    inside = torch.zeros(64, 64)
    inside[12:48, 14:38] = 1  # 64 // 25 = 2 pixels off each edge
    expected = median_blur((x - rebuilt).abs()[:, 0] * inside, 5)
    torch.testing.assert_close(scores.pixel, expected)
    torch.testing.assert_close(scores.image, expected[:, 10:50, 12:40].mean(dim=(1, 2)))


def test_an_empty_image_scores_nothing(detector):
    assert detector.score(torch.zeros(1, 1, 32, 32)).image.item() == 0.0


def test_several_channels_share_the_noise():
    scores = PDDPM(**FIELDS).fit([images(4, 3)]).score(images(1, 3))
    assert scores.pixel.shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("fields", "match"), [({"patch": 20}, "tile"), ({"size": 33}, "halvings"), ({"level": 0}, "level")]
)
def test_impossible_fields_are_refused(fields, match):
    with pytest.raises(UsageError, match=match):
        PDDPM(**FIELDS | fields)
