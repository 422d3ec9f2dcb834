import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from intact.anomaly.cutpaste import CutPaste
from intact.forge.synthetic.cut_paste import cut_paste, cut_paste_scar

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 2, "frozen": 0}


def images(n=8, channels=1, size=32):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def embeddings(n=40, d=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng) @ torch.randn(d, d, generator=rng) + 3.0


def test_the_classes_are_normal_pasted_and_scarred():
    detector = CutPaste(**FIELDS)
    pasted, scarred = detector._pasted(images(), np.random.default_rng(2))
    rng = np.random.default_rng(2)
    assert torch.equal(pasted, cut_paste(images(), rng).images)
    assert torch.equal(scarred, cut_paste_scar(images(), rng).images)
    assert CutPaste.classes == 3


def test_the_distance_is_mahalanobis_with_a_shrunk_covariance():
    detector = CutPaste(**FIELDS)
    normal, other = embeddings(), embeddings(10, seed=1)
    detector._learn(normal)
    slow = LedoitWolf().fit(normal.double().numpy()).mahalanobis(other.double().numpy()) ** 0.5
    np.testing.assert_allclose(detector._distance(other), slow, rtol=1e-4)
    assert detector._distance(normal.mean(dim=0, keepdim=True)).item() == pytest.approx(0.0, abs=1e-4)


def test_fewer_images_than_features_are_enough():
    detector = CutPaste(**FIELDS)
    detector._learn(embeddings(5, 20))
    assert detector._distance(embeddings(3, 20, seed=1)).isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_score_is_the_distance_and_the_map_has_the_images_size(channels):
    detector = CutPaste(**FIELDS).fit([images(channels=channels)])
    scores = detector.score(images(3, channels))
    with torch.no_grad():
        expected = detector._distance(detector._embed(detector._maps(images(3, channels))[-1]))
    torch.testing.assert_close(scores.image, expected, rtol=1e-3, atol=1e-4)
    assert scores.pixel.shape == (3, 32, 32) and scores.pixel.min() >= 0
