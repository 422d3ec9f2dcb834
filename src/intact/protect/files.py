"""Seal, restore and verify one file: its very bytes return, and a change to any byte is noticed.

The pixels carry a seal and the file an envelope besides. What is wrong is told apart: never
sealed, sealed for other keys, changed in pixels or header, stored with loss, resized, cut off.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from numpy.typing import NDArray
from pydicom.uid import UID

from intact.errors import (
    AlteredError,
    InputError,
    SealError,
    UnreadableError,
    UnsealableError,
    UsageError,
    WrongKeyError,
)
from intact.image import Image
from intact.io import read_dicom, read_nifti
from intact.io.dicom import quiet
from intact.io.dicom_write import encode_dicom
from intact.io.formats import HEAD, sniff
from intact.io.nifti import encode_nifti, pack_nifti
from intact.io.png import encode_png
from intact.io.raster import read_raster
from intact.io.tiff import encode_tiff
from intact.protect.change import Change
from intact.protect.container import Opened, damage_of, digest_of, open_planes, recover_region
from intact.protect.derived import derived_header, unsealed_header
from intact.protect.envelope import (
    GZIP,
    MAC_SIZE,
    MAGIC,
    Carrier,
    Envelope,
    Origin,
    attach,
    describe_origin,
    original_file,
    seal_origin,
    untouched,
    with_mac,
)
from intact.protect.header import Header, Planes
from intact.protect.keys import SALT_SIZE, Key, PublicKey, content_key
from intact.protect.seal import (
    Verdict,
    already_sealed,
    find_seal,
    not_sealed,
    planes_of,
    seal_with,
    state_of,
    with_planes,
)
from intact.protect.watermark import Damage

PIXELS_OF = "pixels-of-"  # begins the name of a file of which only the pixels are the original's
LOSSY = (  # transfer syntaxes that change pixels
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
)


def seal_file(
    data: bytes,
    name: str,
    key: Key,
    *,
    recipients: Sequence[PublicKey] = (),
    keep: Bool[ndarray, "..."] | None = None,
    change: Change | None = None,
    localise: bool = False,
    carrier: Carrier = "pixels",
) -> tuple[bytes, str]:
    """Seal a DICOM, NIfTI, PNG, TIFF or other image file; nothing of the original is lost.

    The result is restored in memory and compared before it is returned.

    Args:
        data: The file.
        name: Without folders; comes back with the file.
        key: Of the one who seals.
        recipients: Others who may restore and verify, by their public keys.
        keep: True where pixels stay bit for bit.
        change: As for `seal`; only pixels can carry it.
        localise: As for `seal`.
        carrier: "envelope" leaves the pixels as they are, of whatever type and size: the file is as
            safe, but its pixels alone prove nothing.

    Returns:
        The sealed file, and its name: other than the original's where the format cannot hold a
        seal, as JPEG.

    Raises:
        InputError: It cannot be read or sealed, in the words of `seal`.
    """
    if Envelope.find(data) is not None:
        raise already_sealed(name)
    image = read_image(data, name)
    if carrier == "pixels":
        sealed, content, salt = seal_with(image, key, keep, localise, change)
    else:
        sealed, salt = image, os.urandom(SALT_SIZE)
        content = content_key(key, salt)
    origin = describe_origin(data, name, planes_of(image), planes_of(sealed), carrier)
    with _writing(name):
        file, suffix = _encode(sealed, data, seal_origin(origin, content, salt, recipients), content, key)
    if restore_file(file, name, key)[0] != data:
        raise SealError(name, "does not come back from its seal, so it was not sealed; please report this")
    return file, name + suffix


def restore_file(data: bytes, name: str, key: Key, *, accept_header: bool = False) -> tuple[bytes, str]:
    """The original file, byte for byte, checked against its digest, and its name.

    Args:
        data: The sealed file.
        name: How errors call it.
        key: Of the one who sealed, or of a recipient.
        accept_header: Restore also when something else than the pixels was changed since, as by an
            archive that writes headers anew. Where the envelope itself is gone, the pixels come back
            under the header of today, and the name begins with "pixels-of-".

    Raises:
        NotSealedError: It carries no seal.
        WrongKeyError: It was sealed for other keys.
        AlteredError: It was changed since; `what` says what.
        InputError: It cannot be read.
    """
    examined = examine(data, name, key)
    opened, origin = examined.opened, examined.origin
    if opened is None or (examined.problem and not accept_header):
        assert examined.problem is not None
        raise examined.problem
    if origin is None:
        with _writing(name):
            return _with_pixels(examined.image, opened.planes, data), PIXELS_OF + Path(name).name
    return original_file(origin, opened.planes), origin.name


def verify_file(data: bytes, name: str, key: Key) -> Verdict:
    """Whether not a byte of a sealed file was changed, and if not, what is wrong and where."""
    try:
        examined = examine(data, name, key)
    except InputError as error:
        return Verdict(state_of(error), error.reason)
    if examined.problem is None:
        return Verdict("sound")
    damage = examined.damage() if examined.opened is None else None
    return Verdict(state_of(examined.problem), examined.problem.reason, damage)


@dataclass(frozen=True)
class Examined:
    """Everything that a key holder can tell of a file that was sealed for him.

    Args:
        image: As it is now.
        content: Content key of its seal.
        header: Of the seal in its pixels, if it is found.
        opened: What that seal holds, if the pixels are untouched.
        origin: What the envelope holds, if it is there and untouched.
        problem: What was changed, if anything was.
    """

    image: Image
    content: bytes
    header: Header | None
    opened: Opened | None
    origin: Origin | None
    problem: AlteredError | None

    def damage(self) -> Damage | None:
        """Which blocks were altered, where the seal localises."""
        return damage_of(planes_of(self.image), self.header, self.content) if self.header else None

    def recovered(self) -> tuple[Image, Bool[ndarray, "p h w"]]:
        """The image with altered blocks replaced by their reduced copies, and where such copies stand.

        Raises:
            NotSealedError: The seal does not localise, or is too damaged to tell.
        """
        if self.header is None:
            raise not_sealed(self.image.identity.path)
        planes, known = recover_region(planes_of(self.image), self.header, self.content)
        return with_planes(self.image, planes), known


def examine(data: bytes, name: str, key: Key) -> Examined:
    """Look at the seal in the pixels and at the envelope of a file.

    Raises:
        NotSealedError: It carries neither.
        WrongKeyError: It was sealed for other keys.
        AlteredError: It was cut off, or damaged so that it cannot be read.
        InputError: It cannot be read, and nothing says that it was ever sealed.
    """
    envelope = Envelope.find(data)
    try:
        image = read_image(data, name)
    except InputError as error:
        if MAGIC in data or envelope is not None:
            raise AlteredError(
                name, f"was cut off or damaged after it was sealed: {error.reason}", "truncated"
            ) from error
        raise
    planes = planes_of(image)
    header = find_seal(planes)
    lossy = sniff(data[:HEAD]) == "jpeg"
    if envelope is None and (header is None or (lossy and not header.sound)):
        raise not_sealed(name, lossy=lossy)
    content = _content(envelope, header, key, name)
    try:
        origin = envelope.open(content) if envelope else None
    except AlteredError:
        origin = None
    try:
        opened = _open(planes, header, origin, content, name)
    except SealError:
        opened = None
    problem = None
    if opened is None:
        problem = _pixels_changed(image, planes, origin, name)
    elif origin is None or not untouched(data, content):
        problem = _header_changed(name, origin)
    return Examined(image, content, header, opened, origin, problem)


def read_image(data: bytes, name: str) -> Image:
    """Read an image of any format from the bytes of one file.

    Raises:
        InputError: It is none, or cannot be read.
    """
    kind = sniff(data[:HEAD])
    if kind == "dicom":
        return read_dicom(data, name=name)
    if kind == "nifti-pair":
        raise UnsealableError(
            name, "is a NIfTI header whose voxels are in another file; join them into one .nii file"
        )
    image = read_nifti(data, name) if kind == "nifti" else read_raster(data, name)
    if not image.pixels.size:
        raise UnreadableError(name, f"has no pixels: its shape is {image.shape}")
    return image


def _open(
    planes: NDArray[Any], header: Header | None, origin: Origin | None, content: bytes, name: str
) -> Opened | None:
    """The original pixels, if nothing was changed in those that were sealed."""
    if origin and origin.carrier == "envelope":
        same = digest_of(planes).hex() == origin.sealed
        return Opened(planes, np.zeros(planes.shape, np.int32), "") if same else None
    return open_planes(planes, header, content, name) if header else None


def _content(envelope: Envelope | None, header: Header | None, key: Key, name: str) -> bytes:
    """The content key, from whichever of the two is undamaged."""
    altered = None
    try:
        if envelope and (content := envelope.content(key)) is not None:
            return content
    except AlteredError as error:
        altered = AlteredError(name, error.reason, error.what)
    if header and header.fits(content_key(key, header.salt)):
        return content_key(key, header.salt)
    if altered:
        raise altered
    if envelope is None and header and not header.sound:
        raise AlteredError(name, "its pixels were changed after it was sealed", "pixels")
    raise WrongKeyError(name, "was sealed for other keys than the one given")


@contextmanager
def _writing(name: str) -> Iterator[None]:
    """Turn whatever a damaged header makes pydicom raise when it is written into an error of the file."""
    try:
        yield
    except Exception as error:
        raise UnsealableError(
            name,
            f"has a damaged header, which can be read but not written ({type(error).__name__}: {error}); "
            "correct it first",
        ) from error


def _with_pixels(image: Image, planes: Planes, sealed: bytes) -> bytes:
    """A file that lost its envelope, with the pixels of the original."""
    image = with_planes(image, planes)
    if sniff(sealed[:HEAD]) != "dicom":
        return _body(image, sealed)[0]
    with quiet():
        header = unsealed_header(image.header)
    return encode_dicom(replace(image, header=header))


def _encode(
    sealed: Image, original: bytes, envelope: Envelope, content: bytes, key: Key
) -> tuple[bytes, str]:
    """A sealed file in the format of the original or one that can hold it, and what its name gains."""
    if sniff(original[:HEAD]) != "dicom":
        body, suffix = _body(sealed, original)
        return attach(body, envelope, content), suffix
    series = hmac.new(key.secret, b"intact/1/series", "sha256").hexdigest()
    with quiet():  # what pydicom thinks of the original's values
        header = derived_header(sealed.header, series, envelope.to_bytes() + bytes(MAC_SIZE))
    return with_mac(encode_dicom(replace(sealed, header=header)), content), ""


def _body(image: Image, like: bytes) -> tuple[bytes, str]:
    """An image in the format of a file, else as PNG, else as TIFF, and what its name gains."""
    kind = sniff(like[:HEAD])
    if kind == "nifti":
        data = encode_nifti(image)
        return pack_nifti(data) if like.startswith(GZIP) else data, ""
    if kind != "tiff":
        try:
            return encode_png(image), "" if kind == "png" else ".png"
        except UsageError:
            return encode_tiff(image), ".tif"
    return encode_tiff(image), ""


def _pixels_changed(image: Image, planes: Planes, origin: Origin | None, name: str) -> AlteredError:
    """Why the pixels are not those that were sealed."""
    meta = getattr(image.header, "file_meta", {})
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    if origin and origin.shape != planes.shape:
        return AlteredError(
            name,
            f"was cropped or resized after it was sealed, from {origin.shape} to {planes.shape}",
            "resized",
        )
    if syntax in LOSSY:
        return AlteredError(
            name,
            f"was stored with loss ({syntax.name}) after it was sealed, which no seal survives",
            "re-encoded",
        )
    return AlteredError(name, "its pixels were changed after it was sealed", "pixels")


def _header_changed(name: str, origin: Origin | None) -> AlteredError:
    what = "its header or another part outside the pixels was changed after it was sealed"
    if origin is None:
        what = "its envelope was lost or changed when other software wrote it anew"
    return AlteredError(name, f"{what}; its pixels are untouched", "header")
