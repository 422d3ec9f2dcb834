from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import glass
from intact.anomaly.glass import GLASS, normal_radius, projected
from intact.errors import UsageError
from intact.forge.synthetic.made import Made
from intact.losses import focal

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "dimensions": 24, "hidden": 12, "steps": 2}


def images(n=4, seed=0, channels=1):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def points(n, seed, spread=1.0):
    return spread * torch.randn(n, 24, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return GLASS(**FIELDS).fit([images()])


@pytest.fixture
def fresh():
    """As at the start of training."""
    made = GLASS(**FIELDS)
    torch.manual_seed(0)
    made._build(1)
    return made


def test_points_are_brought_into_the_shell_along_their_direction():
    anchors = points(5, 0)
    directions = F.normalize(points(5, 1), dim=1)
    lengths = torch.tensor([0.1, 0.99, 1.5, 2.0, 7.0])[:, None]
    moved = projected(anchors + lengths * directions, anchors, 1.0, 2.0) - anchors
    torch.testing.assert_close(moved.norm(dim=1), torch.tensor([1.0, 1.0, 1.5, 2.0, 2.0]))
    torch.testing.assert_close(F.normalize(moved, dim=1), directions)


def test_a_point_on_its_anchor_stays_there():
    anchors = points(2, 0)
    assert torch.equal(projected(anchors.clone(), anchors, 1.0, 2.0), anchors)


def test_the_radius_holds_three_quarters_of_all_normal_features():
    centre = torch.zeros(5, 24)
    normal, untouched = torch.zeros(5, 24), torch.zeros(4, 24)
    normal[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    untouched[:, 1] = torch.tensor([-6.0, -7.0, -8.0, -9.0])
    assert normal_radius(normal, untouched, centre, centre[:4]) == pytest.approx(7.0)


def test_the_climb_goes_up_the_loss_of_calling_noise_abnormal(fresh):
    fresh.ascents, fresh.ascent = 1, 1e-3
    normal, noisy = points(40, 0), points(40, 1)
    climbed = fresh._climb(normal, noisy, normal, 1.0)
    steps = climbed - noisy
    torch.testing.assert_close(steps.norm(dim=1), torch.full((40,), 1e-3), rtol=1e-2, atol=0)

    def called(at):
        rated = fresh.discriminator(torch.cat([normal, at]))[40:, 0]
        return -rated.sigmoid().log().mean()

    assert called(climbed) > called(noisy)
    # The gradient by its definition, at one feature's three numbers.
    step = torch.zeros_like(noisy, dtype=torch.float64)
    fresh.discriminator.double()
    normal, noisy = normal.double(), noisy.double()
    slopes = []
    for k in range(24):
        step[7] = 0
        step[7, k] = 1e-5
        slopes.append(((called(noisy + step) - called(noisy - step)) / 2e-5).item())
    wanted = torch.tensor(slopes) / torch.tensor(slopes).norm()
    torch.testing.assert_close(F.normalize(steps[7], dim=0), wanted.float(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("ascents", "projections"), [(4, 0), (5, 1), (20, 4)])
def test_every_fifth_step_ends_in_the_shell(fresh, monkeypatch, ascents, projections):
    seen = []

    def projection(given, anchors, near, far):
        seen.append((near, far))
        return projected(given, anchors, near, far)

    monkeypatch.setattr(glass, "projected", projection)
    fresh.ascents = ascents
    normal = points(20, 0)
    climbed = fresh._climb(normal, normal + points(20, 1, 0.01), normal, 3.0)
    assert seen == [(3.0, 6.0)] * projections
    distance = (climbed - normal).norm(dim=1)
    assert distance.max() < 0.1 if projections == 0 else distance.min() > 2.99


def test_the_global_loss_is_the_sum_of_two_cross_entropies(fresh):
    normal, climbing = points(10, 0), points(10, 1)
    total, abnormal = fresh._global_loss(normal, climbing)
    chances = fresh.discriminator(torch.cat([normal, climbing]))[:, 0].sigmoid().tolist()
    slow = -sum(math.log(p) for p in chances[10:]) / 10
    assert abnormal.item() == pytest.approx(slow, abs=1e-5)
    assert total.item() == pytest.approx(slow - sum(math.log(1 - p) for p in chances[:10]) / 10, abs=1e-5)


def test_the_local_loss_is_focal_on_the_half_told_worst(fresh):
    local = points(10, 0, 3.0)
    abnormal = torch.tensor([True, False] * 5)
    chances = fresh.discriminator(local)[:, 0].sigmoid().tolist()
    right = [p if a else 1 - p for p, a in zip(chances, abnormal.tolist(), strict=True)]
    slow = sum(-((1 - p) ** 2) * math.log(p) for p in sorted(right)[:5]) / 5
    assert fresh._local_loss(local, abnormal).item() == pytest.approx(slow, rel=1e-4)


def made_by_hand(x):
    labels = torch.zeros(len(x), 32, 32)
    labels[:, 3:5, 17] = 1.0  # in one position of 4 x 4, of 8 pixels
    return Made(torch.where(labels[:, None] > 0, 1.0 - x, x), labels)


@pytest.mark.parametrize("hypothesis", ["hypersphere", "manifold"])
def test_what_the_three_streams_are_made_of(fresh, monkeypatch, hypothesis):
    seen = {}

    def climb(normal, noisy, anchors, radius):
        seen.update(normal=normal, noise=noisy - normal, anchors=anchors, radius=radius)
        return noisy

    def local_loss(local, abnormal):
        seen.update(local=local, abnormal=abnormal)
        return local.sum()

    monkeypatch.setattr(fresh, "_climb", climb)
    monkeypatch.setattr(fresh, "_local_loss", local_loss)
    fresh.hypothesis, fresh.noise = hypothesis, 0.2
    x = images()
    mean = fresh._mean([x[:2], x[2:]])
    made = made_by_hand(x)
    fresh._loss(x, made, mean, torch.Generator().manual_seed(0))
    labels = torch.zeros(4, 4, 4, dtype=torch.bool)
    labels[:, 0, 2] = True
    assert torch.equal(seen["abnormal"], labels.flatten())
    assert seen["noise"].std().item() == pytest.approx(0.2, rel=0.1)
    normal = fresh.adaptor(fresh._patches(x).flatten(0, 2))
    torch.testing.assert_close(seen["normal"], normal)
    centre = normal.view(4, 16, 24).mean(dim=0).repeat(4, 1)  # of each position over the images
    raw = fresh.adaptor(fresh._patches(made.images).flatten(0, 2))
    torch.testing.assert_close(seen["local"][~seen["abnormal"]], raw[~seen["abnormal"]])
    if hypothesis == "manifold":
        assert seen["radius"] == 0.5
        torch.testing.assert_close(seen["anchors"], normal)
        torch.testing.assert_close(seen["local"], raw)
        return
    torch.testing.assert_close(seen["anchors"], centre, rtol=1e-4, atol=1e-5)
    assert not seen["anchors"].requires_grad
    kept = ~seen["abnormal"]
    distances = torch.cat([(normal - centre).norm(dim=1), (raw - centre)[kept].norm(dim=1)])
    radius = distances.quantile(0.75).item()
    assert seen["radius"] == pytest.approx(radius, rel=1e-4)
    away = (seen["local"] - centre)[~kept].norm(dim=1)
    assert away.min() > 1.999 * radius and away.max() < 4.001 * radius


def test_opacity_is_drawn_around_a_half(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        glass, "texture", lambda x, rng, *, opacity, several: drawn.append((opacity, several))
    )
    glass.spoilt(images(2000)[:, :, :1, :1], torch.Generator().manual_seed(0))
    opacity, several = drawn[0]
    assert several and opacity.mean().item() == pytest.approx(0.5, abs=0.01)
    assert opacity.std().item() == pytest.approx(0.1, abs=0.01)
    assert opacity.min() == pytest.approx(0.2) and opacity.max() == pytest.approx(0.8)


def test_adaptor_and_discriminator_learn_and_the_backbone_does_not(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, max_norm):
        seen.update(loss=loss(images()), groups=optimiser.param_groups, parts=[len(b) for b in batches])

    monkeypatch.setattr(glass, "train", train)
    made = GLASS(**FIELDS, batch=2).fit([images()])
    seen["loss"].backward()
    assert all(p.grad.abs().max() > 0 for p in made.adaptor.parameters() if p.ndim == 2)
    assert all(p.grad is not None for p in made.discriminator.parameters())
    assert all(p.grad is None for p in made.eyes.parameters())
    slow, fast = seen["groups"]
    assert (slow["lr"], slow["weight_decay"], fast["lr"], fast["weight_decay"]) == (1e-4, 1e-5, 2e-4, 0.01)
    assert seen["parts"] == [2, 2]


def test_the_score_is_the_surest_patch(detector):
    x = images(8)
    with torch.no_grad():
        rated = detector.discriminator(detector.adaptor(detector._patches(x).flatten(0, 2)))
    chances = rated.sigmoid().view(8, 16)
    torch.testing.assert_close(detector.score(x).image, chances.amax(dim=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fields", [{"hypothesis": "plane"}, {"size": 72}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        GLASS(**fields)


def test_the_focal_loss_without_focus_is_cross_entropy():
    logits, target = torch.randn(20), (torch.arange(20) % 2).float()
    plain = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(focal(logits, target, 0.0), plain)
    p = torch.where(target == 1, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(focal(logits, target, 4.0), (-((1 - p) ** 4) * p.log()).mean())


def test_the_focal_loss_survives_certainty():
    logits = torch.tensor([200.0, -200.0, 200.0], requires_grad=True)
    loss = focal(logits, torch.tensor([1.0, 0.0, 0.0]), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(200 / 3) and logits.grad.isfinite().all()
