import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import intact.anomaly.f_anogan as module
from intact.anomaly.f_anogan import FAnoGAN, gradient_penalty
from intact.errors import UsageError
from intact.nets import residual_gan

SMALL = {"size": 16, "latent": 5, "width": 2, "critic_steps": 2, "steps": 4, "encoder_steps": 2}


def fitted(**fields):
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    return FAnoGAN(**{**SMALL, **fields}).fit([images]), images


def shapes_through(net, x, kind):
    shapes = []
    for layer in net:
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        net.eval()(x)
    return shapes


def test_the_generator_has_the_shapes_of_the_paper():
    net = residual_gan.generator(1, 64, 128, width=8)
    shapes = shapes_through(net, torch.randn(1, 128), (nn.Unflatten, residual_gan.Up, nn.Tanh))
    assert shapes == [(64, 4, 4), (64, 8, 8), (32, 16, 16), (16, 32, 32), (8, 64, 64), (1, 64, 64)]
    assert [type(layer) for layer in net[-4:]] == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.Tanh]


def test_the_critic_has_the_shapes_of_the_paper():
    net = residual_gan.Critic(1, 64)
    images = torch.rand(1, 1, 64, 64)
    shapes = shapes_through(net.features, images, (nn.Conv2d, residual_gan.Down, nn.Flatten))
    assert shapes == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4), (8192,)]
    assert net(images).shape == (1,)


def test_the_encoder_is_a_critic_with_batch_norms_and_a_bounded_code():
    net = residual_gan.encoder(1, 64, 128, width=8)
    code = net(50 * torch.randn(4, 1, 64, 64))
    assert code.shape == (4, 128) and 0.9 < code.abs().max() <= 1
    kinds = {type(m) for m in net.modules()}
    assert nn.BatchNorm2d in kinds and nn.GroupNorm not in kinds
    assert not any(isinstance(m, nn.BatchNorm2d) for m in residual_gan.Critic(1, 64, 8).modules())


def block(channels, kernel, bias):
    return channels[0] * channels[1] * kernel**2 + bias * channels[1]


def test_the_networks_have_as_many_parameters_as_layer_by_layer_in_the_authors_code():
    up = [(512, 512), (512, 256), (256, 128), (128, 64)]
    down = [(64, 128), (128, 256), (256, 512), (512, 512)]
    painter = 128 * 8192 + 8192 + 2 * 64 + block((64, 1), 3, True)
    painter += sum(2 * i + block((i, o), 3, False) + 2 * o + block((o, o), 3, True) for i, o in up)
    painter += sum(block((i, o), 1, True) for i, o in up)
    trunk = block((1, 64), 3, True)
    trunk += sum(2 * i + block((i, i), 3, False) + 2 * i + block((i, o), 3, True) for i, o in down)
    trunk += sum(block((i, o), 1, True) for i, o in down)
    with torch.device("meta"):
        nets = (
            residual_gan.generator(1, 64, 128),
            residual_gan.Critic(1, 64),
            residual_gan.encoder(1, 64, 128),
        )
    counts = [sum(p.numel() for p in net.parameters()) for net in nets]
    assert counts == [painter, trunk + 8193, trunk + 8192 * 128 + 128]


def lived_in(net):
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.5, 0.5)
    return net.double()


def test_a_block_that_doubles_repeats_pixels_and_then_convolves():
    net, x = lived_in(residual_gan.Up(3, 4, nn.BatchNorm2d)), torch.randn(2, 3, 5, 5).double()
    out = F.relu(net.norm1(x)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    out = net.conv2(F.relu(net.norm2(net.conv1(out))))
    beside = net.shortcut(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(net(x), out + beside)


def test_a_block_that_halves_convolves_and_then_averages():
    net, x = lived_in(residual_gan.Down(3, 4, residual_gan.layer_norm)), torch.randn(2, 3, 8, 8).double()
    out = net.conv2(F.relu(net.norm2(net.conv1(F.relu(net.norm1(x))))))
    beside = net.shortcut(F.avg_pool2d(x, 2))
    torch.testing.assert_close(net(x), F.avg_pool2d(out, 2) + beside)


def test_the_critics_norm_looks_at_one_image_at_a_time():
    x = torch.randn(3, 4, 5, 5)
    for image, normed in zip(x, residual_gan.layer_norm(4)(x), strict=True):
        wanted = (image - image.mean()) / (image.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(normed, wanted)


def test_convolutions_next_to_a_relu_start_wider():
    net = residual_gan.Down(64, 128, nn.BatchNorm2d)
    assert net.conv1.bias is None and not net.conv2.bias.any() and not net.shortcut.bias.any()
    for conv, variance in ((net.conv1, 4), (net.conv2, 4), (net.shortcut, 2)):
        o, i, k, _ = conv.weight.shape
        assert conv.weight.var().item() == pytest.approx(variance / (k * k * (i + o)), rel=0.05)


def test_the_penalty_is_that_of_finite_differences():
    torch.manual_seed(0)
    critic = residual_gan.Critic(1, 8, width=2).double()
    points = torch.randn(3, 1, 8, 8).double()
    slow = 0.0
    with torch.no_grad():
        for point in points:
            square = 0.0
            for pixel in range(64):
                nudge = torch.zeros(64, dtype=torch.float64)
                nudge[pixel] = 1e-5
                sides = critic(torch.stack([point + nudge.view(1, 8, 8), point - nudge.view(1, 8, 8)]))
                square += ((sides[0] - sides[1]).item() / 2e-5) ** 2
            slow += (math.sqrt(square) - 1) ** 2 / 3
    penalty = gradient_penalty(critic, points)
    assert penalty.item() == pytest.approx(slow, rel=1e-4)
    penalty.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.features[0].parameters())
    assert not points.requires_grad


def recorded(monkeypatch, **fields):
    """(loss, optimiser, longest gradient) of every descent, and the points of every penalty."""
    losses, points = [], []
    descend, penalty = module.descend, module.gradient_penalty
    monkeypatch.setattr(
        module, "descend", lambda *given: losses.append((given[0].item(), *given[1:])) or descend(*given)
    )
    monkeypatch.setattr(
        module, "gradient_penalty", lambda net, at: points.append(at.clone()) or penalty(net, at)
    )
    detector, images = fitted(**fields)
    return detector, images, losses, points


def test_the_first_loss_of_the_critic_is_the_paper_s(monkeypatch):
    _, images, losses, points = recorded(monkeypatch)
    fresh = FAnoGAN(**SMALL)
    fresh.channels_ = torch.tensor(1)
    fresh._build_networks()
    rng = torch.Generator().manual_seed(0)
    real = 2 * images - 1
    fake = fresh.generator.train()(torch.randn(6, 5, generator=rng))
    share = torch.rand(6, 1, 1, 1, generator=rng)
    between = (1 - share) * real + share * fake
    torch.testing.assert_close(points[0], between)
    slow = sum(
        fresh.critic(f[None]).item() - fresh.critic(r[None]).item() for f, r in zip(fake, real, strict=True)
    )
    slow = slow / 6 + 10 * gradient_penalty(fresh.critic, between).item()
    assert losses[0][0] == pytest.approx(slow, rel=1e-4)


def test_the_generator_takes_one_step_after_several_of_the_critic(monkeypatch):
    detector, _, losses, _ = recorded(monkeypatch)
    owners = {id(next(net.parameters())): name for name, net in detector._networks().items()}
    turns = [owners[id(optimiser.param_groups[0]["params"][0])] for _, optimiser, _ in losses]
    assert turns == ["critic", "critic", "generator"] * 2 + ["encoder"] * 2
    assert [type(optimiser) for _, optimiser, _ in losses[-3:]] == [torch.optim.Adam] + [
        torch.optim.RMSprop
    ] * 2
    assert all(longest == math.inf for _, _, longest in losses)  # the paper does not clip


def test_the_second_stage_leaves_the_gan_as_it_is():
    long, _ = fitted(encoder_steps=5)
    short, _ = fitted(encoder_steps=1)
    for name in ("generator", "critic"):
        a, b = getattr(long, name).state_dict(), getattr(short, name).state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)  # batch norms' averages as well
    a, b = long.encoder.state_dict(), short.encoder.state_dict()
    assert not all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_the_score_is_the_loss_of_the_second_stage(kappa):
    detector, images = fitted(kappa=kappa)
    scores = detector.score(images)
    assert not any(m.training for net in detector._networks().values() for m in net.modules())
    with torch.no_grad():
        for i, image in enumerate(images):
            x = 2 * image[None] - 1
            twin = detector.generator(detector.encoder(x))
            pixels = [
                (a - b) ** 2 for a, b in zip(x.flatten().tolist(), twin.flatten().tolist(), strict=True)
            ]
            fx, ft = detector.critic.features(x)[0].tolist(), detector.critic.features(twin)[0].tolist()
            features = [(a - b) ** 2 for a, b in zip(fx, ft, strict=True)]
            slow = sum(pixels) / len(pixels) + kappa * sum(features) / len(features)
            assert scores.image[i].item() == pytest.approx(slow, rel=1e-4)
            torch.testing.assert_close(scores.pixel[i], (x - twin).abs()[0, 0])


def test_fitting_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    fitted()
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_trains_as_well():
    detector, images = fitted(precision="bfloat16")
    assert detector.score(images).image.isfinite().all()


def test_a_side_that_cannot_be_halved_is_refused():
    with pytest.raises(UsageError, match="size is 62"):
        FAnoGAN(size=62)
