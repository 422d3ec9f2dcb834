"""Who wrote the files, and how they were compressed: rules R15, B2, B8, B9.

DICOM PS3.10 7.1 (file meta information), PS3.3 C.7.6.1.1.5 (lossy compression), PS3.5 7.8 (private
elements). The implementation UID names the last writer, never the scanner.
"""

from __future__ import annotations

from intact.forensics.base import Severity
from intact.forensics.header.rules import Found, Rule, at, few, those
from intact.forensics.instance import Instance, Series, odd_ones
from intact.io.elements import text
from intact.io.meaning import MADE_GROUP

_META = ("ImplementationClassUID", "ImplementationVersionName", "TransferSyntaxUID")
_WRITERS = {  # roots of implementation UIDs
    "1.2.826.0.1.3680043.8.498.": "pydicom",
    "1.2.826.0.1.3680043.9.3811.": "pynetdicom",
    "1.2.276.0.7230010.3.0.": "DCMTK",
    "1.2.826.0.1.3680043.2.1143.": "GDCM",
    "1.2.40.0.13.1.": "dcm4che",
}
_PROGRAMS = (b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"#!")
_PICTURES = (b"II*\0", b"MM\0*")  # PS3.10 allows a TIFF's header in the preamble
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")


def _compression(series: Series) -> Found:
    """R15, B8: a loss that the transfer syntax shows and the header denies."""
    element = "LossyImageCompression"
    denied = those(series, lambda one: text(one.meta, "TransferSyntaxUID") in _LOSSY
                   and one.text("LossyImageCompression") == "00")  # fmt: skip
    if denied:
        said = "says 00, and the file is compressed with loss"
        yield at(series, denied, "R15", Severity.IMPOSSIBLE, element, said)
    uneven = those(series, lambda one: 0 < len(one.values(f"{element}Method"))
                   != len(one.values(f"{element}Ratio")))  # fmt: skip
    if uneven:
        said = "has not one value for each method"
        yield at(series, uneven, "B8", Severity.BENIGN, f"{element}Ratio", said)


def _last_writers(series: Series) -> Found:
    """B2: one program wrote all files of a series."""
    for keyword in _META:
        odd = odd_ones([text(one.meta, keyword) for one in series.instances])
        if odd is None:
            everywhere = range(len(series))
            yield at(series, everywhere, "B2", Severity.BENIGN, keyword, "differs from file to file")
        elif odd:
            said = "is not that of the other files: these were written by another program"
            yield at(series, odd, "B2", Severity.IMPOSSIBLE, keyword, said)
    for name in sorted({_writer(one) for one in series.instances} - {""}):
        which = those(series, lambda one, name=name: _writer(one) == name)  # type: ignore[misc]
        said = f"names {name} as the last writer"
        yield at(series, which, "B2", Severity.INFORMATION, "ImplementationClassUID", said)


def _hands(series: Series) -> Found:
    """B2: one program gives all files of a series the same elements, and UIDs of the same root."""
    hands = odd_ones([one.structure for one in series.instances])
    if hands and few(hands, series):
        said = "There are other elements, or of other types, than in the rest of the series"
        yield at(series, hands, "B2", Severity.BENIGN, "", said)
    roots = odd_ones([one.text("SOPInstanceUID").rsplit(".", 2)[0] for one in series.instances])
    if roots and few(roots, series):
        said = "has another root than in the rest of the series"
        yield at(series, roots, "B2", Severity.UNUSUAL, "SOPInstanceUID", said)


def _preambles(series: Series) -> Found:
    """B2: 128 bytes that no viewer reads."""
    runs = those(series, lambda one: one.preamble.startswith(_PROGRAMS))
    if runs:
        said = "The preamble holds the beginning of a program"
        yield at(series, runs, "B2", Severity.IMPOSSIBLE, "", said)
    other = those(series, lambda one: bool(one.preamble.strip(b"\0"))
                  and not one.preamble.startswith(_PICTURES + _PROGRAMS))  # fmt: skip
    if other:
        yield at(series, other, "B2", Severity.BENIGN, "", "The preamble is not empty")


def _private(series: Series) -> Found:
    """B9: who uses private elements signs for them."""
    unsigned = [_unsigned_blocks(one) for one in series.instances]
    odd = [n for n in odd_ones(unsigned) or [] if unsigned[n]]
    if few(odd, series):
        said = "Private elements have no creator, unlike those of the other files"
        yield at(series, odd, "B9", Severity.UNUSUAL, "", said)
    usual = [n for n, blocks in enumerate(unsigned) if blocks and n not in odd]
    if usual:
        yield at(series, usual, "B9", Severity.BENIGN, "", "Private elements have no creator")


def _unsigned_blocks(one: Instance) -> frozenset[tuple[int, int]]:
    tags = {(element.tag.group, element.tag.element) for element in one.header if element.tag.is_private}
    return frozenset(
        (group, number >> 8)
        for group, number in tags
        if group != MADE_GROUP and number > 0xFF and (group, number >> 8) not in tags
    )


def _writer(one: Instance) -> str:
    uid = text(one.meta, "ImplementationClassUID")
    return next((name for root, name in _WRITERS.items() if uid.startswith(root)), "")


RULES: tuple[Rule, ...] = (_compression, _last_writers, _hands, _preambles, _private)
