from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import realnet
from intact.anomaly.realnet import RealNet, spoilt, unlike
from intact.errors import UsageError
from intact.filters import upsample
from intact.forge.synthetic.made import Made
from intact.nets.realnet import FeatureUNet, ResidualHead

FIELDS = {"size": 64, "backbone": "narrow_resnet18", "selection": 2, "chosen": 8, "steps": 2}


def images(n=4, seed=0, channels=1):
    return torch.rand(n, channels, 64, 64, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def detector():
    return RealNet(**FIELDS).fit([images()])


@pytest.fixture
def fresh():
    made = RealNet(**FIELDS)
    torch.manual_seed(0)
    made._build(1)
    made.kept_ = torch.cat([torch.arange(0, c, s) for c, s in ((32, 1), (64, 1), (128, 2))])
    return made


def test_the_papers_networks_have_their_sizes():
    """Those of the authors' code; its mask has two channels, ours one."""
    with torch.device("meta"):
        made = RealNet(
            size=256,
            backbone="wide_resnet50_2",
            layers=("layer1", "layer2", "layer3", "layer4"),
            kept=(1.0, 1.0, 0.5, 0.125),
            chosen=256,
        )
        made._build(3)
    assert made._counts() == [256, 512, 512, 256]
    assert count(FeatureUNet(128)) == 12_975_616
    assert count(made.head) == 5_872_662 - (4 * 9 + 1)
    residuals = [
        torch.empty(2, c, s, s, device="meta") for c, s in ((256, 64), (512, 32), (512, 16), (256, 8))
    ]
    assert [tuple(net(r).shape) for net, r in zip(made.rebuilders, residuals, strict=True)] == [
        tuple(r.shape) for r in residuals
    ]
    assert made.head(residuals).shape == (2, 128, 128)


def test_untrained_rebuilders_give_zeros_and_depend_on_all_positions_when_trained():
    torch.manual_seed(0)
    net = FeatureUNet(16)
    x = torch.randn(1, 16, 16, 16)
    assert not net(x).any()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    other = x.clone()
    other[:, :, 0, 0] += 5.0
    assert (net(x) - net(other)).abs().sum(dim=1).min() > 0  # attention


def test_the_head_looks_at_the_channels_that_stand_out_most():
    torch.manual_seed(0)
    head = ResidualHead(6, 2).eval()
    head.norm.running_mean.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 5.0, 0.0]))
    head.norm.running_var.copy_(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 100.0]))
    residual = torch.zeros(2, 6, 4, 4)
    residual[0, 3, 1, 1] = 9.0  # one high peak
    residual[0, 1] = 2.0  # high everywhere
    residual[0, 4] = 4.0  # high, but usually higher
    residual[0, 5] = 8.0  # high, but of a channel that varies much
    residual[1, 0], residual[1, 2, 0, 0] = 1.0, 3.0
    chosen = head.select(residual)
    assert torch.equal(chosen[0], residual[0, [3, 1, 1, 5]])
    assert torch.equal(chosen[1], residual[1, [2, 0, 0, 2]])


def test_ranking_passes_no_gradient_but_what_is_chosen_does():
    head = ResidualHead(6, 2)
    residual = torch.rand(2, 6, 4, 4, requires_grad=True)
    head.select(residual).sum().backward()
    assert set(residual.grad.unique().tolist()) <= {0.0, 1.0, 2.0}
    assert residual.grad.sum() == 2 * 4 * 16


def test_how_unlike_a_change_is_from_the_mask():
    change, labels = images(3, channels=5)[..., :8, :8], torch.zeros(3, 16, 16)
    labels[:, 4:12, 6:10] = 1.0
    found = unlike(change, labels)
    mask = labels[:, ::2, ::2].flatten().tolist()
    for c in range(5):
        values = change[:, c].flatten().tolist()
        low, high = min(values), max(values)
        slow = sum(((v - low) / (high - low + 1e-4) - m) ** 2 for v, m in zip(values, mask, strict=True))
        assert found[c].item() == pytest.approx(slow / len(values), rel=1e-4)


def test_a_channel_that_never_changes_is_no_error():
    assert unlike(torch.zeros(2, 3, 4, 4), torch.zeros(2, 8, 8)).isfinite().all()


def test_the_channels_that_change_like_the_mask_are_kept(fresh, monkeypatch):
    """A backbone of four channels, of which two show the mask."""
    labels = torch.zeros(4, 64, 64)
    labels[:, 16:32, 16:48] = 1.0
    x = images()
    monkeypatch.setattr(realnet, "spoilt", lambda given, share, rng: Made(given + 1.0, labels))

    class Eyes(torch.nn.Module):
        channels = (4, 2)

        def forward(self, given):
            mask = F.avg_pool2d(labels[:, None], 4)
            grain = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(int(given.max() > 1)))
            strength = given.max().floor()
            first = torch.cat([grain, strength * mask, 3 * grain, 0.2 * strength * mask], dim=1)
            return [first, first[:, 1:3]]

    fresh.eyes, fresh.kept = Eyes(), (0.5, 0.5)
    kept = fresh._select([x], torch.Generator())
    assert kept.tolist() == [1, 3, 0]


def test_the_kept_channels_are_learned_and_saved(detector):
    counts = detector._counts()
    assert counts == [32, 64, 64] and detector.kept_.shape == (160,)
    first, second, third = detector.kept_.split(counts)
    assert first.tolist() == list(range(32)) and second.tolist() == list(range(64))
    assert len(third.unique()) == 64 and torch.equal(third, third.sort().values) and third.max() < 128
    assert "kept_" in detector.state()
    maps = detector.eyes(images())
    for found, m, index in zip(detector._features(images()), maps, (first, second, third), strict=True):
        torch.testing.assert_close(found, m[:, index])


def test_the_loss_rebuilds_clean_features_from_spoilt_ones(fresh, monkeypatch):
    x, other = images(), images(seed=1)
    labels = (images(seed=2)[:, 0] > 0.5).float()
    logits = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(3))
    shown = {}

    def rebuild(features):
        shown["features"] = features
        return [0.5 * f for f in features]

    def mark(features, rebuilt):
        shown["marked"] = features
        return logits

    monkeypatch.setattr(fresh, "_rebuild", rebuild)
    monkeypatch.setattr(fresh, "_mark", mark)
    loss = fresh._loss(x, Made(other, labels)).item()
    slow = 0.0
    for clean, spoilt_, given in zip(
        fresh._features(x), fresh._features(other), shown["features"], strict=True
    ):
        torch.testing.assert_close(given, spoilt_)
        slow += ((0.5 * spoilt_ - clean) ** 2).sum().item() / clean.numel()
    assert shown["marked"] is shown["features"]
    for q, t in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-q))
        slow -= math.log(p if t else 1 - p) / logits.numel()
    assert loss == pytest.approx(slow, rel=1e-4)


def test_the_mask_also_teaches_the_rebuilders(fresh):
    features = fresh._features(images())
    fresh._mark(features, fresh._rebuild(features)).sum().backward()
    assert all(any(p.grad is not None for p in net.parameters()) for net in fresh.rebuilders)
    assert all(p.grad is None for p in fresh.eyes.parameters())


def test_residuals_are_squared_differences(fresh):
    seen = []
    fresh.head.register_forward_pre_hook(lambda _, given: seen.extend(given[0]))
    features = [torch.full((1, c, s, s), 3.0) for c, s in ((32, 16), (64, 8), (64, 4))]
    fresh._mark(features, [f - 2.0 for f in features])
    assert all((r == 4.0).all() for r in seen) and [r.shape for r in seen] == [f.shape for f in features]


def test_everything_but_the_backbone_learns(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, max_norm):
        seen.update(loss=loss(images()), optimiser=optimiser, parts=[len(b) for b in batches])

    monkeypatch.setattr(realnet, "train", train)
    made = RealNet(**FIELDS, batch=2).fit([images()])
    seen["loss"].backward()
    learning = {id(p) for group in seen["optimiser"].param_groups for p in group["params"]}
    assert learning == {id(p) for net in (made.rebuilders, made.head) for p in net.parameters()}
    assert isinstance(seen["optimiser"], torch.optim.Adam) and seen["parts"] == [2, 2]


def test_a_share_of_the_images_is_spoilt():
    x = images(100)[:, :, :32, :32]
    made = spoilt(x, 0.5, torch.Generator().manual_seed(0))
    assert made.labels.flatten(1).any(dim=1).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert spoilt(x, 1.0, torch.Generator().manual_seed(0)).labels.flatten(1).any(dim=1).all()


@pytest.mark.parametrize(("size", "window"), [(256, 16), (128, 8)])
def test_the_score_is_the_highest_mean_of_a_window(monkeypatch, size, window):
    made = RealNet(size=size)
    logits = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(made, "_features", lambda given: [given])
    monkeypatch.setattr(made, "_rebuild", lambda features: features)
    monkeypatch.setattr(made, "_mark", lambda features, rebuilt: logits)
    scores = made._score(torch.zeros(2, 1, size, size))
    torch.testing.assert_close(scores.pixel, logits.sigmoid())
    means = scores.pixel.unfold(1, window, 1).unfold(2, window, 1).mean(dim=(3, 4))
    torch.testing.assert_close(scores.image, means.amax(dim=(1, 2)))


def test_the_map_has_the_images_corners(fresh):
    fresh.head = lambda residuals: torch.arange(32.0 * 32).view(1, 32, 32)
    found = fresh._mark([torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 1, 1, 1)])
    assert (found[0, 0, 0], found[0, -1, -1]) == (0.0, 32 * 32 - 1)
    assert not torch.allclose(found, upsample(torch.arange(32.0 * 32).view(1, 32, 32), (64, 64)))


def test_nothing_is_in_training_mode_when_it_scores(detector):
    assert not any(m.training for net in (detector.rebuilders, detector.head) for m in net.modules())


def test_colour_works_too():
    made = RealNet(**FIELDS).fit([images(channels=3)])
    assert made.score(images(channels=3)).pixel.shape == (4, 64, 64)


@pytest.mark.parametrize("fields", [{"size": 96}, {"kept": (1.0,)}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        RealNet(**fields)


def test_more_channels_than_there_are_cannot_be_chosen():
    with pytest.raises(UsageError, match="only 160"):
        RealNet(**FIELDS | {"chosen": 161})._build(1)
