"""Decoding single DICOM frames that pydicom refuses."""

from __future__ import annotations

import math
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLSLossless

from intact.io.gdcm_frame import Layout, decode_frame, decode_frame_apart


def inflate(frame: bytes, dataset: Dataset) -> bytes:
    """Deflated Image Frame Compression: each frame is a raw deflate stream."""
    limit = math.prod(shape_of(dataset)[1:]) * max(int(dataset.BitsAllocated) // 8, 1) + 2
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, limit)


def unpack_rle(frame: bytes, dataset: Dataset) -> bytes:
    """PackBits after a 64-byte header; a frame of 1-bit pixels is one segment (PS3.5 Annex G)."""
    unpacked, at = bytearray(), int.from_bytes(frame[4:8], "little")
    limit = math.ceil(math.prod(shape_of(dataset)[1:]) / 8)
    while at < len(frame) - 1 and len(unpacked) < limit:
        count = frame[at]
        if count < 128:
            unpacked += frame[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            unpacked += frame[at + 1 : at + 2] * (257 - count if count > 128 else 0)
            at += 2 if count > 128 else 1
    return bytes(unpacked)


def decode_jpeg12(frame: bytes, dataset: Dataset) -> bytes:
    """JPEG Extended with 12 bits, which GDCM decodes although pydicom does not ask it to."""
    with silence():
        return decode_frame(frame, _layout(dataset, JPEGExtended12Bit, stored=12))


def decode_jpeg_ls(frame: bytes, dataset: Dataset) -> bytes:
    """What CharLS refuses GDCM may still read, but some damaged frames end its process."""
    stored = int(dataset.BitsStored)
    data = decode_frame_apart(frame, _layout(dataset, JPEGLSLossless, stored=stored))
    if int(dataset.PixelRepresentation) == 0:
        return data
    unused = int(dataset.BitsAllocated) - stored
    values = np.frombuffer(data, f"<i{int(dataset.BitsAllocated) // 8}")
    return (values << unused >> unused).tobytes()  # JPEG-LS itself knows no sign


def _layout(dataset: Dataset, syntax: UID, *, stored: int) -> Layout:
    return Layout(
        syntax=str(syntax),
        photometric=str(dataset.PhotometricInterpretation),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.SamplesPerPixel),
        allocated=int(dataset.BitsAllocated),
        stored=stored,
        signed=int(dataset.PixelRepresentation),
    )


def frames_of(dataset: Dataset) -> int:
    """Number of Frames (0028,0008); one where it is missing."""
    return int(dataset.get("NumberOfFrames") or 1)


def shape_of(dataset: Dataset) -> tuple[int, ...]:
    """(frames, rows, columns) or (frames, rows, columns, samples)."""
    samples = int(dataset.SamplesPerPixel)
    shape = (frames_of(dataset), int(dataset.Rows), int(dataset.Columns))
    return shape if samples == 1 else (*shape, samples)


@contextmanager
def silence() -> Iterator[None]:
    """Drop what native decoders print to the process's error stream, past Python."""
    try:
        stream = sys.__stderr__.fileno() if sys.__stderr__ else 2
        kept = os.dup(stream)
    except (OSError, ValueError):  # there is no error stream to protect
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a file
            os.dup2(nowhere.fileno(), stream)
        yield
    finally:
        os.dup2(kept, stream)
        os.close(kept)
