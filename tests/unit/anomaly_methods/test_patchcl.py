from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from intact.anomaly import patchcl
from intact.anomaly.patchcl import PatchCLAE
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.translator import Translator

FIELDS = {"size": 16, "width": 4, "blocks": 2, "embedding": 8, "places": 10, "steps": 2}


def images(n=4, channels=1, seed=0):
    return torch.rand(n, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return PatchCLAE(**FIELDS).fit([images(), images(3, seed=1)])


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_full_network_is_that_of_translation():
    with torch.device("meta"):
        net = Translator(3, 64, 9)
    # ResNet generator of 9 blocks: 11,378,179 parameters with biases, as CycleGAN's and CUT's.
    assert count(net) == 11_378_179
    assert net.channels == (3, 128, 256, 256, 256)
    out, maps = net(torch.empty(1, 3, 256, 256, device="meta"))
    assert [m.shape[-1] for m in maps] == [256, 128, 64, 64, 64] and out.shape == (1, 3, 256, 256)


def test_the_middle_block_ends_the_encoder():
    for blocks, before in ((9, 5), (4, 2), (2, 1)):
        net = Translator(1, 2, blocks)
        residuals = [m for m in net.stages.modules() if type(m).__name__ == "Residual"]
        assert len(residuals) == before
        assert sum(type(m).__name__ == "Residual" for m in net.decoder.modules()) == blocks - before


def test_nothing_leads_round_the_middle(detector):
    """No shortcut from encoder to decoder: what comes out depends on the last map alone."""
    with torch.no_grad():
        out, maps = detector.net(2 * images() - 1)
        assert torch.equal(detector.net.decoder(maps[-1]), out)


def test_networks_see_each_image_alone(detector):
    with torch.no_grad():
        both, alone = detector.net(images())[0], detector.net(images()[:1])[0]
    torch.testing.assert_close(both[:1], alone, rtol=1e-3, atol=1e-5)


def test_the_loss_finds_each_patch_of_the_output_among_those_of_its_own_input(detector):
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        found = detector._loss(images(), torch.Generator().manual_seed(3)).item()
        rebuilt, before = detector.net(2 * images() - 1)
        after = detector.net.encode(rebuilt)
    slow = 0.1 * ((rebuilt + 1) / 2 - images()).abs().mean().item()
    for perceptron, theirs, ours in zip(detector.perceptrons, before, after, strict=True):
        side = ours.shape[-1]
        places = torch.randperm(side * side, generator=rng)[:10].tolist()
        for n in range(4):
            with torch.no_grad():
                queries, keys = (
                    nn.functional.normalize(
                        torch.stack([perceptron(m[n, :, p // side, p % side]) for p in places]), dim=1
                    )
                    for m in (ours, theirs)
                )
            for i in range(10):
                powers = [math.exp(float(queries[i] @ key) / 0.07) for key in keys]
                slow -= math.log(powers[i] / sum(powers)) / 40
    assert found == pytest.approx(slow, rel=1e-3)


def test_the_inputs_patches_are_constants(detector, monkeypatch):
    """Gradients pass through the output's patches alone."""
    seen = []

    def loss(queries, keys, temperature):
        seen.append((queries.requires_grad, keys.requires_grad))
        return queries.sum()

    monkeypatch.setattr(patchcl, "info_nce", loss)
    detector._loss(images(), torch.Generator().manual_seed(0)).backward()
    assert seen == [(True, False)] * 5
    assert all(p.grad is not None for p in detector.net.parameters())
    detector.net.zero_grad()
    detector.perceptrons.zero_grad()


def test_small_maps_are_used_whole(detector):
    """16 places at the last three depths, asked for 100."""
    made = PatchCLAE(**FIELDS | {"places": 100}).load_state(detector.state())
    assert made._loss(images(), torch.Generator().manual_seed(0)).isfinite()


def test_the_score_is_one_minus_the_cosine_at_every_place_and_depth(detector):
    x = images(8, seed=5)
    total = torch.zeros(8, 16, 16)
    with torch.no_grad():
        rebuilt, before = detector.net(2 * x - 1)
        after = detector.net.encode(rebuilt)
        for perceptron, theirs, ours in zip(detector.perceptrons, before, after, strict=True):
            side = ours.shape[-1]
            gap = torch.zeros(8, side, side)
            for i in range(side):
                for j in range(side):
                    a, b = perceptron(ours[:, :, i, j]), perceptron(theirs[:, :, i, j])
                    gap[:, i, j] = 1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
            total += upsample(gap, (16, 16))
    scores = detector.score(x)
    torch.testing.assert_close(scores.pixel, total, rtol=1e-3, atol=1e-4)
    best = scores.pixel.flatten(1).sort(dim=1).values[:, -3:]  # a hundredth of 256 places
    torch.testing.assert_close(scores.image, best.mean(dim=1))


def test_training_is_that_of_translation(monkeypatch):
    seen = {}

    def train(nets, loss, given, *, steps, optimiser, max_norm):
        seen.update(optimiser.param_groups[0], nets=nets)

    monkeypatch.setattr(patchcl, "train", train)
    made = PatchCLAE(**FIELDS).fit([images()])
    assert seen["lr"] == 2e-4 and seen["betas"] == (0.5, 0.999)
    assert len(seen["params"]) == sum(1 for n in (made.net, made.perceptrons) for _ in n.parameters())


def test_colours_work_and_odd_sizes_do_not():
    made = PatchCLAE(**FIELDS).fit([images(channels=3)])
    assert made.score(images(2, 3)).pixel.shape == (2, 16, 16)
    with pytest.raises(UsageError):
        PatchCLAE(size=30)
