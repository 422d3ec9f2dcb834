from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import recontrast
from intact.anomaly.recontrast import ReContrast, hardness, mined_cosine
from intact.errors import UsageError
from intact.filters import gaussian_blur, upsample

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2, "encoder_lr": 1e-3}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def maps(seed):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.fixture(scope="module")
def detector():
    return ReContrast(**FIELDS).fit([images()])


@pytest.fixture
def in_training():
    """As it is while it learns."""
    made = ReContrast(**FIELDS)
    made._build(1)
    made.encoder.load_pretrained()
    torch.nn.ModuleList([made.encoder, made.decoder, made.heads]).train()
    return made


@pytest.fixture(scope="module")
def full():
    """The paper's network: shapes without numbers."""
    with torch.device("meta"):
        made = ReContrast(size=256, backbone="wide_resnet50_2")
        made._build(1)
    return made


def test_the_papers_network_has_its_size(full):
    assert count(full.encoder) == 24_862_528  # layer4 and the head are not used
    assert count(full.decoder[1]) + count(full.heads) == 27_673_600


def test_the_papers_maps_have_their_shapes(full):
    shapes = [(2, 256, 64, 64), (2, 512, 32, 32), (2, 1024, 16, 16)]
    encoded = full.encoder(torch.empty(2, 3, 256, 256, device="meta"))
    rebuilt = full.decoder(encoded)
    assert [tuple(m.shape) for m in encoded] == [tuple(m.shape) for m in rebuilt] == shapes
    both = [*rebuilt, *rebuilt]
    assert [tuple(h(m).shape) for h, m in zip(full.heads, both, strict=True)] == shapes * 2


def test_positions_become_hard_in_the_first_tenth():
    assert [hardness(step, 1000, 1.0) for step in (0, 25, 50, 100, 999)] == pytest.approx([-3, -2, -1, 1, 1])


@pytest.mark.parametrize("hard", [-1.0, 0.0, 1.0])
def test_the_mined_cosine_is_the_flat_one_with_gradient_at_hard_positions_only(hard):
    target, rebuilt = maps(0), maps(1).requires_grad_()
    loss = mined_cosine(target, rebuilt, hard)
    loss.backward()
    pairs = [(target[i].flatten().tolist(), rebuilt[i].flatten().tolist()) for i in range(2)]
    assert loss.item() == pytest.approx(sum(1 - cosine(a, b) for a, b in pairs) / 2, abs=1e-6)

    places = [(i, y, x) for i in range(2) for y in range(4) for x in range(4)]
    distance = {
        (i, y, x): 1 - cosine(target[i, :, y, x].tolist(), rebuilt[i, :, y, x].tolist()) for i, y, x in places
    }
    mean = sum(distance.values()) / 32
    deviation = math.sqrt(sum((d - mean) ** 2 for d in distance.values()) / 31)
    for i, y, x in places:
        a, b = pairs[i]
        length, scale = math.dist(b, [0] * len(b)), math.dist(a, [0] * len(a))
        for c in range(3):
            # Of 1 - ab/|a||b| by one number of b, halved by the mean over two images.
            one, other = target[i, c, y, x].item(), rebuilt[i, c, y, x].item()
            slope = -(one / (scale * length) - cosine(a, b) * other / length**2) / 2
            expected = slope if distance[i, y, x] >= mean + hard * deviation else 0.0
            assert rebuilt.grad[i, c, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_targets_give_no_gradient():
    target, rebuilt = maps(0).requires_grad_(), maps(1).requires_grad_()
    mined_cosine(target, rebuilt, -3.0).backward()
    assert target.grad is None and rebuilt.grad is not None


def test_each_encoders_maps_are_rebuilt_from_the_others_code(in_training):
    with torch.no_grad():
        in_training.encoder.net.layer1[0].conv1.weight.mul_(0.5)  # at first it equals its frozen copy
    in_training.decoder.eval()  # else one batch's statistics let every map depend on both codes
    targets, rebuilt = in_training._features(images())
    with torch.no_grad():
        learned, frozen = in_training.encoder(images()), in_training.frozen(images())
        from_learned, from_frozen = in_training.decoder(learned), in_training.decoder(frozen)
    for k in range(3):
        torch.testing.assert_close(targets[k], frozen[k])
        torch.testing.assert_close(targets[k + 3], learned[k])
        torch.testing.assert_close(rebuilt[k], in_training.heads[k](from_learned[k]), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            rebuilt[k + 3], in_training.heads[k + 3](from_frozen[k]), rtol=1e-3, atol=1e-4
        )


def test_the_encoder_learns_only_from_rebuilding_its_frozen_copy(in_training):
    in_training.decoder.eval()
    targets, rebuilt = in_training._features(images())
    weight = in_training.encoder.net.conv1.weight
    for k, (target, found) in enumerate(zip(targets, rebuilt, strict=True)):
        loss = mined_cosine(target, found, 0.0)
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        assert (gradient.abs().max() > 0) == (k < 3)


def test_the_loss_is_the_mean_of_both_views(in_training):
    in_training.decoder.eval()
    with torch.no_grad():
        targets, rebuilt = in_training._features(images())
    pairs = zip(targets, rebuilt, strict=True)
    six = [(1 - torch.cosine_similarity(t.flatten(1), r.flatten(1))).mean().item() for t, r in pairs]
    found = in_training._loss(images(), 1.0)
    assert found.item() == pytest.approx(sum(six) / 2, abs=1e-4)


def test_only_the_frozen_encoder_stays_as_it_was(in_training, monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, max_norm):
        seen.update(groups=optimiser.param_groups, max_norm=max_norm)
        recontrast_train(nets, loss, batches, steps=steps, optimiser=optimiser, max_norm=max_norm)

    recontrast_train = recontrast.train
    monkeypatch.setattr(recontrast, "train", train)
    made = ReContrast(**FIELDS).fit([images()])
    slow, fast = seen["groups"]
    assert (slow["lr"], fast["lr"], seen["max_norm"]) == (1e-3, 2e-3, math.inf)
    assert len(slow["params"]) == len(list(made.encoder.parameters()))
    before, after = in_training.encoder.state_dict(), made.encoder.state_dict()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == ("running" in name or "tracked" in name), name
    with torch.no_grad():
        start = in_training.encoder.eval()(images())
    for one, other in zip(made.frozen(images()), start, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)  # folded norms round otherwise


def test_the_score_is_the_maximum_of_the_smoothed_sum_of_six_maps(detector):
    scores = detector.score(images(8))
    total = torch.zeros(8, 32, 32)
    with torch.no_grad():
        targets, rebuilt = detector._features(images(8))
    for t, r in zip(targets, rebuilt, strict=True):
        t, r = t / t.norm(dim=1, keepdim=True), r / r.norm(dim=1, keepdim=True)
        total += upsample(1 - (t * r).sum(dim=1), (32, 32))
    torch.testing.assert_close(scores.pixel, gaussian_blur(total, 4.0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_fields_that_cannot_work_are_refused():
    with pytest.raises(UsageError):
        ReContrast(size=48)
