import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import intact.anomaly.ganomaly as module
from intact.anomaly.ganomaly import GANomaly, discriminator_loss
from intact.errors import UsageError
from intact.nets import gan

SMALL = {"size": 16, "latent": 6, "width": 4, "steps": 2}


def count(net):
    return sum(p.numel() for p in net.parameters())


def fitted(**fields):
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    return GANomaly(**{**SMALL, **fields}).fit([images]), images


@pytest.mark.parametrize(
    ("size", "times", "side"), [(16, 2, 4), (64, 4, 4), (256, 6, 4), (224, 5, 7), (48, 3, 6)]
)
def test_a_side_is_halved_until_it_is_between_four_and_seven(size, times, side):
    assert gan.halvings(size) == times
    assert size >> times == side


def test_the_encoder_of_the_paper_halves_64_pixels_to_4_while_channels_double():
    shapes = []
    net = gan.encoder(1, 64, 100).eval()
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    assert net(torch.zeros(1, 1, 64, 64)).shape == (1, 100)
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (100, 1, 1)]
    assert isinstance(net[1], nn.LeakyReLU)  # no normalisation after the first convolution
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net) == 3
    assert all(layer.bias is None for layer in net if isinstance(layer, nn.Conv2d))


def test_the_generator_mirrors_the_encoder():
    shapes = []
    net = gan.generator(3, 64, 100).eval()
    for layer in net:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    images = net(torch.randn(2, 100))
    assert images.shape == (2, 3, 64, 64) and images.abs().max() <= 1
    assert shapes == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), (3, 64, 64)]
    assert all(layer.bias is None for layer in net if isinstance(layer, nn.ConvTranspose2d))


def test_without_a_cap_the_networks_have_as_many_parameters_as_the_authors():
    with torch.device("meta"):
        encoder, generator = gan.encoder(3, 256, 100, cap=2048), gan.generator(3, 256, 100, cap=2048)
        discriminator = gan.Discriminator(3, 256, cap=2048)
    rungs = [64 * 2**k for k in range(6)]
    convolutions = 16 * (3 * 64 + sum(a * b for a, b in pairwise(rungs)))
    norms = 2 * sum(rungs[1:])
    head = 16 * 2048 * 100
    assert count(encoder) == convolutions + norms + head
    assert count(generator) == convolutions + head + 2 * sum(rungs)  # its first map is normalised too
    assert round((2 * count(encoder) + count(generator)) / 1e6) == 144
    assert round(count(discriminator) / 1e6) == 45


def test_the_cap_bounds_the_channels():
    with torch.device("meta"):
        net = gan.encoder(1, 256, 100, width=64, cap=512)
    assert [m.out_channels for m in net if isinstance(m, nn.Conv2d)] == [64, 128, 256, 512, 512, 512, 100]


def test_the_discriminator_judges_the_map_that_it_returns():
    net = gan.Discriminator(1, 16, width=4).eval()
    logits, maps = net(torch.rand(3, 1, 16, 16))
    assert logits.shape == (3,) and maps.shape == (3, 8, 4, 4)
    torch.testing.assert_close(logits, (maps * net.head[0].weight).sum(dim=(1, 2, 3)))


def test_weights_start_as_the_authors():
    net = gan.encoder(1, 64, 100)
    gan.initialise(net, torch.Generator().manual_seed(0))
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.2)
            assert not layer.bias.any()


def test_the_discriminator_loss_is_half_the_sum_of_two_cross_entropies():
    real, fake = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.2, 1.0])
    slow = 0.0
    for r, f in zip(real.tolist(), fake.tolist(), strict=True):
        slow -= math.log(1 / (1 + math.exp(-r))) / 3 + math.log(1 - 1 / (1 + math.exp(-f))) / 3
    assert discriminator_loss(real, fake).item() == pytest.approx(slow / 2, rel=1e-5)


def recorded(monkeypatch, **fields):
    """Losses in the order of their descents, with copies of all weights before each."""
    seen = []
    descend = module.descend

    def spy(loss, optimiser, max_norm):
        before = [p.detach().clone() for group in optimiser.param_groups for p in group["params"]]
        descend(loss, optimiser, max_norm)
        after = [p.detach().clone() for group in optimiser.param_groups for p in group["params"]]
        seen.append((loss.item(), max_norm, before, after))

    monkeypatch.setattr(module, "descend", spy)
    return fitted(**fields), seen


def test_the_first_losses_are_those_of_the_paper(monkeypatch):
    (_, images), seen = recorded(monkeypatch, steps=1)
    fresh = GANomaly(**{**SMALL, "steps": 1})
    fresh.channels_ = torch.tensor(1)
    fresh._build_networks()
    discriminator = fresh._discriminator()
    nets = [fresh.encoder, fresh.decoder, fresh.encoder_again, discriminator]
    for net in nets:
        net.train()
    x = images * 2 - 1
    code = fresh.encoder(x)
    rebuilt = fresh.decoder(code)
    again = fresh.encoder_again(rebuilt)
    real, real_map = discriminator(x)
    fake, fake_map = discriminator(rebuilt)

    def pairs(a, b):
        return zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)

    contextual = sum(abs(a - b) for a, b in pairs(x, rebuilt))
    encoding = sum((a - b) ** 2 for a, b in pairs(code, again))
    adversarial = sum((a - b) ** 2 for a, b in pairs(real_map, fake_map))
    slow = adversarial / real_map.numel() + 50 * contextual / x.numel() + encoding / code.numel()
    assert seen[0][0] == pytest.approx(slow, rel=1e-4)
    assert seen[1][0] == pytest.approx(discriminator_loss(real, fake).item(), rel=1e-4)
    assert all(max_norm == math.inf for _, max_norm, _, _ in seen)  # the paper does not clip


def test_the_descents_move_the_generator_and_the_discriminator_in_turn(monkeypatch):
    (detector, _), seen = recorded(monkeypatch, steps=2)
    ours = sum(count(net) for net in (detector.encoder, detector.decoder, detector.encoder_again))
    theirs = count(detector._discriminator())
    assert [sum(p.numel() for p in before) for _, _, before, _ in seen] == [ours, theirs] * 2
    for turn in (0, 1):  # nothing else moved them in between: the fakes are detached
        for a, b in zip(seen[turn][3], seen[turn + 2][2], strict=True):
            assert torch.equal(a, b)


def test_a_discriminator_that_has_won_starts_afresh(monkeypatch):
    started = []
    initialise = module.initialise
    monkeypatch.setattr(
        module, "initialise", lambda net, *rng: started.append(type(net)) or initialise(net, *rng)
    )
    fitted(steps=2)
    assert started.count(gan.Discriminator) == 1
    monkeypatch.setattr(module, "COLLAPSED", 100.0)
    fitted(steps=2)
    assert started.count(gan.Discriminator) == 1 + 1 + 2


def test_the_score_is_the_mean_squared_difference_of_the_codes():
    detector, images = fitted()
    scores = detector.score(images)
    assert not any(net.training for net in detector._networks().values())
    x = images * 2 - 1
    with torch.no_grad():
        code = detector.encoder(x)
        rebuilt = detector.decoder(code)
        again = detector.encoder_again(rebuilt)
    for i in range(len(images)):
        slow = sum((a - b) ** 2 for a, b in zip(code[i].tolist(), again[i].tolist(), strict=True)) / 6
        assert scores.image[i].item() == pytest.approx(slow, rel=1e-4)
    torch.testing.assert_close(scores.pixel, (x - rebuilt).abs()[:, 0])


def test_the_discriminator_is_not_kept():
    detector, _ = fitted()
    assert set(detector._networks()) == {"encoder", "decoder", "encoder_again"}


def test_fitting_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    fitted()
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_trains_as_well():
    detector, images = fitted(precision="bfloat16")
    assert detector.score(images).image.isfinite().all()


def test_a_side_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError, match="size is 62"):
        GANomaly(size=62)
