from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from intact.anomaly.stable_adamw import StableAdamW, warm_cosine


def slow(start, gradients, lr, weight_decay=1e-4, eps=1e-10, betas=(0.9, 0.999)):
    """One tensor as a list of numbers, one step after another."""
    x, m, v, top = list(start), [0.0] * len(start), [0.0] * len(start), [0.0] * len(start)
    for t, g in enumerate(gradients, start=1):
        m = [betas[0] * a + (1 - betas[0]) * b for a, b in zip(m, g, strict=True)]
        v = [betas[1] * a + (1 - betas[1]) * b * b for a, b in zip(v, g, strict=True)]
        top = [max(a, b) for a, b in zip(top, v, strict=True)]
        below = [math.sqrt(a) / math.sqrt(1 - betas[1] ** t) + eps for a in top]
        rms = math.sqrt(sum((a / b) ** 2 for a, b in zip(g, below, strict=True)) / len(g))
        rate = lr / (1 - betas[0] ** t) / max(1.0, rms)
        x = [a * (1 - lr * weight_decay) - rate * b / c for a, b, c in zip(x, m, below, strict=True)]
    return x


def test_steps_are_those_of_a_slow_computation():
    rng = torch.Generator().manual_seed(0)
    gradients = torch.randn(12, 5, generator=rng)
    gradients[8:] *= 30  # larger than all before: the rate falls
    parameter = nn.Parameter(torch.randn(5, generator=rng))
    wanted = slow(parameter.tolist(), gradients.tolist(), lr=0.05)
    optimiser = StableAdamW([parameter], 0.05)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimiser.step()
    assert parameter.tolist() == pytest.approx(wanted, rel=1e-4)


def test_a_sudden_large_gradient_makes_the_step_shorter_than_adamws():
    moved = {}
    for kind in (StableAdamW, torch.optim.AdamW):
        parameter = nn.Parameter(torch.zeros(4))
        optimiser = kind([parameter], lr=0.1)
        for size in (1.0, 1.0, 1.0, 100.0):
            before = parameter.detach().clone()
            parameter.grad = torch.full((4,), size)
            optimiser.step()
        moved[kind] = (parameter.detach() - before).abs().max()
    assert moved[StableAdamW] < 0.7 * moved[torch.optim.AdamW]


def test_each_tensor_has_a_rate_of_its_own():
    calm, wild = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimiser = StableAdamW([calm, wild], 0.1, weight_decay=0.0)
    for size in (1.0, 1.0, 50.0):
        calm.grad, wild.grad = torch.ones(3), torch.full((3,), size)
        optimiser.step()
    assert calm.tolist() == pytest.approx(slow([1.0] * 3, [[1.0] * 3] * 3, 0.1, 0.0), rel=1e-4)


def test_what_has_no_gradient_stays():
    still, moving = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    moving.grad = torch.ones(2)
    StableAdamW([still, moving], 0.1).step()
    assert still.tolist() == [1.0, 1.0] and moving[0] < 1


def test_the_rate_warms_up_in_a_line_and_falls_along_a_cosine():
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warm_cosine(optimiser, steps=50, warm=5, last=0.1)
    rates = []
    for _ in range(50):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    cosine = [0.2 + 0.5 * 1.8 * (1 + math.cos(math.pi * i / 45)) for i in range(45)]
    assert rates[5:] == pytest.approx(cosine)


@pytest.mark.parametrize("warm", [0, 1])
def test_hardly_any_warming_up_is_no_special_case(warm):
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    warm_cosine(optimiser, steps=2, warm=warm, last=0.1)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1.0 if warm == 0 else 0.0)
