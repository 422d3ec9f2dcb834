"""The header of a seal: in the lowest bits of a strip of pixels, where anyone can find it.

It says which scheme hid the payload, and in how many planes, and holds the salt of the image's key.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from intact.errors import SealError
from intact.protect.keys import derive

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
# With no more than this many of its 64 bits wrong, a mark is a damaged one. Random bits agree in half;
# that few of them are wrong in one row of 10^13, and archives have many rows.
TOLERATED = 4
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
        guard: MAC of the marked pixels without their displaced bits. The payload does not tell every
            change: a note for the decoder may be changed so that it still decodes.
        sound: Whether it was found undamaged.
    """

    scheme: int
    planes: int
    salt: bytes
    check: bytes
    localise: bool = False
    tail: bytes = b""
    guard: bytes = bytes(8)
    sound: bool = True

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">8sBBHH16s8s8s")
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
            self.guard,
        )
        return head + self.tail + zlib.crc32(head + self.tail).to_bytes(4, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """The inverse, however damaged; `sound` tells."""
        _, version, flags, planes, size, salt, check, guard = cls.LAYOUT.unpack_from(data)
        tail = data[cls.LAYOUT.size : cls.LAYOUT.size + size]
        crc = data[cls.LAYOUT.size + size : cls.SIZE + size]
        sound = zlib.crc32(data[: cls.LAYOUT.size + size]).to_bytes(4, "big") == crc
        if sound and version >> 4 != VERSION:
            raise SealError(
                "the image", f"has a seal of version {version >> 4}, which a newer Intact made: update"
            )
        return cls(version & 15, planes, salt, check, bool(flags & 1), tail, guard, sound)

    def fits(self, content: bytes) -> bool:
        """Whether a content key is the one of this seal."""
        return self.check == derive(content, "check", 8)


def find_header(planes: Planes) -> Header | None:
    """The header of a seal; a damaged one where there is no sound one, or None."""
    damaged = None
    for along in (planes, np.swapaxes(planes, 1, 2)):  # rows, then columns
        header = _found(along)
        if header is not None and header.sound:
            return header
        damaged = damaged or header
    return damaged


def _found(planes: Planes) -> Header | None:
    """The header that begins at the start of a row."""
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
