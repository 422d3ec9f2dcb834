"""ManTra-Net has the layers of its paper, and its Z-scores measure what they say."""

import itertools

import numpy as np
import pytest
import torch

from intact.forensics.learned.mantra import KINDS, processed
from intact.nets.mantra import ConvLSTM, ManTraNet, Traces, deviations


def test_it_has_as_many_parameters_as_the_paper():
    """Of the features 3.7 million; layers counted by hand for three colours."""
    widths = [16, 32, 64, 64, 128, 128, 128, *[256] * 6]
    layers = sum(9 * i * o + o for i, o in itertools.pairwise(widths))
    net = ManTraNet(3, widest=256, measured=64, remembered=8)
    assert sum(p.numel() for p in net.traces.parameters()) == 25 * 3 * (4 + 3) + layers == 3_675_181
    assert sum(p.numel() for p in net.memory.parameters()) == 49 * (64 + 8) * 32 + 32


def test_a_trace_sees_fourteen_pixels_in_each_direction_and_has_length_one():
    net = Traces(1, widest=8)
    x = torch.randn(1, 1, 40, 40)
    changed = x.clone()
    changed[..., 5, 5] += 100.0
    before, after = net(x), net(changed)
    moved = (before - after).abs().amax((0, 1)) > 0
    assert moved[19, 19] and not moved[20:].any() and not moved[:, 20:].any()
    assert torch.allclose(before.norm(dim=1), torch.ones(1, 40, 40))


def test_z_scores_are_distances_from_the_means_of_windows_in_deviations_of_all():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, 36))
    found = deviations(torch.from_numpy(x)[None, None], torch.zeros(1, 1, 1))
    for scores, half in zip(found, (3, 7, 15, 99), strict=True):
        for row, column in ((0, 0), (20, 17), (39, 30)):
            rows, columns = (slice(max(0, at - half), at + half + 1) for at in (row, column))
            expected = abs(x[rows, columns].mean() - x[row, column]) / x.std()
            assert float(scores[0, 0, row, column]) == pytest.approx(expected, abs=1e-6)


def test_the_recurrent_network_answers_as_its_formula_says():
    """Filters that see one pixel only, so that the gates are plain numbers."""
    torch.manual_seed(0)
    lstm = ConvLSTM(1, 1).double()
    keep = torch.zeros(7, 7, dtype=torch.float64)
    keep[3, 3] = 1.0
    for conv in (lstm.see, lstm.recall):
        conv.weight.data *= 20 * keep
    see, recall = (conv.weight.detach().numpy()[:, 0, 3, 3] for conv in (lstm.see, lstm.recall))
    answer, memory = 0.0, 0.0
    for seen in (0.4, 1.3, 2.0):
        take, forget, new, say = see * seen + lstm.see.bias.detach().numpy() + recall * answer
        take, forget, say = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (take, forget, say))
        memory = forget * memory + take * np.tanh(new)
        answer = say * np.tanh(memory)
    maps = [torch.full((1, 1, 8, 8), seen, dtype=torch.float64) for seen in (0.4, 1.3, 2.0)]
    assert lstm(maps)[0, 0, 4, 4].item() == pytest.approx(answer)


def test_each_crop_is_processed_in_its_own_way():
    rng = torch.Generator().manual_seed(0)
    crops = torch.randn(64, 2, 32, 32, generator=rng)
    done = next(processed(iter([crops.clone()]), seed=1))
    numbers = done[:, 1, 0, 0].long()
    assert len(set(numbers.tolist())) > len(KINDS) / 2 and numbers.max() < len(KINDS)
    same = (done[:, 0] == crops[:, 0]).all(2).all(1)
    assert torch.equal(same, numbers == 0) and done.isfinite().all()
    assert torch.equal(done, next(processed(iter([crops.clone()]), seed=1)))
