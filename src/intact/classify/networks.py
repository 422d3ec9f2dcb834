"""Architectures of classifiers: published bodies, a mean over the image, one layer of classes.

ResNet: He et al., CVPR 2016. VGG: Simonyan and Zisserman, "Very deep convolutional networks for
large-scale image recognition", ICLR 2015, with batch normalisation and the mean instead of its three
dense layers; `small_vgg` has eight layers an eighth as wide. SqueezeNet: Iandola et al., arXiv
1602.07360, 1.1. DenseNet: Huang et al., CVPR 2017, from MONAI.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import WeightsError
from intact.nets.features import build_backbone
from intact.nets.resnet import MEAN, STD
from intact.nets.weights import load_weights

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 halves the sides
# Channels between and of each branch of its blocks; 0 halves the sides.
SQUEEZENET = (
    *((0, 0), (16, 64), (16, 64), (0, 0), (32, 128), (32, 128)),
    *((0, 0), (48, 192), (48, 192), (64, 256), (64, 256)),
)
SMALL_VGG = (16, 16, 0, 32, 32, 0, 64, 64, 0, 128, 128, 0)


class Headed(nn.Module):
    """A body, the mean of its last maps, and a layer of classes; for images in [0, 1], grey or RGB."""

    def __init__(self, body: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits."""
        maps = self.body(images)
        last = maps[-1] if isinstance(maps, list) else maps
        return self.head(last.mean(dim=(2, 3)))


class Normalised(nn.Module):
    """A network that takes RGB as ImageNet's do; grey images feed all three channels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Float[Tensor, "n c h w"]) -> Tensor:
        """What the network gives."""
        mean, std = (images.new_tensor(of).reshape(1, 3, 1, 1) for of in (MEAN, STD))
        return self.net((images - mean) / std)


def resnet(backbone: str, classes: int) -> nn.Module:
    """A ResNet; as many of its stages begin with ImageNet's weights as can be found."""
    body = build_backbone(backbone, ("layer4",))
    with suppress(WeightsError):  # then it learns from scratch
        body.load_state_dict(load_weights(backbone), strict=False)
    return Headed(body, body.channels["layer4"], classes)


def vgg(widths: tuple[int, ...], classes: int) -> nn.Module:
    """Pairs and triples of 3x3 convolutions, halved by pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return Headed(Normalised(nn.Sequential(*layers)), channels, classes)


def densenet121(classes: int) -> nn.Module:
    """DenseNet with 121 layers."""
    from monai.networks.nets import DenseNet121

    return Normalised(DenseNet121(2, 3, classes))


class Fire(nn.Module):
    """SqueezeNet's block: few channels, then 1x1 and 3x3 convolutions of them side by side."""

    def __init__(self, channels: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Maps of twice the wide channels."""
        few = self.squeeze(maps).relu()
        return torch.cat([self.expand1x1(few).relu(), self.expand3x3(few).relu()], dim=1)


def squeezenet1_1(classes: int) -> nn.Module:
    """SqueezeNet 1.1, beginning with ImageNet's weights where they can be found."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()]
    channels = 64
    for narrow, wide in SQUEEZENET:
        if narrow == 0:
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            continue
        layers.append(Fire(channels, narrow, wide))
        channels = 2 * wide
    body = nn.Sequential(*layers)
    with suppress(WeightsError):  # then it learns from scratch
        weights = load_weights("squeezenet1_1").items()
        body.load_state_dict({key[9:]: value for key, value in weights if key.startswith("features.")})
    return Headed(Normalised(body), channels, classes)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": partial(resnet, "resnet18"),
    "resnet50": partial(resnet, "resnet50"),
    "vgg16": partial(vgg, VGG16),
    "small_vgg": partial(vgg, SMALL_VGG),
    "densenet121": densenet121,
    "squeezenet1_1": squeezenet1_1,
}
