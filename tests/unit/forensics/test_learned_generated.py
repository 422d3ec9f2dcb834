"""Traces of generators: relations of neighbours, the spectrum, and features that are never taught."""

import numpy as np
import torch
import torch.nn.functional as F

from intact.forensics.learned.generated import Generated
from intact.image import Image
from intact.nets.generated import NeighbourResNet, neighbour_relations, radial_spectrum


def test_the_network_on_neighbours_has_the_size_of_the_paper():
    stem, stages, head = 3 * 64 * 9 + 2 * 64, 215_808 + 1_219_584, 512 + 1  # of torchvision's ResNet-50
    assert sum(p.numel() for p in NeighbourResNet(3).parameters()) == stem + stages + head == 1_437_761


def test_neighbours_are_compared_with_the_first_of_their_cell():
    small = torch.randn(2, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    doubled = F.interpolate(small, scale_factor=2, mode="nearest")
    assert not neighbour_relations(doubled).any()
    moved = neighbour_relations(doubled[..., 1:, 1:])
    assert moved.any() and moved.shape == (2, 1, 17, 13)
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    first = F.interpolate(F.interpolate(image, scale_factor=0.5, mode="nearest"), scale_factor=2.0)
    assert torch.equal(neighbour_relations(image), image - first)


def test_the_spectrum_shows_waves_and_doubling_but_not_contrast():
    noise = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(0))
    spectrum = radial_spectrum(noise)
    assert spectrum.shape == (64, 31)
    torch.testing.assert_close(radial_spectrum(8 * noise + 5), spectrum, atol=1e-3, rtol=1e-3)
    flat = spectrum.mean(0)
    assert (flat[1:] - flat[:-1]).abs().max() < 0.15  # white
    doubled = radial_spectrum(F.interpolate(noise[:, None, :32, :32], scale_factor=2, mode="bilinear")[:, 0])
    assert (doubled[:, -6:].mean() - doubled[:, :6].mean()) < -3
    x = torch.arange(64.0)
    wave = torch.cos(2 * torch.pi * 8 * x / 64).expand(1, 64, 64) + 0.01 * noise[:1]
    assert radial_spectrum(wave).argmax() == 8 - 2


def test_the_backbone_is_saved_but_never_taught():
    rng = np.random.default_rng(0)
    images = [Image(rng.integers(0, 4000, (48, 48)).astype(np.uint16), bits=12) for _ in range(2)]
    mask = np.zeros((48, 48), np.uint8)
    mask[10:30, 10:30] = 1
    lessons = [(images[0], np.zeros_like(mask)), (images[1], mask)]
    states = [Generated(window=32, steps=steps, batch=4, width=4).fit(lessons).state() for steps in (1, 2)]
    same = {name: torch.equal(states[0][name], states[1][name]) for name in states[0]}
    frozen = [name for name in same if "features.net" in name]
    assert frozen and all(same[name] for name in frozen)
    assert not same["net.neighbours.head.weight"] and not same["net.probe.1.weight"]
    assert not same["net.spectrum.1.weight"] and Generated().kind == "generated"
