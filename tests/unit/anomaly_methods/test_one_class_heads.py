from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.svm import OneClassSVM

from intact.anomaly.one_class import HEADS, RIDGE, sharp_gamma


def features(n, seed=0, dimensions=6):
    rng = torch.Generator().manual_seed(seed)
    x = 1.0 + 0.4 * torch.randn(n, dimensions, generator=rng)
    return torch.nn.functional.normalize(x, dim=1)


def scored(head, gamma=None):
    normal = features(40)
    learned = HEADS[head].fit(normal, sharp_gamma(normal) if gamma is None else gamma)
    return learned, HEADS[head].score


def kernel(a, b, gamma):
    return math.exp(-gamma * sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def test_gamma_is_ten_over_the_variance_of_all_numbers_and_their_count():
    x = features(30).double().numpy()
    assert sharp_gamma(features(30)) == pytest.approx(10 / (6 * x.var()), rel=1e-5)
    assert sharp_gamma(features(30), times=1.0) == pytest.approx(1 / (6 * x.var()), rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_learned_are_tensors(head):
    learned, _ = scored(head)
    assert learned and all(t.dtype == torch.float32 for t in learned.values())


@pytest.mark.parametrize("head", HEADS)
def test_far_from_the_normals_is_suspicious(head):
    learned, score = scored(head)
    assert score(-features(20, 1), learned).min() > score(features(40), learned).max()


def test_the_machine_scores_as_scikit_learns():
    normal, new = features(40), features(9, 1)
    gamma = sharp_gamma(normal)
    machine = OneClassSVM(gamma=gamma).fit(normal.double().numpy())  # nu is 0.5
    learned, score = scored("oc_svm")
    theirs = -machine.score_samples(new.double().numpy()) / machine.dual_coef_.sum()
    np.testing.assert_allclose(score(new, learned).numpy(), theirs, atol=1e-5)
    assert learned["weights"].sum().item() == pytest.approx(1.0, abs=1e-5)


def test_the_ball_scores_the_squared_distance_beyond_its_radius():
    learned, score = scored("svdd", gamma=3.0)
    points, weights = learned["points"], learned["weights"].tolist()
    of_centre = sum(
        a * b * kernel(p, q, 3.0)
        for a, p in zip(weights, points, strict=True)
        for b, q in zip(weights, points, strict=True)
    )

    def squared_distance(x):
        return 1 - 2 * sum(a * kernel(x, p, 3.0) for a, p in zip(weights, points, strict=True)) + of_centre

    bound = max(weights)
    radii = [
        squared_distance(p) for p, a in zip(points, weights, strict=True) if 1e-4 * bound < a < 0.99 * bound
    ]
    assert len(radii) > 0 and np.ptp(radii) < 1e-2
    for x, found in zip(features(5, 1), score(features(5, 1), learned).tolist(), strict=True):
        assert found == pytest.approx(squared_distance(x) - np.mean(radii), abs=3e-3)
    outside = (score(features(40), learned) > 1e-4).float().mean().item()
    assert 0.2 < outside <= 0.5  # at most nu


def test_ball_and_machine_order_alike():
    new = features(30, 2)
    (machine, by_machine), (ball, by_ball) = scored("oc_svm"), scored("svdd")
    assert torch.equal(by_machine(new, machine).argsort(), by_ball(new, ball).argsort())


def test_the_density_is_a_mean_of_kernels():
    learned, score = scored("kde", gamma=4.0)
    for x, found in zip(features(4, 1), score(features(4, 1), learned).tolist(), strict=True):
        mean = sum(kernel(x, p, 4.0) for p in features(40)) / 40
        assert found == pytest.approx(-math.log(mean) / 4.0, rel=1e-4)


def test_far_away_the_density_still_orders():
    learned, score = scored("kde", gamma=200.0)
    near, far = torch.full((1, 6), -3.0), torch.full((1, 6), -4.0)
    assert score(near, learned) < score(far, learned) < torch.inf


def test_the_gaussian_is_that_of_scipy():
    learned, score = scored("gaussian")
    x = features(40).double().numpy()
    spread = np.cov(x.T, ddof=0) + RIDGE * np.eye(6)
    theirs = -multivariate_normal(x.mean(axis=0), spread).logpdf(features(9, 1).double().numpy())
    np.testing.assert_allclose(score(features(9, 1), learned).numpy(), theirs, rtol=1e-3)


def test_fewer_normals_than_dimensions_are_enough_for_the_gaussian():
    learned = HEADS["gaussian"].fit(features(4, dimensions=20), 1.0)
    assert HEADS["gaussian"].score(features(3, 1, 20), learned).isfinite().all()
