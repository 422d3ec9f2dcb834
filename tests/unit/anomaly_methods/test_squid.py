from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly.squid import SQUID
from intact.errors import UsageError
from intact.nets.squid import InPainter, InPainting, Judge, Memory, _decode, join, neighbours, recall, split

FIELDS = {"size": 64, "width": 4, "slots": 6, "steps": 3}


def images(n=4, seed=0):
    return torch.rand(n, 1, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return SQUID(**FIELDS).fit([images()])


def test_the_full_networks_are_as_large_as_the_authors():
    with torch.device("meta"):
        net, judge = InPainter(1, 128, 32, 200, 4), Judge(1, 128, 32)
    assert sum(p.numel() for p in net.parameters()) == 44_469_506
    assert sum(p.numel() for p in judge.parameters()) == 681_921
    assert net.paint.queue.shape == (4, 200, 2048)
    assert [tuple(m.codes.shape) for m in net.memories] == [(4, 200, 4096), (4, 200, 8192)]


def test_the_codes_and_results_have_the_cards_shapes():
    net = InPainter(1, 64, 4, 6, 4)
    code, skips = net._encode(images(2))
    assert code.shape == (8, 64, 2, 2)
    assert [tuple(s.shape) for s in skips] == [(8, 32, 4, 4), (8, 16, 8, 8)]
    rebuilt, taught, apart, codes = net.learn(images(2))
    assert rebuilt.shape == taught.shape == (2, 1, 64, 64) and codes.shape == (2, 4, 64)
    assert apart.shape == () and not codes.requires_grad
    assert Judge(1, 64, 4)(images(2)).shape == (2,)


def test_windows_follow_row_by_row_and_join_again():
    x = images(2)
    windows = split(x)
    assert torch.equal(windows[1], x[0, :, :32, 32:]) and torch.equal(windows[6], x[1, :, 32:, :32])
    assert torch.equal(join(windows), x)


def test_a_recalled_code_is_the_weighted_sum_of_the_likest():
    codes, memory = torch.randn(2, 3, 5), torch.randn(3, 7, 5)
    found = recall(codes, memory, 4)
    for i in range(2):
        for p in range(3):
            likeness = [sum(a * b for a, b in zip(codes[i, p], slot, strict=True)) for slot in memory[p]]
            best = sorted(range(7), key=lambda s: -likeness[s])[:4]
            total = sum(math.exp(likeness[s]) for s in best)
            expected = sum(math.exp(likeness[s]) / total * memory[p, s] for s in best)
            torch.testing.assert_close(found[i, p], expected)


def test_the_gradient_of_a_recalled_code_is_that_of_the_whole_softmax():
    codes, memory = torch.randn(2, 1, 5, requires_grad=True), torch.randn(1, 7, 5)
    (recall(codes, memory, 2) * torch.arange(5.0)).sum().backward()
    soft_codes = codes.detach().clone().requires_grad_()
    soft = (soft_codes @ memory[0].T).softmax(dim=-1) @ memory[0]
    (soft * torch.arange(5.0)).sum().backward()
    torch.testing.assert_close(codes.grad, soft_codes.grad)


def test_neighbours_are_the_eight_around_with_zeros_outside():
    codes = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    expected = [
        [0, 0, 0, 0, 2, 0, 3, 4],
        [0, 0, 0, 1, 0, 3, 4, 0],
        [0, 1, 2, 0, 4, 0, 0, 0],
        [1, 2, 0, 3, 0, 0, 0, 0],
    ]
    assert neighbours(codes)[0, :, :, 0].tolist() == expected


def test_a_queue_forgets_its_oldest_codes():
    paint = InPainting(64, 2, 6, 4)
    start = paint.queue.clone()
    first, second = torch.randn(4, 4, 64), torch.randn(4, 4, 64)
    paint.push(first)
    assert torch.equal(paint.queue[:, :4], first.transpose(0, 1))
    assert torch.equal(paint.queue[:, 4:], start[:, 4:])
    paint.push(second)
    order = torch.cat([second[2:], first[2:], second[:2]])
    assert torch.equal(paint.queue, order.transpose(0, 1)) and paint.oldest == 2
    paint.push(torch.arange(9.0).view(9, 1, 1).expand(9, 4, 64))
    assert sorted(paint.queue[0, :, 0].tolist()) == [3, 4, 5, 6, 7, 8]


def test_every_quarter_is_read_from_its_own_memory():
    memory = Memory(2, 4, 5, 1).eval()
    with torch.no_grad():
        memory.codes.copy_(torch.arange(4.0).view(4, 1, 1).expand_as(memory.codes))
    out = memory(torch.rand(3, 2, 4, 4))
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    torch.testing.assert_close(out, expected.expand(3, 2, 4, 4))


def test_in_training_a_twentieth_of_the_cells_skips_the_memory():
    memory = Memory(1, 64, 3, 3)
    with torch.no_grad():
        memory.codes.fill_(-1.0)
    x = torch.rand(8, 1, 64, 64)
    torch.manual_seed(0)
    out = memory(x).detach()
    skipped = (out - x).abs() < 1e-6
    assert skipped.float().mean().item() == pytest.approx(0.05, abs=0.01)
    torch.testing.assert_close(out[~skipped], torch.full_like(out[~skipped], -1.0))


def test_windows_are_numbered_in_three_bits():
    assert InPainting(64, 2, 6, 4).bits.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


def test_the_teacher_does_not_teach_the_encoder():
    net = InPainter(1, 64, 4, 6, 4)
    net.learn(images())[1].sum().backward()
    assert all(p.grad is None for part in (net.enter, net.down, net.paint) for p in part.parameters())
    assert all(p.grad is not None for p in net.teacher.parameters())
    net.learn(images())[2].backward()
    assert all(p.grad is not None for p in net.student.parameters())


def test_the_teacher_sees_the_code_before_in_painting():
    net = InPainter(1, 64, 4, 6, 4).eval()
    before = net.learn(images())
    net.paint.push(torch.randn(6, 4, 64))
    after = net.learn(images())
    assert torch.equal(before[1], after[1]) and not torch.equal(before[0], after[0])


def test_the_distance_is_summed_over_four_levels():
    net = InPainter(1, 64, 4, 6, 4).eval()
    code, skips = net._encode(images())
    ours = net._student(net.paint(code)[0], skips)
    theirs = _decode(net.teacher, code, skips)
    assert [o.shape[1] for o in ours] == [32, 16, 8, 4] and ours[1].shape[0] == 16 and ours[2].shape[0] == 4
    expected = sum((a - b).square().mean() for a, b in zip(ours, theirs, strict=True))
    torch.testing.assert_close(net.learn(images())[2], expected)


def test_the_judge_tells_images_from_rebuilt_ones(detector):
    x = images()
    real, false = detector.judge(x), detector.judge(detector._rebuild(x))
    expected = sum(math.log1p(math.exp(-r)) for r in real.tolist()) / 4
    expected += sum(math.log1p(math.exp(f)) for f in false.tolist()) / 4
    loss = detector._judge_loss(x)
    assert loss.item() == pytest.approx(0.005 * expected, rel=1e-5)
    detector.net.zero_grad()
    loss.backward()
    assert all(p.grad is None for p in detector.net.parameters())


def test_the_generator_rebuilds_agrees_with_its_teacher_and_fools_the_judge(detector):
    x = images()
    rebuilt, taught, apart, codes = detector.net.learn(x)
    fooled = F.binary_cross_entropy_with_logits(detector.judge(rebuilt), torch.ones(4))
    expected = 10 * (rebuilt - x).square().mean() + 0.01 * (taught - x).square().mean()
    expected = expected + 0.001 * apart + 0.005 * fooled
    loss, found = detector._loss(x)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, codes)


def test_the_generator_learns_from_every_second_batch_and_then_fills_its_queues(monkeypatch):
    events = []
    made = SQUID(**FIELDS | {"steps": 4})
    judge_loss, loss, push = SQUID._judge_loss, SQUID._loss, InPainting.push
    monkeypatch.setattr(SQUID, "_judge_loss", lambda s, x: events.append("judge") or judge_loss(s, x))
    monkeypatch.setattr(SQUID, "_loss", lambda s, x: events.append("generator") or loss(s, x))
    monkeypatch.setattr(InPainting, "push", lambda s, c: events.append("queue") or push(s, c))
    made.fit([images()])
    assert events == ["judge", "generator", "queue", "judge"] * 2
    assert made.net.paint.oldest == 2  # 8 codes into 6 places


def test_the_score_is_how_unusual_the_verdict_is(detector):
    x = images(8, seed=1)
    with torch.no_grad():
        logits = torch.cat([detector.judge(detector._rebuild(x)[i : i + 1]) for i in range(8)])
        usual = torch.cat([detector.judge(r[None]) for r in detector._rebuild(images())])
    z = (logits - usual.mean()) / usual.std(correction=0)
    scores = detector.score(x)
    torch.testing.assert_close(scores.image, 1 - torch.sigmoid(z), atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(scores.pixel, (x - detector._rebuild(x)).abs()[:, 0])


def test_another_verdict_is_the_mean_of_the_map():
    scores = SQUID(**FIELDS, verdict="residual").fit([images()]).score(images())
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))


def test_the_judge_normalises_by_the_image_alone_also_after_training():
    judge, x = Judge(1, 64, 4), images()
    assert torch.equal(judge.train()(x), judge.eval()(x))
    assert not torch.allclose(judge(x)[:1], judge(x[:1]), atol=1e-5)


def test_fitting_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    SQUID(**FIELDS).fit([images()])
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("fields", "match"),
    [({"size": 32}, "at least 64"), ({"size": 80}, "32"), ({"verdict": "jury"}, "verdict")],
)
def test_impossible_fields_are_refused(fields, match):
    with pytest.raises(UsageError, match=match):
        SQUID(**FIELDS | fields)
