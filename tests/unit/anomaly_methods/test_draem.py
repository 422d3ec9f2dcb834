from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import draem
from intact.anomaly.draem import DRAEM
from intact.errors import UsageError
from intact.forge.synthetic.made import Made
from intact.losses import ssim_map
from intact.nets.draem import Rebuilder, Segmenter

FIELDS = {"size": 32, "width": 4, "segmenter_width": 4, "steps": 2}


def images(n=4, seed=0, channels=1):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def detector():
    return DRAEM(**FIELDS).fit([images()])


def test_the_papers_networks_have_their_sizes():
    """Those of the authors' code; its mask has two channels, ours one."""
    with torch.device("meta"):
        assert count(Rebuilder(3, 128)) == 69_048_579
        assert count(Segmenter(6, 2, 64)) == 28_374_146
        made = DRAEM(size=256, width=128, segmenter_width=64)
        made._build(3)
    assert count(made.segmenter) == 28_374_146 - (64 * 9 + 1)
    maps = []
    for block in made.rebuilder.down:
        block.register_forward_hook(lambda _, __, result: maps.append(tuple(result.shape[1:])))
    rebuilt = made.rebuilder(torch.empty(2, 3, 256, 256, device="meta"))
    assert rebuilt.shape == (2, 3, 256, 256)
    assert maps == [(128, 256, 256), (256, 128, 128), (512, 64, 64), (1024, 32, 32), (1024, 16, 16)]


def test_nothing_passes_by_the_code_when_rebuilding():
    """An autoencoder without skips gives one picture for one code, whatever it saw."""
    made = DRAEM(**FIELDS)
    made._build(1)
    made.rebuilder.down[-1].register_forward_hook(lambda _, __, code: torch.ones_like(code))
    made.rebuilder.eval()
    first, second = made.rebuilder(images(seed=1)), made.rebuilder(images(seed=2))
    assert torch.equal(first, second)


def test_the_segmenter_sees_every_level():
    made = DRAEM(**FIELDS)
    made._build(1)
    made.segmenter.eval()
    x = images(channels=2)
    before = made.segmenter(x)
    for block in made.segmenter.down:
        hook = block.register_forward_hook(lambda _, __, found: found + 1.0)
        assert not torch.equal(made.segmenter(x), before)
        hook.remove()


def test_weights_start_small():
    torch.manual_seed(0)
    net = Segmenter(6, 2, 16)
    assert net.down[3][0].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert net.down[3][1].weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert 0.01 < net.down[3][1].weight.std() < 0.03


def test_the_loss_is_squared_error_plus_structure_plus_focus(monkeypatch):
    made = DRAEM(**FIELDS)
    made._build(1)
    x, spoilt = images(), images(seed=1)
    labels = (images(seed=2)[:, 0] > 0.5).float()
    rebuilt, logits = images(seed=3), torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(4))
    shown = []
    monkeypatch.setattr(made, "_find", lambda given: shown.append(given) or (rebuilt, logits))
    loss = made._loss(x, Made(spoilt, labels)).item()
    assert shown[0] is spoilt
    p = logits.sigmoid()
    right = torch.where(labels > 0, p, 1 - p).flatten().tolist()
    focus = sum(-((1 - q) ** 2) * math.log(q) for q in right) / len(right)
    squared = sum((a - b) ** 2 for a, b in zip(rebuilt.flatten().tolist(), x.flatten().tolist(), strict=True))
    slow = squared / x.numel() + 1 - ssim_map(rebuilt, x).mean().item() + focus
    assert loss == pytest.approx(slow, rel=1e-4)


def test_the_segmenter_is_shown_the_reconstruction_and_the_image(detector):
    seen = []
    hook = detector.segmenter.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rebuilt, logits = detector._find(images())
    hook.remove()
    torch.testing.assert_close(seen[0], torch.cat([detector.rebuilder(images()), images()], dim=1))
    torch.testing.assert_close(rebuilt, detector.rebuilder(images()))
    assert logits.shape == (4, 32, 32)


def test_both_networks_learn_together_and_slow_down_at_the_end(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, schedule, max_norm):
        seen.update(
            loss=loss(images()), optimiser=optimiser, schedule=schedule, parts=[len(b) for b in batches]
        )

    monkeypatch.setattr(draem, "train", train)
    made = DRAEM(**FIELDS | {"steps": 100}, batch=2).fit([images()])
    seen["loss"].backward()
    assert all(p.grad is not None for net in (made.rebuilder, made.segmenter) for p in net.parameters())
    assert seen["parts"] == [2, 2]
    rates = []
    for _ in range(100):
        rates.append(seen["optimiser"].param_groups[0]["lr"])
        seen["optimiser"].step()
        seen["schedule"].step()
    assert rates[79] == 1e-3
    assert rates[80] == rates[89] == pytest.approx(2e-4)
    assert rates[90] == rates[99] == pytest.approx(4e-5)


def test_half_of_the_images_stay_normal():
    made = DRAEM(**FIELDS)
    x = images(200)
    spoilt = made._spoilt(x, torch.Generator().manual_seed(0))
    normal = (spoilt.images == x).flatten(1).all(dim=1)
    assert normal.float().mean().item() == pytest.approx(0.5, abs=0.12)
    assert not spoilt.labels[normal].any() and spoilt.labels[~normal].flatten(1).any(dim=1).all()


def test_textures_are_at_least_a_fifth_opaque(monkeypatch):
    drawn = []
    monkeypatch.setattr(draem, "texture", lambda x, rng, *, opacity: drawn.append(opacity))
    DRAEM(**FIELDS, abnormal=1.0)._spoilt(images(500), torch.Generator().manual_seed(0))
    assert 0.2 <= drawn[0].min() < 0.21 and 0.99 < drawn[0].max() <= 1.0


@pytest.mark.parametrize(("size", "window"), [(256, 21), (128, 11), (32, 3)])
def test_the_score_is_the_highest_mean_of_a_window(monkeypatch, size, window):
    made = DRAEM(size=size)
    logits = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(made, "_find", lambda given: (given, logits))
    scores = made._score(torch.zeros(2, 1, size, size))
    torch.testing.assert_close(scores.pixel, logits.sigmoid())
    padded = F.pad(scores.pixel, [window // 2] * 4)
    means = padded.unfold(1, window, 1).unfold(2, window, 1).mean(dim=(3, 4))
    torch.testing.assert_close(scores.image, means.amax(dim=(1, 2)))


def test_nothing_is_in_training_mode_when_it_scores(detector):
    assert not any(m.training for net in (detector.rebuilder, detector.segmenter) for m in net.modules())


def test_colour_works_too():
    made = DRAEM(**FIELDS).fit([images(channels=3)])
    assert made.score(images(channels=3)).pixel.shape == (4, 32, 32)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError):
        DRAEM(size=48)
