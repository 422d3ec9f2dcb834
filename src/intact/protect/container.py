"""The seal in the pixels: a header anyone can find, and a payload that only a key holder can open.

The header stands in the lowest bits of a strip of pixels, from the start of a row or column on. The
payload is encrypted with AES-256-GCM and hidden reversibly in the other pixels that may be changed:
SHA-256 of the original, the bits that the header displaced, and how the original was changed
beforehand, if it was. So the pixels alone, in any lossless format, are enough to give the original
back, and any change to them is noticed.

With `localise`, the lowest bits of some pixels of every block carry a keyed tag of the block and
reduced copies of other blocks (see `watermark`); these displaced bits travel in the payload too.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import AlteredError, CapacityError, NotSealedError, WrongKeyError
from intact.protect.change import Change, pack_change, unpack_change
from intact.protect.header import SCHEMES, Header, Planes
from intact.protect.hiding import METHODS, DamagedError, Hiding, OneSidedPEE, SortedPEE
from intact.protect.keys import derive
from intact.protect.plan import Plan, localising_plan, plan_for, plans, shape_of
from intact.protect.watermark import Damage, check, recover, write

# Tried in this order: the first that holds the payload disturbs the image least.
ATTEMPTS: tuple[Hiding, ...] = (OneSidedPEE(), SortedPEE(), SortedPEE(passes=4), OneSidedPEE(passes=4))
# Reduced copies are worth only so much disturbance: a 128th of the range.
GENTLE = 7


@dataclass(frozen=True)
class Opened:
    """What a key holder finds in a sealed image.

    Args:
        planes: The original pixels, checked against their digest.
        change: What had been added to the original before it was sealed; 0 where nothing was.
        scheme: How the payload was hidden.
    """

    planes: Planes
    change: Change
    scheme: str


def seal_planes(
    planes: Planes,
    content: bytes,
    salt: bytes,
    *,
    depth: int,
    keep: Bool[ndarray, "h w"] | None = None,
    change: Change | None = None,
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
        change: To be added first, [p,h,w]; 0 where `keep` is. Undone when the seal is opened.
        localise: Let every block of 16 x 16 carry a tag and reduced copies of others.
        name: How errors call the image.

    Raises:
        CapacityError: The seal does not fit.
    """
    count = len(planes) if localise else 1
    shortages = []
    header = Header(0, count, salt, derive(content, "check", 8), localise)
    payload = digest_of(planes), b"" if change is None else pack_change(change)
    if change is not None:
        planes = (planes + change).astype(planes.dtype)
    while True:
        for plan in plans(planes[:count], content, replace(header, planes=count), keep):
            try:
                return _hide(planes, plan, content, payload, depth)
            except CapacityError as error:
                shortages.append(error)
        if count == len(planes):
            raise _too_small(name, shortages, localise, keep is not None)
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
    try:
        plan = plan_for(shape_of(planes[: header.planes]), content, header)
        if plan is None:
            raise altered
        marked = planes[: header.planes].copy()
        _clear_lowest(marked, plan.reserved)
        if _guard(marked, content) != header.guard:
            raise altered
        cover, bits = METHODS[SCHEMES[header.scheme]]().extract(_tall(marked), _tall(plan.free))
        sealed, nonce = np.packbits(bits).tobytes(), derive(content, "pixels-nonce", 12)
        plain = _cipher(content).decrypt(nonce, sealed, _bound(planes, header))
    except (DamagedError, InvalidTag, ValueError, struct.error) as error:
        raise altered from error
    digest, plain = plain[:32], plain[32:]
    size = (plan.reserved.size + 7) // 8
    displaced = np.unpackbits(np.frombuffer(plain[:size], np.uint8))[: plan.reserved.size]
    cover.ravel()[plan.reserved] += displaced.astype(cover.dtype)
    sealed_planes = np.concatenate([cover.reshape(marked.shape), planes[header.planes :]])
    if not np.array_equal(_complete(marked, sealed_planes, plan, content), planes[: header.planes]):
        raise altered  # in the lowest bits that were displaced, of which neither guard nor payload tells
    try:
        change = unpack_change(plain[size:], shape_of(planes))
    except ValueError as error:
        raise altered from error
    original = (sealed_planes - change).astype(planes.dtype)
    if digest_of(original) != digest:
        raise altered
    return Opened(original, change, SCHEMES[header.scheme])


def damage_of(planes: Planes, header: Header, content: bytes) -> Damage | None:
    """Which blocks were altered, or None where the seal does not localise."""
    plan = localising_plan(planes, header, content)
    return check(planes, plan.blocks, derive(content, "blocks", 32)) if plan and plan.blocks else None


def recover_region(planes: Planes, header: Header, content: bytes) -> tuple[Planes, Bool[ndarray, "p h w"]]:
    """Altered blocks replaced by their reduced copies, and where such copies stand now.

    Raises:
        NotSealedError: The seal does not localise, or is too damaged to tell.
    """
    plan = localising_plan(planes, header, content)
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


def _hide(planes: Planes, plan: Plan, content: bytes, payload: tuple[bytes, bytes], depth: int) -> Planes:
    """Hide digest, displaced bits and coded change, by the first scheme that can."""
    count = plan.header.planes
    cover = planes[:count].copy()
    displaced = _clear_lowest(cover, plan.reserved)
    digest, change = payload
    plain = digest + np.packbits(displaced).tobytes() + change
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
        marked = marked.reshape(cover.shape)
        header = replace(header, guard=_guard(marked, content))
        complete = _complete(marked, planes, replace(plan, header=header), content)
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


def _tall(planes: NDArray[Any]) -> NDArray[Any]:
    """Planes under each other, as one plane."""
    return planes.reshape(-1, planes.shape[2])


def _cipher(content: bytes) -> AESGCM:
    return AESGCM(derive(content, "pixels", 32))


def _bound(planes: Planes, header: Header) -> bytes:
    """What the payload belongs to: it cannot be moved to another image or under another header."""
    return replace(header, guard=bytes(8)).to_bytes() + f"{planes.shape} {planes.dtype.name}".encode()


def _guard(marked: Planes, content: bytes) -> bytes:
    """MAC of marked pixels whose displaced bits are cleared."""
    return hmac.digest(derive(content, "pixels-mac", 32), digest_of(marked), "sha256")[:8]


def _too_small(name: str, shortages: list[CapacityError], localise: bool, kept: bool) -> CapacityError:
    """How much was lacking in the attempt that came closest, and what would help."""
    least = 8 * (Header.SIZE + 48)  # of payload; not even a header had room
    closest = min(shortages, key=lambda error: error.needed - error.available, default=None)
    needed, available = (closest.needed, closest.available) if closest else (least, 0)
    ways = ["a smaller region to keep"] if kept else []
    ways += ["no localising"] if localise else []
    first = f"try {' or '.join(ways)}, or" if ways else "it is too small or too noisy:"
    advice = f"{first} leave its pixels alone and let the file's envelope carry the seal"
    return CapacityError(name, needed, available, advice)
