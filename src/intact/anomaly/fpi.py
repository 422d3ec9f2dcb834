"""FPI: find the square in which an image was mixed with another one, and the share of the other.

Tan, Hou, Batten, Qiu, Kainz, "Detecting Outliers with Foreign Patch Interpolation", MELBA 2022,
https://arxiv.org/abs/2011.04197. Network, loss and numbers are those of the authors' code
(jemtan/FPI); of the paper only the abstract was at hand.

Differs from that code: 128 x 128 slices instead of 256 x 256 (brain) or 512 x 512 (abdomen), a
quarter of the channels and 300 steps instead of 50 epochs, so that it trains on a CPU in minutes (all
are fields); a bias at the network's end. Its abdominal network has one more stage and predicts the share
in classes. The other image is another one of the batch, not the same slice of another patient. What
differs by less than 0.001 is not labelled, there only in the abdomen. A single image's score is the mean
of its map; there a patient's is the mean over the highest quarter of smoothed slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from intact.anomaly.base import Images, check_halvings
from intact.anomaly.synthetic_maps import SyntheticMaps
from intact.forge.synthetic.interpolation import interpolate_patches
from intact.forge.synthetic.made import Made
from intact.nets.wide_residual import WideResidualMap


@dataclass(eq=False)
class FPI(SyntheticMaps):
    """The share of foreign matter that a network sees at each pixel.

    Suits aligned images: a square must hold the same anatomy in both images.
    """

    size: int = 128  # side of the image in pixels, a multiple of 16
    widen: int = 1  # factor of the network's channels
    widths: tuple[float, float] = (0.05, 0.2)  # half of the square's side, as a share of the image's
    core: float = 0.8  # share of the sides in which the square's centre lies; 0.5 for brains there

    source: ClassVar[str] = "Tan et al., MELBA 2022 (FPI)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _network(self, channels: int) -> nn.Module:
        return WideResidualMap(channels, self.widen)

    def _make(self, images: Images, rng: np.random.Generator) -> Made:
        return interpolate_patches(images, rng, widths=self.widths, core=self.core)
