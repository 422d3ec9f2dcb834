"""The seal around a file: what the pixels cannot carry, so that the very bytes of the original return.

A sealed file ends with an envelope: the keys wrapped for recipients, the encrypted difference
between the original file and its pixels, and a MAC over the whole sealed file. The place is one
that readers of the format pass over: a private element behind the pixel data of DICOM, a private
chunk of PNG, bytes behind the last ones of TIFF and NIfTI. Software that writes the file anew may
drop it; the seal in the pixels (see `container`) then still gives the pixels back.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from intact.errors import AlteredError
from intact.io.limits import MAX_BYTES
from intact.protect.container import digest_of
from intact.protect.header import Planes
from intact.protect.keys import WRAPPED_SIZE, Key, PublicKey, content_key, derive, unwrap, wrap

Carrier = Literal["pixels", "envelope"]

MAGIC = b"INTACT\0SEAL\x01"
MAC_SIZE, ID_SIZE = 32, 8
ENTRY_SIZE = ID_SIZE + WRAPPED_SIZE
PNG, GZIP = b"\x89PNG\r\n\x1a\n", b"\x1f\x8b"
CHUNK = b"inTC"  # ancillary, private, not to be copied by editors that changed the picture
IEND = b"\0\0\0\0IEND\xaeB`\x82"
# An empty gzip member with an extra field, subfield "IN", for the MAC; CRC and size of nothing.
_MEMBER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", MAC_SIZE + 4, b"IN", MAC_SIZE)
_MEMBER_END = b"\x03\0" + bytes(8)


@dataclass(frozen=True)
class Origin:
    """What has to be known of the original file besides its pixels.

    Args:
        name: Of the file, without folders.
        size: In bytes.
        digest: SHA-256 of the file, hexadecimal.
        sealed: SHA-256 of the pixels as they stand in the sealed file, hexadecimal.
        carrier: "pixels", or "envelope" where they hold no seal and are those of the original.
        order: How the original's pixels lie in it, a place in `_ORDERS`; -1 where they are compressed.
        shape: Of the planes that were sealed.
        rest: The bytes of the file around its pixels, or all of them; the first `before` of them
            come before the pixels.
    """

    name: str
    size: int
    digest: str
    sealed: str
    carrier: Carrier
    order: int
    shape: tuple[int, ...]
    before: int
    rest: bytes


@dataclass(frozen=True)
class Envelope:
    """What stands in a sealed file, readable without a key but for `secret`.

    Args:
        salt: That of the seal in the pixels.
        check: Tells whether a content key is the right one.
        wrapped: For each recipient the id of his key, 8 bytes, and the content key wrapped for it.
        secret: `Origin`, encrypted and authenticated.
    """

    salt: bytes
    check: bytes
    wrapped: tuple[bytes, ...]
    secret: bytes

    HEAD: ClassVar[struct.Struct] = struct.Struct(">12s16s8sHQ")

    def to_bytes(self) -> bytes:
        """The envelope as it is stored, of an even number of bytes."""
        head = self.HEAD.pack(MAGIC, self.salt, self.check, len(self.wrapped), len(self.secret))
        return head + b"".join(self.wrapped) + self.secret

    @classmethod
    def find(cls, data: bytes) -> Envelope | None:
        """The envelope in a file, or None where there is none or only a part of one."""
        data = _unzipped(data)
        at = data.rfind(MAGIC)
        if at < 0 or len(data) < at + cls.HEAD.size:
            return None
        _, salt, check, count, size = cls.HEAD.unpack_from(data, at)
        at += cls.HEAD.size
        ends = range(at + ENTRY_SIZE, at + count * ENTRY_SIZE + 1, ENTRY_SIZE)
        wrapped = tuple(data[end - ENTRY_SIZE : end] for end in ends)
        at += count * ENTRY_SIZE
        return cls(salt, check, wrapped, data[at : at + size]) if at + size <= len(data) else None

    def content(self, key: Key) -> bytes | None:
        """The content key, for the one who sealed and for recipients; None for anybody else.

        Raises:
            AlteredError: It was wrapped for this key but does not unwrap.
        """
        mine = content_key(key, self.salt)
        if derive(mine, "check", 8) == self.check:
            return mine
        for entry in self.wrapped:
            if entry[:ID_SIZE] == bytes.fromhex(key.id):
                if (content := unwrap(entry[ID_SIZE:], key)) is None:
                    raise _altered()
                return content
        return None

    def open(self, content: bytes) -> Origin:
        """What it says of the original file.

        Raises:
            AlteredError: The envelope was changed.
        """
        try:
            plain = _cipher(content).decrypt(derive(content, "file-nonce", 12), self.secret, self._bound())
        except InvalidTag:
            raise _altered() from None
        size = int.from_bytes(plain[:4], "big")
        facts = json.loads(plain[4 : 4 + size])
        rest = zstandard.ZstdDecompressor().decompress(plain[4 + size :])
        return Origin(**facts | {"shape": tuple(facts["shape"])}, rest=rest)

    def _bound(self) -> bytes:
        return self.salt + self.check + b"".join(self.wrapped)


def seal_origin(origin: Origin, content: bytes, salt: bytes, recipients: Sequence[PublicKey]) -> Envelope:
    """Encrypt what is to be known of the original file."""
    wrapped = tuple(bytes.fromhex(public.id) + wrap(content, public) for public in recipients)
    facts = asdict(origin)
    rest = zstandard.ZstdCompressor(level=9).compress(facts.pop("rest"))
    text = json.dumps(facts).encode()
    text += b" " * ((4 + len(text) + len(rest)) % 2)  # DICOM values have an even length
    envelope = Envelope(salt, derive(content, "check", 8), wrapped, b"")
    plain = len(text).to_bytes(4, "big") + text + rest
    secret = _cipher(content).encrypt(derive(content, "file-nonce", 12), plain, envelope._bound())
    return replace(envelope, secret=secret)


def describe_origin(original: bytes, name: str, planes: Planes, sealed: Planes, carrier: Carrier) -> Origin:
    """The original file as its pixels and the rest, or as a whole where they are compressed."""
    facts: dict[str, Any] = {
        "name": name,
        "size": len(original),
        "digest": hashlib.sha256(original).hexdigest(),
        "sealed": digest_of(sealed).hex(),
        "carrier": carrier,
        "shape": planes.shape,
    }
    for order in range(len(_ORDERS)):
        pixels = _laid_out(planes, order)
        if (at := original.find(pixels)) >= 0:
            rest = original[:at] + original[at + len(pixels) :]
            return Origin(**facts, order=order, before=at, rest=rest)
    return Origin(**facts, order=-1, before=0, rest=original)


def original_file(origin: Origin, planes: Planes) -> bytes:
    """The bytes of the original file, from its pixels and what the envelope says.

    Raises:
        AlteredError: They do not match the digest.
    """
    pixels = b"" if origin.order < 0 else _laid_out(planes, origin.order)
    data = origin.rest[: origin.before] + pixels + origin.rest[origin.before :]
    if hashlib.sha256(data).hexdigest() != origin.digest:
        raise AlteredError(
            "the file", "what was restored does not match the digest of the original", "pixels"
        )
    return data


def attach(body: bytes, envelope: Envelope, content: bytes) -> bytes:
    """Put an envelope at the end of a PNG, TIFF or NIfTI file; DICOM has it as an element already.

    Returns:
        The sealed file, complete with its MAC.
    """
    if body.startswith(PNG):
        chunk = CHUNK + envelope.to_bytes() + bytes(MAC_SIZE)
        data = body[: -len(IEND)] + struct.pack(">I", len(chunk) - 4) + chunk + bytes(4) + IEND
    elif body.startswith(GZIP):
        inner = gzip.decompress(body) + envelope.to_bytes()
        data = gzip.compress(inner, 6, mtime=0) + _MEMBER + bytes(MAC_SIZE) + _MEMBER_END
    else:
        data = body + envelope.to_bytes() + bytes(MAC_SIZE)
    return with_mac(data, content)


def with_mac(data: bytes, content: bytes) -> bytes:
    """A sealed file with the MAC over all its bytes at its place."""
    blank = _stamped(data, bytes(MAC_SIZE))
    return _stamped(blank, hmac.digest(derive(content, "file-mac", 32), blank, "sha256"))


def untouched(data: bytes, content: bytes) -> bool:
    """Whether not a byte of a sealed file was changed."""
    return hmac.compare_digest(with_mac(data, content), data)


def _stamped(data: bytes, mac: bytes) -> bytes:
    """A file with this MAC, and what the format itself computes over it."""
    behind = len(_MEMBER_END) if data.startswith(GZIP) else len(IEND) + 4 if data.startswith(PNG) else 0
    at = len(data) - behind - MAC_SIZE
    stamped = data[:at] + mac + data[at + MAC_SIZE :]
    start = stamped.rfind(CHUNK + MAGIC)
    if data.startswith(PNG) and start >= 0:
        crc = zlib.crc32(stamped[start : at + MAC_SIZE])
        stamped = stamped[: at + MAC_SIZE] + crc.to_bytes(4, "big") + stamped[at + MAC_SIZE + 4 :]
    return stamped


def _unzipped(data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(MAX_BYTES)  # no image is larger; what unpacks to more is hostile
    except (OSError, EOFError, zlib.error):
        return b""


# How pixels can lie in a file: byte order, and whether the samples of a pixel are together.
_ORDERS: tuple[tuple[Literal["<", ">"], bool], ...] = (
    ("<", False),
    (">", False),
    ("<", True),
    (">", True),
)


def _laid_out(planes: Planes, order: int) -> bytes:
    """Planes as bytes; those of colour images come as [frames x 3, h, w]."""
    byte_order, together = _ORDERS[order]
    laid: Any = planes
    if together and len(planes) % 3 == 0:
        laid = np.moveaxis(planes.reshape(-1, 3, *planes.shape[1:]), 1, -1)
    return bytes(laid.astype(planes.dtype.newbyteorder(byte_order)).tobytes())


def _altered() -> AlteredError:
    return AlteredError("the file", "its envelope was changed after it was sealed", "header")


def _cipher(content: bytes) -> AESGCM:
    return AESGCM(derive(content, "file", 32))
