from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from intact.anomaly.padim import PaDiM
from intact.filters import gaussian_blur, upsample

SIZE = 32


def images(n=12, seed=0):
    return torch.rand(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def detector(**fields):
    return PaDiM(size=SIZE, backbone="narrow_resnet18", **fields).fit([images()[:8], images()[8:]])


def stacked(made, batch):
    """All maps side by side at the finest one's resolution, then the kept ones: as the paper says it."""
    maps = made.net(batch)
    grown = [F.interpolate(m, size=maps[0].shape[-2:], mode="nearest") for m in maps]
    return torch.cat(grown, dim=1)[:, made.kept_].double().numpy()


def test_the_score_is_the_mahalanobis_distance_at_each_position():
    made, fresh = detector(features=10), images(3, seed=1)
    normal, test = stacked(made, images()), stacked(made, fresh)
    side = normal.shape[-1]
    distance = np.empty((3, side, side))
    covariances = [np.cov(normal[:, :, i, j].T) for i in range(side) for j in range(side)]
    ridge = made.ridge * np.mean([np.diag(c).mean() for c in covariances])  # of Eq. 1
    for position, covariance in enumerate(covariances):
        i, j = divmod(position, side)
        inverse = np.linalg.inv(covariance + ridge * np.eye(10))
        for n in range(3):
            away = test[n, :, i, j] - normal[:, :, i, j].mean(axis=0)
            distance[n, i, j] = np.sqrt(away @ inverse @ away)
    slow = gaussian_blur(upsample(torch.from_numpy(distance).float(), (SIZE, SIZE)), made.sigma)
    scores = made.score(fresh)
    torch.testing.assert_close(scores.pixel, slow, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


@pytest.mark.parametrize("features", [1, 2, 5])
def test_few_features_may_leave_maps_out(features):
    made = detector(features=features)
    embedded = made._embed(images(2, seed=1))
    np.testing.assert_allclose(embedded.numpy(), stacked(made, images(2, seed=1)), rtol=1e-6)
