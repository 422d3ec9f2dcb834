"""The same content in two patients or two studies, as it was, mirrored, shifted or in another window: B6.

Slices are taken one by one. Each leaves a fingerprint (`fingerprint.py`); those that look alike are read
again and compared by their noise, which is the same only where one was made from the other. Slices of
one study are not compared: reconstructions of one scan share its noise, and neighbouring slices look
alike. Neither is a declared copy: the same SOP Instance UID, or one that names the other as its source.

A fingerprint takes 32 bytes, and to search a million of them, in four orientations, some 10 ms: an hour or
two for an archive of a million slices. Buckets would be quicker and would miss some. What was turned
by some degrees or scaled is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt64
from numpy import ndarray
from scipy import fft
from scipy.stats import rankdata

from intact.forensics.base import Finding, Severity
from intact.forensics.slices.fingerprint import TURNS, WORDS, body, fingerprint, turn, turned
from intact.image import Image
from intact.io import read
from intact.residual import correlation, without_structure

LOOK_ALIKE = (14, 80)  # bits of the first 64 and of the other 192 that copies differ by, at most
CANDIDATES = 4  # that look most alike are read again
COPY = 0.4  # correlation of noise above which one was made from the other; neighbours reach 0.27
OVERLAP = 0.5  # of the smaller body that the two have in common, at least
CALM = 0.5  # of a body counts for its noise
AROUND = 7  # pixels, side of the windows that tell what is calm
FEWEST = 500  # calm pixels
FINE = 1.0  # sigma of the blur whose difference to a slice is its noise, in pixels

_ROUNDING = 1e-12  # in ranks, squared
_SOURCES = ("SourceImageSequence", "ReferencedImageSequence", "DerivationImageSequence")


@dataclass(frozen=True)
class Seen:
    """Where a fingerprint came from. The patient is compared, never told."""

    path: str
    plane: int
    patient: str
    study: str
    instance: str
    sources: frozenset[str]
    anonymous: bool


Description = tuple[Seen, UInt64[ndarray, "4"]]


@dataclass(frozen=True)
class Reuse:
    """One slice that holds the noise of another."""

    of: Seen
    how: int  # a number in `TURNS`
    shift: tuple[int, int]  # rows and columns that the content moved
    correlation: float


class Archive:
    """Remembers what slices look like, and finds those that come again.

    Args:
        load: Reads a file again by its path.
    """

    def __init__(self, load: Callable[[str], Image] = read) -> None:
        self._load = load
        self._seen: list[Seen] = []
        self._bits: UInt64[ndarray, "4 n"] = np.zeros((WORDS, 1024), np.uint64)

    def __len__(self) -> int:
        return len(self._seen)

    def examine(self, described: Iterable[Description]) -> list[Finding]:
        """Compare slices of one study with all that came before, and remember them.

        Args:
            described: What `describe` says of planes and volumes.

        Returns:
            One finding for each study, or file without one, that slices were taken from.
        """
        reused: dict[str, list[tuple[Seen, Reuse]]] = {}
        for seen, bits in described:
            match = self._match(seen, bits)
            if match:
                reused.setdefault(match.of.study or match.of.path, []).append((seen, match))
            self.remember([(seen, bits)])
        return [_told(pairs) for pairs in reused.values()]

    def remember(self, described: Iterable[Description]) -> None:
        """Add slices without comparing them."""
        for seen, bits in described:
            if len(self._seen) == self._bits.shape[1]:
                self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)], axis=1)
            self._bits[:, len(self._seen)] = bits
            self._seen.append(seen)

    def _match(self, seen: Seen, bits: UInt64[ndarray, "4"]) -> Reuse | None:
        """The first of those that look most alike which has the same noise."""
        read_again = 0
        plane: Float[ndarray, "h w"] | None = None
        for place, how in self._alike(bits):
            other = self._seen[place]
            if _related(seen, other):
                continue
            if read_again == CANDIDATES:
                break
            read_again += 1
            if plane is None:
                plane = _plane(self._load(seen.path), seen.plane)
            source = turn(_plane(self._load(other.path), other.plane), how)
            compared = same_noise(plane, source)
            if compared and compared[1] > COPY:
                return Reuse(other, how, *compared)
        return None

    def _alike(self, bits: UInt64[ndarray, "4"]) -> Iterator[tuple[int, int]]:
        """Places that look alike and in which orientation, the most alike first."""
        known = self._bits[:, : len(self._seen)]
        found = []
        for how, target in enumerate(turned(bits)):
            near = np.flatnonzero(np.bitwise_count(known[0] ^ target[0]) <= LOOK_ALIKE[0])
            apart = np.bitwise_count(known[1:, near] ^ target[1:, None]).sum(axis=0, dtype=np.int64)
            found += [(int(d), int(n), how) for d, n in zip(apart, near, strict=True) if d <= LOOK_ALIKE[1]]
        return ((place, how) for _, place, how in sorted(found))


def same_noise(
    plane: Float[ndarray, "h w"], source: Float[ndarray, "h w"]
) -> tuple[tuple[int, int], float] | None:
    """How far the content of `source` has to be moved to lie on `plane`, and how well noise agrees there.

    Returns:
        The shift in rows and columns and the correlation; None where there is nothing to compare.
    """
    boxes = body(plane), body(source)
    if boxes[0] is None or boxes[1] is None:
        return None
    one, other = _noise(plane[boxes[0]]), _noise(source[boxes[1]])
    size = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(one.shape, other.shape, strict=True)]
    product = fft.irfft2(fft.rfft2(one, size) * np.conj(fft.rfft2(other, size)), size)
    peak = np.unravel_index(int(product.argmax()), product.shape)
    shift = [int(at) if at < n else int(at) - full
             for at, n, full in zip(peak, one.shape, size, strict=True)]  # fmt: skip
    rows, columns = (
        (slice(max(0, by), min(n, m + by)), slice(max(0, -by), min(m, n - by)))
        for by, n, m in zip(shift, one.shape, other.shape, strict=True)
    )
    here, there = one[rows[0], columns[0]], other[rows[1], columns[1]]
    if here.size < OVERLAP * min(one.size, other.size):
        return None
    moved = [by + a.start - b.start for by, a, b in zip(shift, boxes[0], boxes[1], strict=True)]
    calm = _calm(here) & _calm(there)
    if calm.sum() < FEWEST:
        return None
    return (moved[0], moved[1]), correlation(here[calm], there[calm])


def _calm(noise: Float[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """The half of a body with the least around it: neighbouring slices share edges, but no noise."""
    strength = cv2.boxFilter(noise * noise, -1, (AROUND, AROUND))
    valued = strength > _ROUNDING
    return valued & (strength <= np.quantile(strength[valued], CALM)) if valued.any() else valued


def _noise(inside: Float[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """Fine structure of the ranks of a body, on which windows have no effect; edges are cut down."""
    ranks = (rankdata(inside, axis=None).reshape(inside.shape) / inside.size).astype(np.float32)
    noise = ranks - cv2.GaussianBlur(ranks, (0, 0), FINE)
    valued = noise != 0
    return without_structure(noise, valued) if valued.any() else noise


def describe(image: Image, path: str = "") -> list[Description]:
    """Where each plane of an image comes from, and its fingerprint.

    Args:
        image: A plane, a volume or a film.
        path: What it is read again by; by default its own.

    Returns:
        Drawings, masks and small images are left out.
    """
    header = image.header
    sources: frozenset[str] = frozenset()
    anonymous = False
    if hasattr(header, "file_meta"):
        items = [item for keyword in _SOURCES for item in header.get(keyword) or ()]
        sources = frozenset(str(item.get("ReferencedSOPInstanceUID", "")) for item in items) - {""}
        anonymous = str(header.get("PatientIdentityRemoved", "")) == "YES"
    who = image.identity
    described = []
    for number in range(image.planes):
        plane = _plane(image, number)
        box = body(plane)
        bits = None if box is None else fingerprint(plane[box])
        if bits is not None:
            seen = Seen(path or who.path, number, who.patient, who.study, who.instance, sources, anonymous)
            described.append((seen, bits))
    return described


def _plane(image: Image, number: int) -> Float[ndarray, "h w"]:
    one = image.plane(number)
    grey = one.pixels.astype(np.float32)
    grey = grey.mean(axis=-1) if one.colour else grey
    return np.nan_to_num(np.where(one.padding_mask(), grey[~one.padding_mask()].min(initial=np.inf), grey))


def _related(one: Seen, other: Seen) -> bool:
    if one.path == other.path or (one.study and one.study == other.study):
        return True
    if one.instance and one.instance == other.instance:
        return True
    return one.instance in other.sources or other.instance in one.sources


def _told(pairs: list[tuple[Seen, Reuse]]) -> Finding:
    seen, best = max(pairs, key=lambda pair: pair[1].correlation)
    whose = "another study"
    if seen.patient and best.of.patient:
        whose += " of the same patient" if seen.patient == best.of.patient else ", of another patient"
    severity = Severity.BENIGN if seen.anonymous != best.of.anonymous else Severity.UNUSUAL
    moved = TURNS[best.how]
    if any(best.shift):
        moved += f"{' and ' if moved else ''}moved by {best.shift[0]} rows and {best.shift[1]} columns"
    said = (
        f"{len(pairs)} slices have the noise of slices of {whose} (correlation up to "
        f"{best.correlation:.2f}{', ' + moved if moved else ''}): the same measurement was used twice."
    )
    files = dict.fromkeys([one.path for one, _ in pairs] + [match.of.path for _, match in pairs])
    return Finding("B6", severity, "", said, tuple(files))
