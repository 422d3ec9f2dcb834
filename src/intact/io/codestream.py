"""What a JPEG, JPEG-LS or JPEG 2000 stream says about its own size.

The decoders allocate what the stream asks for, however absurd, so it is asked first.

Source: ITU-T T.81 B.2.2 and T.87 C.2.2 (frame header), T.800 A.5.1 (SIZ marker segment).
"""

from __future__ import annotations

_SIZ = b"\xff\x4f\xff\x51"  # start of codestream, then image and tile size
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # Huffman tables, extensions, arithmetic conditioning
_JPEG_LS = 0xF7


def coded_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components of a coded frame; None when the stream does not say."""
    start = frame.find(_SIZ, 0, 4096)  # a JP2 box may stand before it
    if start >= 0:
        return _jpeg_2000(frame[start + 4 : start + 42])
    return _jpeg(frame) if frame.startswith(b"\xff\xd8") else None


def _jpeg_2000(siz: bytes) -> tuple[int, int, int] | None:
    if len(siz) < 38:
        return None
    right, bottom, left, top = (int.from_bytes(siz[k : k + 4], "big") for k in (4, 8, 12, 16))
    return bottom - top, right - left, int.from_bytes(siz[36:38], "big")


def _jpeg(frame: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES):
            rows, columns = (int.from_bytes(frame[at + k : at + k + 2], "big") for k in (5, 7))
            return rows, columns, frame[at + 9]
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
