"""The hashed bytes, written out by hand after PS3.3 C.12.1.1.3.1."""

import hashlib
import io
import struct

import pytest
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from intact.forensics import mac

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def new(syntax=ExplicitVRLittleEndian, **elements):
    """A data set that was never in a file."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def read(dataset):
    """The data set after it was written to a file."""
    stream = io.BytesIO()
    dcmwrite(stream, dataset)
    return dcmread(io.BytesIO(stream.getvalue()), force=True)


def hashes_as(dataset, expected, *, padded=False):
    """Whether the bytes hashed for all of a data set are the expected ones."""
    level, _ = mac.stored(dataset)
    return mac.digest("SHA256", level, tuple(level), {}, padded=padded) == hashlib.sha256(expected).digest()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("filed", [False, True])
def test_an_object_gives_the_bytes_of_the_standard_in_any_syntax(syntax, filed):
    inner = Dataset()
    inner.CodeValue = "T-1"
    words = b"\1\2\3\4" if syntax != ExplicitVRBigEndian else b"\2\1\4\3"
    dataset = new(
        syntax,
        SOPInstanceUID="1.2.3",
        AnatomicRegionSequence=[inner, Dataset()],
        PrimaryAnatomicStructureSequence=[],
        FrameIncrementPointer=0x00181063,
        Rows=258,
        PixelData=words,
    )
    dataset["PixelData"].VR = "OW"
    expected = (
        b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
        + (b"\x08\x00\x18\x22SQ\0\0" + ITEM + b"\x08\x00\x00\x01SH\x04\x00T-1 " + ITEM + END)
        + (b"\x08\x00\x28\x22SQ\0\0" + END)
        + b"\x28\x00\x09\x00AT\x04\x00\x18\x00\x63\x10"
        + b"\x28\x00\x10\x00US\x02\x00\x02\x01"
        + b"\xe0\x7f\x10\x00OW\0\0\4\0\0\0\1\2\3\4"
    )
    assert hashes_as(read(dataset) if filed else dataset, expected)


@pytest.mark.parametrize("vr", ["OB", "OW"])  # some files name the wrong one; DCMTK hashes the right one
@pytest.mark.parametrize("filed", [False, True])
def test_fragments_stand_with_their_tags_and_without_lengths(vr, filed):
    dataset = new(RLELossless, PixelData=encapsulate([b"one", b"four"]))
    dataset["PixelData"].VR = vr
    table = struct.pack("<LL", 0, 12)  # offsets of the frames; the first fragment is padded
    expected = b"\xe0\x7f\x10\x00OB\0\0" + ITEM + table + ITEM + b"one\0" + ITEM + b"four" + END
    assert hashes_as(read(dataset) if filed else dataset, expected)


def test_big_endian_words_are_turned_by_their_vr():
    turned = {"OB": "0102", "OW": "0201", "US": "0201", "SS": "0201", "AT": "02010403", "UL": "04030201"}
    turned |= {"OF": "04030201", "FL": "04030201", "OL": "04030201", "SL": "04030201"}
    turned |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "0807060504030201")
    head = b"\x19\x00\x01\x10"
    for vr, value in turned.items():
        value = bytes.fromhex(value)
        raw = bytes(range(1, 1 + len(value)))
        long = vr in ("OB", "OW", "OF", "OL", "OD", "OV", "SV", "UV")
        size = struct.pack(">HL", 0, len(raw)) if long else struct.pack(">H", len(raw))
        big = struct.pack(">HH", 2, 0x10) + b"UI" + struct.pack(">H", 20) + b"1.2.840.10008.1.2.2\0"
        little = struct.pack("<HH", 2, 0x10) + b"UI" + struct.pack("<H", 20) + big[8:]
        file = bytes(128) + b"DICM" + little + struct.pack(">HH", 0x19, 0x1001) + vr.encode() + size + raw
        ours = struct.pack("<HL", 0, len(raw)) if long else struct.pack("<H", len(raw))
        assert hashes_as(dcmread(io.BytesIO(file)), head + vr.encode() + ours + value), vr


def test_a_value_too_long_for_its_vr_is_unknown_as_in_any_file():
    values = "\\".join(["1.25"] * 14000)
    dataset = new(ImplicitVRLittleEndian, ContourData=values)
    size = struct.pack("<HL", 0, len(values) + 1)
    assert hashes_as(read(dataset), b"\x06\x30\x50\x00UN" + size + values.encode() + b" ")


def test_padding_counts_only_where_it_is_asked_for():
    dataset = read(new(Manufacturer="Odd   x", InstitutionName="A B"))
    dataset[0x00080070] = dataset.get_item(0x00080070)._replace(value=b"Odd     ", length=8)
    plain = b"\x08\x00\x70\x00LO\x04\x00Odd \x08\x00\x80\x00LO\x04\x00A B "
    assert hashes_as(dataset, plain)
    assert hashes_as(dataset, plain.replace(b"LO\x04\x00Odd ", b"LO\x08\x00Odd     "), padded=True)
    spaced = read(new(SOPInstanceUID="1.2.3"))
    spaced[0x00080018] = spaced.get_item(0x00080018)._replace(value=b"1.2.3 ")  # a wrong filler
    assert hashes_as(spaced, b"\x08\x00\x18\x00UI\x06\x001.2.3\0")


def test_a_vr_that_depends_on_an_element_of_the_parent_is_found():
    lut = Dataset()
    lut.add_new(0x00283002, "SS", [4, -2, 16])
    dataset = new(ImplicitVRLittleEndian, PixelRepresentation=1, ModalityLUTSequence=[lut])
    dataset.add_new(0x00189810, "SS", -3)  # stands before the element that it depends on
    nested = b"\x28\x00\x02\x30SS\x06\x00\x04\x00\xfe\xff\x10\x00"
    outer = b"\x18\x00\x10\x98SS\x02\x00\xfd\xff\x28\x00\x03\x01US\x02\x00\x01\x00"
    assert hashes_as(read(dataset), outer + b"\x28\x00\x00\x30SQ\0\0" + ITEM + nested + END)


def test_a_vr_that_depends_on_what_is_missing_is_unknown():
    lut = Dataset()
    lut.add_new(0x00283006, "US", [1, 2])  # without a descriptor
    level, _ = mac.stored(read(new(ImplicitVRLittleEndian, Manufacturer="A", ModalityLUTSequence=[lut])))
    assert [mac.signable(element) for element in level.values()] == [True, False]


def test_text_of_an_item_is_in_the_characters_of_its_parent():
    code = Dataset()
    code.CodeMeaning = "Übersicht"
    parent = read(new(SpecificCharacterSet="ISO_IR 192", AnatomicRegionSequence=[code]))
    item = parent.AnatomicRegionSequence[0]
    assert item.CodeMeaning == "Übersicht"  # from now on, it is not in bytes any more
    assert hashes_as(item, b"\x08\x00\x04\x01LO\x0a\x00" + "Übersicht".encode())


def test_what_the_standard_bars_is_not_admitted():
    barred = (0x00080000, 0x00280000, 0x00080001, 0x00041130, 0x00070010, 0xFFFAFFFA, 0xFFFA0010, 0x4FFE0001)
    assert not any(mac.admitted(Tag(tag)) for tag in (*barred, 0xFFFCFFFC))
    assert all(mac.admitted(Tag(tag)) for tag in (0x00080005, 0x00090010, 0x4FFE0002, 0x7FE00010))


def test_a_signature_inside_a_sequence_is_no_part_of_it():
    item = Dataset()
    item.CodeValue = "T1"
    item.DigitalSignaturesSequence = [Dataset()]
    item.MACParametersSequence = [Dataset()]
    expected = b"\x08\x00\x18\x22SQ\0\0" + ITEM + b"\x08\x00\x00\x01SH\x02\x00T1" + END
    assert hashes_as(read(new(AnatomicRegionSequence=[item])), expected)


def test_the_data_set_is_left_as_it_is():
    made = new(Manufacturer="Odd", PixelRepresentation=0, PixelData=b"\1\2")
    made["PixelData"].VR = "OB"
    dataset = read(made)
    held = dict(dataset._dict)
    mac.stored(dataset)
    assert all(dataset._dict[tag] is element for tag, element in held.items())
    made = new(ImplicitVRLittleEndian, PixelRepresentation=0)
    made.add(DataElement(0x00280106, "US or SS", b"\1\0", already_converted=True))
    mac.stored(made)
    assert made[0x00280106].VR == "US or SS"
