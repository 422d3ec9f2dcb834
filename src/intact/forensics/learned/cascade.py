"""`cascade`: small pictures are judged one by one, and the heat map of all of them is judged as a whole.

Zhang, Huang, Liu, Han, Xiang, "GAN-based Medical Image Small Region Forgery Detection via a Two-Stage Cascade
Framework", PLoS ONE 19(1), e0290303, 2024 (arXiv:2205.15170). A forgery that covers less than a hundredth of
a slice is lost among what is genuine, so the first network sees sub-images alone: depthwise-separable
convolutions with shortcuts, against over-fitting, and attention. What it finds of each is laid back on the
slice, as a heat map. Whether the slice was forged is then told from the texture of that map, by features of
grey-level co-occurrence (Haralick) and a support vector machine with a radial kernel.

The authors published no code, and their abstract, all that was read here, names no sizes. Chosen here are
sub-images of 32 x 32 pixels, every 8 pixels; a convolution 3 x 3 and five blocks of two separable
convolutions, batch normalisation, attention to channels and a shortcut, 16-16-32-32-64-64 channels,
halving in the first and third; dropout 0.3 before the last layer; cross-entropy, AdamW at 1e-3 along a
cosine. Of the map: 16 levels, distances 1, 2 and 4, four angles averaged; contrast, correlation, energy,
homogeneity and entropy of each distance, the five highest peaks, and the share above 0.5. The machine
has C = 10 and gamma one over the number of features, which are standardised; both classes count alike in it.

The machine is fitted on heat maps of patients that the network did not learn from, a third of all: those of
its own lessons are cleaner than any it will meet. Where there are too few patients for that, both learn from
all. What is kept of the machine are its support vectors and their weights.

Differs from the paper: one channel instead of three windows of CT values; native pixels, not 1 mm; no
persistence of peaks over slices, as planes are examined one by one; no principal components (the preprint has
them); the first block halves already, so that a slice takes a second on one core; half of the sub-images
learned from are genuine planes', a quarter have a forged pixel near their middle, and hard negatives are not
looked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from intact.data.splits import hold_out
from intact.forensics.learned.base import Lessons, planes_of
from intact.forensics.learned.fusion import Some
from intact.forensics.learned.svm import machine_answers
from intact.forensics.learned.window_network import WindowNetwork, window_map
from intact.forge.base import FORGED
from intact.nets.cascade import LocalDetector

HELD_OUT = 1 / 3  # of the patients, for the second stage
LEVELS = 16  # of the quantised heat map
DISTANCES = (1, 2, 4)  # between cells whose levels are compared
ANGLES = tuple(n * math.pi / 4 for n in range(4))
PROPERTIES = ("contrast", "correlation", "energy", "homogeneity", "entropy")
PEAKS = 5
SURE = 0.5  # from which on a cell counts as forged
TINY = 1e-6  # spread of a feature that is the same in all heat maps
COST = 10.0  # of a heat map on the wrong side


@dataclass(eq=False)
class Cascade(WindowNetwork):
    """On which side of a machine's border the heat map of all sub-images lies, and how far from it.

    Args:
        width: Channels of the network's first layer; the last has four times as many.
    """

    window: int = 32
    stride: int = 8
    width: int = 16

    source: ClassVar[str] = "Zhang et al., PLoS ONE 2024"

    def _network(self, channels: int) -> nn.Module:
        net = LocalDetector(channels, self.width)
        # With channels last in memory separable convolutions are nearly twice as fast.
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _fit(self, lessons: Lessons) -> None:
        local, whole = _parts(lessons, self.seed)
        super()._fit(local)
        self._fit_machine(whole)

    @torch.no_grad()
    def _fit_machine(self, lessons: Lessons) -> None:
        from sklearn.svm import SVC  # takes seconds to import, and only fitting needs it

        found, forged = [], []
        for seen, valid, labels in planes_of(lessons):
            if (kind := _forged(valid, labels)) is not None:
                found.append(heat_features(self._heat(self._judge_windows(torch.from_numpy(seen)))))
                forged.append(kind)
        features = torch.stack(found)
        self.mean_, self.spread_ = features.mean(0), features.std(0, correction=0).clamp(min=TINY)
        scaled = ((features - self.mean_) / self.spread_).numpy()
        machine = SVC(C=COST, gamma=1 / scaled.shape[1], class_weight="balanced").fit(scaled, forged)
        self.support_ = torch.from_numpy(machine.support_vectors_).float()
        self.weights_ = torch.from_numpy(machine.dual_coef_[0]).float()
        self.bias_ = torch.from_numpy(machine.intercept_).float()

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = self._judge_windows(seen)
        scaled = (heat_features(self._heat(logits)) - self.mean_) / self.spread_
        answer = machine_answers(scaled[None], self.support_, self.weights_, self.bias_)
        return float(answer), torch.sigmoid(logits).numpy().astype(np.float32)

    def _judge_windows(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        return window_map(seen, self.window, self.stride, self._judged)

    def _heat(self, logits: Float[Tensor, "h w"]) -> Float[Tensor, "r c"]:
        """How likely each cell of `stride` x `stride` pixels is forged."""
        half = self.stride // 2
        return torch.sigmoid(logits[half :: self.stride, half :: self.stride])


def heat_features(heat: Float[Tensor, "r c"]) -> Float[Tensor, "21"]:
    """Texture of a heat map: five numbers for each distance; then its highest peaks, and how much is hot."""
    from skimage.feature import graycomatrix, graycoprops

    levels = (heat * LEVELS).clamp(max=LEVELS - 1).to(torch.uint8).numpy()
    pairs = graycomatrix(levels, DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
    texture = np.stack([graycoprops(pairs, name).mean(axis=1) for name in PROPERTIES], axis=1)
    tops = heat[heat == F.max_pool2d(heat[None], 3, 1, 1)[0]].sort(descending=True).values[:PEAKS]
    peaks = F.pad(tops, (0, PEAKS - len(tops)))
    hot = (heat > SURE).float().mean()[None]
    return torch.cat([torch.from_numpy(texture.ravel()).float(), peaks, hot])


def _parts(lessons: Lessons, seed: int) -> tuple[Lessons, Lessons]:
    """What the network learns from, and what the machine does: other patients, if both can learn then."""
    kinds = [{_forged(valid, labels) for _, valid, labels in planes_of([lesson])} for lesson in lessons]
    patients = [image.identity.patient or f"image {n}" for n, (image, _) in enumerate(lessons)]
    if len(set(patients)) < 2:
        return lessons, lessons
    held = hold_out(patients, HELD_OUT, seed)
    for part in (held, ~held):
        if not {True, False} <= set().union(*(kinds[n] for n in np.flatnonzero(part))):
            return lessons, lessons
    return Some(lessons, ~held), Some(lessons, held)


def _forged(valid: Bool[ndarray, "h w"], labels: UInt8[ndarray, "h w"]) -> bool | None:
    """Whether a plane was forged; None where it was only copied from, or forged where nothing is known."""
    if (labels[valid] == FORGED).any():
        return True
    return None if labels.any() else False
