"""A normalising flow over feature maps: invertible steps that carry maps to a standard Gaussian.

Affine coupling: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", ICLR 2017. Its
soft clamp, the scale of all channels and the shuffle after each step are those of the coupling
block of FrEIA (Ardizzone et al.), with which flows for anomaly detection are built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Subnet = Callable[[int, int], nn.Module]  # (channels in, channels out) -> a network of equal sides

# A network's first answers are shrunk, so that an untrained step is close to the identity.
CALM = 0.1


class Flow(nn.Module):
    """Affine couplings in a row.

    Args:
        channels: Of the maps.
        subnets: The network of each step.
        clamp: A step scales a value by at most exp(`clamp`), and at least exp(-`clamp`).
    """

    def __init__(self, channels: int, subnets: Sequence[Subnet], clamp: float = 2.0) -> None:
        super().__init__()
        self.steps = nn.ModuleList(AffineCoupling(channels, subnet, clamp) for subnet in subnets)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n"]]:
        """The maps in Gaussian coordinates z, and log |det ∂z/∂x| of each."""
        total = x.new_zeros(len(x))
        for step in self.steps:
            x, log_det = step(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps that `forward` carries to `z`."""
        for step in reversed(self.steps):
            assert isinstance(step, AffineCoupling)
            z = step.inverse(z)
        return z


class AffineCoupling(nn.Module):
    """Scale and shift half of the channels as the other half says, then scale, shift and shuffle all.

    Args:
        channels: Of the maps, at least 2.
        subnet: Makes the network that reads the first half and says scale and shift of the second.
        clamp: Bound of the logarithm of that scale.
    """

    order: Tensor

    def __init__(self, channels: int, subnet: Subnet, clamp: float) -> None:
        super().__init__()
        self.clamp = clamp
        self.read, self.changed = channels - channels // 2, channels // 2
        self.subnet = subnet(self.read, 2 * self.changed)
        # A scale of 1 to begin with, see `_scale`.
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 2 * math.log(math.expm1(5.0))))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("order", torch.randperm(channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n"]]:
        """The changed maps, and the logarithm of the determinant of their Jacobian."""
        first, second = x.split([self.read, self.changed], dim=1)
        log_scale, shift = self._affine(first)
        scale = self._scale()
        y = torch.cat([first, second * log_scale.exp() + shift], dim=1) * scale + self.offset
        pixels = x.shape[2] * x.shape[3]
        return y[:, self.order], log_scale.sum(dim=(1, 2, 3)) + pixels * scale.log().sum()

    def inverse(self, y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps that `forward` changes into `y`."""
        x = (y[:, self.order.argsort()] - self.offset) / self._scale()
        first, second = x.split([self.read, self.changed], dim=1)
        log_scale, shift = self._affine(first)
        return torch.cat([first, (second - shift) * (-log_scale).exp()], dim=1)

    def _affine(self, first: Tensor) -> tuple[Tensor, Tensor]:
        # As exact as the maps, whatever the network computed in: errors of many steps add up.
        log_scale, shift = (CALM * self.subnet(first).to(first.dtype)).split(self.changed, dim=1)
        return self.clamp * log_scale.tanh(), shift

    def _scale(self) -> Tensor:
        """Positive, and growing slowly with the parameter."""
        return CALM * F.softplus(self.scale, beta=0.5)


def two_convolutions(first: int, second: int) -> Subnet:
    """Convolution, ReLU, convolution, with kernels of these sides and as wide inside as the input."""

    def build(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, first, padding=first // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, second, padding=second // 2),
        )

    return build


def negative_log_likelihood(z: Float[Tensor, "n c h w"], log_det: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """-log p(x) in nats of maps x that a flow carried to `z`, whose density is a standard Gaussian."""
    return 0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=(1, 2, 3)) - log_det
