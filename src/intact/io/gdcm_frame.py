"""GDCM's decoder for one frame, in this process or, where it may crash, in one of its own.

Run as a script it reads an encoded frame from standard input and writes the pixels to standard
output. It imports nothing of this package, so that it starts quickly.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields

SECONDS = 60  # for one frame in a process of its own; the largest known take about one


@dataclass(frozen=True)
class Layout:
    """What GDCM must know about a frame; the values of the DICOM elements of the same names."""

    syntax: str
    photometric: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: int


def decode_frame(frame: bytes, layout: Layout) -> bytes:
    """Decode a frame in this process.

    Raises:
        ValueError: GDCM refuses it.
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = gdcm.Image()
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((layout.columns, layout.rows, 1))
    picture.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(layout.photometric)
    picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    syntax = gdcm.TransferSyntax.GetTSType(layout.syntax)
    picture.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = layout.stored
    picture.SetPixelFormat(gdcm.PixelFormat(layout.samples, layout.allocated, bits, bits - 1, layout.signed))
    buffer: str | None = picture.GetBuffer()
    if buffer is None:
        raise ValueError("GDCM cannot decode this frame")
    return buffer.encode("utf-8", "surrogateescape")  # it hands bytes over as text


def decode_frame_apart(frame: bytes, layout: Layout) -> bytes:
    """Decode a frame in a process of its own, which may crash without harm.

    Raises:
        ValueError: GDCM refuses the frame, or crashes on it, or takes too long.
    """
    values = [str(getattr(layout, field.name)) for field in fields(layout)]
    try:
        done = subprocess.run(  # noqa: S603 - this very file, with numbers
            [sys.executable, __file__, *values],
            input=frame,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise ValueError(f"GDCM cannot decode this frame ({type(error).__name__})") from error
    return done.stdout


if __name__ == "__main__":
    syntax, photometric, *numbers = sys.argv[1:]
    given = Layout(syntax, photometric, *map(int, numbers))
    sys.stdout.buffer.write(decode_frame(sys.stdin.buffer.read(), given))
