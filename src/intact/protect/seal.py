"""Seal, restore and verify one image: its pixels alone carry the seal.

What is wrong with an image is told apart: never sealed, sealed for other keys, changed since.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import (
    AlreadySealedError,
    AlteredError,
    InputError,
    NotSealedError,
    UnsealableError,
    UsageError,
    WrongKeyError,
)
from intact.image import Image
from intact.io.dicom_new import needed_bits
from intact.protect.change import Change
from intact.protect.container import damage_of, open_planes, seal_planes
from intact.protect.header import Header, Planes, find_header
from intact.protect.keys import SALT_SIZE, Key, content_key
from intact.protect.watermark import Damage


@dataclass(frozen=True)
class Verdict:
    """What became of a sealed image.

    Args:
        state: "sound", or what is wrong: "pixels", "header", "re-encoded", "resized", "truncated",
            "wrong key", "not sealed", "unreadable".
        reason: In words.
        damage: Which blocks were altered, where the seal localises and was found.
    """

    state: str
    reason: str = ""
    damage: Damage | None = None

    @property
    def sound(self) -> bool:
        """Whether not a bit was changed since sealing."""
        return self.state == "sound"


def seal(
    image: Image,
    key: Key,
    *,
    keep: Bool[ndarray, "..."] | None = None,
    change: Change | None = None,
    localise: bool = False,
) -> Image:
    """Hide a seal in the pixels of an image.

    Args:
        image: Integer pixels of up to 32 bits; left as it is.
        key: Whoever has it can verify and restore.
        keep: True where pixels stay bit for bit, [h,w] or the shape of the image.
        change: To be added to the planes first, as `Cloak.change` finds it; undone by `restore`.
        localise: Let blocks carry tags, so that `verify` tells where pixels were changed and
            `recover` shows what stood there.

    Raises:
        AlreadySealedError: It carries a seal.
        CapacityError: The pixels cannot hold it.
        UnsealableError: Floating-point pixels.
        UsageError: `keep` has another size.
    """
    sealed, _, _ = seal_with(image, key, keep, localise, change)
    return sealed


def restore(image: Image, key: Key) -> Image:
    """The image as it was before `seal`, bit for bit, checked against its digest.

    Raises:
        NotSealedError: It carries no seal.
        WrongKeyError: It was sealed for other keys.
        AlteredError: A pixel was changed since.
    """
    planes, header = planes_of(image), _header_of(image)
    content = content_key(key, header.salt)
    return with_planes(image, open_planes(planes, header, content, _name(image)).planes)


def verify(image: Image, key: Key) -> Verdict:
    """Whether a sealed image is untouched, and if not, what is wrong and where."""
    try:
        restore(image, key)
    except InputError as error:
        return Verdict(state_of(error), error.reason, _damage(image, key))
    return Verdict("sound")


def state_of(error: InputError) -> str:
    """What an error says of a sealed file, in a word or two."""
    if isinstance(error, AlteredError):
        return error.what
    if isinstance(error, WrongKeyError):
        return "wrong key"
    return "not sealed" if isinstance(error, NotSealedError) else "unreadable"


def planes_of(image: Image) -> Planes:
    """All planes of an image, [p,h,w]; the channels of a colour image one after the other."""
    pixels = np.moveaxis(image.pixels, -1, -3) if image.colour else image.pixels
    return np.ascontiguousarray(pixels).reshape(-1, *image.shape[-2:])


def with_planes(image: Image, planes: Planes) -> Image:
    """An image with other pixels; the inverse of `planes_of`."""
    if not image.colour:
        return replace(image, pixels=planes.reshape(image.pixels.shape))
    pixels = planes.reshape(*image.shape[:-2], 3, *image.shape[-2:])
    return replace(image, pixels=np.ascontiguousarray(np.moveaxis(pixels, -3, -1)))


def seal_with(
    image: Image,
    key: Key,
    keep: Bool[ndarray, "..."] | None,
    localise: bool,
    change: Change | None = None,
) -> tuple[Image, bytes, bytes]:
    """The sealed image, its content key and its salt."""
    planes, name = planes_of(image), _name(image)
    if not _can_carry(planes):
        raise UnsealableError(
            name,
            f"has {planes.dtype} pixels, in which bits cannot be hidden and undone exactly; that needs "
            "integers of up to 32 bits, so seal the file with its envelope as carrier",
        )
    if find_header(planes) is not None:
        raise already_sealed(name)
    salt = os.urandom(SALT_SIZE)
    content = content_key(key, salt)
    sealed = seal_planes(
        planes,
        content,
        salt,
        depth=depth_of(image, planes),
        keep=None if keep is None else _flat(keep, image),
        change=change,
        localise=localise,
        name=name,
    )
    return with_planes(image, sealed), content, salt


def find_seal(planes: NDArray[Any]) -> Header | None:
    """The seal in the pixels, if they are of a kind that can carry one."""
    return find_header(planes) if _can_carry(planes) else None


def already_sealed(name: str) -> AlreadySealedError:
    """The error for an image that carries a seal."""
    return AlreadySealedError(name, "carries a seal already; restore it first to seal it anew")


def not_sealed(name: str, *, lossy: bool = False) -> NotSealedError:
    """The error for an image without a seal, in a format that stores with loss or another."""
    if lossy:
        return NotSealedError(name, "carries no seal: JPEG stores with loss, which no seal survives")
    return NotSealedError(name, "carries no seal, or lost it by being stored with loss, resized or cropped")


def _can_carry(planes: NDArray[Any]) -> bool:
    return planes.dtype.kind in "iu" and planes.itemsize <= 4


def _flat(keep: NDArray[Any], image: Image) -> Bool[ndarray, "h w"]:
    """A region as one mask for all planes."""
    if keep.shape not in (image.shape, image.shape[-2:]):
        raise UsageError(
            f"the region to keep has shape {keep.shape} and the image {image.shape}: give a mask of the "
            "image's own size"
        )
    return np.logical_or.reduce(keep.reshape(-1, *image.shape[-2:]), axis=0)


def depth_of(image: Image, planes: Planes) -> int:
    """Bits that a value can use: what the file says, unless its values say otherwise."""
    whole = 8 * planes.dtype.itemsize
    return image.bits if needed_bits(planes) <= image.bits <= whole else whole


def _header_of(image: Image) -> Header:
    header = find_seal(planes_of(image))
    if header is None:
        raise not_sealed(_name(image))
    return header


def _damage(image: Image, key: Key) -> Damage | None:
    """The altered blocks of an image whose seal does not open."""
    planes = planes_of(image)
    header = find_seal(planes)
    if header is None or not header.sound or not header.fits(content_key(key, header.salt)):
        return None
    return damage_of(planes, header, content_key(key, header.salt))


def _name(image: Image) -> str:
    return image.identity.path or "the image"
