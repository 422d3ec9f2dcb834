"""The bytes of a data set that a DICOM digital signature hashes, and which elements it may cover.

Elements are hashed in explicit VR little endian, whatever they are stored in; sequences, items and
fragments without their lengths, which a file may state or not. PS3.3 C.12.1.1.3.1.1 says which
elements may be listed, C.12.1.1.3.1.2 how they are put.

The standard does not say what to do with more padding than an even length takes. DCMTK's `dcmsign`
leaves it out, and so does `digest` unless told otherwise.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Collection, Iterator
from struct import pack
from typing import NamedTuple, TypeAlias

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.encaps import generate_fragments
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import correct_ambiguous_vr_element, write_dataset
from pydicom.hooks import raw_element_vr
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pydicom.valuerep import AMBIGUOUS_VR, EXPLICIT_VR_LENGTH_32, STANDARD_VR, STR_VR

from intact.errors import InputError
from intact.io.dicom import quiet

SIGNATURES, PARAMETERS = Tag(0xFFFA, 0xFFFA), Tag(0x4FFE, 0x0001)
# Length to End, the signatures themselves and trailing padding describe the file, not the image.
_NO_CONTENT = {Tag(0x0008, 0x0001), SIGNATURES, PARAMETERS, Tag(0xFFFC, 0xFFFC)}
# Certificate, signature and certified timestamp are no part of the signature's own hash.
_OUTSIDE = {Tag(0x0400, number) for number in (0x0115, 0x0120, 0x0305, 0x0310)}
_WORDS = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4}
_WORDS |= {"FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}  # bytes that big endian turns round
_ITEM, _END = pack("<HH", 0xFFFE, 0xE000), pack("<HH", 0xFFFE, 0xE0DD)


class Element(NamedTuple):
    """One element as it is stored, but in little endian."""

    tag: BaseTag
    vr: str
    stated: bool  # whether its VR is stored, or comes from a list of known elements
    value: bytes = b""
    parts: tuple[bytes | Level, ...] | None = None  # fragments, or items of a sequence


Level: TypeAlias = dict[BaseTag, Element]  # a data set or an item, in the order of tags


def stored(dataset: Dataset) -> tuple[Level, UID | None]:
    """The elements as `pydicom.dcmwrite` puts them in a file, and its transfer syntax where known.

    Values that were never looked at keep the bytes that were read.

    Raises:
        InputError: The data set cannot be encoded.
    """
    syntax: UID | None = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    known = syntax if syntax and syntax.is_transfer_syntax and not syntax.is_private else None
    implicit, little = dataset.original_encoding
    if known:
        implicit, little = known.is_implicit_VR, known.is_little_endian
    charset = dataset.original_character_set  # of the parent, for an item
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = bool(implicit), little is not False
    try:
        with quiet():
            written = copy.deepcopy(dataset[:])
            if known and "PixelData" in written:
                written["PixelData"].is_undefined_length = known.is_encapsulated
            write_dataset(stream, written, [charset] if isinstance(charset, str) else list(charset))
            file = io.BytesIO(stream.getvalue())
            return _parsed(read_dataset(file, stream.is_implicit_VR, stream.is_little_endian)), syntax
    except Exception as error:  # pydicom refuses in many ways, and names values of the patient
        raise InputError(
            "the data set",
            f"its elements cannot be encoded ({type(error).__name__}), so that there is nothing to hash; "
            "give it as it was read from a sound file",
        ) from None


def content(tag: BaseTag) -> bool:
    """Whether an element says anything of its own: lengths, padding and signatures do not."""
    return tag.element != 0 and tag not in _NO_CONTENT


def admitted(tag: BaseTag) -> bool:
    """Whether an element of this tag may be hashed."""
    return content(tag) and tag.group >= 0x0008 and tag.group != 0xFFFA


def signable(element: Element) -> bool:
    """Whether an element may be listed as signed: nothing in it is of unknown VR."""
    return admitted(element.tag) and all(inner.vr != "UN" for inner in within(element))


def guessed(element: Element) -> bool:
    """Whether the VR of a private element in it is not stored: another reader may not know it."""
    return any(
        not inner.stated and inner.tag.is_private and not inner.tag.is_private_creator
        for inner in within(element)
    )


def within(element: Element) -> Iterator[Element]:
    """The element and all that its items hold."""
    yield element
    for part in element.parts or ():
        if isinstance(part, dict):
            for inner in part.values():
                yield from within(inner)


def digest(
    algorithm: str, level: Level, covered: Collection[BaseTag], item: Level, *, padded: bool = False
) -> bytes:
    """Hash of the covered elements, then of the signature's own.

    Args:
        algorithm: A name that DICOM gives, such as "SHA256".
        level: The data set or item that is signed.
        covered: Tags of the elements in it that count; any that are not there are passed over.
        item: The signature's item of the Digital Signatures Sequence.
        padded: Whether all padding counts, as it is stored.

    Raises:
        ValueError: This machine's OpenSSL does not have the algorithm.
    """
    state = hashlib.new(algorithm.lower(), usedforsecurity=False)  # old signatures have old hashes
    hashed = [element for element in level.values() if element.tag in covered]
    hashed += [element for element in item.values() if element.tag not in _OUTSIDE and admitted(element.tag)]
    for element in hashed:
        for piece in _encoded(element, padded):
            state.update(piece)
    return state.digest()


def _encoded(element: Element, padded: bool) -> Iterator[bytes]:
    head = pack("<HH", element.tag.group, element.tag.element)
    if element.parts is not None:
        yield head + element.vr.encode() + bytes(2)
        for part in element.parts:
            yield _ITEM
            if isinstance(part, bytes):
                yield part
            else:
                for inner in part.values():
                    if admitted(inner.tag):
                        yield from _encoded(inner, padded)
        yield _END
        return
    filler = b" " if element.vr in STR_VR and element.vr != "UI" else b"\0"
    value = element.value if padded or element.vr not in STR_VR else element.value.rstrip(filler + b" ")
    value = _even(value, filler)
    if element.vr in EXPLICIT_VR_LENGTH_32:
        yield head + element.vr.encode() + pack("<HL", 0, len(value))
    elif len(value) > 0xFFFF:
        yield head + b"UN" + pack("<HL", 0, len(value))  # PS3.5 6.2.2: too long for its own VR
    else:
        yield head + element.vr.encode() + pack("<H", len(value))
    yield value


def _even(value: bytes, filler: bytes = b"\0") -> bytes:
    return value + filler if len(value) % 2 else value


def _parsed(dataset: Dataset, outer: tuple[Dataset, ...] = ()) -> Level:
    """Elements of a data set that was just read."""
    around = (dataset, *outer)
    # All of them first: to look up one VR, pydicom converts the element that it depends on.
    found = [dataset.get_item(tag, keep_deferred=True) for tag in sorted(dataset.keys())]
    return {element.tag: _element(element, around) for element in found}


def _element(element: DataElement | RawDataElement, around: tuple[Dataset, ...]) -> Element:
    """One element of the first data set of `around`, which lies in the next, and so on."""
    tag, vr, stated = element.tag, element.VR, not around[0].original_encoding[0]
    if isinstance(element, RawDataElement) and vr is None:
        vr = _looked_up(element, around)
    vr = str(vr) if vr in STANDARD_VR else "UN"
    if vr == "SQ":
        if isinstance(element, RawDataElement):
            element = convert_raw_data_element(element._replace(VR="SQ", value=element.value or b""))
        return Element(tag, vr, stated, parts=tuple(_parsed(item, around) for item in element.value))
    value = element.value or b""
    if isinstance(element, RawDataElement) and element.length == 0xFFFFFFFF:
        # PS3.5 A.4: encapsulated pixels are OB, which some files forget
        return Element(tag, "OB", stated, parts=tuple(generate_fragments(value)))
    if isinstance(element, RawDataElement) and not element.is_little_endian and vr in _WORDS:
        value = np.frombuffer(value, f"u{_WORDS[vr]}").byteswap().tobytes()
    return Element(tag, vr, stated, value)


def _looked_up(element: RawDataElement, around: tuple[Dataset, ...]) -> str:
    """VR of an element that is stored without one."""
    data: dict[str, str] = {}
    raw_element_vr(element, data, ds=around[0])
    if data["VR"] not in AMBIGUOUS_VR:
        return data["VR"]
    made = DataElement(element.tag, data["VR"], element.value or b"", already_converted=True)
    try:
        return str(correct_ambiguous_vr_element(made, around[0], True, list(around)).VR)
    except (AttributeError, TypeError):  # what it depends on is missing or empty
        return "UN"
