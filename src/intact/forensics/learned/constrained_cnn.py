"""`constrained_cnn`: filters that predict a pixel from its neighbours, and a small network on their errors.

Bayar, Stamm, "Constrained Convolutional Neural Networks: A New Approach Towards General Purpose Image
Manipulation Detection", IEEE Transactions on Information Forensics and Security 13(11), 2018. MISLnet: three
constrained 5 x 5 filters; convolutions 7 x 7 with stride 2 (96), 5 x 5 (64), 5 x 5 (64) and 1 x 1 (128), each
with batch normalisation and tanh, each followed by pooling 3 x 3 with stride 2, the last by average pooling;
two layers of 200 with tanh.

Differs from the paper: windows of 64 x 64 instead of 256 x 256 pixels, as medical forgeries are small, so
the mean over what the last layer sees replaces its fixed grid; one answer, forged or not, instead of one of
several kinds of processing; AdamW instead of stochastic gradient descent with momentum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from intact.forensics.learned.window_network import WindowNetwork
from intact.nets.noise_filters import ConstrainedConv


@dataclass(eq=False)
class ConstrainedCNN(WindowNetwork):
    """How likely MISLnet finds a window forged."""

    source: ClassVar[str] = "Bayar & Stamm, IEEE TIFS 2018"

    def _network(self, channels: int) -> nn.Module:
        return nn.Sequential(
            ConstrainedConv(channels, 3),
            *_convolution(3, 96, 7, stride=2),
            nn.MaxPool2d(3, stride=2),
            *_convolution(96, 64, 5),
            nn.MaxPool2d(3, stride=2),
            *_convolution(64, 64, 5),
            nn.MaxPool2d(3, stride=2),
            *_convolution(64, 128, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, 200),
            nn.Tanh(),
            nn.Linear(200, 200),
            nn.Tanh(),
            nn.Linear(200, 1),
        )


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2)
    return [layer, nn.BatchNorm2d(outputs), nn.Tanh()]
