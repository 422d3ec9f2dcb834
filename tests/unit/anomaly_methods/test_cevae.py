import pytest
import torch

from intact.anomaly.cevae import CEVAE, covered
from intact.anomaly.variational import divergence


def images(n=8, size=16, channels=1, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(**fields):
    return CEVAE(**{"size": 16, "latent": 4, "steps": 3} | fields).fit([images()])


@pytest.fixture(scope="module")
def detector():
    return fitted()


def drawing(seed=5):
    return torch.Generator().manual_seed(seed)


def test_the_code_has_128_numbers():
    detector = CEVAE()
    detector._build(1)
    mean, log_variance = detector._encode(images(2, 64))
    assert mean.shape == log_variance.shape == (2, 128)
    nets = (detector.encoder, detector.decoder)
    # The autoencoder with 16 numbers has 2,351,185 parameters; 240 more leave the encoder, 112 enter.
    assert sum(p.numel() for net in nets for p in net.parameters()) == 2_351_185 + 240 * 1025 + 112 * 1024


def test_covering_paints_one_square_in_one_grey_over_all_channels():
    x = 2 * images(200, 32, channels=3) - 1
    before = x.clone()
    copy = covered(x, 1, 0.5, drawing())
    assert torch.equal(x, before)
    changed = (copy != x).any(dim=1)
    sides, greys = [], []
    for image, mask in zip(copy, changed, strict=True):
        if mask.any():
            rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
            inside = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert inside.shape[1] == inside.shape[2]  # a square
            assert inside.min() == inside.max()
            sides.append(inside.shape[1])
            greys.append(inside.max().item())
    assert 60 < len(sides) < 140  # none or one, equally often
    assert min(sides) <= 2 and 15 <= max(sides) <= 16
    assert -1 <= min(greys) < -0.8 and 0.8 < max(greys) <= 1


def test_squares_lie_anywhere_and_up_to_so_many_in_an_image():
    x = torch.full((300, 1, 32, 32), 5.0)
    copy = covered(x, 3, 0.25, drawing())
    numbers = [len(image.unique()) - 1 for image in copy]
    assert set(numbers) == {0, 1, 2, 3}
    changed = (copy != x).any(dim=0)[0]
    assert changed[0].any() and changed[-1].any() and changed[:, 0].any() and changed[:, -1].any()


def test_every_image_is_covered_on_its_own():
    copy = covered(torch.zeros(8, 1, 32, 32), 3, 0.5, drawing())
    assert len({image.numpy().tobytes() for image in copy}) >= 6


def test_half_of_the_loss_is_that_of_a_vae_and_half_of_filling_in(detector):
    x = 2 * images() - 1
    found = detector._loss(x, drawing())
    rng = drawing()
    mean, log_variance = detector._encode(x)
    noise = torch.randn(8, 4, generator=rng)
    rebuilt = detector.decoder(mean + (log_variance / 2).exp() * noise)
    filled = detector.decoder(detector.encoder(covered(x, 3, 0.5, rng))[:, :4])  # the mean, no sample
    bound = (rebuilt - x).abs().mean() + 0.01 * divergence(mean, log_variance).mean()
    wanted = 0.5 * bound + 0.5 * (filled - x).abs().mean()
    torch.testing.assert_close(found, wanted)


def test_what_is_covered_is_compared_with_the_whole_image(detector, monkeypatch):
    """A network that returned what it was shown would pay for every covered pixel."""
    monkeypatch.setattr(detector, "context", 1.0)
    monkeypatch.setattr(detector, "_encode", lambda x: (x, x))
    monkeypatch.setattr(detector, "decoder", torch.nn.Identity())
    x = 2 * images() - 1
    rng = drawing()
    torch.randn(x.shape, generator=rng)
    wanted = (covered(x, 3, 0.5, rng) - x).abs().mean()
    assert wanted > 0.01
    torch.testing.assert_close(detector._loss(x, drawing()), wanted)


def test_the_score_is_squared_error_times_the_smoothed_gradient_of_the_divergence(detector):
    x = images(seed=2)
    with torch.no_grad():
        squared = (x - detector._rebuild(x)).square()[:, 0]
    wanted = squared * detector.residuals["kl_gradient"](detector, x)
    scores = detector.score(x)
    torch.testing.assert_close(scores.pixel, wanted)
    torch.testing.assert_close(scores.image, wanted.mean(dim=(1, 2)))
    assert detector.residual == "combi" and detector.sigma == 2.0


def test_the_seed_decides_and_the_world_is_not_disturbed():
    before = torch.random.get_rng_state()
    first = fitted(seed=3).score(images()).image
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, fitted(seed=3).score(images()).image)
    assert not torch.equal(first, fitted(seed=4).score(images()).image)
