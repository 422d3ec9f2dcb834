"""Patches of prepared images and masks, drawn and augmented as often as training likes.

A third of the patches is centred on labelled voxels, as nnU-Net does it, since most others hold
none where the object is small.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

LABELLED = 1 / 3  # of the patches
CENTRES = 4096  # labelled voxels kept of a case


class Patches:
    """Prepared cases on disk, read in batches of patches: memory stays flat.

    Use as a context manager; the files are gone afterwards.
    """

    def __init__(self, patch: tuple[int, ...], batch: int, seed: int, mirror: bool = False) -> None:
        self.patch, self.batch = patch, batch
        self.smallest: list[float] = []  # part of each label so far, in voxels
        self._rng = np.random.default_rng(seed)
        self._augment = _augmentation(len(patch), seed, mirror)
        self._folder = tempfile.TemporaryDirectory(prefix="intact-patches-")
        self._cases: list[NDArray[np.float32]] = []  # [c + labels, ...], mapped from files
        self._centres: list[NDArray[np.intp]] = []

    def __enter__(self) -> Patches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._cases.clear()
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, image: Float[Tensor, "c ..."], masks: Float[Tensor, "k ..."]) -> None:
        """Keep one prepared image with its masks, one channel for each label."""
        path = Path(self._folder.name) / f"{len(self)}.npy"
        np.save(path, torch.cat([image, masks]).numpy())
        self._cases.append(np.load(path, mmap_mode="r"))
        found = np.argwhere(masks.numpy().any(axis=0))
        few = self._rng.permutation(len(found))[:CENTRES]
        self._centres.append(found[few])
        parts = [_smallest_part(mask) for mask in masks.numpy()]
        self.smallest = [min(pair) for pair in zip(self.smallest or parts, parts, strict=True)]

    def batches(self, channels: int) -> Iterator[Float[Tensor, "b c+k ..."]]:
        """Batches without end: images in the first `channels`, then masks."""
        while True:
            chosen = self._rng.integers(len(self), size=self.batch)
            wanted = self._rng.random(self.batch) < LABELLED
            drawn = [self._draw(case, labelled) for case, labelled in zip(chosen, wanted, strict=True)]
            yield torch.stack([self._changed(patch, channels) for patch in drawn])

    def _draw(self, case: int, labelled: bool) -> Float[Tensor, "c+k ..."]:
        """One patch; a case that is smaller is filled up with zeros, which is the mean."""
        whole, centres = self._cases[case], self._centres[case]
        shape = whole.shape[1:]
        room = [max(0, n - side) for n, side in zip(shape, self.patch, strict=True)]
        start = [int(self._rng.integers(r + 1)) for r in room]
        if labelled and len(centres):
            centre = centres[self._rng.integers(len(centres))]
            start = [min(max(0, int(at) - side // 2), r)
                     for at, side, r in zip(centre, self.patch, room, strict=True)]  # fmt: skip
        box = tuple(slice(at, at + side) for at, side in zip(start, self.patch, strict=True))
        patch = torch.from_numpy(np.array(whole[(slice(None), *box)]))
        lacking = [side - n for n, side in zip(patch.shape[1:], self.patch, strict=True)]
        # Both ends of each axis, the last axis first; as sliding windows fill up small images.
        return F.pad(patch, [end for lack in reversed(lacking) for end in (lack // 2, lack - lack // 2)])

    def _changed(self, patch: Float[Tensor, "c+k ..."], channels: int) -> Float[Tensor, "c+k ..."]:
        parts: dict[str, Any] = self._augment({"image": patch[:channels], "mask": patch[channels:]})
        return torch.cat([parts["image"], parts["mask"]])


def _smallest_part(mask: Float[ndarray, "..."]) -> float:
    parts, count = ndimage.label(mask)
    return float(np.bincount(parts.ravel())[1:].min()) if count else float("inf")


def _augmentation(dimensions: int, seed: int, mirror: bool) -> Any:
    """Rotation, scale and shift of both; contrast, brightness, blur and noise of the image.

    Ranges and chances as in nnU-Net (Isensee et al., Nature Methods 18, 2021, supplement), except
    for a smaller rotation, since patients are not upside down, and mirroring of left and right only,
    if at all.
    """
    from monai.transforms import (
        Compose,
        RandAdjustContrastd,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        ToTensord,
    )

    turn = (0.35,) if dimensions == 2 else (0.35, 0.2, 0.2)  # radians
    chain = Compose(
        [
            RandFlipd(("image", "mask"), prob=0.5 if mirror else 0.0, spatial_axis=dimensions - 1),
            RandAffined(
                ("image", "mask"),
                prob=0.7,
                rotate_range=turn,
                scale_range=((-0.2, 0.25),) * dimensions,
                translate_range=(8,) * dimensions,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandGaussianNoised("image", prob=0.15, std=0.1),
            RandGaussianSmoothd("image", prob=0.2),
            RandScaleIntensityd("image", prob=0.3, factors=0.3),
            RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5)),
            ToTensord(("image", "mask"), track_meta=False),
        ]
    )
    return chain.set_random_state(seed)
