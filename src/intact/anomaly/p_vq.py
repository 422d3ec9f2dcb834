"""P-VQ: rebuild the image from a codebook of normal patches; what has no code cannot be rebuilt.

Kim, Lee, Jeong, Ham, Woo, "Patch-wise vector quantization for unsupervised medical anomaly
detection", Pattern Recognition Letters 184, 2024, https://doi.org/10.1016/j.patrec.2024.06.028.

Only its abstract is known to us, and no code was found. From it are: codes for whole patches of
features instead of single positions, chosen by the similarity of vectors, and codes used most being
switched off now and then. The rest is our proposal: the networks, all sizes, unit vectors, the losses
of the VQ-VAE, tokens normalised over the batch and codes that start at tokens (without these two
nearly all tokens soon share a few codes), the share that is switched off, and the score: a mean over
pixels as other methods that rebuild images have it, since a maximum finds the sharpest normal edge
(changed after the maximum had done badly on brain_mri and chest_xray of benchmarks/anomaly.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice
from intact.anomaly.pooling import POOLINGS
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.convolutions import doubling, halving
from intact.nets.vector_quantiser import Quantised, VectorQuantiser
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

STRIDE = 8  # pixels between positions of the map that patches are cut from


@dataclass(eq=False)
class PVQ(Detector):
    """Residual of an image rebuilt from codes of patches, plus the distance of patches to codes."""

    size: int = 128  # side of the image in pixels, a multiple of 8 * patch
    width: int = 128  # channels of the map that patches are cut from
    patch: int = 2  # side of a patch on that map
    dimensions: int = 64  # of a code
    codes: int = 512
    pooling: str = "mean"  # mean, max or top
    top: float = 0.1  # share of the codes that counts as used most; half of it is off in each step
    steps: int = 500
    lr: float = 2e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Kim et al., Pattern Recognition Letters 2024"

    def __post_init__(self) -> None:
        if self.size % (STRIDE * self.patch):
            raise UsageError(
                f"size {self.size} cannot be cut into patches of {STRIDE * self.patch} pixels: "
                f"use a multiple of {STRIDE * self.patch}"
            )
        check_choice("pooling", self.pooling, POOLINGS)

    def _build(self, channels: int) -> None:
        widths = (channels, self.width // 4, self.width // 2, self.width)
        cut = self.width * self.patch**2  # numbers in a patch
        self.encoder = nn.Sequential(
            halving(widths),
            nn.PixelUnshuffle(self.patch),
            nn.Conv2d(cut, self.dimensions, 1, bias=False),
            nn.BatchNorm2d(self.dimensions, affine=False),
        )
        self.quantiser = VectorQuantiser(self.codes, self.dimensions, top=self.top)
        self.decoder = nn.Sequential(
            nn.Conv2d(self.dimensions, cut, 1), nn.PixelShuffle(self.patch), doubling(widths[::-1])
        )

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            rebuilt, found = self._rebuild(images)
            return F.mse_loss(rebuilt, images) + found.loss

        learned = nn.ModuleList([self.encoder, self.quantiser, self.decoder])
        optimiser = torch.optim.Adam(learned.parameters(), lr=self.lr)
        with torch.random.fork_rng(devices=[]):  # which the quantiser draws from
            torch.manual_seed(self.seed)
            with torch.no_grad():
                first = next(iter(batches)).to(self.quantiser.book.device)
                self.quantiser.start_from(self._tokens(first))
            train(learned, loss, batches, steps=self.steps, optimiser=optimiser)

    def _score(self, images: Images) -> Scores:
        rebuilt, found = self._rebuild(images)
        distance = upsample(found.distance.unflatten(1, self._grid), (self.size, self.size))
        pixel = (images - rebuilt).abs().mean(dim=1) + distance
        return Scores(image=POOLINGS[self.pooling](pixel), pixel=pixel)

    @property
    def _grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.size // (STRIDE * self.patch)
        return side, side

    def _tokens(self, images: Tensor) -> Float[Tensor, "n t d"]:
        """One vector per patch, row by row."""
        with computing(self.precision, images.device.type):
            return self.encoder(images).float().flatten(2).transpose(1, 2)

    def _rebuild(self, images: Tensor) -> tuple[Tensor, Quantised]:
        """The image from codes alone, and what became of its tokens."""
        found = self.quantiser(self._tokens(images))
        codes = math.sqrt(self.dimensions) * found.codes  # about 1 in each, as networks like it
        with computing(self.precision, images.device.type):
            rebuilt = self.decoder(codes.transpose(1, 2).unflatten(2, self._grid))
        return rebuilt.float(), found
