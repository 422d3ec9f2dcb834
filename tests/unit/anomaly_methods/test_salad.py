from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from intact.anomaly import salad
from intact.anomaly.salad import SALAD
from intact.errors import UsageError
from intact.forge.synthetic.corruptions import corrupt
from intact.losses import ssim_map

FIELDS = {"size": 16, "latent": 8, "width": 8, "steps": 3}


def images(n=6, channels=1, seed=0):
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


def batches():
    return [images(), images(4, seed=1)]


@pytest.fixture(scope="module")
def detector():
    return SALAD(**FIELDS).fit(batches())


def square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) / len(a)


def test_the_encoder_cannot_reach_the_centre_by_a_bias_or_a_bound():
    made = SALAD()
    made._build(1)
    convolutions = [m for m in made.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 5 and all(m.bias is None for m in convolutions)
    assert [type(m) for m in list(made.encoder)[-2:]] == [nn.Conv2d, nn.Flatten]
    assert made.encoder(torch.rand(2, 1, 64, 64)).shape == (2, 256)
    assert made.decoder(torch.rand(2, 256)).shape == (2, 1, 64, 64)


def test_the_loss_undoes_the_corruption_and_compares_codes_of_the_clean_image():
    """In evaluation mode, so that two passes give the same, and with weights that tell images apart."""
    detector = SALAD(**FIELDS).fit(batches())
    for p in (*detector.encoder.parameters(), *detector.decoder.parameters()):
        if p.dim() > 1:
            nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(0))
    clean, spoilt = images(seed=3), corrupt(images(seed=3), np.random.default_rng(7)).images
    with torch.no_grad():
        mended = (detector.decoder(detector.encoder(2 * spoilt - 1)) + 1) / 2
        code = detector.encoder(2 * clean - 1)
        again = detector.encoder(detector.decoder(code))
        found = detector._loss(spoilt, clean).item()
    slow = 1 - ssim_map(clean, mended).mean().item()
    detector.consistency = detector.centring = 0.0
    assert detector._loss(spoilt, clean).item() == pytest.approx(slow, rel=1e-5)
    for z, back in zip(code, again, strict=True):
        slow += (1.0 * square(z, back) + 0.1 * square(z, detector.centre_)) / 6
    assert found == pytest.approx(slow, rel=1e-4)


def test_every_term_teaches_both_networks():
    made = SALAD(**FIELDS)
    made._build(1)
    made.centre_ = torch.zeros(8)
    made._loss(images(), images(seed=1)).backward()
    for net in (made.encoder, made.decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.dim() > 1)


def test_the_centre_is_the_mean_code_of_the_untrained_encoder(detector):
    fresh = SALAD(**FIELDS)
    fresh.channels_ = torch.tensor(1)
    fresh._build_networks()
    with torch.no_grad():
        codes = torch.cat([fresh.encoder(2 * x - 1) for x in batches()])
    torch.testing.assert_close(detector.centre_, codes.mean(dim=0))
    assert detector.centre_.abs().sum() > 0


def test_training_sees_corrupted_inputs_and_clean_targets(monkeypatch):
    seen = []

    def loss(self, spoilt, clean):
        seen.append((spoilt, clean))
        return self.encoder[0].weight.sum() * 0

    monkeypatch.setattr(SALAD, "_loss", loss)
    SALAD(**FIELDS | {"steps": 2}).fit(batches())
    draws = np.random.default_rng(0)
    for (spoilt, clean), given in zip(seen, batches(), strict=True):
        assert torch.equal(clean, given)
        assert torch.equal(spoilt, corrupt(given, draws).images)


def test_the_score_adds_both_distances_in_deviations_of_the_training_images(detector):
    def distances(x):
        with torch.no_grad():
            code = detector.encoder(2 * x - 1)
            again = detector.encoder(detector.decoder(code))
        return np.array(
            [[square(z, b), square(z, detector.centre_)] for z, b in zip(code, again, strict=True)]
        )

    normal = distances(torch.cat(batches()))
    new = (distances(images(8, seed=5)) - normal.mean(axis=0)) / normal.std(axis=0, ddof=1)
    scores = detector.score(images(8, seed=5))
    np.testing.assert_allclose(scores.image.numpy(), new.sum(axis=1), rtol=1e-3, atol=2e-3)


def test_the_map_is_the_missing_similarity(detector):
    x = images(8, seed=5)
    with torch.no_grad():
        rebuilt = (detector.decoder(detector.encoder(2 * x - 1)) + 1) / 2
    torch.testing.assert_close(
        detector.score(x).pixel, 1 - ssim_map(x, rebuilt).mean(dim=1), rtol=1e-4, atol=1e-5
    )


def test_training_is_that_of_ganomaly(monkeypatch):
    seen = {}

    def train(nets, loss, given, *, steps, optimiser, max_norm):
        seen.update(optimiser.param_groups[0], max_norm=max_norm)

    monkeypatch.setattr(salad, "train", train)
    made = SALAD(**FIELDS).fit(batches())
    assert seen["betas"] == (0.5, 0.999) and seen["max_norm"] == math.inf
    parameters = [*made.encoder.parameters(), *made.decoder.parameters()]
    assert {id(p) for p in seen["params"]} == {id(p) for p in parameters}


def test_colours_work_and_odd_sizes_do_not():
    made = SALAD(**FIELDS | {"steps": 1}).fit([images(channels=3)])
    assert made.score(images(2, 3)).pixel.shape == (2, 16, 16)
    with pytest.raises(UsageError):
        SALAD(size=50)
