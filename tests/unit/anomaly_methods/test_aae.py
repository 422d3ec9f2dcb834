import copy

import pytest
import torch
import torch.nn.functional as F

import intact.anomaly.aae
from intact.anomaly.aae import AAE
from intact.nets.discriminator import latent_discriminator
from intact.train import descend

NETS = ("encoder", "decoder", "discriminator")


def images(n=8, size=16, seed=0):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(**fields):
    return AAE(**{"size": 16, "latent": 4, "width": 20, "steps": 3} | fields).fit([images()])


@pytest.fixture(scope="module")
def detector():
    return fitted()


def test_the_discriminator_has_two_hidden_layers_of_1000():
    net = latent_discriminator(16, 1000)
    assert sum(p.numel() for p in net.parameters()) == 17 * 1000 + 1001 * 1000 + 1001
    assert net(torch.zeros(3, 16)).shape == (3, 1)


def test_a_full_sized_one_has_the_autoencoder_of_ae():
    detector = AAE()
    detector._build(1)
    count = {name: sum(p.numel() for p in getattr(detector, name).parameters()) for name in NETS}
    assert count["encoder"] + count["decoder"] == 2_351_185
    assert count["discriminator"] == 1_019_001
    assert detector.encoder(images(2, 64)).shape == (2, 16)


def test_each_of_the_three_steps_moves_only_its_own_networks(monkeypatch):
    moved = []

    def watched(loss, optimiser, *rest):
        before = {name: copy.deepcopy(getattr(detector, name)) for name in NETS}
        descend(loss, optimiser, *rest)
        moved.append(
            [
                name
                for name in NETS
                if any(
                    not torch.equal(old, new)
                    for old, new in zip(
                        before[name].parameters(), getattr(detector, name).parameters(), strict=True
                    )
                )
            ]
        )

    monkeypatch.setattr(intact.anomaly.aae, "descend", watched)
    detector = AAE(size=16, latent=4, width=20, steps=2)
    detector.fit([images()])
    assert moved == [["encoder", "decoder"], ["discriminator"], ["encoder"]] * 2


def test_the_steps_minimise_squared_error_and_two_cross_entropies(monkeypatch):
    losses, wanted = [], []

    def watched(loss, optimiser, *rest):
        losses.append(loss.item())
        codes = detector.encoder(x)  # in training mode, as in the step
        logits = detector.discriminator(codes)
        if len(losses) == 1:
            misfits = (detector.decoder(codes) - x).flatten().tolist()
            wanted.append(sum(m**2 for m in misfits) / len(misfits))
        if len(losses) == 2:
            drawn = torch.randn(8, 4, generator=torch.Generator().manual_seed(7))
            of_drawn = detector.discriminator(drawn)
            real = F.binary_cross_entropy_with_logits(of_drawn, torch.ones(8, 1))
            wanted.append((real + F.binary_cross_entropy_with_logits(logits, torch.zeros(8, 1))).item())
        if len(losses) == 3:
            wanted.append(F.binary_cross_entropy_with_logits(logits, torch.ones(8, 1)).item())
        descend(loss, optimiser, *rest)

    monkeypatch.setattr(intact.anomaly.aae, "descend", watched)
    x = 2 * images() - 1
    detector = AAE(size=16, latent=4, width=20, steps=1, seed=7)
    detector.fit([images()])
    assert losses == pytest.approx(wanted, rel=1e-4)


def test_deceiving_makes_codes_look_drawn_and_telling_makes_them_look_made(detector):
    other = copy.deepcopy(detector)
    codes = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(other._deceiving_loss(codes), codes)
    with torch.no_grad():
        assert other.discriminator(codes - gradient).mean() > other.discriminator(codes).mean()

    def apart():
        return (other.discriminator(codes + 3) - other.discriminator(codes)).mean()

    before = apart()
    optimiser = torch.optim.SGD(other.discriminator.parameters(), lr=0.1)
    descend(other._telling_loss(codes.detach() + 3, codes.detach()), optimiser)
    assert apart() > before


def test_the_score_is_squared_error(detector):
    x = images(seed=2)
    with torch.no_grad():
        rebuilt = detector.decoder(detector.encoder(2 * x - 1)) / 2 + 0.5
    scores = detector.score(x)
    torch.testing.assert_close(scores.pixel, (x - rebuilt).square()[:, 0])
    torch.testing.assert_close(scores.image, scores.pixel.mean(dim=(1, 2)))


def test_all_three_networks_end_in_evaluation_mode(detector):
    assert not any(getattr(detector, name).training for name in NETS)
    assert {name.split(".")[0] for name in detector.state()} == {"channels_", *NETS}


def test_the_seed_decides_and_the_world_is_not_disturbed():
    before = torch.random.get_rng_state()
    first = fitted(seed=3).score(images()).image
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, fitted(seed=3).score(images()).image)
    assert not torch.equal(first, fitted(seed=4).score(images()).image)
