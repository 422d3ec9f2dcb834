from __future__ import annotations

import pytest
import torch

from intact.anomaly.position_gaussian import (
    keep_at_random,
    position_distance,
    position_gaussians,
    stack_kept,
)


def stacked(n=12, seed=0):
    return torch.randn(n, 3, 2, 4, generator=torch.Generator().manual_seed(seed))


def test_batches_do_not_matter():
    once, parts = position_gaussians([stacked()], 0.1), position_gaussians(stacked().split(5), 0.1)
    for a, b in zip(once, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_the_normals_are_a_deviation_away_on_average():
    """Without a ridge, the squared distances of n images add up to (n - 1) times the features."""
    mean, whiten = position_gaussians([stacked()], 0.0)
    squares = position_distance(stacked(), mean, whiten).square().sum(dim=0)
    torch.testing.assert_close(squares, torch.full((2, 4), 11.0 * 3), rtol=1e-3, atol=0)


def test_kept_channels_are_different_and_the_seeds():
    kept = keep_at_random(20, 8, seed=3)
    assert len(kept.unique()) == 8 and kept.max() < 20
    assert torch.equal(kept, keep_at_random(20, 8, seed=3))
    assert not torch.equal(kept, keep_at_random(20, 8, seed=4))


@pytest.mark.parametrize("kept", [[0, 5], [4, 1, 3], [2]])
def test_maps_are_stacked_in_the_order_asked_for(kept):
    fine, coarse = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 2, 2)
    both = torch.cat([fine, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)], dim=1)
    found = stack_kept([fine, coarse.bfloat16()], torch.tensor(kept))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, both[:, kept], rtol=0.01, atol=0.01)
