from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import rd4ad
from intact.anomaly.rd4ad import LOSSES, RD4AD
from intact.errors import UsageError
from intact.filters import gaussian_blur, upsample

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return RD4AD(**FIELDS).fit([images()])


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_the_flat_loss_compares_whole_maps():
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    slow = [1 - cosine(a[i].flatten().tolist(), b[i].flatten().tolist()) for i in range(2)]
    assert LOSSES["flat"](a, b).item() == pytest.approx(sum(slow) / 2, abs=1e-5)


def test_the_local_loss_compares_every_position():
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    slow = [
        1 - cosine(a[i, :, y, x].tolist(), b[i, :, y, x].tolist())
        for i in range(2)
        for y in range(4)
        for x in range(4)
    ]
    assert LOSSES["local"](a, b).item() == pytest.approx(sum(slow) / 32, abs=1e-5)


def test_the_student_alone_descends_on_the_sum_over_scales(monkeypatch):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser, max_norm):
        seen.update(net=net, loss=loss(images()), steps=steps, optimiser=optimiser, max_norm=max_norm)

    monkeypatch.setattr(rd4ad, "train", train)
    made = RD4AD(**FIELDS).fit([images()])
    group = seen["optimiser"].param_groups[0]
    assert {id(p) for p in group["params"]} == {id(p) for p in made.student.parameters()}
    assert (group["lr"], group["betas"], seen["steps"], seen["max_norm"]) == (5e-3, (0.5, 0.999), 2, math.inf)
    made.student.train()
    with torch.no_grad():
        theirs, ours = made._maps(images())
    expected = sum(LOSSES["flat"](t, o) for t, o in zip(theirs, ours, strict=True))
    assert seen["loss"].item() == pytest.approx(expected.item(), abs=1e-5)
    seen["loss"].backward()
    assert all(p.grad is not None for p in made.student.parameters())
    assert all(p.grad is None for p in made.teacher.parameters())


def test_the_maps_have_the_backbones_shapes(detector):
    theirs, ours = detector._maps(images())
    shapes = [(4, 32, 8, 8), (4, 64, 4, 4), (4, 128, 2, 2)]
    assert [tuple(t.shape) for t in theirs] == shapes
    assert [tuple(o.shape) for o in ours] == shapes


def test_the_teacher_does_not_change_when_the_student_learns(detector):
    other = RD4AD(**FIELDS | {"steps": 1, "seed": 5}).fit([images(seed=1)])
    before = detector.teacher.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in other.teacher.state_dict().items())
    assert all(
        torch.equal(t, o) for t, o in zip(detector.teacher(images()), other.teacher(images()), strict=True)
    )


def test_the_teachers_maps_are_the_same_in_training_mode(detector):
    expected = detector.teacher(images())
    torch.nn.ModuleList([detector.teacher]).train()
    assert all(torch.equal(t, e) for t, e in zip(detector.teacher(images()), expected, strict=True))
    detector.teacher.eval()


def test_the_score_is_the_maximum_of_the_smoothed_sum(detector):
    scores = detector.score(images(8))
    theirs, ours = detector._maps(images(8))
    total = torch.zeros(8, 32, 32)
    for t, o in zip(theirs, ours, strict=True):
        t, o = t / t.norm(dim=1, keepdim=True), o / o.norm(dim=1, keepdim=True)
        total += upsample(1 - (t * o).sum(dim=1), (32, 32))
    expected = gaussian_blur(total, 4.0)
    torch.testing.assert_close(scores.pixel, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_in_bfloat16_weights_and_distances_stay_in_float32():
    made = RD4AD(**FIELDS | {"steps": 1, "precision": "bfloat16"}).fit([images()])
    assert {p.dtype for p in made.student.parameters()} == {torch.float32}
    assert {p.dtype for p in made.teacher.parameters()} == {torch.bfloat16}
    assert made.score(images()).pixel.dtype == torch.float32


@pytest.mark.parametrize("fields", [{"size": 48}, {"loss": "l2"}, {"fusion": "max"}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        RD4AD(**fields)
