"""Architectures of classifiers: published bodies, a mean over the image, one layer of classes.

ResNet: He et al., CVPR 2016. VGG: Simonyan and Zisserman, "Very deep convolutional networks for
large-scale image recognition", ICLR 2015, with batch normalisation and the mean instead of its three
dense layers; `small_vgg` has eight layers an eighth as wide. DenseNet: Huang et al., CVPR 2017, and
EfficientNet: Tan and Le, ICML 2019, both from MONAI.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import WeightsError
from intact.nets.features import build_backbone
from intact.nets.resnet import MEAN, STD
from intact.nets.weights import load_weights

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 halves the sides
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


def efficientnet_b0(classes: int) -> nn.Module:
    """The smallest EfficientNet."""
    from monai.networks.nets import EfficientNetBN

    return Normalised(EfficientNetBN("efficientnet-b0", pretrained=False, num_classes=classes))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": partial(resnet, "resnet18"),
    "resnet50": partial(resnet, "resnet50"),
    "vgg16": partial(vgg, VGG16),
    "small_vgg": partial(vgg, SMALL_VGG),
    "densenet121": densenet121,
    "efficientnet_b0": efficientnet_b0,
}
