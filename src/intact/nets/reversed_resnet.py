"""ResNets run backwards: from a deep code to the maps of a backbone's first three stages.

`OneClassEmbedding` and the "transposed" `ReversedResNet` are the student of Deng, Li, "Anomaly
Detection via Reverse Distillation from One-Class Embedding", CVPR 2022. The "bilinear" one is the
decoder of Guo, Lu, Jia, Zhang, Li, "Encoder-Decoder Contrast for Unsupervised Anomaly Detection in
Medical Images", IEEE TMI 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError
from intact.nets.features import build_backbone
from intact.nets.resnet import STAGES, BasicBlock, Bottleneck, kaiming

Block = BasicBlock | Bottleneck


class OneClassEmbedding(nn.Module):
    """Three maps of a backbone, brought to the third one's size and squeezed into one code.

    Args:
        backbone: Key in `BACKBONES`; the code has the shape of its layer4.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        plan = _plan(backbone)
        first, second, third, _ = plan.channels
        self.first = nn.Sequential(_halving(first, second), _halving(second, third))
        self.second = _halving(second, third)
        self.squeeze = nn.Sequential(*_blocks(plan, 3 * third, 8 * plan.width, plan.depths[3], stride=2))
        kaiming(self)

    def forward(self, maps: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "n c h w"]:
        """Maps of layer1, layer2 and layer3 -> (n, channels of layer4, 1/32, 1/32 of the image)."""
        first, second, third = maps
        return self.squeeze(torch.cat([self.first(first), self.second(second), third], dim=1))


class ReversedResNet(nn.Module):
    """Three stages that each double the side of the map and halve its channels.

    Args:
        backbone: Key in `BACKBONES`; its block and widths are used.
        up: How the first block of a stage doubles the side. "transposed": a 2 x 2 transposed
            convolution in the main path and in the shortcut (RD4AD); as many blocks as the
            backbone has in layer1, layer2, layer3, in this order. "bilinear": before the second
            convolution and after the 1 x 1 of the shortcut (EDC); as many blocks as the backbone
            has in layer3, layer2, layer1.

    Raises:
        UsageError: An unknown backbone or `up`.
    """

    def __init__(self, backbone: str, up: str = "transposed") -> None:
        super().__init__()
        if up not in _UPS:
            raise UsageError(f"unknown up {up!r}; choose one of {', '.join(_UPS)}")
        plan = _plan(backbone)
        depths = plan.depths[:3] if up == "transposed" else plan.depths[2::-1]
        inputs = plan.channels[3]
        self.stages = nn.ModuleList()
        for width, depth in zip((4 * plan.width, 2 * plan.width, plan.width), depths, strict=True):
            outputs = width * plan.block.expansion
            blocks = _blocks(plan, inputs, width, depth, stride=1)
            _UPS[up](blocks[0], inputs, outputs)
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        kaiming(self)

    def forward(
        self, code: Float[Tensor, "n c h w"], skips: Sequence[Tensor | None] = (None, None)
    ) -> list[Tensor]:
        """A layer4-shaped code -> maps shaped as layer1, layer2, layer3.

        Args:
            code: (n, channels of layer4, h, w).
            skips: A layer2- and a layer3-shaped map; each is added to the map of its shape on the
                way to the next stage, not to the map returned.
        """
        maps: list[Tensor] = []
        x = code
        for stage, skip in zip(self.stages, (*reversed(skips), None), strict=True):
            x = stage(x)
            maps.insert(0, x)
            x = x if skip is None else x + skip
        return maps


class _Plan(NamedTuple):
    """What a backbone is made of."""

    block: type[Block]
    depths: list[int]
    channels: list[int]
    width: int
    base_width: int


def _plan(backbone: str) -> _Plan:
    with torch.device("meta"):  # only the shapes are wanted
        net: Any = build_backbone(backbone, STAGES)
    width = net.conv1.out_channels
    return _Plan(
        net.block,
        [len(net.get_submodule(name)) for name in STAGES],
        list(net.channels.values()),
        width,
        64 * net.layer1[0].conv2.out_channels // width,
    )


def _blocks(plan: _Plan, inputs: int, width: int, depth: int, stride: int) -> list[Block]:
    """A stage; only its first block has other inputs than outputs and a stride."""
    outputs = width * plan.block.expansion
    rest = [plan.block(outputs, width, 1, plan.base_width) for _ in range(depth - 1)]
    return [plan.block(inputs, width, stride, plan.base_width), *rest]


def _halving(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _transposed(block: Block, inputs: int, outputs: int) -> None:
    name = "conv1" if isinstance(block, BasicBlock) else "conv2"
    old: Any = block.get_submodule(name)
    block.add_module(name, nn.ConvTranspose2d(old.in_channels, old.out_channels, 2, 2, bias=False))
    block.downsample = nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False), nn.BatchNorm2d(outputs)
    )


def _bilinear(block: Block, inputs: int, outputs: int) -> None:
    double = nn.Upsample(scale_factor=2, mode="bilinear")
    block.add_module("conv2", nn.Sequential(double, block.conv2))
    block.downsample = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), double, nn.BatchNorm2d(outputs)
    )


_UPS: dict[str, Callable[[Block, int, int], None]] = {"transposed": _transposed, "bilinear": _bilinear}
