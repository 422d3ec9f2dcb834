from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import edc
from intact.anomaly.edc import EDC
from intact.errors import UsageError, WeightsError
from intact.filters import upsample
from intact.nets import trainable
from intact.nets.features import build_backbone
from intact.nets.trainable import TrainableFeatures

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.fixture(scope="module")
def detector():
    return EDC(**FIELDS).fit([images()])


@pytest.fixture
def in_training():
    """As it is while it learns."""
    made = EDC(**FIELDS)
    made._build(1)
    made.encoder.load_pretrained()
    made.encoder.train()
    made.decoder.train()
    return made


@pytest.fixture(scope="module")
def full():
    """The paper's network: shapes without numbers."""
    with torch.device("meta"):
        made = EDC(size=256, backbone="resnet50")
        made._build(1)
    return made


def test_the_papers_network_has_its_size(full):
    assert count(full.decoder) == 11_134_720
    assert count(full.encoder) == 25_557_032 - 2_049_000  # without the head, which sees nothing


def test_the_papers_maps_have_their_shapes(full):
    shapes = [(2, 256, 64, 64), (2, 512, 32, 32), (2, 1024, 16, 16)]
    *encoded, code = full.encoder(torch.empty(2, 3, 256, 256, device="meta"))
    assert tuple(code.shape) == (2, 2048, 8, 8)
    for maps in (encoded, full.decoder(code)):
        assert [tuple(m.shape) for m in maps] == shapes


def test_the_loss_sums_the_flat_cosines_of_three_scales(in_training):
    with torch.no_grad():
        encoded, rebuilt = in_training._features(images())
    slow = 0.0
    for e, d in zip(encoded, rebuilt, strict=True):
        slow += sum(1 - cosine(e[i].flatten().tolist(), d[i].flatten().tolist()) for i in range(4)) / 4
    assert in_training._loss(images()).item() == pytest.approx(slow, abs=1e-4)


def test_the_encoder_learns_through_its_last_map_alone(in_training):
    in_training._loss(images()).backward()
    found = [p.grad.clone() for p in in_training.encoder.parameters()]
    in_training.encoder.zero_grad()
    *targets, code = in_training.encoder(images())
    rebuilt = in_training.decoder(code)
    constants = [t.detach().clone() for t in targets]
    misfit = [
        (1 - torch.cosine_similarity(c.flatten(1), d.flatten(1), dim=1)).mean()
        for c, d in zip(constants, rebuilt, strict=True)
    ]
    sum(misfit).backward()
    assert max(g.abs().max() for g in found) > 0
    for gradient, parameter in zip(found, in_training.encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-6)


def test_without_its_last_map_the_encoder_gets_no_gradient(in_training, monkeypatch):
    decoder = in_training.decoder.forward
    monkeypatch.setattr(in_training.decoder, "forward", lambda code: decoder(code.detach()))
    in_training._loss(images()).backward()
    assert all(p.grad is None for p in in_training.encoder.parameters())


def test_pretrained_statistics_stay_and_weights_learn():
    before = TrainableFeatures("narrow_resnet18", ("layer4",))
    before.load_pretrained()
    start = {k: v.clone() for k, v in before.state_dict().items()}
    after = EDC(**FIELDS).fit([images()]).encoder.state_dict()
    moved = {k for k in after if not torch.equal(after[k], start[k])}
    kept = {k for k in after if "running" in k and "layer4" not in k}
    assert kept and not moved & kept
    assert {k for k in after if k.endswith("conv1.weight") or "bn1.weight" in k} <= moved
    assert {k for k in after if "layer4" in k and "running" in k} <= moved


def test_what_was_pretrained_learns_at_the_encoders_rate(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser):
        seen.update(groups=optimiser.param_groups, nets=nets)

    monkeypatch.setattr(edc, "train", train)
    made = EDC(**FIELDS).fit([images()])
    slow, fast = seen["groups"]
    rates = {id(p): g["lr"] for g in (slow, fast) for p in g["params"]}
    assert len(rates) == sum(1 for _ in seen["nets"].parameters())
    assert {rates[id(p)] for p in made.decoder.parameters()} == {5e-4}
    for name, parameter in made.encoder.net.named_parameters():
        assert rates[id(parameter)] == (5e-4 if name.startswith("layer4.") else 1e-5)
    assert slow["weight_decay"] == fast["weight_decay"] == 1e-4
    norms = [m for m in seen["nets"].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {0.025}


def test_the_score_is_the_maximum_of_the_mean_over_scales(detector):
    scores = detector.score(images(8))
    total = torch.zeros(8, 8, 8)
    for e, d in zip(*detector._features(images(8)), strict=True):
        e, d = e / e.norm(dim=1, keepdim=True), d / d.norm(dim=1, keepdim=True)
        total += upsample(1 - (e * d).sum(dim=1), (8, 8))
    torch.testing.assert_close(scores.pixel, upsample(total / 3, (32, 32)), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_a_saved_detector_needs_no_other_weights(detector, monkeypatch):
    def none(name):
        raise WeightsError(name)

    monkeypatch.setattr(trainable, "load_weights", none)
    again = EDC(**FIELDS).load_state(detector.state())
    assert torch.equal(again.score(images()).image, detector.score(images()).image)
    with pytest.raises(WeightsError):
        EDC(**FIELDS).fit([images()])


def test_weights_with_every_stage_leave_nothing_to_chance(monkeypatch):
    weights = build_backbone("narrow_resnet18", ("layer4",)).state_dict()
    monkeypatch.setattr(trainable, "load_weights", lambda name: weights)
    net = TrainableFeatures("narrow_resnet18", ("layer4",))
    net.load_pretrained()
    known, fresh = net.split()
    assert not fresh and len(known) == len(list(net.parameters()))
    assert all(torch.equal(v, weights[k]) for k, v in net.net.state_dict().items())
    assert not any(m.training for m in net.train().modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_weights_with_a_hole_are_refused(monkeypatch):
    weights = build_backbone("narrow_resnet18", ("layer3",)).state_dict()
    del weights["layer2.0.conv1.weight"]
    monkeypatch.setattr(trainable, "load_weights", lambda name: weights)
    with pytest.raises(WeightsError, match=r"layer2\.0\.conv1\.weight"):
        TrainableFeatures("narrow_resnet18", ("layer4",)).load_pretrained()


@pytest.mark.parametrize("fields", [{"size": 48}, {"pooling": "median"}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        EDC(**fields)
