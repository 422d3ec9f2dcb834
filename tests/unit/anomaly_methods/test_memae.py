import copy
import math

import numpy as np
import pytest
import torch

from intact.anomaly.memae import MemAE, entropy
from intact.nets.memory import Memory


def images(n=8, size=16, seed=0):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(**fields):
    return MemAE(**{"size": 16, "latent": 4, "items": 6, "steps": 3} | fields).fit([images()])


@pytest.fixture(scope="module")
def detector():
    return fitted()


@pytest.fixture
def memory():
    torch.manual_seed(0)
    return Memory(items=7, length=3, shrink=0.1)


def slow_lookup(code, items, shrink):
    """One code at a time, with a condition instead of the differentiable form of the cut-off."""
    likeness = [math.exp(sum(float(a * b) for a, b in zip(code, item, strict=True))) for item in items]
    weights = [v / sum(likeness) for v in likeness]
    kept = [w if w > shrink else 0.0 for w in weights]
    kept = [w / max(sum(kept), 1e-12) for w in kept]
    mixture = [sum(w * float(item[k]) for w, item in zip(kept, items, strict=True)) for k in range(len(code))]
    return mixture, kept


@torch.no_grad()
def test_the_memory_is_a_sparse_mixture_of_its_items(memory):
    codes = 2 * torch.randn(20, 3)
    mixtures, weights = memory(codes)
    for n in range(20):
        mixture, kept = slow_lookup(codes[n], memory.items, 0.1)
        np.testing.assert_allclose(mixtures[n], mixture, atol=1e-5)
        np.testing.assert_allclose(weights[n], kept, atol=1e-5)
    cut = weights == 0
    assert cut.any() and not cut.all(dim=1).any()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(20))
    assert weights[~cut].min() > 0.1  # rescaling only raises what was above the threshold


def test_without_a_threshold_every_item_takes_part():
    torch.manual_seed(0)
    memory, codes = Memory(5, 3, shrink=0.0), torch.randn(4, 3)
    torch.testing.assert_close(memory(codes)[1], torch.softmax(codes @ memory.items.T, dim=1))


def test_a_threshold_above_one_over_items_can_leave_nothing():
    memory = Memory(10, 3, shrink=0.11)
    mixtures, weights = memory(torch.zeros(1, 3))
    assert not mixtures.any() and not weights.any()


def test_items_start_between_plus_and_minus_one_over_the_root_of_their_length():
    torch.manual_seed(0)
    items = Memory(500, 16, 0.0025).items
    assert items.shape == (500, 16)
    assert 0.24 < items.max() <= 0.25 and -0.25 <= items.min() < -0.24
    assert items.abs().mean().item() == pytest.approx(0.125, abs=0.005)


def test_codes_and_items_both_learn(memory):
    memory.double()
    codes = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda codes: memory(codes)[0], codes)
    memory(codes)[0].square().sum().backward()
    assert codes.grad.abs().sum() > 0 and (memory.items.grad.abs().sum(dim=1) > 0).sum() >= 2


def test_the_entropy_counts_how_many_items_are_mixed():
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    torch.testing.assert_close(entropy(weights), torch.tensor([0.0, math.log(4), math.log(2)]))


def test_a_full_sized_one_is_the_autoencoder_of_ae_with_25_codes_of_16():
    detector = MemAE()
    detector._build(1)
    nets = (detector.encoder, detector.memory, detector.decoder)
    assert sum(p.numel() for net in nets for p in net.parameters()) == 2_351_185 + 25 * 16
    codes, weights = detector.memory(detector.encoder(images(2, 64)))
    assert codes.shape == (2, 16) and weights.shape == (2, 25)
    assert detector.memory.shrink == 0.0025


@torch.no_grad()
def test_the_loss_is_squared_error_plus_weighted_entropy(detector):
    x = 2 * images() - 1
    found = detector._loss(x)
    misfit, spread = 0.0, 0.0
    for n in range(8):
        code = detector.encoder(x)[n]
        mixture, weights = slow_lookup(code, detector.memory.items, 0.0025)
        rebuilt = detector.decoder(torch.tensor([mixture], dtype=torch.float32))[0]
        misfit += float((rebuilt - x[n]).double().square().sum()) / x.numel()
        spread -= sum(w * math.log(w) for w in weights if w > 0) / 8
    assert spread > 1  # so that the weight is seen
    assert found.item() == pytest.approx(misfit + 0.0002 * spread, abs=2e-5)
    heavier = copy.copy(detector)
    heavier.entropy_weight = 0.5
    assert heavier._loss(x).item() == pytest.approx(misfit + 0.5 * spread, rel=1e-4)


def test_the_memory_learns_with_the_rest():
    bright = 0.9 + 0.1 * images()
    early, late = (MemAE(size=16, latent=4, items=6, steps=steps).fit([bright]) for steps in (1, 20))
    assert not torch.equal(early.memory.items, late.memory.items)
    assert late._loss(2 * bright - 1) < 0.7 * early._loss(2 * bright - 1)


def test_the_score_is_squared_error(detector):
    x = images(seed=2)
    with torch.no_grad():
        rebuilt = detector.decoder(detector.memory(detector.encoder(2 * x - 1))[0]) / 2 + 0.5
    scores = detector.score(x)
    torch.testing.assert_close(scores.pixel, (x - rebuilt).square()[:, 0])
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))


def test_whatever_it_is_shown_it_can_only_mix_what_it_remembers(detector):
    with torch.no_grad():
        codes, _ = detector.memory(detector.encoder(100 * images(seed=3)))
    items = detector.memory.items
    assert (codes <= items.amax(dim=0) + 1e-6).all() and (codes >= items.amin(dim=0) - 1e-6).all()


def test_the_seed_decides_and_the_world_is_not_disturbed():
    before = torch.random.get_rng_state()
    first = fitted(seed=3).score(images()).image
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, fitted(seed=3).score(images()).image)
    assert not torch.equal(first, fitted(seed=4).score(images()).image)
