"""Patch-channel correspondence: whitening, rotation, and evidence that names patches."""

import pytest
import torch

from intact.errors import UsageError
from intact.forensics.learned.patch_channel import PatchChannel, overlaid
from intact.nets.patch_channel import PatchChannelNet, WhitenedRotation, alone_each, inverse_root


def mixed(channels, n=64):
    rng = torch.Generator().manual_seed(0)
    mixing = torch.eye(channels) + 0.15 * torch.randn(channels, channels, generator=rng)
    return torch.einsum("dc,nchw->ndhw", mixing, torch.randn(n, channels, 6, 6, generator=rng)) + 5.0


def test_newtons_iterations_come_close_to_the_inverse_root():
    x = mixed(6).transpose(0, 1).flatten(1)
    covariance = torch.cov(x)
    values, vectors = torch.linalg.eigh(covariance)
    wanted = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    assert (inverse_root(covariance) - wanted).norm() / wanted.norm() < 0.1


def test_channels_come_out_without_correlation_and_with_variance_1():
    layer = WhitenedRotation(6)
    layer.rotation.copy_(torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2))).Q)
    out = layer(mixed(6)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(6), rtol=0, atol=1e-4)
    covariance = torch.cov(out)
    assert (covariance - torch.eye(6)).abs().max() < 0.2
    assert (torch.cov(mixed(6).transpose(0, 1).flatten(1)) - torch.eye(6)).abs().max() > 0.3


def test_channels_turn_to_their_own_patch_and_stay_orthogonal():
    """Patches whose features are rotated axes: after some turns each channel answers most to its own."""
    axes = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    layer = WhitenedRotation(8).eval()
    for _ in range(40):
        for channel in range(5):
            layer.ask(channel, 3.0 * axes[channel].view(1, 8, 1, 1).expand(4, 8, 2, 2))
        layer.turn()
    torch.testing.assert_close(layer.rotation @ layer.rotation.T, torch.eye(8), rtol=0, atol=1e-4)
    answers = torch.stack([layer(3.0 * axes[c].view(1, 8, 1, 1))[0, :, 0, 0] for c in range(5)])
    assert answers.argmax(dim=1).tolist() == [0, 1, 2, 3, 4]
    assert answers.diagonal().min() > 2.9


def test_each_patch_is_shown_alone():
    x = torch.rand(2, 1, 8, 8) + 1
    shown = alone_each(x, 4)
    assert len(shown) == 16
    torch.testing.assert_close(sum(shown), x)
    assert torch.equal(shown[6][:, :, 2:4, 4:6], x[:, :, 2:4, 4:6]) and int((shown[6] > 0).sum()) == 8


def test_evidence_shares_out_the_logit_and_names_the_channels_that_speak():
    net = PatchChannelNet(8, 4).eval()
    x = torch.randn(3, 1, 32, 32)
    evidence = net.evidence(x)
    torch.testing.assert_close(evidence.mean(dim=(1, 2)), net(x)[:, 0], rtol=1e-4, atol=1e-5)
    said = (net.answers(x) * net.weigh.weight[0])[:, :16]
    assert torch.equal(evidence.flatten(1).argmax(1), said.argmax(1))


def test_a_patch_has_the_mean_of_all_windows_that_it_is_in():
    said = torch.tensor([[[[1.0, 2], [3, 4]], [[10, 20], [30, 40]]]])  # two windows side by side
    torch.testing.assert_close(overlaid(said), torch.tensor([[1.0, 6, 20], [3, 17, 40]]))


def test_a_window_has_to_be_made_of_patches():
    with pytest.raises(UsageError, match="whole number of patches"):
        PatchChannel(window=64, stride=12)
