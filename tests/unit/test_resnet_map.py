"""The encoder-decoder of NSA."""

import torch
import torch.nn.functional as F

from intact.nets.resnet_map import ResNetMap, _Doubling


def test_it_has_the_authors_layers():
    with torch.device("meta"):
        net = ResNetMap("resnet18")
    # torchvision's ResNet-18 has 11,689,512 parameters, 513,000 of them in its head.
    encoder = 11_689_512 - 513_000
    squeeze = 512 * 256 + 256 * 128
    grow = sum(i * o * 9 + o * o * 9 + i * o + 6 * o for i, o in ((128, 64), (64, 32), (32, 16)))
    assert sum(p.numel() for p in net.parameters()) == encoder + squeeze + grow + 16 * 49 + 1


def test_without_features_the_map_is_flat_to_the_border():
    net = ResNetMap("narrow_resnet18").eval()
    for parameter in net.grow[2].parameters():
        torch.nn.init.zeros_(parameter)
    found = net(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(found, torch.full_like(found, -3.0))


def test_the_map_has_the_side_of_the_image():
    net = ResNetMap("narrow_resnet18").eval()
    sides = []
    for layer in (net.encoder.layer4, *net.grow):
        layer.register_forward_hook(lambda m, i, o: sides.append(o.shape[-1]))
    for channels in (1, 3):
        assert net(torch.rand(2, channels, 64, 96)).shape == (2, 64, 96)
    assert sides[:4] == [3, 6, 12, 24]


def test_a_doubling_is_a_residual_block_with_a_transposed_shortcut():
    torch.manual_seed(0)
    block = _Doubling(6, 4).eval()
    x = torch.randn(2, 6, 5, 5)
    y = F.conv_transpose2d(x, block.conv1.weight, stride=2, padding=1, output_padding=1)
    y = F.conv2d(F.relu(block.bn1(y)), block.conv2.weight, padding=1)
    short = torch.zeros(2, 4, 10, 10)  # a 1 x 1 transposed convolution fills every other pixel
    short[..., ::2, ::2] = torch.einsum("nihw,io->nohw", x, block.shortcut[0].weight[:, :, 0, 0])
    torch.testing.assert_close(block(x), F.relu(block.bn2(y) + block.shortcut[1](short)))
