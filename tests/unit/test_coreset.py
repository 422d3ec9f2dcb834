import numpy as np
import torch

from intact.coreset import greedy_k_center, stream_coreset


def radius(points, centres):
    return torch.cdist(points, centres).min(dim=1).values.max()


def naive_k_center(points, count, first):
    chosen = [first]
    for _ in range(count - 1):
        chosen.append(int(torch.cdist(points, points[chosen]).min(dim=1).values.argmax()))
    return chosen


def test_it_is_farthest_point_traversal():
    points = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    chosen = greedy_k_center(points, 15, torch.Generator().manual_seed(1)).tolist()
    assert chosen == naive_k_center(points, 15, chosen[0])


def test_points_are_chosen_once_even_among_copies():
    points = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1)
    chosen = greedy_k_center(points, 30, torch.Generator().manual_seed(1))
    assert len(set(chosen.tolist())) == 30


def test_it_covers_better_than_chance():
    rng = torch.Generator().manual_seed(2)
    points = torch.cat([torch.randn(500, 8, generator=rng), 6 + torch.randn(20, 8, generator=rng)])
    chosen = points[greedy_k_center(points, 40, rng)]
    chance = [radius(points, points[torch.randperm(520, generator=rng)[:40]]) for _ in range(10)]
    assert radius(points, chosen) < 0.9 * min(chance)


def test_a_stream_is_covered_as_well_and_held_in_bounded_memory():
    rng = torch.Generator().manual_seed(3)
    points = torch.randn(2000, 6, generator=rng)
    kept = stream_coreset(points.split(100), 60, block_size=300, projection=6, generator=rng)
    assert kept.shape == (60, 6)
    at_once = points[greedy_k_center(points, 60, rng)]
    assert radius(points, kept) < 1.6 * radius(points, at_once)
    assert all((points == k).all(dim=1).any() for k in kept)


def test_a_short_stream_is_kept_whole():
    points = torch.arange(12.0).reshape(6, 2)
    kept = stream_coreset([points], 10, block_size=100, projection=2, generator=torch.Generator())
    np.testing.assert_array_equal(kept, points)
