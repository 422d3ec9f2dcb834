"""PII: find the square in which an image's gradients were mixed with another one's, and their share.

Tan, Hou, Day, Simpson, Rueckert, Kainz, "Detecting Outliers with Poisson Image Interpolation",
MICCAI 2021, https://arxiv.org/abs/2107.02622. Network, loss and numbers are those of the authors'
code (jemtan/PII); of the paper only the beginning was at hand.

Differs from that code: 128 x 128 instead of 256 x 256 images, a quarter of the channels and 300 steps
instead of 50 epochs, so that it trains on a CPU in minutes (all are fields); a bias at the network's
end; images stay in [0, 1] instead of being standardised one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from intact.anomaly.base import Images, check_halvings
from intact.anomaly.synthetic_maps import SyntheticMaps
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.poisson_patch import poisson_patches
from intact.nets.wide_residual import WideResidualMap


@dataclass(eq=False)
class PII(SyntheticMaps):
    """The share of foreign gradients that a network sees at each pixel."""

    size: int = 128  # side of the image in pixels, a multiple of 16
    widen: int = 1  # factor of the network's channels
    widths: tuple[float, float] = (0.05, 0.2)  # half of the square's side, as a share of the image's
    core: float = 0.8  # share of the sides in which the square's centre lies

    source: ClassVar[str] = "Tan et al., MICCAI 2021 (PII)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _network(self, channels: int) -> nn.Module:
        return WideResidualMap(channels, self.widen)

    def _make(self, images: Images, rng: np.random.Generator) -> Made:
        return poisson_patches(images, rng, widths=self.widths, core=self.core)
