from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import pmsacl
from intact.anomaly.pmsacl import PMSACL, STEPS_ASIDE, patch_pairs, scatter, view
from intact.filters import gaussian_blur, upsample
from intact.losses import nt_xent

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "features": 10, "steps": 2}


def images(n=8, channels=1, seed=0, size=32):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def batches():
    return [images(), images(6, seed=1)]


@pytest.fixture(scope="module")
def detector():
    return PMSACL(**FIELDS).fit(batches())


def test_the_heads_are_those_of_ccd():
    with torch.device("meta"):
        made = PMSACL()
        made._build(1)
    shapes = [tuple(p.shape) for p in made.projection.parameters() if p.dim() == 2]
    assert shapes == [(256, 256), (128, 256)]
    assert tuple(made.namer.weight.shape) == (4, 256)
    assert [tuple(p.shape) for p in made.placer.parameters() if p.dim() == 2] == [(128, 256), (8, 128)]


def test_the_loss_joins_contrast_name_place_and_density(detector):
    views = [images(seed=2), images(seed=3)]
    patches = [images(seed=4, size=8), images(seed=5, size=8)]
    labels, places = torch.arange(8) % 4, torch.arange(8)
    with torch.no_grad():
        found = detector._loss(views, labels, patches, places).item()
        first, second, here, there = (detector.net(x)[-1].mean(dim=(2, 3)) for x in (*views, *patches))
        slow = nt_xent(detector.projection(first), detector.projection(second), 0.2).item()
        names = torch.cat([detector.namer(first), detector.namer(second)]).log_softmax(dim=1)
        slow -= sum(names[i, labels[i % 8]].item() for i in range(16)) / 16
        chosen = detector.placer(here - there).log_softmax(dim=1)
        slow -= sum(chosen[i, places[i]].item() for i in range(8)) / 8
        seen = torch.cat([first, second])
        for label in range(4):
            own = [seen[i] for i in range(16) if i % 8 % 4 == label]
            centre = sum(own) / len(own)
            slow += 0.01 * sum((x - centre).square().sum().item() for x in own) / len(own)
    assert found == pytest.approx(slow, rel=1e-4)


def test_weights_of_the_losses_are_fields(detector):
    views, patches = [images(seed=2)] * 2, [images(seed=4, size=8)] * 2
    labels, places = torch.arange(8) % 4, torch.arange(8)
    alone = PMSACL(**FIELDS, naming=0.0, placing=0.0, centring=0.0).load_state(detector.state())
    with torch.no_grad():
        embedded = alone.projection(alone._pooled(views[0]))
        found = alone._loss(views, labels, patches, places)
    torch.testing.assert_close(found, nt_xent(embedded, embedded, 0.2))


def test_the_density_of_a_class_needs_no_other():
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0], [5.0, 5.0], [9.0, 9.0]])
    assert scatter(features, torch.tensor([0, 0, 1, 1, 3])).item() == 1.0


def test_training_pastes_every_number_of_lesions_equally_often(monkeypatch):
    counts, mixed = [], []
    mix = pmsacl.med_mix

    def counted(x, draws, number):
        counts.append(number)
        return mix(x, draws, number)

    def loss(self, views, labels, patches, places):
        mixed.append((views, labels))
        return self.namer.weight.sum() * 0

    monkeypatch.setattr(pmsacl, "med_mix", counted)
    monkeypatch.setattr(PMSACL, "_loss", loss)
    PMSACL(**FIELDS, classes=3).fit([images(9)])
    for number, (views, labels) in zip(counts, mixed, strict=True):
        assert np.bincount(number).tolist() == [3, 3, 3]
        assert labels.tolist() == number.tolist()
        assert len(views) == 2 and not torch.equal(*views)
    assert counts[0].tolist() != counts[1].tolist()


def test_a_neighbouring_patch_lies_in_the_direction_that_is_named():
    ramp = torch.arange(64 * 64, dtype=torch.float32).view(1, 1, 64, 64).expand(200, -1, -1, -1)
    first, second, places = patch_pairs(ramp, torch.Generator().manual_seed(0), 16)
    assert first.shape == second.shape == (200, 1, 16, 16)
    assert set(places.tolist()) == set(range(8))
    corners = [divmod(int(p[0, 0, 0]), 64) for p in first], [divmod(int(p[0, 0, 0]), 64) for p in second]
    for a, b, place in zip(*corners, places.tolist(), strict=True):
        for axis in (0, 1):
            gap, direction = b[axis] - a[axis], STEPS_ASIDE[place][axis]
            assert gap * direction >= 0
            if 16 <= a[axis] <= 32:  # far from the edges
                assert abs(gap) == 0 if direction == 0 else 12 <= abs(gap) < 16


def test_there_are_eight_directions():
    assert len(set(STEPS_ASIDE)) == 8 and (0, 0) not in STEPS_ASIDE


def test_the_encoder_learns_and_its_statistics_stay(detector):
    fresh = PMSACL(**FIELDS)
    fresh._build(1)
    fresh.net.load_pretrained()
    start, end = fresh.net.state_dict(), detector.net.state_dict()
    moved = {k for k in end if not torch.equal(start[k], end[k])}
    assert {k for k in end if k.endswith("conv1.weight")} <= moved
    assert not any("running" in k for k in moved)
    assert not any(m.training for m in detector.net.modules())


def test_training_is_that_of_ccd(monkeypatch):
    seen = {}

    def train(nets, loss, given, *, steps, optimiser, schedule, max_norm):
        seen.update(optimiser.param_groups[0], nets=nets, steps=schedule.T_max, max_norm=max_norm)

    monkeypatch.setattr(pmsacl, "train", train)
    PMSACL(**FIELDS).fit(batches())
    assert (seen["lr"], seen["momentum"], seen["weight_decay"]) == (0.01, 0.9, 3e-4)
    assert seen["steps"] == 2 and seen["max_norm"] == math.inf
    assert len(seen["params"]) == sum(1 for _ in seen["nets"].parameters())


def test_the_score_is_padims_on_the_new_features(detector):
    def stacked(x):
        with torch.no_grad():
            maps = detector.net(x)
        grown = [F.interpolate(m, size=maps[0].shape[-2:], mode="nearest") for m in maps]
        return torch.cat(grown, dim=1)[:, detector.kept_].double().numpy()

    normal, new = stacked(torch.cat(batches())), stacked(images(3, seed=5))
    side = normal.shape[-1]
    spreads = {(i, j): np.cov(normal[:, :, i, j].T) for i in range(side) for j in range(side)}
    ridge = 0.1 * np.mean([np.diag(c).mean() for c in spreads.values()])
    distance = np.empty((3, side, side))
    for (i, j), spread in spreads.items():
        away = new[:, :, i, j] - normal[:, :, i, j].mean(axis=0)
        distance[:, i, j] = np.sqrt((away @ np.linalg.inv(spread + ridge * np.eye(10)) * away).sum(axis=1))
    slow = gaussian_blur(upsample(torch.from_numpy(distance).float(), (32, 32)), 4.0)
    scores = detector.score(images(3, seed=5))
    torch.testing.assert_close(scores.pixel, slow, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_a_view_has_a_square_cut_out():
    flat = torch.zeros(300, 1, 64, 64)
    flat[:, :, :32] = 0.8  # crops keep two values, the square has a third
    made = view(flat, torch.Generator().manual_seed(0))
    found = [len(x.mul(200).round().unique()) > 2 for x in made]
    assert sum(found) > 100


def test_colours_work():
    made = PMSACL(**FIELDS).fit([images(8, 3)])
    assert made.score(images(2, 3, seed=4)).pixel.shape == (2, 32, 32)
