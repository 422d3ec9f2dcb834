from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intact.errors import UsageError
from intact.nets.resnet import kaiming
from intact.nets.reversed_resnet import OneClassEmbedding, ReversedResNet


def count(net):
    return sum(p.numel() for p in net.parameters())


def pyramid(width, expansion, side, n=2):
    """Maps shaped as those of layer1 to layer3 for an image of `side` pixels."""
    return [
        torch.rand(n, width * expansion * 2**i, side // 2 ** (i + 2), side // 2 ** (i + 2)) for i in range(3)
    ]


def test_the_published_networks_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        # RD4AD reports 67.3 M for the embedding; its code makes a 1 x 1 convolution with batch norm
        # from 4096 to 2048 channels that no image passes.
        unused = 4096 * 2048 + 2 * 2048
        assert count(OneClassEmbedding("wide_resnet50_2")) == 67_277_824 - unused
        assert count(ReversedResNet("wide_resnet50_2")) == 24_917_504
        assert count(ReversedResNet("resnet50", up="bilinear")) == 11_134_720


@pytest.mark.parametrize(
    ("backbone", "width", "expansion"), [("narrow_resnet18", 32, 1), ("resnet18", 64, 1), ("resnet50", 64, 4)]
)
@pytest.mark.parametrize("up", ["transposed", "bilinear"])
def test_the_code_is_shaped_as_layer4_and_the_maps_as_the_backbones(backbone, width, expansion, up):
    with torch.device("meta"):
        maps = pyramid(width, expansion, side=64)
        code = OneClassEmbedding(backbone)(maps)
        assert code.shape == (2, 8 * width * expansion, 2, 2)
        rebuilt = ReversedResNet(backbone, up=up)(code)
    assert [m.shape for m in rebuilt] == [m.shape for m in maps]


def test_the_embedding_sees_all_three_maps():
    net = OneClassEmbedding("narrow_resnet18").eval()
    maps = [m.requires_grad_() for m in pyramid(32, 1, side=64)]
    net(maps).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)


def test_stages_have_as_many_blocks_as_published():
    with torch.device("meta"):
        assert [len(s) for s in ReversedResNet("resnet50").stages] == [3, 4, 6]
        assert [len(s) for s in ReversedResNet("resnet50", up="bilinear").stages] == [6, 4, 3]


def main_path(block, x):
    """A block's longer path, step by step."""
    y = F.relu(block.bn1(block.conv1(x)))
    if hasattr(block, "conv3"):
        y = F.relu(block.bn2(block.conv2(y)))
        return block.bn3(block.conv3(y))
    return block.bn2(block.conv2(y))


@pytest.mark.parametrize(("backbone", "grows"), [("narrow_resnet18", "conv1"), ("resnet50", "conv2")])
def test_transposed_blocks_grow_by_a_2_x_2_convolution_in_both_paths(backbone, grows):
    block = ReversedResNet(backbone).stages[0][0].eval()
    for layer in (getattr(block, grows), block.downsample[0]):
        assert isinstance(layer, torch.nn.ConvTranspose2d)
        assert layer.kernel_size == layer.stride == (2, 2)
        assert layer.bias is None
    x = torch.randn(1, block.downsample[0].in_channels, 2, 2)
    torch.testing.assert_close(block(x), F.relu(main_path(block, x) + block.downsample(x)))


@pytest.mark.parametrize("backbone", ["narrow_resnet18", "resnet50"])
def test_bilinear_blocks_grow_before_the_second_convolution_and_after_the_shortcuts(backbone):
    block = ReversedResNet(backbone, up="bilinear").stages[0][0].eval()
    x = torch.randn(1, block.downsample[0].in_channels, 2, 2)

    def grow(y):
        return F.interpolate(y, size=(4, 4), mode="bilinear", align_corners=False)

    y = F.relu(block.bn1(block.conv1(x)))
    y = block.bn2(F.conv2d(grow(y), block.conv2[1].weight, padding=1))
    if hasattr(block, "conv3"):
        y = block.bn3(block.conv3(F.relu(y)))
    shortcut = block.downsample[2](grow(F.conv2d(x, block.downsample[0].weight)))
    torch.testing.assert_close(block(x), F.relu(y + shortcut))


def test_skips_are_added_on_the_way_and_not_to_what_is_returned():
    net = ReversedResNet("narrow_resnet18").eval()
    code = torch.rand(1, 256, 2, 2)
    skips = [torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)]
    third = net.stages[0](code)
    second = net.stages[1](third + skips[1])
    first = net.stages[2](second + skips[0])
    for got, expected in zip(net(code, skips), (first, second, third), strict=True):
        assert torch.equal(got, expected)
    assert torch.equal(net(code, (None, skips[1]))[1], second)
    assert not torch.equal(net(code)[1], second)


def test_kaiming_scales_by_the_number_of_outputs():
    conv = torch.nn.Conv2d(64, 256, 3, bias=False)
    kaiming(torch.nn.Sequential(conv))
    assert conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown up"):
        ReversedResNet("resnet18", up="nearest")
    with pytest.raises(UsageError, match="unknown backbone"):
        OneClassEmbedding("resnet19")
