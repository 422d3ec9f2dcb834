from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import destseg
from intact.anomaly.destseg import DeSTSeg, spoilt
from intact.errors import UsageError
from intact.filters import upsample
from intact.forge.synthetic.made import Made
from intact.nets.destseg import DenoisingStudent, SegmentationHead

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "head_width": 8, "student_steps": 2, "steps": 2}


def images(n=4, seed=0, channels=1):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def unit(m):
    return m / m.norm(dim=1, keepdim=True)


def state(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


@pytest.fixture(scope="module")
def detector():
    return DeSTSeg(**FIELDS).fit([images()])


@pytest.fixture
def fresh():
    made = DeSTSeg(**FIELDS)
    made._build(1)
    return made


def test_the_papers_networks_have_their_sizes():
    """Those of the authors' code."""
    with torch.device("meta"):
        student, head = DenoisingStudent("resnet18"), SegmentationHead(448, 256)
    assert sum(p.numel() for p in student.parameters()) == 24_665_024
    assert sum(p.numel() for p in head.parameters()) == 7_706_369
    maps = student(torch.empty(2, 3, 256, 256, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(2, 64, 64, 64), (2, 128, 32, 32), (2, 256, 16, 16)]
    assert head(torch.empty(2, 448, 64, 64, device="meta")).shape == (2, 64, 64)


def test_the_head_looks_around_at_three_distances():
    head = SegmentationHead(8, 8)
    dilations = [
        [m.dilation[0] for m in part.modules() if isinstance(m, torch.nn.Conv2d)] for part in head.spread
    ]
    assert dilations == [[6], [12], [18]]


def test_the_head_knows_the_whole_map():
    """A change in one corner reaches the other through the pooled branch."""
    torch.manual_seed(0)
    head = SegmentationHead(8, 8).eval()
    x = torch.rand(1, 8, 64, 64)
    other = x.clone()
    other[:, :, :4, :4] += 50.0
    assert (head(x)[0, -4:, -4:] - head(other)[0, -4:, -4:]).abs().min() > 0


def test_the_student_starts_untrained_as_resnets_do(fresh):
    weight = fresh.student.encoder.layer3[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_the_students_loss_compares_spoilt_with_clean_and_sums_over_images(fresh):
    fresh.student.train()
    x, other = images(), images(seed=1)
    loss = fresh._student_loss(x, Made(other, torch.zeros(4, 32, 32)))
    slow = 0.0
    with torch.no_grad():
        for t, o in zip(fresh.teacher(x), fresh.student(other), strict=True):
            n, _, h, w = t.shape
            cosine = (unit(t) * unit(o)).sum(dim=1)
            slow += sum((1 - c) / (h * w) for c in cosine.flatten().tolist())
            assert n == 4
    assert loss.item() == pytest.approx(slow, rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in fresh.student.parameters())
    assert all(p.grad is None for net in (fresh.teacher, fresh.head) for p in net.parameters())


def test_products_are_minus_the_cosine_when_summed(fresh):
    fresh.student.eval()
    x = images()
    with torch.no_grad():
        products = fresh._products(x)
        assert products.shape == (4, 32 + 64 + 128, 8, 8)
        for t, o, found in zip(
            fresh.teacher(x), fresh.student(x), products.split((32, 64, 128), dim=1), strict=True
        ):
            wanted = upsample(-(unit(t) * unit(o)).sum(dim=1), (8, 8))
            torch.testing.assert_close(found.sum(dim=1), wanted, rtol=1e-3, atol=1e-5)


def test_where_both_networks_agree_products_add_up_to_minus_one(fresh, monkeypatch):
    monkeypatch.setattr(fresh, "_student", fresh.teacher)
    finest = fresh._products(images())[:, :32]
    torch.testing.assert_close(finest.sum(dim=1), -torch.ones(4, 8, 8))


def test_the_heads_loss_is_focal_plus_absolute(fresh, monkeypatch):
    logits = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(fresh, "_mark", lambda products: logits)
    labels = torch.zeros(4, 32, 32)
    labels[:, 8:16, 4:12] = 1.0  # whole positions of 4 x 4 pixels
    labels[:, 20, 20] = 1.0  # too small for one
    loss = fresh._head_loss(Made(images(), labels)).item()
    target = torch.zeros(4, 8, 8)
    target[:, 2:4, 1:3] = 1.0
    slow = 0.0
    for q, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-q))
        right = p if t else 1 - p
        slow += (-((1 - right) ** 4) * math.log(right) + abs(p - t)) / logits.numel()
    assert loss == pytest.approx(slow, rel=1e-4)


def test_the_heads_loss_teaches_the_head_alone(fresh):
    fresh.student.eval()
    fresh.head.train()
    fresh._head_loss(spoilt(images(), torch.Generator().manual_seed(0))).backward()
    assert all(p.grad is not None for p in fresh.head.parameters())
    assert all(p.grad is None for net in (fresh.teacher, fresh.student) for p in net.parameters())


def test_first_the_student_learns_then_the_head(monkeypatch):
    seen = []

    def train(net, loss, batches, *, steps, optimiser, max_norm):
        seen.append((net, steps, optimiser, max_norm, [len(b) for b in batches]))
        net.train()
        before = [state(n) for n in (made.student, made.head)]
        loss(images()).backward()
        optimiser.step()
        net.eval()
        after = [state(n) for n in (made.student, made.head)]
        moved = [any(not torch.equal(b[k], a[k]) for k in b) for b, a in zip(before, after, strict=True)]
        assert moved == [net is made.student, net is made.head]  # weights and running statistics

    monkeypatch.setattr(destseg, "train", train)
    made = DeSTSeg(**FIELDS | {"student_steps": 7, "steps": 5}, batch=2)
    made.fit([images()])
    (student, first, gentle, *_), (head, second, fast, norm, parts) = seen
    assert student is made.student and head is made.head and (first, second) == (7, 5)
    assert isinstance(gentle, torch.optim.SGD) and isinstance(fast, torch.optim.Adam)
    group = gentle.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.9, 1e-4)
    assert norm == math.inf and parts == [2, 2]


def test_every_image_is_spoilt():
    made = spoilt(images(50), torch.Generator().manual_seed(0))
    assert made.labels.flatten(1).any(dim=1).all()


def test_the_score_is_the_mean_of_the_highest_pixels(monkeypatch):
    made = DeSTSeg(size=128)
    logits = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(made, "_products", lambda given: given)
    monkeypatch.setattr(made, "_mark", lambda products: logits)
    scores = made._score(torch.zeros(2, 1, 128, 128))
    torch.testing.assert_close(scores.pixel, upsample(logits.sigmoid(), (128, 128)))
    top = scores.pixel.flatten(1).sort(dim=1, descending=True).values[:, :25]  # a quarter of 100
    torch.testing.assert_close(scores.image, top.mean(dim=1))


def test_nothing_is_in_training_mode_when_it_scores(detector):
    assert not any(m.training for net in (detector.student, detector.head) for m in net.modules())


def test_colour_works_too():
    made = DeSTSeg(**FIELDS).fit([images(channels=3)])
    assert made.score(images(channels=3)).pixel.shape == (4, 32, 32)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError):
        DeSTSeg(size=48)
