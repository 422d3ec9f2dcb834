"""Classifiers of one class: where normal feature vectors lie, and how far others are from there.

Each head turns normal features into a few tensors (`fit`) and features and these into scores
(`score`). Support vectors are found by scikit-learn's OneClassSVM; what is kept are tensors. The
kernel is exp(-gamma |a - b|²).

- `oc_svm`: Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the Support of a
  High-Dimensional Distribution", Neural Computation 2001. Score: minus the kernel expansion.
- `svdd`: Tax, Duin, "Support Vector Data Description", Machine Learning 2004. The smallest ball in the
  kernel's space. With this kernel all points lie at the same distance from the origin there, and the
  ball has the same support vectors as the hyperplane of `oc_svm` (Schölkopf et al., section 2): both
  heads order images alike. Score: squared distance from the centre, minus the squared radius; above 0
  is outside.
- `kde`: density as a mean of kernels. Score: -log of it, over gamma: a soft minimum of squared distances.
- `gaussian`: density of one Gaussian with a full covariance. Score: -log of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "n d"]
Learned = dict[str, Tensor]

NU = 0.5  # share of the normals that may lie outside, and least share of support vectors
RIDGE = 1e-6  # added to the variances of the Gaussian


class Head(NamedTuple):
    """What is learned from normal features and a gamma, and the scores that follow from it."""

    fit: Callable[[Features, float], Learned]
    score: Callable[[Features, Learned], Float[Tensor, "n"]]


def sharp_gamma(features: Features, times: float = 10.0) -> float:
    """`times` one over dimensions and variance of all numbers; with 1 it is scikit-learn's "scale"."""
    return times / (features.shape[1] * features.double().var(correction=0).item())


def _fit_support(features: Features, gamma: float) -> Learned:
    """Support vectors, their weights, which add up to 1, and twice the expansion on the boundary."""
    from sklearn.svm import OneClassSVM  # takes seconds to import, and only fitting needs it

    machine = OneClassSVM(kernel="rbf", nu=NU, gamma=gamma).fit(features.double().numpy())
    total = machine.dual_coef_.sum()
    return {
        "points": features[torch.from_numpy(machine.support_).long()],
        "weights": torch.from_numpy(machine.dual_coef_[0] / total).float(),
        "gamma": torch.tensor(gamma),
        "boundary": torch.tensor(2 * machine.offset_.item() / total).float(),
    }


def _score_expansion(features: Features, learned: Learned) -> Float[Tensor, "n"]:
    return -(_kernel(features, learned["points"], learned["gamma"]) @ learned["weights"])


def _score_svdd(features: Features, learned: Learned) -> Float[Tensor, "n"]:
    """|x - c|² = 1 - 2 Σ w k(x, p) + |c|²; of the squared radius, 1 and |c|² cancel."""
    return 2 * _score_expansion(features, learned) + learned["boundary"]


def _fit_kde(features: Features, gamma: float) -> Learned:
    return {"points": features, "gamma": torch.tensor(gamma)}


def _score_kde(features: Features, learned: Learned) -> Float[Tensor, "n"]:
    gamma = learned["gamma"]
    exponents = -gamma * _squared_distance(features, learned["points"])
    return (math.log(len(learned["points"])) - exponents.logsumexp(dim=1)) / gamma


def _fit_gaussian(features: Features, gamma: float) -> Learned:
    x = features.double()
    covariance = x.T.cov(correction=0) + RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    log_volume = factor.diagonal().log().sum() + x.shape[1] / 2 * math.log(2 * math.pi)
    whiten = torch.linalg.inv(factor)
    return {"mean": x.mean(dim=0).float(), "whiten": whiten.float(), "log_volume": log_volume.float()}


def _score_gaussian(features: Features, learned: Learned) -> Float[Tensor, "n"]:
    away = (features - learned["mean"]) @ learned["whiten"].T
    return away.square().sum(dim=1) / 2 + learned["log_volume"]


def _kernel(a: Features, b: Float[Tensor, "m d"], gamma: float | Tensor) -> Float[Tensor, "n m"]:
    return torch.exp(-gamma * _squared_distance(a, b))


def _squared_distance(a: Features, b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


HEADS: dict[str, Head] = {
    "oc_svm": Head(_fit_support, _score_expansion),
    "svdd": Head(_fit_support, _score_svdd),
    "kde": Head(_fit_kde, _score_kde),
    "gaussian": Head(_fit_gaussian, _score_gaussian),
}
