"""MSCSCC-Net looks at several scales of context, and learns from images that went through JPEG."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy import ndimage

from intact.forensics.jpeg.blocks import standard_table
from intact.nets.jpeg_like import quantised
from intact.nets.mscscc import MSCSCC, ContextualSCCM
from intact.nets.pscc import PSCC, by_channels


def test_values_come_back_as_from_a_jpeg_file():
    """But for rounding to whole grey levels, at any place of the grid."""
    noise = np.random.default_rng(0).normal(0, 1, (40, 52))
    grey = np.clip(128 + 60 * ndimage.gaussian_filter(noise, 1.5) / 0.3, 30, 225).astype(np.uint8)
    file = io.BytesIO()
    Picture.fromarray(grey).save(file, "JPEG", quality=60)
    wanted = np.asarray(Picture.open(file)).astype(float) - 128
    steps = torch.from_numpy(standard_table(60)[None]).double()
    plane = torch.from_numpy(grey.astype(float) - 128)[None]
    found = quantised(plane, steps)[0].numpy()
    # The last blocks are filled up in another way, and a few coefficients lie halfway between two steps.
    assert (np.abs(found - wanted)[:, :48] < 1.0).mean() > 0.9
    assert np.abs(found - plane[0].numpy()).max() > 5.0
    part = quantised(plane[:, 5:, 3:], steps, (3, 5))[
        0
    ].numpy()  # blocks begin at rows and columns 8, 16, ...
    assert part[3:, 5:] == pytest.approx(found[8:, 8:])


def test_a_place_looks_at_means_of_larger_and_larger_blocks():
    """With equal weights for all, each place sees the mean over the places of all scales."""
    g = torch.arange(256.0, dtype=torch.float64).view(1, 1, 16, 16).square()
    zero = torch.zeros_like(g)
    seen = ContextualSCCM(1, 1).places(zero, zero, g)
    scales = [g[0, 0].view(16 // k, k, 16 // k, k).mean((1, 3)).flatten() for k in (1, 2, 4, 8)]
    assert torch.allclose(seen, torch.cat(scales).mean().expand_as(seen))


def test_channels_are_compared_region_by_region():
    torch.manual_seed(0)
    theta, phi, g = torch.randn(3, 1, 3, 8, 12)
    found = ContextualSCCM(3, 1).channels(theta, phi, g)
    region = (slice(None), slice(None), slice(4, 8), slice(8, 12))
    alone = by_channels(*(x[region].flatten(2) for x in (theta, phi, g)))
    assert torch.allclose(found[region].flatten(2), alone, atol=1e-6)


def test_it_is_pscc_net_with_a_decoder_that_gives_an_image():
    """The correlations have no other weights than those of PSCC-Net."""
    net, plain = MSCSCC(1, width=4, stem=4).eval(), PSCC(1, width=4, stem=4)
    own = {name for name in net.state_dict() if not name.startswith("decoder.")}
    assert own == plain.state_dict().keys()
    image = torch.randn(2, 1, 32, 64)
    assert net.decoder(net.judge(image).maps).shape == image.shape
