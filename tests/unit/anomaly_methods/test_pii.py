import numpy as np
import pytest
import torch

from intact.anomaly.pii import PII
from intact.errors import UsageError
from intact.forge.synthetic.poisson_patch import poisson_patches
from intact.nets.wide_residual import WideResidualMap


def images(n=4, channels=1, size=32):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_the_defaults_are_the_authors():
    detector = PII()
    assert (detector.widths, detector.core, detector.lr, detector.pooling) == ((0.05, 0.2), 0.8, 1e-3, "mean")
    detector._build(1)
    assert isinstance(detector.net, WideResidualMap)


def test_it_learns_from_poisson_patches():
    detector = PII(size=32, widths=(0.1, 0.3), core=0.5)
    made = detector._make(images(), np.random.default_rng(3))
    expected = poisson_patches(images(), np.random.default_rng(3), widths=(0.1, 0.3), core=0.5)
    assert torch.equal(made.images, expected.images) and torch.equal(made.labels, expected.labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_means_of_maps_at_the_images_size(channels):
    detector = PII(size=32, steps=2).fit([images(channels=channels)])
    scores = detector.score(images(3, channels))
    assert scores.pixel.shape == (3, 32, 32) and scores.pixel.min() > 0 and scores.pixel.max() < 1
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))


def test_a_side_that_cannot_be_halved_four_times_is_refused():
    with pytest.raises(UsageError, match="multiple of 16"):
        PII(size=40)
