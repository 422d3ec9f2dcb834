"""Bottom-k samples: everything draws a lot once and for all, and the k smallest lots are kept.

A lot depends on the seed, on the image, and on the place in it, and on nothing else. So the sample is
uniform, whatever order the images came in, and it is a function of the set of images alone: take some
away, and what is left gives exactly the sample that it would have given had they never been there.

Source: Cohen, Kaplan, "Summarizing data using bottom-k sketches", PODC 2007.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

BITS = 63  # of a lot, so that signed integers hold it


@dataclass(frozen=True, eq=False)
class Sample:
    """Patches with the lots they drew, smallest first.

    Args:
        lots: Between 0 and 2**63.
        owners: A number for the image that each comes from.
        places: Where in it.
        vectors: What it looks like.
    """

    lots: Int[ndarray, "n"]
    owners: Int[ndarray, "n"]
    places: Int[ndarray, "n"]
    vectors: Float[ndarray, "n d"]

    def __len__(self) -> int:
        return len(self.lots)

    def take(self, which: ndarray) -> Sample:
        """Some of them, by index or mask."""
        return Sample(self.lots[which], self.owners[which], self.places[which], self.vectors[which])


def lots(seed: int, digest: str, count: int) -> Int[ndarray, "count"]:
    """The lots of the first `count` places of an image, each alike between 0 and 2**63.

    More places never change the lots of the first ones.
    """
    # A counter-based generator: NumPy promises that its raw numbers stay as they are.
    raw = np.random.Philox(key=int.from_bytes(_hash(seed, digest, 16), "little")).random_raw(count)
    return (raw >> np.uint64(64 - BITS)).astype(np.int64)


def lot(seed: int, text: str) -> int:
    """The lot of a whole image or patient."""
    return int.from_bytes(_hash(seed, text, 8), "little") >> (64 - BITS)


def smallest(numbers: Int[ndarray, "n"], count: int) -> Int[ndarray, "_"]:
    """Indices of the `count` smallest, or of all, in rising order; among equals the first."""
    return np.argsort(numbers, kind="stable")[:count]


def bottom_k(samples: Iterable[Sample], count: int) -> Sample | None:
    """The patches with the `count` smallest lots of all samples, or None where there is not one patch.

    Never holds more than three times as many, however many samples come, as long as each is small.
    """
    kept: Sample | None = None
    waiting: list[Sample] = []
    more = 0  # patches that wait
    for sample in samples:
        if kept is not None and len(kept) == count:
            sample = sample.take(sample.lots < kept.lots[-1])
        if len(sample):
            waiting.append(sample)
            more += len(sample)
        if more >= count:
            kept, waiting, more = _merge([kept, *waiting] if kept else waiting, count), [], 0
    return _merge([kept, *waiting] if kept else waiting, count) if waiting else kept


def _merge(samples: list[Sample], count: int) -> Sample:
    whole = Sample(*(np.concatenate([getattr(s, name) for s in samples]) for name in Sample.__annotations__))
    return whole.take(smallest(whole.lots, count))


def _hash(seed: int, text: str, size: int) -> bytes:
    key = seed.to_bytes(16, "little", signed=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=key, digest_size=size).digest()
