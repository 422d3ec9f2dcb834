"""`ela_cnn`: a small network on how much a picture changes where it is compressed once more.

Error level analysis: Krawetz, "A picture's worth: digital image analysis and forensics", Black Hat Briefings
2007. The network is a widespread recipe without a paper of its own, taught on CASIA v2 (its numbers were
taken from descriptions of it, and not verified at a source): two convolutions 5 x 5 (32) without padding,
maximum over 2 x 2, dropout 0.25, a layer of 256, dropout 0.5; all rectified; cross-entropy, RMSprop with
5e-4. Its accuracies of about 90 % are mostly those of telling JPEG files from others, which genuine and
forged images of that collection are: teach with images that were saved alike, and expect little of images
that never were JPEG files.

The error level is found over the whole plane, as everywhere, and then cut into windows. A plane of at most
256 evenly spaced values is taken in grey levels and on the grid that its pixels vote for, as `ela` takes it.
Any other plane is stretched so that -1 to 1 of `prepared` becomes 255 grey levels, is not rounded to them,
and begins a block at its corner; what remains is how much of it lies below the steps of JPEG.
What was last saved at the very quality asked for hardly changes anywhere, and so tells nothing.

Differs from the recipe: windows of 64 x 64 at full resolution instead of the image resized to 128 x 128; one
grey channel instead of three colours; JPEG's rounding of coefficients alone, without a file; the error is
brightened until its highest thousandth is white, not its one highest pixel; one output instead of two; 600
steps instead of 20 to 30 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import fft
from torch import nn

from intact.forensics.jpeg.blocks import SIDE, block_coefficients, standard_table
from intact.forensics.learned.grey_levels import LEVELS, Plane, grey_levels, grid_origin
from intact.forensics.learned.window_network import WindowNetwork

WHITE = 99.9  # percentile of the errors of a plane
FILTERS, HIDDEN = 32, 256


@dataclass(eq=False)
class ELACNN(WindowNetwork):
    """How likely a small network finds the error level of a window forged.

    Args:
        quality: Of the compression, 1 to 100.
        lr: The first learning rate, of RMSprop.
    """

    stride: int = 32
    lr: float = 5e-4
    quality: int = 90

    source: ClassVar[str] = "Krawetz, Black Hat Briefings 2007, and a widespread network"

    def _network(self, channels: int) -> nn.Module:
        pooled = (self.window - 8) // 2
        return nn.Sequential(
            nn.Conv2d(channels, FILTERS, 5),
            nn.ReLU(inplace=True),
            nn.Conv2d(FILTERS, FILTERS, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(FILTERS * pooled**2, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, 1),
        )

    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(self.net.parameters(), lr=self.lr, alpha=0.9)

    def _seen(self, plane: Plane) -> Plane:
        return error_level(plane, self.quality)


def error_level(plane: Plane, quality: int) -> Plane:
    """How much a prepared plane changes by JPEG of this quality, 1 where it changes most."""
    levels = grey_levels(plane)
    if levels is None:
        shown = (plane * ((LEVELS - 1) / 2)).astype(np.float32)
        error = np.abs(_compressed(shown, (0, 0), quality) - shown)
    else:
        again = _compressed(levels, grid_origin(levels) or (0, 0), quality)
        error = np.abs(np.clip(np.rint(again), 0, LEVELS - 1) - levels)
    white = np.percentile(error, WHITE)
    return np.minimum(error / white if white > 0 else error, 1.0).astype(np.float32)


def _compressed(plane: Plane, origin: tuple[int, int], quality: int) -> Plane:
    """With the cosine coefficients of its blocks rounded to whole steps."""
    corner = [-start % SIDE for start in origin]
    ends = [(c, -(n + c) % SIDE) for n, c in zip(plane.shape, corner, strict=True)]
    blocks, steps = block_coefficients(np.pad(plane, ends, mode="edge"), (0, 0)), standard_table(quality)
    again = fft.idctn(np.rint(blocks / steps) * steps, axes=(2, 3), norm="ortho").swapaxes(1, 2)
    whole = again.reshape([n + sum(end) for n, end in zip(plane.shape, ends, strict=True)])
    top, left = corner
    return np.asarray(whole[top : top + plane.shape[0], left : left + plane.shape[1]])
