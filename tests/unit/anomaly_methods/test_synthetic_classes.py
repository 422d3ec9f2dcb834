"""What CutPaste and AnatPaste share: the classifier, how it is trained, and Grad-CAM of the distance."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intact.anomaly import synthetic_classes
from intact.anomaly.synthetic_classes import SyntheticClasses
from intact.errors import UsageError
from intact.nets.features import FrozenFeatures

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 3, "frozen": 1}


class Darker(SyntheticClasses):
    """The other two classes are darker; the distance is a product with a fixed vector."""

    classes = 3

    def _pasted(self, images, rng):
        return [0.5 * images, float(rng.uniform(0.1, 0.2)) * images]

    def _learn(self, embeddings):
        self.seen_ = embeddings
        self.toward_ = torch.linspace(-1, 1, embeddings.shape[1])

    def _distance(self, embeddings):
        return embeddings @ self.toward_


def images(n=4, channels=1, seed=0):
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector():
    return Darker(**FIELDS, jitter=0.0).fit([images(), images(3, seed=1)])


def test_the_classifier_has_so_many_layers_of_512_and_one_of_128():
    made = Darker(**FIELDS | {"hidden": 8})
    made._build(1)
    linear = [m for m in made.head if isinstance(m, nn.Linear)]
    assert [m.in_features for m in linear] == [256] + [512] * 8 + [128]
    assert [m.out_features for m in linear] == [512] * 8 + [128, 3]
    assert sum(isinstance(m, nn.BatchNorm1d) for m in made.head) == 9
    assert isinstance(made.head[-1], nn.Linear)


def test_the_loss_is_the_cross_entropy_of_the_classes(monkeypatch):
    seen = {}

    def train(nets, loss, batches, *, steps, optimiser, schedule):
        nets.eval()
        seen.update(loss=loss(images()), optimiser=optimiser)

    monkeypatch.setattr(synthetic_classes, "train", train)
    made = Darker(**FIELDS, jitter=0.0, seed=4).fit([images()])
    groups = [images(), *made._pasted(images(), synthetic_classes.np.random.default_rng(4))]
    slow = []
    with torch.no_grad():
        for k, group in enumerate(groups):
            for image in group:
                pooled = made.net(image[None])[-1].mean(dim=(2, 3))
                slow.append(-made.head(pooled)[0].log_softmax(dim=0)[k].item())
    assert seen["loss"].item() == pytest.approx(sum(slow) / 12, rel=1e-4)
    assert isinstance(seen["optimiser"], torch.optim.SGD)
    for group, rate in zip(seen["optimiser"].param_groups, (3e-3, 0.03), strict=True):
        assert (group["momentum"], group["weight_decay"], group["initial_lr"]) == (0.9, 3e-5, rate)
    counted = [p for group in seen["optimiser"].param_groups for p in group["params"]]
    assert {id(p) for p in counted} == {id(p) for n in (made.net, made.head) for p in n.parameters()}


def test_pretrained_stages_learn_later_and_rates_fall_along_a_cosine():
    known = FrozenFeatures("narrow_resnet18", ("layer3",), "float32")
    known(images())
    frozen = Darker(**FIELDS | {"frozen": 3}).fit([images()])
    thawed = Darker(**FIELDS | {"frozen": 2}).fit([images()])
    start = Darker(**FIELDS)
    start.channels_ = torch.tensor(1)
    start._build_networks()
    start.net.load_pretrained()
    for name in ("layer1", "layer3"):
        weight = start.net.net.get_submodule(name)[0].conv1.weight
        assert torch.equal(frozen.net.net.get_submodule(name)[0].conv1.weight, weight)
        assert not torch.equal(thawed.net.net.get_submodule(name)[0].conv1.weight, weight)
    fresh = start.net.net.layer4[0].conv1.weight
    assert not torch.equal(frozen.net.net.layer4[0].conv1.weight, fresh)
    made = Darker(**FIELDS | {"steps": 10, "frozen": 4})
    cosine = [(1 + math.cos(math.pi * k / 10)) / 2 for k in range(11)]
    assert [made._cosine(k) for k in range(11)] == pytest.approx(cosine)
    assert [made._thawed(k) for k in range(11)] == pytest.approx([0.0] * 4 + cosine[4:])


def test_the_density_is_learned_from_unit_features_of_all_normal_images(detector):
    every = torch.cat([images(), images(3, seed=1)])
    with torch.no_grad():
        pooled = detector.net(every)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(
        detector.seen_, pooled / pooled.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("stage", ["layer2", "layer3"])
def test_the_map_is_grad_cam_of_the_distance(detector, stage):
    """A channel's weight is the slope of the distance when the whole channel is raised, per position."""
    detector.explained = stage
    x = images(2, seed=5)
    scores = detector.score(x)
    resnet = detector.net.net.double()
    stages = ["layer1", "layer2", "layer3", "layer4"]
    with torch.no_grad():
        maps = dict(zip(stages, resnet(x.double()), strict=True))

        def distance(shown):
            for name in stages[stages.index(stage) + 1 :]:
                shown = resnet.get_submodule(name)(shown)
            return F.normalize(shown.mean(dim=(2, 3)), dim=1) @ detector.toward_.double()

        shown = maps[stage]
        torch.testing.assert_close(scores.image.double(), distance(shown), rtol=1e-4, atol=1e-5)
        cam = torch.zeros(2, *shown.shape[2:], dtype=torch.float64)
        for c in range(shown.shape[1]):
            step = torch.zeros_like(shown)
            step[:, c] = 1e-5
            slope = (distance(shown + step) - distance(shown - step)) / 2e-5 / shown[0, 0].numel()
            cam += slope[:, None, None] * shown[:, c]
    resnet.float()
    expected = F.interpolate(cam.clamp(min=0)[:, None], size=(32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(scores.pixel.double(), expected, rtol=1e-3, atol=1e-6)


def test_scores_carry_no_gradient_and_the_networks_are_in_evaluation_mode(detector):
    scores = detector.score(images())
    assert not scores.image.requires_grad and not scores.pixel.requires_grad
    assert not any(m.training for n in (detector.net, detector.head) for m in n.modules())


def test_it_computes_in_bfloat16():
    x = images()
    rough = Darker(**FIELDS, precision="bfloat16").fit([x])
    scores = rough.score(x)
    assert scores.image.dtype == scores.pixel.dtype == rough.seen_.dtype == torch.float32
    rough.precision = "float32"
    torch.testing.assert_close(scores.image, rough.score(x).image, rtol=0.1, atol=0.05)


def test_what_is_impossible_is_refused():
    with pytest.raises(UsageError, match="multiple of 32"):
        Darker(size=48)
    with pytest.raises(UsageError, match="explained"):
        Darker(explained="layer5")
