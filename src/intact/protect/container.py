"""The seal in the pixels: a header anyone can find, and a payload that only a key holder can open.

The header stands in the lowest bits of a strip of pixels, from the start of a row on. The payload
is encrypted with AES-256-GCM and hidden reversibly in the other pixels that may be changed: SHA-256
of the original, the bits that the header displaced, and what the caller adds. So the pixels alone,
in any lossless format, are enough to give the original back, and any change to them is noticed.

With `localise`, the lowest bits of some pixels of every block carry a keyed tag of the block and
reduced copies of other blocks (see `watermark`); these displaced bits travel in the payload too.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jaxtyping import Bool, Integer
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import AlteredError, CapacityError, NotSealedError, SealError, WrongKeyError
from intact.protect.coding import pack, unpack
from intact.protect.hiding import METHODS, DamagedError, Hiding, OneSidedPEE, SortedPEE
from intact.protect.keys import derive
from intact.protect.watermark import Damage, Layout, check, layout, recover, write

Planes = Integer[ndarray, "p h w"]

MARK = hashlib.sha256(b"intact seal").digest()[:8]
VERSION = 1
# The number of a scheme in the header is its place here, which must never change.
SCHEMES = (
    "one_sided_pee",
    "sorted_pee",
    "histogram_shifting",
    "difference_expansion",
    "pee",
    "pairwise_pee",
)
# Tried in this order: the first that holds the payload disturbs the image least.
ATTEMPTS: tuple[Hiding, ...] = (OneSidedPEE(), SortedPEE(), SortedPEE(passes=4), OneSidedPEE(passes=4))
# Reduced copies are worth only so much disturbance: a 128th of the range.
GENTLE = 7
COPIES = 3  # of the header where changes are to be localised: one may be hit
LEVELS = ((4, 6), (3, 6), (2, 6), (1, 6), (0, 0))  # reduced copies: samples along a side, bits of each
_FACTS = struct.Struct(">BBqq")  # samples, bits, least and largest value of a copy
CELL = 8  # side of the squares in which the region to keep is stored
# A mark or key check with at most this many wrong of 64 bits is a damaged one. Of 64 random bits one
# in 3.6 billion is taken for one, and large series have 100,000 rows.
TOLERATED = 8
LARGEST = 2**16 - 1  # number of planes, or bytes of tail, that a header can tell


@dataclass(frozen=True)
class Header:
    """What can be read of a seal without a key.

    Args:
        scheme: Place in `SCHEMES` of the scheme that hid the payload.
        planes: How many planes, from the first, hold the payload.
        salt: 16 random bytes from which the content key is derived.
        check: 8 bytes that tell whether a content key is the right one.
        localise: Whether blocks carry tags.
        tail: The coded region to keep, and what the watermark has to know.
        sound: Whether it was found undamaged.
    """

    scheme: int
    planes: int
    salt: bytes
    check: bytes
    localise: bool = False
    tail: bytes = b""
    sound: bool = True

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">8sBBHH16s8s")
    SIZE: ClassVar[int] = LAYOUT.size + 4  # and CRC-32

    def to_bytes(self) -> bytes:
        """The header as it is stored."""
        head = self.LAYOUT.pack(
            MARK,
            VERSION << 4 | self.scheme,
            int(self.localise),
            self.planes,
            len(self.tail),
            self.salt,
            self.check,
        )
        return head + self.tail + zlib.crc32(head + self.tail).to_bytes(4, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """The inverse, however damaged; `sound` tells."""
        _, version, flags, planes, size, salt, check = cls.LAYOUT.unpack_from(data)
        tail = data[cls.LAYOUT.size : cls.LAYOUT.size + size]
        crc = data[cls.LAYOUT.size + size : cls.SIZE + size]
        sound = zlib.crc32(data[: cls.LAYOUT.size + size]).to_bytes(4, "big") == crc
        if sound and version >> 4 != VERSION:
            raise SealError(
                "the image", f"has a seal of version {version >> 4}, made by a newer Intact: update"
            )
        return cls(version & 15, planes, salt, check, bool(flags & 1), tail, sound)

    def fits(self, content: bytes) -> bool:
        """Whether a content key is the one of this seal, also when a few bits are damaged."""
        return _distance(self.check, derive(content, "check", 8)) <= TOLERATED


def find_header(planes: Planes) -> Header | None:
    """The header of a seal; a damaged one where there is no sound one, or None."""
    lowest = (planes.ravel() & 1).astype(np.uint8)
    starts = np.arange(0, lowest.size - 8 * Header.SIZE + 1, planes.shape[2])
    mark = np.unpackbits(np.frombuffer(MARK, np.uint8))
    wrong = np.count_nonzero(lowest[starts[:, None] + np.arange(64)] != mark, axis=1)
    damaged = None
    for start in starts[np.argsort(wrong, kind="stable")][: np.count_nonzero(wrong <= TOLERATED)]:
        rest = lowest[start : start + 8 * (Header.SIZE + 2**16)]
        header = Header.from_bytes(np.packbits(rest).tobytes())
        if header.sound:
            return header
        damaged = damaged or header
    return damaged


@dataclass(frozen=True)
class Opened:
    """What a key holder finds in a sealed image.

    Args:
        planes: The original pixels, checked against their digest.
        extra: What the caller of `seal_planes` added.
        scheme: How the payload was hidden.
    """

    planes: Planes
    extra: bytes
    scheme: str


def seal_planes(
    planes: Planes,
    content: bytes,
    salt: bytes,
    *,
    depth: int,
    keep: Bool[ndarray, "h w"] | None = None,
    extra: bytes = b"",
    localise: bool = False,
    name: str = "the image",
) -> Planes:
    """Hide a seal in as few planes as hold it, or in all of them to localise changes.

    Args:
        planes: Integers [p,h,w]; left as they are.
        content: Content key, 32 bytes, used for no other image.
        salt: What it was derived from, 16 bytes.
        depth: Bits that a value can use.
        keep: True where pixels stay bit for bit, in every plane; extended to whole cells of 8 x 8.
        extra: Travels encrypted in the payload.
        localise: Let every block of 16 x 16 carry a tag and reduced copies of others.
        name: How errors call the image.

    Raises:
        CapacityError: The seal does not fit.
    """
    count, needed, available = (len(planes) if localise else 1), 8 * (Header.SIZE + 48), 0
    header = Header(0, count, salt, derive(content, "check", 8), localise)
    payload = digest_of(planes), extra
    while True:
        for plan in _plans(planes[:count], content, replace(header, planes=count), keep):
            try:
                return _hide(planes, plan, content, payload, depth)
            except CapacityError as error:
                if needed - available >= error.needed - error.available:
                    needed, available = error.needed, error.available
        if count == len(planes):
            raise CapacityError(name, needed, available, _advice(localise, keep is not None))
        count = min(2 * count, len(planes))


def open_planes(planes: Planes, header: Header, content: bytes, name: str = "the image") -> Opened:
    """Open a seal and give the original pixels back.

    Raises:
        WrongKeyError: The content key is not the one of this seal.
        AlteredError: A pixel was changed after sealing.
    """
    altered = AlteredError(name, "its pixels were changed after it was sealed", "pixels")
    if not header.sound:
        raise altered  # perhaps in the salt, so that no key would seem to be the right one
    if not header.fits(content):
        raise WrongKeyError(name, "was sealed for other keys than the one given")
    if not 0 < header.planes <= len(planes) or header.scheme >= len(SCHEMES):
        raise altered
    scheme = SCHEMES[header.scheme]
    try:
        plan = _plan(_shape(planes[: header.planes]), content, header)
        if plan is None:
            raise altered
        marked = planes[: header.planes].copy()
        _clear_lowest(marked, plan.reserved)
        cover, bits = METHODS[scheme]().extract(_tall(marked), _tall(plan.free))
        plain = _cipher(content).decrypt(
            derive(content, "pixels-nonce", 12), np.packbits(bits).tobytes(), _bound(planes, header)
        )
    except (DamagedError, InvalidTag, ValueError, struct.error) as error:
        raise altered from error
    digest, plain = plain[:32], plain[32:]
    size = (plan.reserved.size + 7) // 8
    displaced = np.unpackbits(np.frombuffer(plain[:size], np.uint8))[: plan.reserved.size]
    cover.ravel()[plan.reserved] += displaced.astype(cover.dtype)
    original = np.concatenate([cover.reshape(marked.shape), planes[header.planes :]])
    if digest_of(original) != digest:
        raise altered
    if not np.array_equal(_complete(marked, original, plan, content), planes[: header.planes]):
        raise altered  # in the lowest bits that were displaced, of which the payload says nothing
    return Opened(original, plain[size:], scheme)


def damage_of(planes: Planes, header: Header, content: bytes) -> Damage | None:
    """Which blocks were altered, or None where the seal does not localise."""
    plan = _plan_in(planes, header, content)
    return check(planes, plan.blocks, derive(content, "blocks", 32)) if plan and plan.blocks else None


def recover_region(planes: Planes, header: Header, content: bytes) -> tuple[Planes, Bool[ndarray, "p h w"]]:
    """Altered blocks replaced by their reduced copies, and where such copies stand now.

    Raises:
        NotSealedError: The seal does not localise, or is too damaged to tell.
    """
    plan = _plan_in(planes, header, content)
    if plan is None or plan.blocks is None:
        raise NotSealedError("the image", "has no seal that localises, so nothing can be recovered")
    damage = check(planes, plan.blocks, derive(content, "blocks", 32))
    return recover(planes, plan.blocks, damage, plan.low, plan.high)


def digest_of(planes: Planes) -> bytes:
    """SHA-256 of shape, dtype and values."""
    little = planes.astype(planes.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.sha256(f"{planes.shape} {planes.dtype.name}".encode())
    digest.update(np.ascontiguousarray(little).data)
    return digest.digest()


@dataclass(frozen=True)
class Plan:
    """Which pixels do what in the planes that hold a seal.

    Args:
        header: With its tail complete.
        strips: Positions of the header, [copies, bits].
        free: Where the payload may go, [k,h,w].
        blocks: The watermark's layout, if blocks carry tags.
        low: Least value that a reduced copy can hold.
        high: Largest.
    """

    header: Header
    strips: NDArray[np.intp]
    free: Bool[ndarray, "k h w"]
    blocks: Layout | None = None
    low: int = 0
    high: int = 0

    @property
    def reserved(self) -> NDArray[np.intp]:
        """Positions of all pixels whose lowest bits are displaced."""
        slots = [self.blocks.slots] if self.blocks else []
        return np.concatenate([self.strips.ravel(), *slots])


def _plans(
    planes: Planes, content: bytes, header: Header, keep: Bool[ndarray, "h w"] | None
) -> Iterator[Plan]:
    """The ways to lay the seal out, best first."""
    cells = b"" if keep is None else pack(_cells(keep).astype(np.uint8))
    if not header.localise:
        levels = [b""]
    else:
        low, high = int(planes.min()), int(planes.max())
        levels = [_FACTS.pack(samples, bits, low, high) for samples, bits in LEVELS]
    for facts in levels:
        if (plan := _plan(_shape(planes), content, replace(header, tail=cells + facts))) is not None:
            yield plan


def _plan(shape: tuple[int, int, int], content: bytes, header: Header) -> Plan | None:
    """Lay a seal out as its header says, the same for writer and reader; None where there is no room."""
    if max(header.planes, len(header.tail)) > LARGEST:
        return None
    facts = header.tail[len(header.tail) - _FACTS.size :] if header.localise else b""
    cells = header.tail[: len(header.tail) - len(facts)]
    kept = _from_cells(unpack(cells).astype(bool), shape[1:]) if cells else np.zeros(shape[1:], bool)
    free = np.broadcast_to(~kept, shape).copy()
    strips = _strips(free, 8 * len(header.to_bytes()), COPIES if header.localise else 1)
    if strips is None:
        return None
    free.ravel()[strips] = False
    if not header.localise:
        return Plan(header, strips, free)
    samples, bits, low, high = _FACTS.unpack(facts)
    if (samples, bits) not in LEVELS:
        raise ValueError(f"reduced copies of {samples} x {samples} samples of {bits} bits are never made")
    region = np.broadcast_to(kept, shape) if cells else None
    blocks = layout(shape, free, region, derive(content, "blocks", 32), samples, bits)
    if blocks is None:
        return None
    free.ravel()[blocks.slots] = False
    return Plan(header, strips, free, blocks, low, high)


def _plan_in(planes: Planes, header: Header, content: bytes) -> Plan | None:
    """How a found seal that localises is laid out; None where it does not or makes no sense."""
    if not (header.sound and header.localise and header.fits(content) and header.planes == len(planes)):
        return None
    try:
        return _plan(_shape(planes), content, header)
    except (ValueError, struct.error):
        return None


def _hide(planes: Planes, plan: Plan, content: bytes, payload: tuple[bytes, bytes], depth: int) -> Planes:
    """Hide digest, displaced bits and what the caller adds, by the first scheme that can."""
    count = plan.header.planes
    cover = planes[:count].copy()
    displaced = _clear_lowest(cover, plan.reserved)
    digest, extra = payload
    plain = digest + np.packbits(displaced).tobytes() + extra
    shortages = []
    for scheme in _attempts(plan, depth):
        header = replace(plan.header, scheme=_number(scheme))
        sealed = _cipher(content).encrypt(derive(content, "pixels-nonce", 12), plain, _bound(planes, header))
        bits = np.unpackbits(np.frombuffer(sealed, np.uint8))
        try:
            marked = scheme.embed(_tall(cover), bits, _tall(plan.free), depth=depth)
        except CapacityError as error:
            shortages.append(error)
            continue
        complete = _complete(marked.reshape(cover.shape), planes, replace(plan, header=header), content)
        return np.concatenate([complete, planes[count:]])
    raise max(shortages, key=lambda error: error.available)


def _complete(marked: Planes, original: Planes, plan: Plan, content: bytes) -> Planes:
    """Marked planes with header, tags and reduced copies in the lowest bits that were cleared for them."""
    strip = np.unpackbits(np.frombuffer(plan.header.to_bytes(), np.uint8))
    complete = marked.copy()
    complete.ravel()[plan.strips] += strip.astype(marked.dtype)
    if plan.blocks is None:
        return complete
    key = derive(content, "blocks", 32)
    return write(complete, original[: len(marked)], plan.blocks, key, plan.low, plan.high)


def _clear_lowest(planes: Planes, at: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Set the lowest bits of some pixels to 0, in place; the bits that were there."""
    lowest = planes.ravel()[at] & 1
    planes.ravel()[at] -= lowest
    return lowest.astype(np.uint8)


def _attempts(plan: Plan, depth: int) -> tuple[Hiding, ...]:
    """The schemes to try; only gentle ones where reduced copies could be done without."""
    if plan.blocks is None or not plan.blocks.copies.blocks.size:
        return ATTEMPTS
    return (OneSidedPEE(), *(SortedPEE(threshold=2**k) for k in range(max(1, depth - GENTLE + 1))))


def _number(scheme: Hiding) -> int:
    """The number of a scheme in the header."""
    return next(number for number, name in enumerate(SCHEMES) if METHODS.get(name) is type(scheme))


def _strips(free: Bool[ndarray, "k h w"], size: int, copies: int) -> NDArray[np.intp] | None:
    """Positions of the header: runs of free pixels from the start of a row, far from each other."""
    ends = np.cumsum(np.concatenate([[0], free.ravel()]))
    starts = np.arange(0, free.size - size + 1, free.shape[2])
    starts = starts[ends[starts + size] - ends[starts] == size]
    if not starts.size:
        return None
    chosen = [starts[0]]
    for k in range(1, copies):
        wanted = starts[0] + k * (starts[-1] - starts[0]) // (copies - 1)
        apart = starts[np.abs(starts[:, None] - np.array(chosen)).min(axis=1) >= size]
        if apart.size:
            chosen.append(apart[np.argmin(np.abs(apart - wanted))])
    return np.array(chosen)[:, None] + np.arange(size)


def _cells(keep: Bool[ndarray, "h w"]) -> Bool[ndarray, "a b"]:
    """The cells of 8 x 8 pixels that a region touches."""
    h, w = (-(-n // CELL) for n in keep.shape)
    whole = np.zeros((h * CELL, w * CELL), bool)
    whole[: keep.shape[0], : keep.shape[1]] = keep
    return np.logical_or.reduce(whole.reshape(h, CELL, w, CELL), axis=(1, 3))


def _from_cells(cells: Bool[ndarray, "a b"], shape: tuple[int, ...]) -> Bool[ndarray, "h w"]:
    if cells.shape != tuple(-(-n // CELL) for n in shape):
        raise ValueError("the region to keep is that of another image")
    return cells.repeat(CELL, axis=0).repeat(CELL, axis=1)[: shape[0], : shape[1]]


def _shape(planes: NDArray[Any]) -> tuple[int, int, int]:
    p, h, w = planes.shape
    return p, h, w


def _tall(planes: NDArray[Any]) -> NDArray[Any]:
    """Planes under each other, as one plane."""
    return planes.reshape(-1, planes.shape[2])


def _cipher(content: bytes) -> AESGCM:
    return AESGCM(derive(content, "pixels", 32))


def _bound(planes: Planes, header: Header) -> bytes:
    """What the payload belongs to: it cannot be moved to another image or under another header."""
    return header.to_bytes() + f"{planes.shape} {planes.dtype.name}".encode()


def _distance(one: bytes, other: bytes) -> int:
    """In how many bits two strings of equal length differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _advice(localise: bool, kept: bool) -> str:
    ways = ["a smaller region to keep"] if kept else []
    ways += ["no localising"] if localise else []
    first = f"try {' or '.join(ways)}, or" if ways else "it is too small or too noisy:"
    return f"{first} leave its pixels alone and let the file's envelope carry the seal"
