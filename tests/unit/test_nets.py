import copy

import pytest
import torch
from torch import nn

from intact.anomaly.patchcore import PatchCore, nearest_distance
from intact.errors import UsageError, WeightsError
from intact.nets.features import FrozenFeatures
from intact.nets.resnet import BasicBlock, Bottleneck, IntegerReLU, ResNet, fold_batch_norm
from intact.nets.winograd import WinogradResNet

LAYERS = ("layer1", "layer2", "layer3")


def lived_in(net):
    """A network whose batch norms have seen something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net.eval()


@pytest.mark.parametrize(("block", "depths"), [(BasicBlock, (2, 2, 2, 2)), (Bottleneck, (1, 2, 1, 1))])
def test_folding_the_batch_norms_changes_no_map(block, depths):
    torch.manual_seed(0)
    plain = lived_in(ResNet(block, depths, LAYERS, width=16))
    folded = copy.deepcopy(plain)
    fold_batch_norm(folded)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    images = torch.rand(2, 3, 64, 64)
    for ours, theirs in zip(folded(images), plain(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_grey_image_is_seen_as_three_equal_channels():
    net = ResNet(BasicBlock, (1, 1, 1, 1), LAYERS, width=8).eval()
    grey = torch.rand(2, 1, 32, 32)
    for ours, theirs in zip(net(grey), net(grey.repeat(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rectifying_after_pooling_is_rectifying_before_it():
    net = ResNet(BasicBlock, (1, 1, 1, 1), ("layer1",), width=8).eval()
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    wanted = net.layer1(net.maxpool(torch.relu(net.bn1(net.conv1(x)))))
    torch.testing.assert_close(net(images)[0], wanted)


def test_the_integer_relu_is_a_relu():
    x = torch.randn(4, 3, 9, 7).bfloat16()
    assert torch.equal(IntegerReLU()(x.clone()), torch.relu(x))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (75, 50), (17, 9)])
@pytest.mark.parametrize("outputs", [LAYERS, ("layer2",), ("layer1", "layer4")])
def test_winograd_convolutions_change_no_map(outputs, size, channels):
    torch.manual_seed(0)
    net = lived_in(ResNet(BasicBlock, (2, 1, 2, 2), outputs, width=16)).requires_grad_(False)
    fold_batch_norm(net)
    images = torch.rand(3, channels, *size)
    for ours, theirs in zip(WinogradResNet(net, channels)(images), net(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_features_follow_the_weights_they_were_given_last():
    torch.manual_seed(0)
    net, other = (FrozenFeatures("narrow_resnet18", LAYERS, "float32") for _ in range(2))
    images = torch.rand(1, 1, 64, 64)
    before = net(images)
    other.net.conv1.weight *= 2
    other.loaded.fill_(True)
    net.load_state_dict(other.state_dict())
    for given, maps in ((other, net(images)), (net, copy.deepcopy(net)(images))):
        for ours, theirs, old in zip(maps, given.net(images), before, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
            assert not torch.allclose(ours, old)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_shipped_backbone_gives_maps_at_the_strides_of_a_resnet(precision, monkeypatch):
    monkeypatch.delenv("INTACT_WEIGHTS", raising=False)
    net = FrozenFeatures("narrow_resnet18", LAYERS, precision)
    maps = net(torch.rand(2, 1, 96, 96))
    assert [m.shape for m in maps] == [(2, 32, 24, 24), (2, 64, 12, 12), (2, 128, 6, 6)]
    assert {m.dtype for m in maps} == {getattr(torch, precision)}
    assert all(m.std() > 0 for m in maps)


def test_a_backbone_brings_its_weights_along(monkeypatch):
    monkeypatch.delenv("INTACT_WEIGHTS", raising=False)
    net = FrozenFeatures("narrow_resnet18", LAYERS, "float32")
    images = torch.rand(1, 1, 64, 64)
    wanted = net(images)
    other = FrozenFeatures("narrow_resnet18", LAYERS, "float32")
    other.load_state_dict(net.state_dict())
    monkeypatch.setattr("intact.nets.features.load_weights", lambda name: pytest.fail("asked for weights"))
    for ours, theirs in zip(other(images), wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_a_backbone_that_is_not_there_says_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"wide_resnet50_2\.safetensors.*INTACT_WEIGHTS"):
        FrozenFeatures("wide_resnet50_2", LAYERS, "float32")(torch.rand(1, 1, 64, 64))


@pytest.mark.parametrize(("backbone", "layers"), [("resnet19", LAYERS), ("resnet18", ("layer9",))])
def test_an_unknown_backbone_or_layer_is_refused(backbone, layers):
    with pytest.raises(UsageError, match=r"resnet19|layer9"):
        FrozenFeatures(backbone, layers, "float32")


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.01)])
def test_the_nearest_distance_is_that_of_a_slow_search(precision, tolerance):
    rng = torch.Generator().manual_seed(0)
    points, bank = (1 + torch.randn(n, 24, generator=rng) for n in (700, 300))
    slow = torch.stack([(point - bank).norm(dim=1).min() for point in points])
    found = nearest_distance(points, bank, precision)
    assert ((found - slow).abs() / slow).max() < tolerance
    assert nearest_distance(bank, bank, precision).max() < 0.05 * slow.mean()


def test_projecting_each_map_first_gives_the_same_patches():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 64, 64, generator=rng)
    detector = PatchCore(size=64, backbone="narrow_resnet18", coreset=50).fit([images])
    wanted = (detector._features(images) - detector.mean_) @ detector.basis_
    torch.testing.assert_close(detector._patches(images), wanted, rtol=1e-3, atol=1e-3)
