"""First layers that take the picture away and leave its noise: fixed SRM filters, and constrained ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TINY = 1e-3  # a sum of weights that is smaller would make the filter explode

# Three of the 30 filters of Fridrich & Kodovský, "Rich Models for Steganalysis of Digital Images", IEEE TIFS
# 7(3), 2012, as Zhou et al., CVPR 2018 (RGB-N), chose them; each sums to zero.
SRM = (
    torch.tensor([[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]])
    / 4.0,
    torch.tensor(
        [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    )
    / 12.0,
    torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, -2, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    / 2.0,
)


class SRMFilters(nn.Module):
    """Three fixed 5 x 5 high-pass filters, applied to each channel; the border is mirrored."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.stack(SRM)[:, None], persistent=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3*c h w"]:
        """Of each channel its three residuals."""
        padded = F.pad(x.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="reflect")
        return F.conv2d(padded, self.kernels).view(len(x), -1, *x.shape[-2:])


class ConstrainedConv(nn.Conv2d):
    """Filters that predict a pixel from its neighbours, and give the error of that; learned, without bias.

    Bayar & Stamm, "Constrained Convolutional Neural Networks: A New Approach Towards General Purpose Image
    Manipulation Detection", IEEE TIFS 13(11), 2018: the middle weight is -1, all others sum to 1. The
    authors force the stored weights to that after each step; here they are brought to it in each pass,
    which leaves the same filters and lets the optimiser go on. A sum near 0 is kept away from it.

    Args:
        inputs: Channels of the image.
        outputs: Filters.
        side: Of a filter, odd.
    """

    def __init__(self, inputs: int, outputs: int, side: int = 5) -> None:
        super().__init__(inputs, outputs, side, padding=side // 2, padding_mode="reflect", bias=False)

    def constrained(self) -> Float[Tensor, "o i k k"]:
        """The filters as they are used."""
        middle = self.kernel_size[0] // 2
        around = torch.ones_like(self.weight)
        around[:, :, middle, middle] = 0.0
        weight = self.weight * around
        total = weight.sum((2, 3), keepdim=True)
        total = torch.where(total.abs() < TINY, torch.where(total < 0, -TINY, TINY), total)
        return weight / total - (1.0 - around)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        return self._conv_forward(x, self.constrained(), None)
