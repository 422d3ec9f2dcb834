import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KernelDensity

from intact.anomaly.anatpaste import AnatPaste
from intact.forge.synthetic.anat_paste import anat_paste

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2, "frozen": 0}


def images(n=8, channels=1):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_classes_are_normal_and_pasted():
    (pasted,) = AnatPaste(**FIELDS)._pasted(images(), np.random.default_rng(2))
    assert torch.equal(pasted, anat_paste(images(), np.random.default_rng(2)).images)
    assert AnatPaste.classes == 2 and AnatPaste().hidden == 1


def test_the_distance_is_minus_the_log_density_of_kernels_of_deviation_1():
    rng = torch.Generator().manual_seed(0)
    normal, other = torch.randn(30, 5, generator=rng), torch.randn(7, 5, generator=rng)
    detector = AnatPaste(**FIELDS)
    detector._learn(normal)
    density = KernelDensity(kernel="gaussian", bandwidth=1.0).fit(normal.numpy())
    constant = 5 / 2 * math.log(2 * math.pi)
    slow = -2 * (density.score_samples(other.numpy()) + constant)
    np.testing.assert_allclose(detector._distance(other), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_is_the_distance_and_the_map_has_the_images_size(channels):
    detector = AnatPaste(**FIELDS).fit([images(channels=channels), images(3, channels)])
    assert detector.points_.shape == (11, 256)
    torch.testing.assert_close(detector.points_.norm(dim=1), torch.ones(11))
    scores = detector.score(images(3, channels))
    with torch.no_grad():
        expected = detector._distance(detector._embed(detector._maps(images(3, channels))[-1]))
    torch.testing.assert_close(scores.image, expected, rtol=1e-3, atol=1e-5)
    assert scores.pixel.shape == (3, 32, 32) and scores.pixel.min() >= 0
