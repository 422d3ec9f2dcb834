"""Crops of forged and genuine planes, as often as training likes.

Half of them come from genuine planes. Of the others half are centred on a forged pixel, somewhat moved,
and half lie anywhere (the mixture of forensics card F11). They are turned by right angles and mirrored;
any finer turn would resample, and so wipe out what is to be learned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from intact.forensics.learned.base import Lessons, planes_of
from intact.forge.base import FORGED, GENUINE

UNKNOWN = -1.0  # target of what neither counts as forged nor as genuine: borders, sources, padding
CENTRES = 1024  # forged pixels kept of a plane
JITTER = 0.25  # of the side, from the centre

Plane = Float[ndarray, "h w"]


class Crops:
    """Prepared planes on disk, read in batches of crops: memory stays flat.

    Use as a context manager; the files are gone afterwards.

    Args:
        lessons: Genuine and forged images.
        side: Of a crop, in pixels.
        batch: Crops in a batch.
        seed: Decides which.
        genuine_only: Take no forged plane.
        change: What is done to each prepared plane before anything is cut from it.

    Raises:
        ValueError: There is no genuine plane, or no forged one where they are wanted.
    """

    def __init__(
        self,
        lessons: Lessons,
        side: int,
        batch: int,
        seed: int,
        *,
        genuine_only: bool = False,
        change: Callable[[Plane], Plane] = lambda plane: plane,
    ) -> None:
        self.side, self.batch = side, batch
        self._rng = np.random.default_rng(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="intact-crops-")
        self._genuine: list[NDArray[np.float32]] = []  # [2, h, w], values and targets, mapped from files
        self._forged: list[NDArray[np.float32]] = []
        self._centres: list[NDArray[np.intp]] = []  # of each forged plane
        for plane, valid, labels in planes_of(lessons):
            if not (genuine_only and labels.any()):
                self._add(change(plane), np.where(valid, _target(labels), np.float32(UNKNOWN)))
        if not self._genuine or not (self._forged or genuine_only):
            self._folder.cleanup()
            wanted = "genuine images" if not self._genuine else "forged images with masks"
            raise ValueError(f"there are no {wanted} to learn from")

    def __enter__(self) -> Crops:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._genuine.clear()
        self._forged.clear()
        self._folder.cleanup()

    def batches(self) -> Iterator[Float[Tensor, "b 2 side side"]]:
        """Batches without end: values in the first channel, in the second 1 forged, 0 genuine, -1 unknown."""
        while True:
            drawn = [self._draw(n % 2 == 1) for n in range(self.batch)]
            yield torch.from_numpy(np.stack(drawn))

    def _add(self, values: Float[ndarray, "h w"], target: Float[ndarray, "h w"]) -> None:
        short = [max(0, self.side - n) for n in values.shape]
        ends = [(n // 2, n - n // 2) for n in short]
        both = np.stack([np.pad(values, ends, mode="reflect" if _fits(values, ends) else "edge"),
                         np.pad(target, ends, constant_values=UNKNOWN)])  # fmt: skip
        path = Path(self._folder.name) / f"{len(self._genuine) + len(self._forged)}.npy"
        np.save(path, both)
        kept = np.load(path, mmap_mode="r")
        found = np.argwhere(both[1] == 1.0)
        if len(found):
            self._forged.append(kept)
            self._centres.append(found[self._rng.permutation(len(found))[:CENTRES]])
        else:
            self._genuine.append(kept)

    def _draw(self, forged: bool) -> Float[ndarray, "2 side side"]:
        forged = forged and bool(self._forged)
        planes = self._forged if forged else self._genuine
        at = int(self._rng.integers(len(planes)))
        room = [n - self.side for n in planes[at].shape[1:]]
        start = [int(self._rng.integers(r + 1)) for r in room]
        if forged and self._rng.random() < 0.5:
            centre = self._centres[at][self._rng.integers(len(self._centres[at]))]
            moved = self._rng.uniform(-JITTER, JITTER, 2) * self.side
            start = [
                int(np.clip(round(c + m) - self.side // 2, 0, r))
                for c, m, r in zip(centre, moved, room, strict=True)
            ]
        rows, columns = (slice(first, first + self.side) for first in start)
        crop = np.array(planes[at][:, rows, columns])
        turned = np.rot90(crop, int(self._rng.integers(4)), axes=(1, 2))
        return np.ascontiguousarray(turned[:, :, ::-1] if self._rng.random() < 0.5 else turned)


def _target(labels: ndarray) -> Float[ndarray, "h w"]:
    wanted = np.full(labels.shape, UNKNOWN, np.float32)
    wanted[labels == GENUINE], wanted[labels == FORGED] = 0.0, 1.0
    return wanted


def _fits(values: ndarray, ends: list[tuple[int, int]]) -> bool:
    """Whether there is enough to mirror."""
    return all(max(end) < n for n, end in zip(values.shape, ends, strict=True))
