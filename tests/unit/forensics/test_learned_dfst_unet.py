"""A transformer for a picture and its high frequencies."""

import pytest
import torch

from intact.filters import gaussian_blur
from intact.forensics.learned.dfst_unet import dice_and_focal
from intact.nets.dfst_unet import CUTOFF, AttentionFusion, DualSwinUNet, PatchExpanding, high_frequencies


def test_the_high_pass_takes_away_what_a_gaussian_smooths():
    """A Gaussian of f0 in frequencies is one of 1 / (2 pi f0) pixels in space."""
    x = torch.randn(1, 96, 80, generator=torch.Generator().manual_seed(0))
    smooth = gaussian_blur(x, 1 / (2 * torch.pi * CUTOFF))
    assert torch.allclose(high_frequencies(x[None])[0], x - smooth, atol=2e-3)
    assert high_frequencies(torch.full((1, 1, 32, 32), 7.0)).abs().max() < 1e-4


def test_both_encoders_have_four_scales_and_the_mask_is_of_the_pictures_size():
    net = DualSwinUNet(1, 24).eval()
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        assert net(x).shape == x.shape
        for encoder in (net.picture, net.high):
            shapes = [tuple(each.shape[1:]) for each in encoder(x)]
            assert shapes == [(24, 16, 24), (48, 8, 12), (96, 4, 6), (192, 2, 3)]


def test_how_strong_high_frequencies_are_is_told():
    """A norm right after a linear embedding would make faint and strong noise alike."""
    net = DualSwinUNet(1, 24).eval()
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        faint, strong = (net.high.embed(noise * times).std() for times in (0.1, 1.0))
        linear = net.picture.embed[0]
        linear.bias.zero_()
        alike = [net.picture.embed(noise * times) for times in (0.1, 1.0)]
    assert strong > 2 * faint and torch.allclose(*alike, atol=0.1)


def test_fusion_adds_to_both_maps_and_expanding_halves_channels():
    fuse = AttentionFusion(24)
    torch.nn.init.zeros_(fuse.mix[1].weight)
    torch.nn.init.zeros_(fuse.mix[1].bias)
    a, b = torch.randn(2, 1, 24, 8, 8)
    assert torch.allclose(fuse(a[None][0], b[None][0]), a + b)
    assert PatchExpanding(48, 2)(torch.zeros(1, 48, 4, 4)).shape == (1, 24, 8, 8)
    assert PatchExpanding(24, 4)(torch.zeros(1, 24, 4, 4)).shape == (1, 24, 16, 16)


def test_loss_of_a_coin_flip_and_of_what_is_unknown():
    """At even odds Dice is (2 * n/2 + 1) / (m/2 + n + 1), and focal loss is a quarter of log 2."""
    target = torch.zeros(1, 1, 4, 4)
    target[..., 0, :] = 1.0
    wanted = 1 - (2 * 2 + 1) / (8 + 4 + 1) + 0.25 * torch.log(torch.tensor(2.0)).item()
    assert dice_and_focal(torch.zeros_like(target), target).item() == pytest.approx(wanted, rel=1e-5)
    logits = torch.where(target > 0, 20.0, -20.0)
    target[..., 3, :] = -1.0
    logits[..., 3, :] = 20.0
    assert dice_and_focal(logits, target).item() == pytest.approx(0.0, abs=1e-6)
