import numpy as np
import pytest
import torch

from intact.anomaly import synthetic_maps
from intact.anomaly.nsa import NSA
from intact.errors import UsageError
from intact.forge.synthetic.natural import Patches, binary, continuous, logistic, natural_anomalies

FIELDS = {"size": 64, "backbone": "narrow_resnet18", "steps": 2}


def images(n=4, channels=1):
    return torch.rand(n, channels, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_defaults_are_the_authors_for_chest_x_rays():
    detector = NSA()
    assert (detector.labels, detector.steepness, detector.middle) == ("logistic", 0.5, 4.0)
    assert (detector.gradients, detector.patches, detector.lr, detector.pooling) == ("mixed", 3, 1e-3, "mean")
    assert Patches() == Patches(3, 2.0, 0.03, 0.05, (0.03, 0.4), (0.7, 1.3), 0.7, 0.7)


@pytest.mark.parametrize(
    ("labels", "label"),
    [("binary", binary), ("continuous", continuous), ("logistic", logistic(1 / 3, 7.0))],
)
def test_it_learns_from_natural_anomalies(labels, label):
    detector = NSA(**FIELDS, labels=labels, steepness=1 / 3, middle=7.0, gradients="normal", patches=2)
    made = detector._make(images(), np.random.default_rng(3))
    expected = natural_anomalies(
        images(), np.random.default_rng(3), patches=Patches(most=2), gradients="normal", label=label
    )
    assert torch.equal(made.images, expected.images) and torch.equal(made.labels, expected.labels)


def test_continuous_labels_are_met_in_squares_others_by_cross_entropy():
    logits, labels = torch.tensor([[[0.3, -1.0]]]), torch.tensor([[[0.2, 0.0]]])
    p = 1 / (1 + torch.exp(-logits))
    squares = (p - labels).square().mean()
    entropy = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    for name, expected in (("continuous", squares), ("logistic", entropy), ("binary", entropy)):
        torch.testing.assert_close(NSA(labels=name)._loss(logits, labels), expected)


def test_the_rate_falls_along_a_cosine(monkeypatch):
    rates = []

    def train(net, loss, batches, *, steps, optimiser, schedule, max_norm):
        for _ in range(steps):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        rates.append(optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(synthetic_maps, "train", train)
    NSA(**FIELDS | {"steps": 10}).fit([images()])
    expected = [1e-6 + (1e-3 - 1e-6) * (1 + np.cos(np.pi * k / 10)) / 2 for k in range(11)]
    np.testing.assert_allclose(rates, expected)


def test_it_starts_from_scratch():
    first, other = NSA(**FIELDS), NSA(**FIELDS)
    first._build(1)
    other._build(1)
    weight = first.net.encoder.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert not torch.equal(weight, other.net.encoder.layer3[0].conv2.weight)


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_means_of_maps_at_the_images_size(channels):
    detector = NSA(**FIELDS).fit([images(channels=channels)])
    scores = detector.score(images(3, channels))
    assert scores.pixel.shape == (3, 64, 64) and scores.pixel.min() > 0 and scores.pixel.max() < 1
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("field", "value"), [("size", 48), ("gradients", "sharp"), ("labels", "soft"), ("pooling", "median")]
)
def test_what_is_impossible_is_refused(field, value):
    with pytest.raises(UsageError, match=field):
        NSA(**{field: value})
