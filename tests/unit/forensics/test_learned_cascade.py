"""A cascade: a small network, and a machine on the texture of its heat map."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from intact.forensics.learned.cascade import Cascade, _parts, heat_features
from intact.forge.base import FORGED
from intact.image import Identity, Image
from intact.nets.cascade import LocalDetector

QUIET = torch.zeros(16, 16)


def test_the_network_is_of_separable_convolutions_and_small():
    net = LocalDetector(1, 16)
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 1)
    grouped = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(grouped) == 10 and all(m.groups == m.in_channels == m.out_channels for m in grouped)
    assert sum(p.numel() for p in net.parameters()) < 30_000


def test_texture_of_a_board_is_what_haralick_reckons():
    """Neighbours along rows and columns differ by all 15 levels, along diagonals by none."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 0.999
    near, two, _ = heat_features(board)[:15].view(3, 5)
    contrast, correlation, energy, homogeneity, entropy = near.tolist()
    assert contrast == pytest.approx(15**2 / 2) and correlation == pytest.approx(0, abs=1e-2)
    assert homogeneity == pytest.approx((1 + 1 / 226) / 2, rel=1e-5)
    assert energy == pytest.approx(math.sqrt(0.5), rel=1e-3) and entropy == pytest.approx(
        math.log(2), rel=1e-3
    )
    assert two[0] == 0 and two[1] == pytest.approx(1)


def test_turned_heat_maps_have_the_same_features_and_peaks_are_told_from_slopes():
    heat = QUIET.clone()
    heat[3:6, 8:11] = 0.4
    heat[4, 9], heat[12, 2] = 0.9, 0.7
    found = heat_features(heat)
    assert torch.allclose(found, heat_features(heat.rot90()), atol=1e-6)
    assert found[15:20].tolist() == pytest.approx([0.9, 0.7, 0, 0, 0])
    assert found[20] == pytest.approx(2 / 256)


def lessons(patients):
    rng = np.random.default_rng(0)
    for number, patient in enumerate(patients):
        labels = np.zeros((32, 32), np.uint8)
        labels[:8, :8] = FORGED * (number % 2)
        yield Image(rng.normal(0, 1, (32, 32)), identity=Identity(patient=patient)), labels


def test_the_machine_learns_from_patients_that_the_network_never_saw():
    given = list(lessons([name for name in "abcdef" for _ in range(2)]))
    local, whole = ({image.identity.patient for image, _ in part} for part in _parts(given, 0))
    assert local | whole == set("abcdef") and not local & whole and len(whole) == 2
    few = list(lessons(["a", "b"]))
    assert all(part is few for part in _parts(few, 0))


def test_no_machine_is_kept_but_its_numbers():
    rng = np.random.default_rng(1)
    given = [(Image(image.pixels + 5 * rng.normal(size=(32, 32)) * (labels > 0)), labels)
             for image, labels in lessons("abcdefghijkl")]  # fmt: skip
    taught = Cascade(steps=2, batch=4, width=8).fit(given)
    shapes = {name: tuple(tensor.shape) for name, tensor in taught.state().items() if name.endswith("_")}
    count = shapes["support_"][0]
    rows = {"support_": (count, 21), "weights_": (count,), "bias_": (1,)}
    assert shapes == {"channels_": (), "mean_": (21,), "spread_": (21,)} | rows
    assert torch.isclose(taught.weights_.sum(), torch.tensor(0.0), atol=1e-4)  # as the machine's dual asks
