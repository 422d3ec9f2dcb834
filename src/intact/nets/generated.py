"""What networks that generate images leave: relations of neighbouring pixels, and a bent spectrum.

`NeighbourResNet`: Tan, Liu, Zhao, Wei, Gu, Liu, Wei, "Rethinking the Up-Sampling Operations in CNN-based
Generative Network for Generalizable Deepfake Detection", CVPR 2024; layers as in the authors' code,
chuangchuangtan/NPR-DeepfakeDetection. `radial_spectrum`: Durall, Keuper, Pfreundt, Keuper, "Unmasking
DeepFakes with simple Features", 2019, arXiv:1911.00686.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.features import FrozenFeatures
from intact.nets.resnet import Bottleneck, kaiming

CELL = 2  # pixels: generators double sides, so that this many in a row come of one
SCALE = 2 / 3  # of the relations
DEPTHS = (3, 4)  # bottlenecks of the two stages that are left of ResNet-50
SILENT = 1e-8  # added to powers, so that what is constant has a logarithm


class NeighbourResNet(nn.Module):
    """The first half of a ResNet-50 with a 3 x 3 first layer, on relations of neighbouring pixels.

    Args:
        channels: Of the image.
        width: Channels of the first layer; 64 in the paper.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages: list[nn.Module] = []
        inputs = width
        for number, depth in enumerate(DEPTHS):
            for block in range(depth):
                stride = 2 if number > 0 and block == 0 else 1
                stages.append(Bottleneck(inputs, width * 2**number, stride, 64))
                inputs = width * 2**number * Bottleneck.expansion
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, 1)
        kaiming(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1"]:
        """A logit for each image."""
        return self.head(self.stages(self.stem(SCALE * neighbour_relations(x))).mean((2, 3)))


class GeneratedNet(nn.Module):
    """The sum of three logits: of neighbouring pixels, of the spectrum, and of frozen features.

    Args:
        channels: Of the image.
        window: Side of the image.
        width: Of `NeighbourResNet`.
        backbone: Whose third stage, averaged over the image, is looked at.
    """

    def __init__(self, channels: int, window: int, width: int, backbone: str) -> None:
        super().__init__()
        self.neighbours = NeighbourResNet(channels, width)
        self.spectrum = _linear(window // 2 - 1)
        self.features = FrozenFeatures(backbone, ("layer3",), "float32")
        self.probe = _linear(self.features.channels[0])

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1"]:
        """A logit for each image with values of about -1 to 1."""
        (seen,) = self.features((x + 1.0) / 2.0)
        spectra = radial_spectrum(x.mean(dim=1))
        return self.neighbours(x) + self.spectrum(spectra) + self.probe(seen.mean((2, 3)))


def neighbour_relations(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Each pixel less the first of its cell of 2 x 2."""
    first = x[..., ::CELL, ::CELL].repeat_interleave(CELL, dim=-2).repeat_interleave(CELL, dim=-1)
    return x - first[..., : x.shape[-2], : x.shape[-1]]


def radial_spectrum(x: Float[Tensor, "n s s"]) -> Float[Tensor, "n k"]:
    """Logarithm of the power at 2 to s // 2 waves across, averaged over all directions, less that at one.

    Contrast does not count so, nor does brightness.
    """
    power = torch.fft.fft2(x - x.mean((1, 2), keepdim=True)).abs().square()
    logs = torch.log(power + SILENT).flatten(1)
    waves = torch.fft.fftfreq(x.shape[-1], 1.0 / x.shape[-1], device=x.device)
    radius = torch.hypot(waves[:, None], waves[None]).round().long().flatten()
    rings = torch.nn.functional.one_hot(radius).to(logs.dtype)[:, 1 : x.shape[-1] // 2 + 1]
    means = logs @ (rings / rings.sum(dim=0))
    return means[:, 1:] - means[:, :1]


def _linear(inputs: int) -> nn.Sequential:
    """A logit of features that are brought to like spread."""
    return nn.Sequential(nn.BatchNorm1d(inputs, affine=False), nn.Linear(inputs, 1))
