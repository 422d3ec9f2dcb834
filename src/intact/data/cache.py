"""Prepared planes on disk, read in batches as often as a method likes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from intact.errors import OutputError


class PlaneCache:
    """Float32 planes (c, size, size), or cubes, in a temporary file: training memory stays flat.

    Use as a context manager; the file is gone afterwards.
    """

    def __init__(self, channels: int, size: int, axes: int = 2) -> None:
        self.shape = (channels, *[size] * axes)
        self._file = tempfile.TemporaryFile(prefix="intact-planes-")  # noqa: SIM115 - closed by close()
        self._count = 0

    def __enter__(self) -> PlaneCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        with suppress(OSError):  # closing writes what is left, which a full disk has refused before
            self._file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, plane: Float[Tensor, "c *sides"]) -> None:
        """Add one plane at the end.

        Raises:
            OutputError: The temporary folder is full.
        """
        with self._full_disk_told():
            self._file.write(np.ascontiguousarray(plane.numpy(), np.float32).tobytes())
        self._count += 1

    def planes(self) -> Float[ndarray, "n c *sides"]:
        """All planes, mapped from the file rather than loaded; changes stay out of the file."""
        with self._full_disk_told():
            self._file.flush()
        return np.memmap(self._file, np.float32, "c", shape=(self._count, *self.shape))

    @staticmethod
    @contextmanager
    def _full_disk_told() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: prepared images cannot be kept there ({error.strerror}); "
                "make room or set TMPDIR to a larger disk"
            ) from error

    def batches(self, members: Int[ndarray, "m"], batch_size: int, seed: int) -> Batches:
        """The planes `members` in shuffled batches, shuffled anew each time they are iterated."""
        return Batches(self.planes(), members, batch_size, seed)


class Batches:
    """Re-iterable, shuffled batches of planes."""

    def __init__(self, planes: Float[ndarray, "n c *sides"], members: Int[ndarray, "m"],
                 batch_size: int, seed: int) -> None:  # fmt: skip
        self._planes, self._members, self._batch_size = planes, members, batch_size
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Float[Tensor, "_ c *sides"]]:
        order = self._rng.permutation(self._members)
        # Even parts: a last batch of one image would have no variance to normalise by.
        for chosen in np.array_split(order, -(-len(order) // self._batch_size)):
            yield torch.from_numpy(self._planes[np.sort(chosen)])
