"""`sd_net`: what occurs twice in an image is found by correlating learned features, and cut along segments.

Li, Wang, Zhou, Qin, "Image copy-move forgery detection and localization based on super-BPD segmentation and
DCNN" (SD-Net), Scientific Reports 12:14987, 2022, over the network of Wu, AbdAlmageed, Natarajan, "BusterNet:
Detecting Copy-Move Image Forgery with Source/Target Localization", ECCV 2018. Convolutions of VGG-16 describe
each place; a feature pyramid does so at several scales, against copies of another size. At each scale the
descriptions, of mean 0 and variance 1, are correlated with each other; of a place's correlations, in falling
order, a few are kept (percentile pooling), and inception blocks turn these into a coarse mask. A second
branch with a VGG of its own looks for traces of the manipulation itself (BusterNet), and a last block joins
both. Learned from as forged are both the copy and what was copied.

The coarse mask is cut along segments of the image: a segment is marked if its mean is above 0.5 and more than
0.3 of its pixels are; the marks are closed by a 3 x 3 square. The map shows of each pixel the mean of its
segment. The score of an image is made of the coarse mask alone.

BusterNet's layers are those of its authors' code. SD-Net has no published code, and its abstract, all that
was read here, names no sizes; the rules of marking are a choice made here.

Differs from the papers: SLIC segments of about 100 pixels, which need no training, instead of super-BPD; an
eighth of the width of VGG-16 (8-16-32-64 channels), with batch normalisation and from random weights; one
mask instead of three classes. Places lie every 8 and every 16 pixels, not 4, 8 and 16, at native resolution
instead of 256 x 256; each is compared with those three or more places away, as tissue is like its
surroundings; 16 ranks within the highest eighth, evenly on a logarithmic scale, instead of 256 along all.
Masks are made at half the sides. Branches and fusion are taught at once, each with focal Tversky and
cross-entropy. Beyond 512 pixels an image is seen window by window, and copies from one window to another are
missed.

Taught for minutes from random weights it finds copies mostly by their borders: of two like patches with fine
texture the places, eight pixels apart, seldom lie alike, so what was copied is hardly told from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor, nn

from intact.forensics.learned.base import Lesson, Lessons, top_mean
from intact.forensics.learned.crops import Crops
from intact.forensics.learned.pixel_network import PixelNetwork, forged_pixels
from intact.forge.base import FORGED, SOURCE
from intact.nets.sd_net import CopyNet
from intact.train import train

SEGMENT = 100  # pixels of a segment, about
COMPACT = 0.1  # how much a segment's shape counts beside its values, which are brought to 0 to 1
SMOOTHED = 1.0  # pixels by which noise is smoothed before
ROUNDS = 5  # of moving segments
EVEN, SHARE = 0.5, 0.3  # mean of a marked segment, and the share of its pixels above it
BELOW = np.nextafter(np.float32(EVEN), np.float32(0))
REACH = 0.75  # of a crop's side: so far apart may two pixels be that it is centred between


@dataclass(eq=False)
class SDNet(PixelNetwork):
    """How likely a network finds each pixel copied, or copied from.

    Args:
        width: Channels of the first block of VGG; 64 in the papers.
        pyramid: Channels of the feature pyramid.
        ranks: How many correlations of a place are kept.
    """

    crop: int = 192
    batch: int = 4
    width: int = 8
    pyramid: int = 32
    ranks: int = 16

    kind: ClassVar[str] = "copy-move"
    source: ClassVar[str] = "Li et al., Scientific Reports 2022; Wu et al., ECCV 2018"
    halvings: ClassVar[int] = 4

    def _network(self, channels: int) -> nn.Module:
        return CopyNet(channels, self.width, self.pyramid, self.ranks)

    def _fit(self, lessons: Lessons) -> None:
        self.net.to("cuda" if torch.cuda.is_available() else "cpu")
        with CopyCrops(BothForged(lessons), self.crop, self.batch, self.seed) as crops:
            optimiser = self._optimiser()
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
            batches = crops.batches()
            train(self.net, self._loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)
        self.net.to("cpu")

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        """Of both branches together, and of either alone."""
        logits = self.net(crops[:, :1])
        return torch.stack([forged_pixels(each, crops[:, 1:]) for each in logits.split(1, dim=1)]).sum()

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = self._logits(seen)
        return top_mean(logits), sharpened(torch.sigmoid(logits).numpy(), segments(seen.numpy()))


@dataclass(frozen=True)
class BothForged:
    """Lessons in which, besides a copy, what was copied counts as forged, where both lie in one plane."""

    lessons: Lessons

    def __iter__(self) -> Iterator[Lesson]:
        for image, labels in self.lessons:
            planes = labels.reshape(-1, *image.shape[-2:])
            copied = ((planes == FORGED).any((1, 2)) & (planes == SOURCE).any((1, 2)))[:, None, None]
            both = np.where(copied & (planes == SOURCE), np.uint8(FORGED), planes)
            yield image, both.reshape(labels.shape)


class CopyCrops(Crops):
    """Crops that lie around the middle of two forged pixels, so that many hold a copy and what was copied."""

    def _add(self, values: Float[ndarray, "h w"], target: Float[ndarray, "h w"]) -> None:
        known = len(self._forged)
        super()._add(values, target)
        if len(self._forged) > known:
            first = self._centres[-1]
            second = self._rng.permutation(first)
            near = np.abs(first - second).max(axis=1) <= REACH * self.side
            self._centres[-1] = np.where(near[:, None], (first + second) // 2, first)


def segments(plane: Float[ndarray, "h w"]) -> Int[ndarray, "h w"]:
    """Parts of like values and like size, counted from 0 (SLIC, Achanta et al., PAMI 34(11), 2012)."""
    from skimage.segmentation import slic

    found: Int[ndarray, "h w"] = slic(
        np.clip(plane, -1.0, 1.0),
        n_segments=max(1, plane.size // SEGMENT),
        compactness=COMPACT,
        max_num_iter=ROUNDS,
        sigma=SMOOTHED,
        start_label=0,
        channel_axis=None,
    )
    return found


def sharpened(coarse: Float[ndarray, "h w"], parts: Int[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """The mean of each part, at least 0.5 where it is marked or closed in by marks, and less elsewhere."""
    flat = parts.ravel()
    sizes = np.maximum(np.bincount(flat), 1)
    mean = np.bincount(flat, coarse.ravel()) / sizes
    share = np.bincount(flat, coarse.ravel() > EVEN) / sizes
    marked: UInt8[ndarray, "h w"] = ((mean > EVEN) & (share > SHARE))[parts].astype(np.uint8)
    mask = cv2.morphologyEx(marked, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    chances = np.where(mask, np.maximum(mean[parts], EVEN), np.minimum(mean[parts], BELOW))
    return chances.astype(np.float32)
