"""What a file is, told by its first bytes; names and extensions are never trusted."""

from __future__ import annotations

import gzip
import io
import zlib

HEAD = 1024  # bytes of a file that `sniff` and `describe` want to see

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),  # BigTIFF
    (b"MM\0+", "tiff"),
    (b"\x93NUMPY", "npy"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty archive
)

_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "gzip-compressed data that is not NIfTI"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"RIFF", "a RIFF media file"),
    (b"\0\0\0\x0cjP  ", "a bare JPEG 2000 file, which is read only inside DICOM"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 stream, which is read only inside DICOM"),
    (b"NRRD", "an NRRD file"),
    (b"ObjectType", "a MetaImage header"),
)


def sniff(head: bytes) -> str:
    """Name the format that begins with `head` (the first `HEAD` bytes, or the whole file).

    Returns:
        "dicom", "nifti", "nifti-pair" (a header whose voxels are in an .img file), "png", "jpeg",
        "tiff", "npy", "gif", "bmp", "webp", "zip", or "" for anything else.
    """
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, name in _IMAGES:
        if head.startswith(magic):
            return name
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "bmp"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    return _nifti(_gunzip(head)) or ("dicom" if _bare_dicom(head) else "")


def describe(head: bytes) -> str:
    """Say in words what a file is that `sniff` does not know, for the user."""
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    for magic, words in _OTHERS:
        if head.startswith(magic):
            return words
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "an ANALYZE 7.5 header, which has no orientation; convert it to NIfTI"
    return "text" if _is_text(head) else "of an unknown format"


def _gunzip(head: bytes) -> bytes:
    """The first bytes inside a gzip file, or `head` itself when it is not one."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(head)).read1(HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _nifti(head: bytes) -> str:
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "nifti"
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return "nifti-pair"
    return ""


def _bare_dicom(head: bytes) -> bool:
    """Whether `head` is a DICOM data set without the 128-byte preamble and "DICM".

    The first element must be of group 0002 or 0008, with a known VR or a small implicit length.
    """
    if len(head) < 16:
        return False
    for order in ("little", "big"):
        group = int.from_bytes(head[:2], order)
        element = int.from_bytes(head[2:4], order)
        length = int.from_bytes(head[4:8], order)
        if group in (0x0002, 0x0008) and element <= 0x0070:
            return head[4:6] in (b"UL", b"CS", b"UI", b"DA", b"OB", b"SH", b"LO") or length <= 128
    return False


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # the cut may fall inside the last character
            return False
        text = head[: error.start].decode("utf-8")
    return all(c.isprintable() or c.isspace() for c in text)
