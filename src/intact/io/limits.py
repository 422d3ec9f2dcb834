"""How much memory one file may ask for before it is refused unread.

A few kilobytes can claim to be terabytes. Sizes are checked as declared, before anything is
unpacked, so that one hostile or damaged file cannot stop a run over an archive.
"""

from __future__ import annotations

from intact.errors import UnreadableError

MAX_BYTES = 4 * 2**30  # of one decoded image; the largest real series seen are about 1 GiB
MAX_RATIO = 200  # of unpacked to packed size; deflate cannot exceed 1032, real images stay below 50
RATIO_MATTERS_FROM = 256 * 2**20  # bytes; an empty mask may well shrink a thousandfold


def check_size(name: str, size: int, what: str) -> None:
    """Refuse `size` bytes of decoded data.

    Args:
        name: The file, for the message.
        size: Bytes that decoding would take.
        what: What declares that size, for the message.

    Raises:
        UnreadableError: More than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise UnreadableError(
            name,
            f"{what} asks for {size:,} bytes of memory, more than the {MAX_BYTES:,} allowed for "
            "one image; the header is damaged or hostile, or the file must be split first",
        )


def check_packed(name: str, *, packed: int, unpacked: int) -> None:
    """Refuse compressed data that unpacks out of all proportion.

    Raises:
        UnreadableError: Above `MAX_BYTES`, or above `MAX_RATIO` and not small either.
    """
    check_size(name, unpacked, "the compressed data")
    if unpacked > RATIO_MATTERS_FROM and unpacked > MAX_RATIO * max(packed, 1):
        raise UnreadableError(
            name,
            f"{packed:,} bytes unpack to {unpacked:,}, {unpacked // max(packed, 1)} times as many; "
            "no image shrinks that far, so this is a decompression bomb and was not unpacked",
        )
