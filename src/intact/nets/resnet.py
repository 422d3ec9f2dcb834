"""ResNet up to its last convolution, with torchvision's key names so that its weights fit.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; the wide variant:
Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STAGES = ("layer1", "layer2", "layer3", "layer4")

# What the ImageNet weights expect of an RGB image in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, base_width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, width, h/stride, w/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the stride sits on the 3x3, as in torchvision."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, base_width: int) -> None:
        super().__init__()
        inner = width * base_width // 64
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 4 * width, h/stride, w/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Stem and stages on images in [0, 1]; `forward` stops after the deepest stage asked for.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: Blocks per stage.
        outputs: Names of the stages whose maps to return, from "layer1" to "layer4".
        base_width: 64, or 128 for the wide variant.
        width: Channels of the first stage; they double with each stage.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        outputs: tuple[str, ...],
        base_width: int = 64,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.block, self.outputs = block, outputs
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.channels: dict[str, int] = {}
        inputs = width
        deepest = max(STAGES.index(name) for name in outputs)
        for i, name in enumerate(STAGES[: deepest + 1]):
            blocks: list[nn.Module] = []
            for j in range(depths[i]):
                blocks.append(block(inputs, width * 2**i, 2 if i > 0 and j == 0 else 1, base_width))
                inputs = width * 2**i * block.expansion
            self.add_module(name, nn.Sequential(*blocks))
            self.channels[name] = inputs

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """Maps of the stages asked for, at 1/4, 1/8, 1/16, 1/32 of the input.

        Grey images (c = 1) feed all three channels.
        """
        x = self.standardised(images).to(self.conv1.weight.dtype)
        # Pooling first leaves a quarter of the values to rectify; the result is the same.
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        maps = []
        for name in self.channels:
            x = self.get_submodule(name)(x)
            if name in self.outputs:
                maps.append(x)
        return maps

    def standardised(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
        """Images in [0, 1] as the ImageNet weights expect them; channels last in memory, as the weights."""
        mean, std = images.new_tensor(MEAN), images.new_tensor(STD)
        return torch.addcmul(-mean / std, images.permute(0, 2, 3, 1), 1 / std).permute(0, 3, 1, 2)


class IntegerReLU(nn.Module):
    """ReLU in place for bfloat16 without gradients.

    As an integer a float below zero is below zero, too, and clamping integers is three times as fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x.view(torch.int16).clamp_(min=0)
        return x


def fold_batch_norm(net: nn.Module) -> None:
    """Merge every batch norm into the convolution before it, which evaluation allows."""
    for module in list(net.modules()):
        for (name, conv), (after, norm) in itertools.pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, after, nn.Identity())


def kaiming(net: nn.Module) -> None:
    """Start every convolution as ResNets do: normal, by the number of outputs. Others keep PyTorch's."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
