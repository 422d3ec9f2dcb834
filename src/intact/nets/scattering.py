"""Scattering features: fixed wavelets and moduli in place of learned filters.

Bruna, Mallat, "Invariant Scattering Convolution Networks", IEEE TPAMI 35(8), 2013: first-order
coefficients |x * psi_j,theta| * phi and second-order | |x * psi_j1| * psi_j2 | * phi (j2 > j1),
which describe texture and edges stably under small deformations. No weights to download and
nothing to train.

Differs from the paper: the Morlet filters are applied on an anti-aliased pyramid (one 9x9 bank, a
blur and a halving per octave) instead of in the Fourier domain, and a stage that matches
ResNet's strides is formed per octave, so that the methods take either backbone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ANGLES = 8
STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}


class Scattering(nn.Module):
    """Maps at ResNet's strides: local mean and deviation, first and second order moduli.

    Args:
        outputs: Stage names, "layer1" (1/4 of the input's side) to "layer4" (1/32).
        inputs: Channels of the images (CT windows, say), scattered one by one and stacked.
    """

    bank: Tensor

    def __init__(self, outputs: tuple[str, ...], inputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        for name in outputs:
            if name not in STRIDES:
                raise ValueError(f"{name!r} is not a stage")
        self.register_buffer("bank", morlet_bank(ANGLES), persistent=False)
        self.channels = {name: inputs * self._width(name) for name in outputs}

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """Maps of the stages asked for, at 1/4, 1/8, 1/16, 1/32 of the input."""
        single = images.flatten(0, 1)[:, None]  # (n * c, 1, h, w)
        octaves = round(math.log2(max(STRIDES[name] for name in self.outputs)))
        levels: list[list[Tensor]] = [[] for _ in range(octaves)]
        low = single
        for j in range(octaves):
            first = self._modulus(low)  # (n * c, angles, h/2^j, w/2^j)
            levels[j].append(first)
            carry = first
            for k in range(j + 1, octaves):
                carry = _halve(carry)
                levels[k].append(self._modulus(carry.mean(dim=1, keepdim=True)))
            low = _halve(low)
        return [
            self._stage(name, single, levels).unflatten(0, images.shape[:2]).flatten(1, 2)
            for name in self.outputs
        ]

    def _stage(self, name: str, x: Tensor, levels: list[list[Tensor]]) -> Tensor:
        stride = STRIDES[name]
        octaves = round(math.log2(stride))
        size = (math.ceil(x.shape[-2] / stride), math.ceil(x.shape[-1] / stride))
        # The two octaves next to the stride: coarser than the stage below, as in a ResNet.
        maps = [m for level in levels[max(octaves - 2, 0) : octaves] for m in level]
        local = F.adaptive_avg_pool2d(x, size)
        spread = (F.adaptive_avg_pool2d(x.square(), size) - local.square()).clamp(min=0).sqrt()
        return torch.cat([local, spread, *(F.adaptive_avg_pool2d(m, size) for m in maps)], dim=1)

    def _modulus(self, x: Tensor) -> Tensor:
        """|x * psi_theta| for each angle: (n, 1, h, w) -> (n, angles, h, w)."""
        pad = self.bank.shape[-1] // 2
        y = F.conv2d(F.pad(x, [pad] * 4, mode="replicate"), self.bank)
        real, imaginary = y.chunk(2, dim=1)
        return (real.square() + imaginary.square() + 1e-12).sqrt()

    def _width(self, name: str) -> int:
        octaves = round(math.log2(STRIDES[name]))
        used = range(max(octaves - 2, 0), octaves)
        return 2 + sum((1 + j) * ANGLES for j in used)


def morlet_bank(angles: int, size: int = 9, sigma: float = 1.2, xi: float = 3 * math.pi / 4) -> Tensor:
    """Zero-mean Morlet wavelets at equally spaced angles: (2 * angles, 1, size, size).

    The first half holds the real parts, the second the imaginary parts.
    """
    reach = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    real, imaginary = [], []
    for k in range(angles):
        theta = math.pi * k / angles
        along = x * math.cos(theta) + y * math.sin(theta)
        across = -x * math.sin(theta) + y * math.cos(theta)
        envelope = torch.exp(-(along.square() + (across / 2).square()) / (2 * sigma**2))
        wave_real, wave_imaginary = torch.cos(xi * along), torch.sin(xi * along)
        beta = (envelope * wave_real).sum() / envelope.sum()  # makes the wavelet zero-mean
        scale = envelope.sum()
        real.append(envelope * (wave_real - beta) / scale)
        imaginary.append(envelope * wave_imaginary / scale)
    return torch.stack(real + imaginary)[:, None].float()


def _halve(x: Tensor) -> Tensor:
    """Blur with the binomial [1 4 6 4 1] / 16 in both directions, then keep every second sample."""
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = x.shape[1]
    kernel = torch.outer(taps, taps).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(x, [2] * 4, mode="replicate"), kernel, stride=2, groups=channels)
