"""Back-in-Time Diffusion and what one-class examiners share."""

import numpy as np
import torch
from torch import nn

from intact.forensics.learned.btd import BackInTimeDiffusion
from intact.forensics.learned.one_class import departure


class Guess(nn.Module):
    """Takes half of what it sees for noise."""

    def __init__(self):
        super().__init__()
        self.times = []

    def forward(self, x, t):
        self.times.append(t)
        return x / 2


def looking(**fields):
    examiner = BackInTimeDiffusion(crop=32, **fields)
    examiner.net = Guess()
    return examiner


def test_one_step_from_the_first_time_removes_what_the_network_takes_for_noise():
    """Ho et al., Eq. 7 for t = 1: x_0 = (x_1 - sqrt(1 - a) e) / sqrt(a), a = 1 - 1e-4; no noise is drawn."""
    examiner, seen = looking(), torch.randn(50, 70, generator=torch.Generator().manual_seed(0))
    kept = 1 - 1e-4
    before = (seen - (1 - kept) ** 0.5 * seen / 2) / kept**0.5
    torch.testing.assert_close(examiner._removed(seen), seen - before, rtol=1e-4, atol=1e-7)
    assert not torch.cat(examiner.net.times).any()


def test_the_measure_does_not_depend_on_how_strong_the_noise_is():
    seen = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    one, other = (looking()._measure(seen * factor) for factor in (1.0, 8.0))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
    assert abs(float(one.median())) < 1e-6


def test_a_smooth_and_a_loud_part_both_depart():
    seen = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    seen[8:24, 8:24] *= 0.2
    seen[40:56, 40:56] *= 5.0
    examiner = looking(square=5)
    examiner.limits_ = torch.tensor([-0.8, 0.0, 0.8])
    score, chances = examiner._look(seen)
    assert score > 1.0
    assert chances[12:20, 12:20].mean() > 0.6 and chances[44:52, 44:52].mean() > 0.6
    assert np.median(chances) < 0.3


def test_departures_are_measured_by_each_sides_own_limit():
    limits = torch.tensor([-2.0, 1.0, 2.0])
    found = departure(torch.tensor([1.0, 2.0, -2.0, 3.0, -5.0, 1e9]), limits)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 1.0, 2.0, 2.0, 1e3]))
    one_sided = departure(torch.tensor([-100.0, 3.0]), torch.tensor([-torch.inf, 1.0, 2.0]))
    torch.testing.assert_close(one_sided, torch.tensor([0.0, 2.0]))
