"""Plain stacks of convolutions that halve or double the sides of maps, step by step."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def doubling(widths: tuple[int, ...]) -> nn.Sequential:
    """(n, widths[0], h, w) -> (n, widths[-1], h * 2**k, w * 2**k), k being one less than the widths.

    A transposed 2 x 2 convolution per doubling, and a 3 x 3 convolution after each but the last;
    ReLU between all, none at the end.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-2], widths[-1], 2, stride=2))


def halving(widths: tuple[int, ...]) -> nn.Sequential:
    """(n, widths[0], h, w) -> (n, widths[-1], h / 2**k, w / 2**k): `doubling` read backwards."""
    layers: list[nn.Module] = [nn.Conv2d(widths[0], widths[1], 2, stride=2)]
    for inputs, outputs in pairwise(widths[1:]):
        layers += [
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, inputs, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 2, stride=2),
        ]
    return nn.Sequential(*layers)
