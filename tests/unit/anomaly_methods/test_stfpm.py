from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import stfpm
from intact.anomaly.stfpm import STFPM
from intact.filters import upsample

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return STFPM(**FIELDS).fit([images()])


def unit(m):
    return m / m.norm(dim=1, keepdim=True)


def test_the_student_is_a_resnet_18_without_its_last_stage_and_head():
    with torch.device("meta"):
        detector = STFPM()
        detector._build(1)
    # torchvision's ResNet-18 has 11,689,512 parameters, layer4 8,393,728 and the head 513,000 of them.
    assert sum(p.numel() for p in detector.student.parameters()) == 11_689_512 - 8_393_728 - 513_000


def test_the_student_starts_untrained_as_resnets_do(detector):
    fresh = STFPM(**FIELDS)
    fresh._build(1)
    weight = fresh.student.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert not torch.allclose(weight, detector.teacher.net.layer3[1].conv1.weight)


def test_the_loss_is_half_the_squared_distance_of_unit_features(monkeypatch):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser, max_norm):
        seen.update(loss=loss(images()), steps=steps, optimiser=optimiser, max_norm=max_norm)

    monkeypatch.setattr(stfpm, "train", train)
    made = STFPM(**FIELDS).fit([images()])
    group = seen["optimiser"].param_groups[0]
    assert isinstance(seen["optimiser"], torch.optim.SGD)
    assert {id(p) for p in group["params"]} == {id(p) for p in made.student.parameters()}
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.9, 1e-4)
    assert seen["max_norm"] == math.inf
    made.student.train()
    slow = 0.0
    with torch.no_grad():
        for t, o in zip(made.teacher(images()), made.student(images()), strict=True):
            n, _, h, w = t.shape
            gap = unit(t) - unit(o)
            for i in range(n):
                for y in range(h):
                    for x in range(w):
                        slow += 0.5 * sum(v * v for v in gap[i, :, y, x].tolist()) / (n * h * w)
    assert seen["loss"].item() == pytest.approx(slow, abs=1e-4)
    seen["loss"].backward()
    assert all(p.grad is not None for p in made.student.parameters())
    assert all(p.grad is None for p in made.teacher.parameters())


def test_the_score_is_the_maximum_of_the_product_at_the_finest_size(detector):
    product = torch.ones(8, 8, 8)
    for t, o in zip(detector.teacher(images(8)), detector.student(images(8)), strict=True):
        product = product * upsample(0.5 * (unit(t) - unit(o)).square().sum(dim=1), (8, 8))
    scores = detector.score(images(8))
    torch.testing.assert_close(scores.pixel, upsample(product, (32, 32)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_the_student_is_in_evaluation_mode_when_it_scores(detector):
    assert not any(m.training for m in detector.student.modules())
