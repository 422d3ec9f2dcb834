"""What pixels and headers say of compression with loss: rules R15 and B8.

DICOM PS3.3 C.7.6.1.1.5: an image that was ever compressed with loss says so in Lossy Image Compression
(0028,2110), whatever is done to it afterwards, and names each method, the last one last.
"""

from __future__ import annotations

import numpy as np

from intact.forensics.base import Severity
from intact.forensics.header.rules import Found, Rule, at, those
from intact.forensics.instance import Instance, Series
from intact.forensics.jpeg.history import jpeg_history
from intact.io.elements import text

MOST = 4  # files of a series whose pixels are examined, evenly spaced
CERTAIN = -10.0  # decimal logarithm of the number of false alarms below which a grid is believed
_ELEMENT = "LossyImageCompression"
_SYNTAX = "1.2.840.10008.1.2.4."
# What PS3.3 calls the methods of transfer syntaxes that always lose something; by their last component.
_METHODS = {
    **dict.fromkeys(("50", "51"), "ISO_10918_1"),
    "81": "ISO_14495_1",
    **dict.fromkeys(("100", "100.1", "101", "101.1"), "ISO_13818_2"),
    **dict.fromkeys(("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1"), "ISO_14496_10"),
    **dict.fromkeys(("106", "106.1"), "ISO_14496_10"),
    **dict.fromkeys(("107", "108"), "ISO_23008_2"),
}


def _pixels(series: Series) -> Found:
    """R15: 8-bit pixels that have a JPEG grid in a file that does not admit to it."""
    silent = those(series, lambda one: one.text(_ELEMENT) in ("", "00") and not _method(one) and _plain(one))
    chosen = {silent[n] for n in np.linspace(0, len(silent) - 1, MOST).astype(int)} if silent else set()
    gridded = [n for n in sorted(chosen) if _has_grid(series.instances[n])]
    for flag, severity, said in (
        ("00", Severity.IMPOSSIBLE, "says 00, and the pixels have the grid that JPEG compression leaves"),
        ("", Severity.UNUSUAL, "is missing, and the pixels have the grid that JPEG compression leaves"),
    ):
        where = [n for n in gridded if series.instances[n].text(_ELEMENT) == flag]
        if where:
            yield at(series, where, "R15", severity, _ELEMENT, said)


def _methods(series: Series) -> Found:
    """B8: the last method is that of the transfer syntax, and where there is a method there was a loss."""
    other = those(series, lambda one: bool(_method(one)) and one.values(f"{_ELEMENT}Method")[-1:]
                  not in ([], [_method(one)]))  # fmt: skip
    if other:
        said = "does not end with the method of the transfer syntax"
        yield at(series, other, "B8", Severity.UNUSUAL, f"{_ELEMENT}Method", said)
    denied = those(series, lambda one: one.text(_ELEMENT) == "00" and bool(one.values(f"{_ELEMENT}Method")))
    if denied:
        yield at(series, denied, "B8", Severity.UNUSUAL, _ELEMENT, "says 00, and a method is named")


def _method(one: Instance) -> str:
    """The name of the transfer syntax's method; empty where it need not lose anything."""
    syntax = text(one.meta, "TransferSyntaxUID")
    return _METHODS.get(syntax.removeprefix(_SYNTAX), "") if syntax.startswith(_SYNTAX) else ""


def _plain(one: Instance) -> bool:
    """Whether these are values of 8 bits that JPEG can have left."""
    return one.image.pixels.dtype == np.uint8 and one.image.bits == 8 and one.image.palette is None


def _has_grid(one: Instance) -> bool:
    plane = one.image.plane(one.image.planes // 2)
    grey = plane.pixels.astype(np.float32)
    history = jpeg_history(grey.mean(axis=-1) if plane.colour else grey, plane)
    return not isinstance(history, str) and history.log_alarms < CERTAIN


RULES: tuple[Rule, ...] = (_pixels, _methods)
