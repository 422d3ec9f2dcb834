"""The encoder-decoder of FPI and PII."""

import torch
import torch.nn.functional as F

from intact.nets.wide_residual import WideResidualMap, _Block


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_it_has_the_authors_layers():
    """WRN-16-4 with five stages and four back, weights and batch norms counted by hand."""
    net = WideResidualMap(1, widen=4)

    def block(i, o):
        return 9 * i * o + 9 * o * o + (i * o if i != o else 0) + 2 * i + 2 * o

    stages = [(16, 64), (64, 128), (128, 256), (256, 256), (256, 256)]
    back = [(256, 128), (128, 64), (64, 16), (16, 1)]
    expected = 1 + 9 * 16 + sum(block(i, o) for i, o in stages + back)
    assert sum(p.numel() for p in net.parameters()) == expected
    deeper = WideResidualMap(1, widen=4, blocks=2)
    expected += sum(block(o, o) for _, o in stages)
    assert sum(p.numel() for p in deeper.parameters()) == expected


def test_the_map_has_the_side_of_the_image_and_the_code_a_sixteenth():
    net = WideResidualMap(3, widen=1).eval()
    sides = []
    for layer in net.layers:
        layer.register_forward_hook(lambda m, i, o: sides.append(o.shape[-1]))
    assert net(drawn(2, 3, 32, 48)).shape == (2, 32, 48)
    assert sides == [48, 48, 24, 12, 6, 3, 6, 12, 24, 48]


def test_it_starts_where_one_pixel_in_twenty_is_marked():
    net = WideResidualMap(1, widen=1).eval()
    for parameter in net.layers[-1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(net(drawn(1, 1, 16, 16)), torch.full((1, 16, 16), -3.0))


def test_a_block_is_two_convolutions_before_which_it_normalises_and_a_shortcut():
    x = drawn(2, 4, 8, 8)
    for outputs, down, up in ((4, False, False), (6, True, False), (4, True, False), (3, False, True)):
        block = _Block(4, outputs, down=down, up=up).eval()
        torch.nn.init.uniform_(block.bn1.bias)
        torch.nn.init.uniform_(block.bn2.running_mean)
        start = F.relu(block.bn1(x))
        y = F.conv2d(start, block.conv1.weight, stride=2 if down else 1, padding=1)
        if outputs != 4:
            short = F.conv2d(start, block.shortcut.weight, stride=2 if down else 1)
        elif down:
            short = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        else:
            short = x
        if up:
            y, short = (m.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) for m in (y, short))
        expected = F.conv2d(F.relu(block.bn2(y)), block.conv2.weight, padding=1) + short
        torch.testing.assert_close(block(x), expected)
