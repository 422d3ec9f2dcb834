from __future__ import annotations

import math

import pytest
import torch

from intact.losses import info_nce, nt_xent


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def picked(query, keys, own, temperature):
    """-log of the share of its own key, one number after the other."""
    powers = [math.exp(cosine(query, key) / temperature) for key in keys]
    return -math.log(powers[own] / sum(powers))


def test_info_nce_looks_for_each_key_within_its_own_set():
    queries, keys = vectors(3, 5, 4), vectors(3, 5, 4, seed=1)
    slow = [picked(queries[b, i].tolist(), keys[b].tolist(), i, 0.2) for b in range(3) for i in range(5)]
    assert info_nce(queries, keys, 0.2).item() == pytest.approx(sum(slow) / 15, rel=1e-4)
    one = info_nce(queries[0], keys[0], 0.2)
    assert one.item() == pytest.approx(sum(slow[:5]) / 5, rel=1e-4)


def test_info_nce_of_a_guess_is_the_logarithm_of_the_choices():
    same = torch.ones(1, 7, 3)
    assert info_nce(same, same, 0.07).item() == pytest.approx(math.log(7), rel=1e-5)


def test_info_nce_does_not_see_lengths():
    queries, keys = vectors(6, 4), vectors(6, 4, seed=1)
    torch.testing.assert_close(info_nce(3 * queries, 0.1 * keys, 0.5), info_nce(queries, keys, 0.5))


def test_nt_xent_takes_each_view_of_2n_and_looks_for_its_partner_among_the_others():
    first, second = vectors(4, 3), vectors(4, 3, seed=1)
    views = torch.cat([first, second]).tolist()
    slow = 0.0
    for i in range(8):
        others = [views[j] for j in range(8) if j != i]
        partner = (i + 4) % 8
        slow += picked(views[i], others, partner - (partner > i), 0.25) / 8
    assert nt_xent(first, second, 0.25).item() == pytest.approx(slow, rel=1e-4)


def test_nt_xent_has_finite_gradients():
    first = vectors(4, 3).requires_grad_()
    nt_xent(first, vectors(4, 3, seed=1), 0.1).backward()
    assert first.grad.isfinite().all() and first.grad.abs().sum() > 0
