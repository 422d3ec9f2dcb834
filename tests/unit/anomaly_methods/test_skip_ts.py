from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import skip_ts
from intact.anomaly.skip_ts import SkipTS, inconsistency
from intact.errors import UsageError, WeightsError
from intact.filters import gaussian_blur, upsample
from intact.losses import cosine_map, flat_cosine

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return SkipTS(**FIELDS).fit([images()])


def mean_square(a, b):
    values = [(x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    return sum(values) / len(values)


def test_inconsistency_is_the_difference_of_errors_between_scales():
    a = [torch.randn(2, c, s, s) for c, s in ((2, 8), (4, 4), (8, 2))]
    b = [torch.randn_like(m) for m in a]

    def grown(m):
        return F.interpolate(m, size=(8, 8), mode="bilinear", align_corners=True)

    fine, middle = mean_square(a[0], b[0]), mean_square(a[1], b[1])
    middle_grown, coarse_grown = (mean_square(grown(a[i]), grown(b[i])) for i in (1, 2))
    expected = abs(coarse_grown - middle) + abs(middle_grown - fine) + abs(coarse_grown - fine)
    assert inconsistency(a, b).item() == pytest.approx(expected, abs=1e-4)


def test_scales_that_are_wrong_alike_are_consistent():
    a = [torch.zeros(2, c, s, s) for c, s in ((2, 8), (4, 4), (8, 2))]
    assert inconsistency(a, [m + 0.5 for m in a]).item() == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_both_terms_and_trains_code_and_decoder(monkeypatch):
    seen = {}

    def train(net, loss, batches, *, steps, optimiser, max_norm):
        net.train()
        seen.update(loss=loss(images()), optimiser=optimiser, max_norm=max_norm)

    monkeypatch.setattr(skip_ts, "train", train)
    made = SkipTS(**FIELDS).fit([images()])
    group = seen["optimiser"].param_groups[0]
    learning = [*made.code.parameters(), *made.student.parameters()]
    assert {id(p) for p in group["params"]} == {id(p) for p in learning}
    assert (group["lr"], group["betas"], seen["max_norm"]) == (5e-3, (0.5, 0.999), math.inf)
    with torch.no_grad():
        theirs, ours = made._maps(images())
        alike = sum(flat_cosine(t, o).mean() for t, o in zip(theirs, ours, strict=True))
        expected = alike + 0.05 * inconsistency(theirs, ours)
    assert seen["loss"].item() == pytest.approx(expected.item(), abs=1e-4)
    seen["loss"].backward()
    assert all(p.grad is not None for p in learning)
    assert all(p.grad is None for p in made.teacher.parameters())


def test_the_teachers_second_and_third_map_enter_the_decoder(detector):
    theirs = detector.teacher(images())
    third = detector.student.stages[0](detector.code(theirs[2]))
    second = detector.student.stages[1](third + theirs[2])
    first = detector.student.stages[2](second + theirs[1])
    _, ours = detector._maps(images())
    assert all(torch.equal(o, e) for o, e in zip(ours, (first, second, third), strict=True))


def test_the_code_can_be_the_teachers_own_layer4():
    made = SkipTS(**FIELDS, frozen_code=True)
    made._build(1)
    made.teacher.loaded.fill_(True)  # as if a file with complete weights had been read
    made.student.eval()
    theirs, ours = made._maps(images())
    assert [t.shape for t in theirs] == [o.shape for o in ours]
    assert not list(made.code.parameters())
    maps = made.teacher(images())
    assert maps[3].shape == (4, 256, 1, 1)
    assert torch.equal(ours[2], made.student(maps[3])[2])


def test_a_frozen_code_needs_weights_that_reach_layer4():
    with pytest.raises(WeightsError, match="stops before 'layer4'"):
        SkipTS(**FIELDS, frozen_code=True).fit([images()])


def test_the_score_is_the_maximum_of_the_smoothed_sum(detector):
    theirs, ours = detector._maps(images(8))
    total = sum(upsample(cosine_map(t, o), (32, 32)) for t, o in zip(theirs, ours, strict=True))
    scores = detector.score(images(8))
    torch.testing.assert_close(scores.pixel, gaussian_blur(total, 4.0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_a_side_that_cannot_be_halved_five_times_is_refused():
    with pytest.raises(UsageError, match="halvings"):
        SkipTS(size=48)
