"""A U-Net for images or volumes, from a picture to a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class PlacedUNet(nn.Module):
    """Encoder and decoder with skips, told where each pixel lies.

    Strided convolutions down, linear interpolation up, instance norms and GELUs, as the network of
    Baugh et al. (`intact.anomaly.many_tasks`). Beside the image it sees one channel per axis that
    runs from -1 to 1 (Liu et al., "An intriguing failing of convolutional neural networks and the CoordConv
    solution", NeurIPS 2018).

    Args:
        dims: 2 for images, 3 for volumes.
        inputs: Channels of the image.
        width: Channels at full resolution; they double with each halving.
        depth: How many resolutions there are.
    """

    def __init__(self, dims: int, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.dims = dims
        widths = [width * 2**i for i in range(depth)]
        before = [inputs + dims, *widths[:-1]]
        self.down = nn.ModuleList(
            _double(dims, i, o, stride=2 if level else 1)
            for level, (i, o) in enumerate(zip(before, widths, strict=True))
        )
        self.merge = nn.ModuleList(_double(dims, 3 * w, w) for w in reversed(widths[:-1]))
        self.head = CONVOLUTIONS[dims](width, 1, 1)
        nn.init.zeros_(self.head.weight)  # nothing is marked when learning starts

    def forward(self, images: Float[Tensor, "n c *space"]) -> Float[Tensor, "n *space"]:
        """The map; the sides must be divisible by 2**(depth - 1)."""
        axes = [torch.linspace(-1, 1, side).to(images) for side in images.shape[2:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        x = torch.cat([images, places.expand(len(images), *places.shape)], dim=1)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.merge, reversed(skips[:-1]), strict=True):
            grown = F.interpolate(x, scale_factor=2, mode=LINEAR[self.dims], align_corners=False)
            x = block(torch.cat([skip, grown], dim=1))
        return self.head(x)[:, 0]


def _double(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    def once(i: int, step: int) -> list[nn.Module]:
        return [
            CONVOLUTIONS[dims](i, outputs, 3, step, padding=1),
            NORMS[dims](outputs, affine=True),
            nn.GELU(),
        ]

    return nn.Sequential(*once(inputs, stride), *once(outputs, 1))
