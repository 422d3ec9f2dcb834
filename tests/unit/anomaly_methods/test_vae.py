import copy

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from intact.anomaly.ae import AE
from intact.anomaly.vae import VAE
from intact.anomaly.variational import divergence, sample
from intact.errors import UsageError
from intact.filters import gaussian_blur


def images(n=8, size=16, seed=0):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(**fields):
    return VAE(**{"size": 16, "latent": 4, "steps": 3} | fields).fit([images()])


@pytest.fixture(scope="module")
def detector():
    return fitted()


def test_the_layers_are_those_of_the_card():
    """At 64 x 64 four convolutions reach 4 x 4, and linear layers lead to twice 16 numbers."""
    detector = VAE()
    detector._build(1)
    down = sum(16 * i * o + 2 * o for i, o in ((1, 16), (16, 32), (32, 64), (64, 64)))
    up = sum(16 * i * o + 2 * o for i, o in ((64, 64), (64, 32), (32, 16))) + 16 * 16 + 1
    to_code = (1024 * 1024 + 3 * 1024) + (1024 * 32 + 32)
    from_code = (16 * 1024 + 3 * 1024) + (1024 * 1024 + 1024)
    nets = (detector.encoder, detector.decoder)
    assert sum(p.numel() for net in nets for p in net.parameters()) == down + to_code + from_code + up
    x = images(2, 64)
    mean, log_variance = detector._encode(x)
    assert mean.shape == log_variance.shape == (2, 16)
    assert detector.encoder[:4](x).shape == (2, 64, 4, 4)
    assert detector.decoder(mean).shape == x.shape


def test_the_divergence_is_that_of_two_gaussians():
    mean, log_variance = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    wanted = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), wanted)
    assert divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_samples_have_the_mean_and_variance_asked_for():
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -3.0]])
    many = sample(mean.expand(20000, -1), log_variance.expand(20000, -1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(many.mean(dim=0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(many.var(dim=0), log_variance[0].exp(), rtol=0.05, atol=0)


@torch.no_grad()
def test_the_loss_is_squared_error_plus_weighted_divergence(detector):
    x = 2 * images() - 1
    found = detector._loss(x, torch.Generator().manual_seed(5))
    noise = torch.randn(8, 4, generator=torch.Generator().manual_seed(5))
    code = detector.encoder(x)
    mean, log_variance = code[:, :4], code[:, 4:]
    rebuilt = detector.decoder(mean + log_variance.div(2).exp() * noise)
    misfit, kl = 0.0, 0.0
    for n in range(8):
        for i, j in np.ndindex(16, 16):
            misfit += float(rebuilt[n, 0, i, j] - x[n, 0, i, j]) ** 2 / (8 * 256)
        for k in range(4):
            m, s = float(mean[n, k]), float(log_variance[n, k])
            kl += -0.5 * (1 + s - m**2 - np.exp(s)) / (8 * 4)
    assert found.item() == pytest.approx(misfit + 0.005 * kl, rel=1e-4)


def test_training_is_by_that_loss(detector):
    x = [images()]
    rng = torch.Generator().manual_seed(1)
    before = fitted(steps=1)._loss(2 * x[0] - 1, rng)
    after = fitted(steps=30)._loss(2 * x[0] - 1, rng)
    assert after < before


def test_an_image_is_scored_by_squared_error_through_the_mean_of_its_code(detector):
    x = images(seed=2)
    with torch.no_grad():
        rebuilt = detector.decoder(detector.encoder(2 * x - 1)[:, :4]) / 2 + 0.5
    scores = detector.score(x)
    torch.testing.assert_close(scores.pixel, (x - rebuilt).square()[:, 0])
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))
    assert torch.equal(detector.score(x).image, scores.image)  # no draw is involved


def test_the_gradient_of_the_divergence_is_that_of_finite_differences(detector):
    exact = copy.deepcopy(detector)
    exact.encoder.double()
    exact.sigma = 0.0
    x = images(seed=2).double()
    found = exact.residuals["kl_gradient"](exact, x)

    def kl(x):
        with torch.no_grad():
            return divergence(*exact._encode(2 * x - 1))

    step = 1e-6
    for n, i, j in [(0, 3, 4), (1, 8, 8), (5, 15, 0), (7, 2, 13)]:
        bump = torch.zeros_like(x)
        bump[n, 0, i, j] = step
        wanted = ((kl(x + bump) - kl(x - bump)) / (2 * step))[n].abs().item()
        assert found[n, i, j].item() == pytest.approx(wanted, rel=1e-3, abs=1e-9)


def test_the_gradient_is_smoothed(detector):
    raw, smooth = copy.copy(detector), copy.copy(detector)
    raw.sigma, smooth.sigma = 0.0, 2.0
    of = detector.residuals["kl_gradient"]
    torch.testing.assert_close(of(smooth, images()), gaussian_blur(of(raw, images()), 2.0))
    assert not torch.allclose(of(smooth, images()), of(raw, images()))


def test_combi_is_squared_error_times_smoothed_gradient(detector):
    x = images(seed=2)
    other = copy.copy(detector)
    other.residual = "combi"
    with torch.no_grad():
        wanted = (x - detector._rebuild(x)).square()[:, 0] * detector.residuals["kl_gradient"](detector, x)
    assert (wanted > 0).any()
    torch.testing.assert_close(other.score(x).pixel, wanted)
    torch.testing.assert_close(other.score(x).image, wanted.mean(dim=(1, 2)))


@pytest.mark.parametrize("residual", ["kl_gradient", "combi", "gradient"])
def test_scoring_by_a_gradient_leaves_the_networks_alone(detector, residual):
    other = copy.deepcopy(detector)
    other.residual = residual
    for net in (other.encoder, other.decoder):
        net.zero_grad()
    assert not other.score(images()).pixel.requires_grad
    for net in (other.encoder, other.decoder):
        assert not net.training
        assert all(p.grad is None for p in net.parameters())


def test_only_variational_methods_know_the_divergence():
    with pytest.raises(UsageError, match="combi"):
        AE(residual="combi")
    with pytest.raises(UsageError, match=r"gradient, kl_gradient, combi"):
        VAE(residual="elbo")


def test_the_seed_decides_and_the_world_is_not_disturbed():
    before = torch.random.get_rng_state()
    first = fitted(seed=3).score(images()).image
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, fitted(seed=3).score(images()).image)
    assert not torch.equal(first, fitted(seed=4).score(images()).image)


def test_a_size_that_cannot_be_halved_four_times_is_refused():
    with pytest.raises(UsageError, match="multiple of 16"):
        VAE(size=40)
