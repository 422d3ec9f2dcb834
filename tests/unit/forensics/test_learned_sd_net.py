"""A network for what occurs twice, and segments that sharpen its mask."""

import numpy as np
import torch

from intact.forensics.learned.sd_net import BothForged, CopyCrops, segments, sharpened
from intact.forge.base import BORDER, FORGED, SOURCE
from intact.image import Image
from intact.nets.sd_net import CopyNet, neighbours, percentile_pooling, standardised


def test_only_what_occurs_twice_correlates_fully():
    features = standardised(torch.randn(1, 48, 12, 12, generator=torch.Generator().manual_seed(0)))
    features[:, :, 8:11, 7:10] = features[:, :, 1:4, 1:4]
    ranked = percentile_pooling(features, 8)
    assert ranked.shape == (1, 8, 12, 12) and (ranked.diff(dim=1) <= 0).all()
    twice = ranked[0, 0] > 0.99
    assert twice.sum() == 18 and twice[1:4, 1:4].all() and twice[8:11, 7:10].all()


def test_pooled_correlations_are_sorted_ones_wherever_places_lie():
    """Computed place by place; and moving all places about changes nothing but where the answers stand."""
    features = standardised(torch.randn(1, 16, 9, 8, generator=torch.Generator().manual_seed(1)))
    found = percentile_pooling(features, 4)[0].flatten(1)
    rows = features[0].flatten(1).T.double().numpy()
    row, column = np.divmod(np.arange(72), 8)
    for place in (0, 37, 71):
        far = np.maximum(abs(row - row[place]), abs(column - column[place])) > 2
        falling = np.sort(rows[far] @ rows[place] / 16)[::-1]
        assert np.allclose(found[:, place].numpy(), falling[[0, 1, 3, 8]], atol=1e-5)
    assert neighbours(9, 8).sum(dim=1).max() == 25
    flipped = percentile_pooling(features.flip(3), 4)[0].flip(2).flatten(1)
    assert torch.allclose(found, flipped, atol=1e-6)


def test_the_network_tells_of_both_branches_and_of_each():
    net = CopyNet(1, 8, 32, 16).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, 64, 48)).shape == (1, 3, 64, 48)
        assert net.similar.stem(torch.zeros(1, 1, 64, 48)).shape == (1, 64, 8, 6)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in net.manipulated.stem) == 10  # VGG-16 up to conv4_3


def test_a_coarse_mask_takes_the_edges_of_the_image():
    plane = np.full((60, 60), -0.5, np.float32)
    plane[20:40, 20:40] = 0.5
    coarse = np.zeros((60, 60), np.float32)
    coarse[22:43, 18:38] = 0.9
    parts = segments(plane + np.random.default_rng(0).normal(0, 0.02, plane.shape).astype(np.float32))
    found = sharpened(coarse, parts)
    assert 25 < parts.max() < 60 and parts.min() == 0
    truth = plane > 0
    wrong = [((mask >= 0.5) != truth).mean() for mask in (coarse, found)]
    assert wrong[1] < 0.7 * wrong[0] and found.dtype == np.float32


def test_copy_and_source_are_learned_from_where_one_plane_holds_both():
    labels = np.zeros((2, 64, 64), np.uint8)
    labels[0, 4:12, 4:12], labels[0, 40:48, 44:52], labels[0, 48, 44:52] = SOURCE, FORGED, BORDER
    labels[1, :8, :8] = SOURCE
    image = Image(np.random.default_rng(0).normal(size=(2, 64, 64)))
    genuine = (Image(image.pixels[0]), np.zeros((64, 64), np.uint8))
    taught = next(each for _, each in BothForged([(image, labels)]))
    assert (taught[0] == FORGED).sum() == 128 and (taught[0] == BORDER).sum() == 8
    assert np.array_equal(taught[1], labels[1])
    with CopyCrops(BothForged([(image, labels), genuine]), 60, 64, 0) as crops:
        target = next(crops.batches())[:, 1]
    forged = target[(target > 0).any(dim=(1, 2))]
    assert ((forged > 0).sum((1, 2)) == 128).float().mean() > 0.5  # whole copies with their sources
