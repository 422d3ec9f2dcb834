"""What all segmentation networks share: training on images with masks, and segmenting with them.

Each label has its own channel and its own sigmoid, so masks may overlap. Images are seen in
patches; where patches overlap their answers are averaged, the middle of a patch counting most.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from torch import Tensor, nn

from intact.errors import NotFittedError, UsageError
from intact.image import Image
from intact.precision import best_precision
from intact.segment.base import Segmenter
from intact.segment.morphology import Mask
from intact.segment.patches import Patches
from intact.segment.plan import Plan, resample
from intact.train import train

N = TypeVar("N", bound="Network")
Pairs = Iterable[tuple[Image, Mapping[str, Mask]]]  # may be iterated several times

OVERLAP = 0.5  # of neighbouring patches
NOISE = 0.5  # a part smaller than this share of the smallest one learned from is taken for noise


@dataclass(eq=False)
class Network(Segmenter):
    """A segmenter that learns from images with masks.

    Args:
        steps: Optimiser steps.
        batch: Patches in a step.
        seed: Decides the first weights, the patches and their augmentation.
        mirror: Whether left and right are alike: half of the patches are mirrored in training, and
            answers are the mean of both looks. Not for labels that name a side.
    """

    steps: int = 600
    batch: int = 8
    seed: int = 0
    mirror: bool = False

    family: ClassVar[str] = "network"

    @final
    def fit(self: N, pairs: Pairs) -> N:
        """Learn from images and the masks of each label; a second call forgets the first.

        Args:
            pairs: Every image has the same labels; iterated more than once.

        Raises:
            ValueError: There are fewer than two images.
        """
        first = next(iter(pairs), None)
        if first is None:
            raise ValueError("there are no images with masks to learn from")
        self.labels_ = tuple(first[1])
        self.plan_ = self._plan(pairs)
        self._build_network()
        with Patches(self.plan_.patch, self.batch, self.seed, self.mirror) as patches:
            for image, masks in pairs:
                for part, own in self._parts(image, masks):
                    seen = [self.plan_.prepare_mask(own[label], part) for label in self.labels_]
                    patches.add(self.plan_.prepare(part), torch.cat(seen))
            if len(patches) < 2:
                raise ValueError("one image with masks is too little to learn from: give more")
            self.smallest_ = tuple(NOISE * part for part in patches.smallest)
            self.net.to("cuda" if torch.cuda.is_available() else "cpu").to(memory_format=self._layout)  # type: ignore[call-overload]
            optimiser, schedule = self._optimise()
            batches = patches.batches(self.plan_.channels)
            train(self.net, self._loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)
        return self.load(self.state(), self.learned())  # on the CPU, as one that was saved

    @final
    def segment(self, image: Image) -> Mask:
        """Everything that bears one of the labels: bool, of the image's shape."""
        found: Mask = np.any(list(self.masks(image).values()), axis=0)
        return found

    @final
    def masks(self, image: Image) -> dict[str, Mask]:
        """The mask of each label: bool, of the image's shape.

        Raises:
            NotFittedError: Nothing was learned yet.
            UsageError: A plane for a network of volumes, or a time series.
        """
        chances = self.probabilities(image)
        return dict(zip(self.labels_, chances >= 0.5, strict=True))

    @final
    @torch.no_grad()
    def probabilities(self, image: Image) -> Float[ndarray, "labels ..."]:
        """How likely each voxel bears each label: float32 in [0, 1], of the image's shape.

        Raises:
            NotFittedError: Nothing was learned yet.
            UsageError: A plane for a network of volumes, or a time series.
        """
        if not hasattr(self, "plan_"):
            raise NotFittedError(f"{type(self).__name__} has learned nothing yet: call fit() or load a model")
        self._check(image)
        if self.plan_.dimensions == 3:
            if len(image.shape) != 3:
                raise UsageError(f"this network takes volumes [d,h,w], and the image has shape {image.shape}")
            return self._of(image)
        planes = [self._of(image.plane(index)) for index in range(image.planes)]
        return np.stack(planes, axis=1).reshape(len(self.labels_), *image.shape)

    @final
    def state(self) -> dict[str, Tensor]:
        """Everything learned that is a tensor, by name."""
        return self.net.state_dict()

    @final
    def learned(self) -> dict[str, Any]:
        """Everything learned that is plain data."""
        plan = {field.name: getattr(self.plan_, field.name) for field in fields(self.plan_)}
        return {"labels": self.labels_, "smallest": self.smallest_, "plan": plan}

    @final
    def load(self: N, tensors: dict[str, Tensor], learned: Mapping[str, Any]) -> N:
        """Take over what another network with the same fields has learned."""
        self.labels_, self.smallest_ = tuple(learned["labels"]), tuple(learned["smallest"])
        self.plan_ = Plan(**learned["plan"])
        self._build_network()
        self.net.load_state_dict(tensors)
        self.net.to(memory_format=self._layout).eval()  # type: ignore[call-overload]
        return self

    @abstractmethod
    def _plan(self, pairs: Pairs) -> Plan: ...

    @abstractmethod
    def _build(self, channels: int, labels: int) -> nn.Module: ...

    def _optimise(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """AdamW, falling to nothing along a cosine."""
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=1e-4)
        return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)

    def _answer(self, patches: Tensor) -> Tensor:
        """Logits of patches."""
        logits: Tensor = self.net(patches)
        return (logits + self.net(patches.flip(-1)).flip(-1)) / 2 if self.mirror else logits

    def _compare(self, logits: Tensor, masks: Tensor) -> Tensor:
        return dice_and_entropy(logits, masks)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.plan_.dimensions == 2 else torch.channels_last_3d

    def _build_network(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = self._build(self.plan_.channels, len(self.labels_))

    def _parts(self, image: Image, masks: Mapping[str, Mask]) -> Iterable[tuple[Image, Mapping[str, Mask]]]:
        """The volume, or its planes for a network of planes."""
        if self.plan_.dimensions == len(image.shape):
            return [(image, masks)]
        flat = {label: mask.reshape(-1, *mask.shape[-2:]) for label, mask in masks.items()}
        return (
            (image.plane(index), {label: mask[index] for label, mask in flat.items()})
            for index in range(image.planes)
        )

    def _loss(self, batch: Tensor) -> Tensor:
        device = next(self.net.parameters()).device.type
        batch = batch.to(memory_format=self._layout)
        images, masks = batch[:, : self.plan_.channels], batch[:, self.plan_.channels :]
        fast = device == "cuda" or best_precision() == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=fast):
            logits = self.net(images)
        return self._compare(logits.float(), masks)

    def _of(self, image: Image) -> Float[ndarray, "labels ..."]:
        """One plane, or one volume for a network of volumes."""
        from monai.inferers import sliding_window_inference

        seen = self.plan_.prepare(image)[None]
        logits = sliding_window_inference(
            seen, self.plan_.patch, self.batch, self._answer, overlap=OVERLAP, mode="gaussian"
        )
        chances = torch.sigmoid(logits[0])
        for chance, smallest in zip(chances, self.smallest_, strict=True):
            _silence_specks(chance, smallest)
        return resample(chances, image.shape).numpy()


def dice_and_entropy(logits: Float[Tensor, "b k ..."], masks: Float[Tensor, "b k ..."]) -> Tensor:
    """Soft Dice over the whole batch, one per label, plus binary cross-entropy.

    Source: the loss of nnU-Net, Isensee et al., Nature Methods 18, 2021, with sigmoids.
    """
    axes = (0, *range(2, logits.ndim))
    chances = torch.sigmoid(logits)
    both = 2 * (chances * masks).sum(axes) + 1e-5
    dice = both / (chances.sum(axes) + masks.sum(axes) + 1e-5)
    return 1 - dice.mean() + F.binary_cross_entropy_with_logits(logits, masks)


def _silence_specks(chances: Float[Tensor, "..."], smallest: float) -> None:
    """Take back, in place, parts much smaller than any learned from; the largest stays."""
    parts, count = ndimage.label(chances.numpy() >= 0.5)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = sizes.max()
        chances[torch.from_numpy(sizes[parts] < min(smallest, sizes[1:].max()))] = 0.0
