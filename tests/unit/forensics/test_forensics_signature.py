"""Digital signatures: by our own two halves, by hand after the standard, and by DCMTK's dcmsign."""

import hashlib
import io
import os
import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from intact.errors import InputError, UsageError
from intact.forensics.signature import sign, verify

PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1001
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
NOW = datetime.now(UTC)


def certificate(key, begin=NOW - timedelta(days=1), end=NOW + timedelta(days=100)):
    """A certificate that a key gives itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Scanner 7")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(begin).not_valid_after(end)
    return made.sign(key, hashes.SHA256())


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def cert(key):
    return certificate(key)


def data_set(**elements):
    """A small MR image, new and uncompressed."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = MRImageStorage
    made.SOPInstanceUID = generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.Modality = "MR"
    made.Rows, made.Columns = PIXELS.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelSpacing = [0.8, 0.7]
    made.PixelData = PIXELS.tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def encoded(made):
    """The file of a data set."""
    stream = io.BytesIO()
    dcmwrite(stream, made, enforce_file_format="SOPClassUID" in made and "SOPInstanceUID" in made)
    return stream.getvalue()


def image(syntax=ExplicitVRLittleEndian, **elements):
    """An image with nested sequences, every kind of number and private elements, as read from a file."""
    made = data_set(**elements)
    made.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        made.PixelData = PIXELS.astype(">u2").tobytes()
    made.PatientName = "Nobody^Special"
    made.Manufacturer = "Odd"
    made.InstanceCreationDate = "20240102"
    made.SmallestImagePixelValue = 0
    made.FrameIncrementPointer = [0x00181063, 0x00181065]  # AT
    made.SimpleFrameList = [1, 70000]  # UL
    made.ReferencePixelPhysicalValueX = 0.1  # FD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "T-1", "XX"
    region = Dataset()
    region.CodeMeaning = "outer"
    region.AnatomicRegionModifierSequence = [code, Dataset()]
    made.AnatomicRegionSequence = [region]
    made.PrimaryAnatomicStructureSequence = []
    block = made.private_block(0x0019, "INTACT TEST", create=True)
    block.add_new(0x01, "DS", "1.5")
    return read(made)


def compressed(syntax=JPEGBaseline8Bit):
    """An image whose pixels are some fragments of bytes."""
    made = data_set()
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([b"frame one", b"and two!"], fragments_per_frame=2)
    made["PixelData"].VR = "OB"
    return read(made)


def read(dataset):
    """The data set after it was written to a file."""
    return dcmread(io.BytesIO(encoded(dataset)))


def only(dataset):
    (verdict,) = verify(dataset)
    return verdict


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
def test_a_signed_image_verifies_before_and_after_it_was_a_file(syntax, algorithm, key, cert):
    signed = sign(image(syntax), key, cert, algorithm=algorithm)
    for dataset in (signed, read(signed)):
        verdict = only(dataset)
        assert (verdict.state, verdict.algorithm, verdict.place) == ("valid", algorithm, "")
        assert verdict.signer == "CN=Scanner 7"
        assert verdict.fingerprint == cert.fingerprint(hashes.SHA256()).hex()
        assert abs(verdict.signed_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert verdict.pixels_covered and not verdict.certificate_expired


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless])
def test_what_was_never_in_a_file_is_signed_as_it_will_be_written(syntax, key, cert):
    new = data_set(SmallestImagePixelValue=0, PixelRepresentation=1, PixelData=b"\1\2\3\4")
    new.file_meta.TransferSyntaxUID = syntax
    new["PixelData"].VR = "OB"  # which implicit VR cannot say
    if syntax == RLELossless:
        new.PixelData = encapsulate([b"one frame"])
    assert only(read(sign(new, key, cert))).state == "valid"


def test_a_key_of_an_odd_number_of_bytes(cert):
    odd = rsa.generate_private_key(65537, 2040)
    signed = read(sign(image(), odd, certificate(odd)))
    assert len(signed.DigitalSignaturesSequence[0].Signature) == 256  # padded
    assert only(signed).state == "valid"


def test_the_argument_stays_and_no_signature_is_no_verdict(key, cert):
    plain = image()
    before = encoded(plain)
    sign(plain, key, cert)
    assert encoded(plain) == before
    assert verify(plain) == ()
    signed = sign(plain, key, cert)
    assert encoded(signed) != before


def test_all_content_is_covered_and_the_file_format_is_not(key, cert):
    dataset = image()
    dataset.add_new(0xFFFCFFFC, "OB", b"\0\0")
    verdict = only(sign(dataset, key, cert))
    assert set(verdict.covered) == set(image().keys())
    assert verdict.covered == tuple(sorted(verdict.covered))
    assert verdict.uncovered == ()
    count = len(verdict.covered)
    assert f"covers {count} of {count} elements, Pixel Data among them; none" in verdict.explanation


def test_what_is_covered_does_not_change_from_one_signature_to_the_next(key, cert):
    first, second = (sign(image(), key, cert) for _ in range(2))
    assert only(first).covered == only(second).covered
    uid = [signed.DigitalSignaturesSequence[0].DigitalSignatureUID for signed in (first, second)]
    assert uid[0] != uid[1]


@pytest.mark.parametrize("syntax", NATIVE)
def test_any_change_of_a_covered_element_breaks_the_signature(syntax, key, cert):
    signed = read(sign(image(syntax), key, cert))
    changes = {
        "PatientName": "Somebody^Else",
        "InstanceCreationDate": "20240103",
        "PixelSpacing": [0.8, 0.71],
        "SmallestImagePixelValue": 1,
        "SimpleFrameList": [1, 70001],
        "FrameIncrementPointer": [0x00181063, 0x00181066],
        "ReferencePixelPhysicalValueX": 0.2,
        "SOPInstanceUID": "1.2.3.4.5",
    }
    for keyword, value in changes.items():
        changed = read(signed)
        setattr(changed, keyword, value)
        verdict = only(read(changed))
        assert verdict.state == "broken", keyword
        assert "was changed since" in verdict.explanation
        assert "Nobody" not in verdict.explanation and "Somebody" not in verdict.explanation
    pixels = bytearray(signed.PixelData)
    pixels[17] ^= 1
    signed.PixelData = bytes(pixels)
    assert only(read(signed)).state == "broken"


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_change_inside_nested_sequences_breaks_the_signature(syntax, key, cert):
    def change_value(items):
        items[0].AnatomicRegionModifierSequence[0].CodeValue = "T-2"

    def remove_item(items):
        del items[0].AnatomicRegionModifierSequence[1]

    def move_element(items):  # the elements in their order are the same, but in another item
        inner = items[0].AnatomicRegionModifierSequence
        inner[1].CodingSchemeDesignator = inner[0].CodingSchemeDesignator
        del inner[0].CodingSchemeDesignator

    for change in (change_value, remove_item, move_element):
        signed = read(sign(image(syntax), key, cert))
        change(signed.AnatomicRegionSequence)
        assert only(read(signed)).state == "broken", change.__name__


def test_lengths_of_sequences_do_not_count(key, cert):
    signed = read(sign(image(), key, cert))
    size = len(encoded(signed))
    signed["AnatomicRegionSequence"].is_undefined_length = True
    signed.AnatomicRegionSequence[0].is_undefined_length_sequence_item = True
    assert len(encoded(signed)) > size
    assert only(read(signed)).state == "valid"


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("other", NATIVE)
def test_a_signature_survives_another_transfer_syntax(syntax, other, key, cert):
    """The hash is of explicit little endian, whatever the file is in; VRs of all are known here."""
    made = image(syntax)
    for tag in (0x00190010, 0x00191001):
        del made[tag]
    signed = read(sign(made, key, cert))
    for element in signed:  # decoded, so that pydicom can put it in the other way
        assert element.value is not None
    if ExplicitVRBigEndian in (syntax, other) and syntax != other:
        signed.PixelData = np.frombuffer(signed.PixelData, "<u2").byteswap().tobytes()
    signed.file_meta.TransferSyntaxUID = other
    assert only(read(signed)).state == "valid"


def test_an_element_that_is_not_covered_may_change_and_is_listed(key, cert):
    signed = sign(image(), key, cert, profile="base", tags=["SOPInstanceUID", "PixelData", 0x00280010])
    signed.PatientName = "Somebody^Else"
    verdict = only(read(signed))
    assert verdict.state == "valid" and verdict.pixels_covered
    assert verdict.covered == (Tag("SOPInstanceUID"), Tag(0x00280010), Tag("PixelData"))
    assert Tag("PatientName") in verdict.uncovered
    assert set(verdict.uncovered) == set(image().keys()) - set(verdict.covered)
    assert f"covers 3 of {len(image())} elements" in verdict.explanation


def test_an_element_that_was_added_is_listed_as_uncovered(key, cert):
    signed = sign(image(), key, cert)
    signed.ImageComments = "new"
    signed.FloatPixelData = b"\0" * 8
    verdict = only(read(signed))
    assert verdict.state == "valid"
    assert verdict.uncovered == (Tag("ImageComments"), Tag("FloatPixelData"))
    assert not verdict.pixels_covered  # there now are others to look at


def test_without_pixel_data_it_proves_nothing_about_the_image(key, cert):
    signed = sign(image(), key, cert, profile="base", tags=["SOPInstanceUID", (0x0008, 0x0060)])
    signed.PixelData = bytes(len(signed.PixelData))
    verdict = only(read(signed))
    assert verdict.state == "valid" and not verdict.pixels_covered
    assert "It does not cover Pixel Data: it proves nothing about the image." in verdict.explanation
    assert Tag("PixelData") in verdict.uncovered


def test_a_signature_from_another_object_is_broken(key, cert):
    signed, other = sign(image(), key, cert), image()
    other.MACParametersSequence = signed.MACParametersSequence
    other.DigitalSignaturesSequence = signed.DigitalSignaturesSequence
    verdict = only(read(other))  # only its SOP Instance UID differs
    assert verdict.state == "broken" and "another object" in verdict.explanation


def test_a_signature_that_does_not_say_which_object_it_is_for_says_so(key, cert):
    signed, other = sign(image(), key, cert, profile="base", tags=["PixelData"]), image()
    other.MACParametersSequence = signed.MACParametersSequence
    other.DigitalSignaturesSequence = signed.DigitalSignaturesSequence
    verdict = only(read(other))
    assert verdict.state == "valid" and "may have been made for another object" in verdict.explanation


def test_a_removed_element_is_named(key, cert):
    signed = read(sign(image(), key, cert))
    del signed.Manufacturer
    verdict = only(read(signed))
    assert verdict.state == "broken"
    assert "(0008,0070), which it covers, was removed" in verdict.explanation
    signed = read(sign(image(), key, cert))
    del signed.PixelData
    verdict = only(read(signed))
    assert (verdict.state, verdict.pixels_covered) == ("broken", False)


def test_shortening_the_list_of_elements_breaks_the_signature(key, cert):
    signed = read(sign(image(), key, cert))
    listed = signed.MACParametersSequence[0]
    listed.DataElementsSigned = list(listed.DataElementsSigned)[:-1]
    assert only(read(signed)).state == "broken"


def test_changing_the_signatures_own_date_breaks_it(key, cert):
    signed = read(sign(image(), key, cert))
    signed.DigitalSignaturesSequence[0].DigitalSignatureDateTime = "20200101120000"
    assert only(read(signed)).state == "broken"


def test_another_certificate_breaks_it(key, cert):
    signed = read(sign(image(), key, cert))
    thief = certificate(rsa.generate_private_key(65537, 2048))
    signed.DigitalSignaturesSequence[0].CertificateOfSigner = thief.public_bytes(Encoding.DER)
    verdict = only(read(signed))
    assert verdict.state == "broken" and "not made with the key" in verdict.explanation


def test_fragments_are_covered_as_they_are_stored(key, cert):
    signed = read(sign(compressed(), key, cert))
    assert signed.MACParametersSequence[0].MACCalculationTransferSyntaxUID == JPEGBaseline8Bit
    verdict = only(signed)
    assert verdict.state == "valid" and verdict.pixels_covered
    whole = signed.PixelData
    signed.PixelData = whole.replace(b"two!", b"tw0!")
    assert only(read(signed)).state == "broken"
    signed.PixelData = encapsulate([b"frame oneand two!"])  # the same bytes, cut otherwise
    assert only(read(signed)).state == "broken"


def test_transcoded_pixels_can_not_be_checked_but_the_rest_can(key, cert):
    signed = read(sign(compressed(), key, cert))
    signed.file_meta.TransferSyntaxUID = RLELossless
    verdict = only(read(signed))
    assert verdict.state == "unreadable" and "JPEG Baseline" in verdict.explanation
    assert "RLE Lossless" in verdict.explanation and "It proves nothing." in verdict.explanation
    signed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    signed.PixelData = PIXELS.tobytes()
    assert only(read(signed)).state == "unreadable"
    part = sign(compressed(), key, cert, profile="base", tags=["SOPInstanceUID", "Rows"])
    part.file_meta.TransferSyntaxUID = RLELossless
    assert only(read(part)).state == "valid"


def test_compressed_pixels_need_the_name_of_their_syntax(key, cert):
    dataset = compressed()
    del dataset.file_meta.TransferSyntaxUID
    with pytest.raises(InputError, match=r"set file_meta\.TransferSyntaxUID"):
        sign(dataset, key, cert)


def test_signatures_add_up_and_do_not_disturb_one_another(key, cert):
    one = read(sign(image(), key, cert, profile="base", tags=["Rows", "PixelData"]))
    two = read(sign(one, key, cert))
    verdicts = verify(two)
    assert [v.state for v in verdicts] == ["valid", "valid"]
    assert [len(v.covered) for v in verdicts] == [2, len(image())]
    assert [item.MACIDNumber for item in two.MACParametersSequence] == [0, 1]
    two.PatientName = "X"
    assert [v.state for v in verify(read(two))] == ["valid", "broken"]


def test_an_item_can_be_signed_by_itself(key, cert):
    dataset = image()
    item = dataset.AnatomicRegionSequence[0]
    with pytest.raises(InputError, match="creator"):
        sign(item, key, cert)
    dataset.AnatomicRegionSequence[0] = sign(item, key, cert, profile="base")
    signed = read(sign(dataset, key, cert))
    whole, part = verify(signed)
    assert (whole.state, whole.place) == ("valid", "")
    assert (part.state, part.place) == ("valid", "(0008,2218)[0]")
    assert part.covered == (Tag("CodeMeaning"), Tag("AnatomicRegionModifierSequence"))[: len(part.covered)]
    assert "in item (0008,2218)[0]," in part.explanation
    assert "proves nothing about an image" in part.explanation
    signed.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue = "T-2"
    assert [v.state for v in verify(read(signed))] == ["broken", "broken"]
    signed = read(sign(dataset, key, cert))
    del signed.AnatomicRegionSequence[0].DigitalSignaturesSequence  # is no part of the outer one
    assert [v.state for v in verify(read(signed))] == ["valid"]


def test_what_was_valid_before_a_change_is_not_reported(key, cert):
    before = Dataset()
    before.ModifiedAttributesSequence = [sign(image(), key, cert)]
    dataset = image()
    dataset.OriginalAttributesSequence = [before]
    assert verify(read(dataset)) == ()


def test_elements_of_unknown_vr_stay_out(key, cert):
    dataset = image()
    dataset.add(DataElement(0x00191002, "UN", b"ab"))
    hidden = Dataset()
    hidden.add(DataElement(0x00191002, "UN", b"ab"))
    private = Dataset()
    private.add(DataElement(0x00191003, "SQ", [hidden]))
    dataset.add_new(0x00191003, "SQ", [private])
    verdict = only(read(sign(dataset, key, cert)))
    assert verdict.state == "valid"
    assert verdict.uncovered == (Tag(0x00191002), Tag(0x00191003))
    dataset.ReferencedImageSequence = [hidden]
    with pytest.raises(InputError, match=r"\(0008,1140\) is or holds an element of unknown VR"):
        sign(dataset, key, cert)
    assert Tag("ReferencedImageSequence") in only(sign(dataset, key, cert, profile="base")).uncovered


def test_private_elements_in_implicit_vr_are_left_out_and_never_called_changed(key, cert):
    assert only(read(sign(image(ImplicitVRLittleEndian), key, cert))).uncovered == (Tag(0x00191001),)
    known = image()
    del known[0x00190010], known[0x00191001]
    plain = read(known)
    plain.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    plain.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x08, "CS", "AS LISTED")
    assert only(read(sign(read(plain), key, cert))).uncovered == (Tag(0x00291008),)
    known.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x08, "LO", "not CS, as listed")
    signed = read(sign(known, key, cert))
    assert [element.VR for element in signed if element.tag == 0x00291008] == ["LO"]
    signed.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    verdict = only(read(signed))
    assert verdict.state == "unreadable" and "a VR is wrong" in verdict.explanation


def test_padding_beyond_an_even_length_does_not_count(key, cert):
    plain = encoded(image(Manufacturer="Odd"))
    padded = plain.replace(b"LO\x04\x00Odd ", b"LO\x06\x00Odd   ")
    assert len(padded) == len(plain) + 2
    signed = sign(dcmread(io.BytesIO(padded)), key, cert)
    assert b"Odd   " in encoded(signed)
    assert only(read(signed)).state == "valid"
    assert read(signed).Manufacturer == "Odd"
    looked_at = read(signed)
    assert looked_at.Manufacturer == "Odd" and only(looked_at).state == "valid"


def by_hand(key, cert, algorithm, prefix, *, trailing=b""):
    """A small object signed after the text of PS3.3 C.12.1.1.3.1.2 alone."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "MR"
    code = Dataset()
    code.CodeValue = "T-1"
    dataset.AnatomicRegionSequence = [code, Dataset()]
    dataset.PixelData = b"\1\2\3\4"
    dataset["PixelData"].VR = "OW"
    item = Dataset()
    item.MACIDNumber = 9
    item.DigitalSignatureUID = "1.2.4"
    item.DigitalSignatureDateTime = "20240229120000"
    item.CertificateType = "X509_1993_SIG"
    item.CertificateOfSigner = cert.public_bytes(Encoding.DER)
    stream = (
        b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
        + b"\x08\x00\x60\x00CS"
        + struct.pack("<H", 2 + len(trailing))
        + b"MR"
        + trailing
        + b"\x08\x00\x18\x22SQ\0\0"
        + b"\xfe\xff\x00\xe0"
        + b"\x08\x00\x00\x01SH\x04\x00T-1 "
        + b"\xfe\xff\x00\xe0"
        + b"\xfe\xff\xdd\xe0"
        + b"\xe0\x7f\x10\x00OW\0\0\4\0\0\0\1\2\3\4"
        + b"\x00\x04\x05\x00US\x02\x00\x09\x00"
        + b"\x00\x04\x00\x01UI\x06\x001.2.4\0"
        + b"\x00\x04\x05\x01DT\x0e\x0020240229120000"
        + b"\x00\x04\x10\x01CS\x0e\x00X509_1993_SIG "
    )
    hashed = hashlib.new(algorithm.lower(), stream).digest()
    item.Signature = key.sign(bytes.fromhex(prefix) + hashed, PKCS1v15(), NoDigestInfo())
    how = Dataset()
    how.MACIDNumber = 9
    how.MACCalculationTransferSyntaxUID = ExplicitVRLittleEndian
    how.MACAlgorithm = algorithm
    how.DataElementsSigned = [0x00080018, 0x00080060, 0x00082218, 0x7FE00010]
    dataset.MACParametersSequence, dataset.DigitalSignaturesSequence = [how], [item]
    stream = io.BytesIO()
    dcmwrite(stream, dataset)
    data = stream.getvalue().replace(
        b"CS\x02\x00MR", b"CS" + struct.pack("<H", 2 + len(trailing)) + b"MR" + trailing
    )
    return dcmread(io.BytesIO(data), force=True)


PREFIXES = {  # RFC 8017 section 9.2, note 1; RFC 3447 has no RIPEMD-160: OID 1.3.36.3.2.1
    "RIPEMD160": "3021300906052b2403020105000414",
    "MD5": "3020300c06082a864886f70d020505000410",
    "SHA1": "3021300906052b0e03021a05000414",
    "SHA256": "3031300d060960864801650304020105000420",
    "SHA384": "3041300d060960864801650304020205000430",
    "SHA512": "3051300d060960864801650304020305000440",
}


@pytest.mark.parametrize("algorithm", PREFIXES)
def test_signatures_made_by_hand_with_each_hash_of_the_standard_verify(algorithm, key, cert):
    if algorithm not in {name.upper() for name in hashlib.algorithms_available}:
        pytest.skip(f"OpenSSL here has no {algorithm}")
    dataset = by_hand(
        key, certificate(key, begin=datetime(2024, 1, 1, tzinfo=UTC)), algorithm, PREFIXES[algorithm]
    )
    verdict = only(dataset)
    assert (verdict.state, verdict.algorithm) == ("valid", algorithm), verdict.explanation
    assert verdict.signed_at == datetime(2024, 2, 29, 12)
    assert "made by CN=Scanner 7 on 2024-02-29 12:00:00 covers 4 of 4 elements" in verdict.explanation
    assert ("weak" in verdict.explanation) == (algorithm in ("MD5", "SHA1"))
    dataset.Modality = "CT"
    assert only(dataset).state == "broken"


def test_padding_that_a_signer_did_hash_is_accepted(key, cert):
    assert only(by_hand(key, cert, "SHA256", PREFIXES["SHA256"], trailing=b"    ")).state == "valid"


def test_a_hash_that_openssl_lacks_is_said_so(key, cert, monkeypatch):
    dataset = by_hand(key, cert, "SHA512", PREFIXES["SHA512"])

    def lacking(name, *_, **__):
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", lacking)
    verdict = only(dataset)
    assert verdict.state == "unreadable"
    assert "the OpenSSL of this machine does not have SHA512" in verdict.explanation


def test_a_hash_under_the_name_of_another_is_broken(key, cert):
    signed = read(sign(image(), key, cert))
    signed.MACParametersSequence[0].MACAlgorithm = "SHA384"
    assert only(read(signed)).state == "broken"


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [(-400, -300, "was not valid then"), (-1, 100, "is valid until"), (5, 100, "was not valid then")],
)
def test_the_certificates_time_is_compared_with_that_of_signing(begin, end, said, key):
    dated = certificate(key, NOW + timedelta(days=begin), NOW + timedelta(days=end))
    verdict = only(sign(image(), key, dated))
    assert verdict.state == "valid" and said in verdict.explanation
    assert verdict.certificate_expired == (said != "is valid until")


def test_a_certificate_that_expired_after_signing_is_told_apart(key):
    dated = certificate(key, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 1, tzinfo=UTC))
    verdict = only(by_hand(key, dated, "SHA256", PREFIXES["SHA256"]))
    assert verdict.state == "valid" and verdict.certificate_expired
    assert "has expired since, on 2024-12-01" in verdict.explanation


def damage(what, signed):
    """Make one part of a signature unreadable."""
    how, item = signed.MACParametersSequence[0], signed.DigitalSignaturesSequence[0]
    if what == "no parameters":
        del signed.MACParametersSequence
    elif what == "no list":
        how.DataElementsSigned = None
    elif what == "other id":
        how.MACIDNumber = 5
    elif what == "no certificate":
        del item.CertificateOfSigner
    elif what == "bad certificate":
        item.CertificateOfSigner = b"\x30\x82\x01\x00" + bytes(60)
    elif what == "elliptic":
        item.CertificateOfSigner = certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(
            Encoding.DER
        )
    elif what == "unknown hash":
        how.MACAlgorithm = "CRC32"
    elif what == "implicit":
        how.MACCalculationTransferSyntaxUID = ImplicitVRLittleEndian
    elif what == "big endian":
        how.MACCalculationTransferSyntaxUID = ExplicitVRBigEndian
    elif what == "unknown syntax":
        how.MACCalculationTransferSyntaxUID = "1.2.3"
    elif what == "no syntax":
        how.add(DataElement(0x04000010, "UI", "JPEG, or so", already_converted=True))
    elif what == "unsignable":
        how.DataElementsSigned = [*how.DataElementsSigned, 0xFFFAFFFA]
    elif what == "empty item":
        signed.DigitalSignaturesSequence = [Dataset()]
    return signed


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no parameters", "list of the elements"),
        ("no list", "list of the elements"),
        ("other id", "list of the elements"),
        ("no certificate", "certificate is missing or damaged"),
        ("bad certificate", "certificate is missing or damaged"),
        ("elliptic", "not for an RSA key"),
        ("unknown hash", "CRC32"),
        ("implicit", "not in explicit VR"),
        ("big endian", "not in explicit VR"),
        ("unknown syntax", "not in explicit VR"),
        ("no syntax", "not in explicit VR"),
        ("unsignable", "(FFFA,FFFA)"),
        ("empty item", "list of the elements"),
    ],
)
def test_what_cannot_be_read_says_why_and_proves_nothing(what, said, key, cert):
    verdict = only(read(damage(what, read(sign(image(), key, cert)))))
    assert verdict.state == "unreadable"
    assert said in verdict.explanation and "It proves nothing." in verdict.explanation


def test_a_sequence_of_signatures_that_is_none_is_unreadable():
    dataset = image()
    dataset.add(DataElement(0xFFFAFFFA, "OB", b"text"))
    assert only(read(dataset)).state == "unreadable"


def test_a_signature_value_that_is_missing_is_broken(key, cert):
    signed = read(sign(image(), key, cert))
    del signed.DigitalSignaturesSequence[0].Signature
    assert only(read(signed)).state == "broken"


def test_arguments_that_contradict_each_other_are_refused(key, cert):
    other = rsa.generate_private_key(65537, 2048)
    with pytest.raises(UsageError, match="RSA alone"):
        sign(image(), ec.generate_private_key(ec.SECP256R1()), cert)
    with pytest.raises(UsageError, match="for another key"):
        sign(image(), other, cert)
    with pytest.raises(UsageError, match="not a signature that is made here"):
        sign(image(), key, cert, algorithm="MD5")
    with pytest.raises(UsageError, match="not a signature that is made here"):
        sign(image(), key, cert, profile="sr")
    with pytest.raises(UsageError, match="leave the list out"):
        sign(image(), key, cert, tags=["Rows"])
    with pytest.raises(UsageError, match="is empty"):
        sign(image(), key, cert, profile="base", tags=[])
    for tag in ("AccessionNumber", 0x00080001, 0xFFFAFFFA):
        with pytest.raises(UsageError, match="cannot be signed"):
            sign(image(), key, cert, profile="base", tags=["Rows", tag])


def test_a_creator_has_to_say_what_the_object_is(key, cert):
    dataset = image()
    del dataset.SeriesInstanceUID
    with pytest.raises(InputError, match=r"\(0020,000E\)"):
        sign(dataset, key, cert)
    assert only(sign(dataset, key, cert, profile="base")).state == "valid"


def test_a_data_set_that_cannot_be_encoded_is_refused_without_its_values():
    dataset = image()
    dataset.add(DataElement(0x00100020, "US", "Nobody", already_converted=True))
    with pytest.raises(InputError, match="cannot be encoded") as caught:
        verify(dataset)
    assert "Nobody" not in str(caught.value)


# ---------------------------------------------------------------------- DCMTK's dcmsign


@pytest.fixture(scope="module")
def dcmsign(tmp_path_factory, key, cert):
    """A function that signs or verifies a file with DCMTK."""
    if not shutil.which("dcmsign"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("dcmtk is not installed")
    folder = tmp_path_factory.mktemp("dcmsign")
    (folder / "key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (folder / "cert").write_bytes(cert.public_bytes(Encoding.PEM))

    def run(*options):
        return subprocess.run(["dcmsign", *map(str, options)], capture_output=True, cwd=folder, check=False)

    def signed(path, *options):
        out = folder / "signed.dcm"
        if "+si" not in options:
            options = ("+s", "key", "cert", *options)
        done = run(*options, path, out)
        assert done.returncode == 0, done.stderr
        return dcmread(out, force=True)

    def accepts(dataset, policy="+rg"):
        path = folder / "ours.dcm"
        path.write_bytes(encoded(dataset))
        return run("--verify", policy, "+cf", "cert", path).returncode == 0

    return SimpleNamespace(sign=signed, accepts=accepts)


@pytest.mark.parametrize("make", [*(lambda s=s: image(s) for s in NATIVE), compressed], ids=[*"elb", "jpeg"])
def test_dcmtk_and_we_agree_on_made_images(make, dcmsign, key, cert, tmp_path):
    dataset = make()
    (tmp_path / "plain.dcm").write_bytes(encoded(dataset))
    for option in ("+mr", "+ms", "+mm", "+m2", "+m3", "+m5"):
        theirs = dcmsign.sign(tmp_path / "plain.dcm", option)
        verdict = only(theirs)
        assert verdict.state == "valid", (option, verdict.explanation)
        theirs.Rows += 1
        assert only(theirs).state == "broken", option
    for algorithm in ("SHA256", "SHA384", "SHA512"):
        ours = sign(dataset, key, cert, algorithm=algorithm)
        assert dcmsign.accepts(ours, "+rc")  # as a creator's signature
    ours.Rows += 1
    assert not dcmsign.accepts(ours)


def test_dcmtk_and_we_agree_on_items_and_short_lists(dcmsign, key, cert, tmp_path):
    (tmp_path / "plain.dcm").write_bytes(encoded(image()))
    theirs = dcmsign.sign(
        tmp_path / "plain.dcm",
        "+si",
        "key",
        "cert",
        "(0008,2218)[0].AnatomicRegionModifierSequence[0]",
        "+m2",
    )
    verdict = only(theirs)
    assert (verdict.state, verdict.place) == ("valid", "(0008,2218)[0](0008,2220)[0]")
    theirs = dcmsign.sign(tmp_path / "plain.dcm", "+m2", "-t", "0008,0018", "-t", "PixelData")
    assert only(theirs).covered == (Tag("SOPInstanceUID"), Tag("PixelData"))
    ours = image()
    item = ours.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
    ours.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0] = sign(item, key, cert, profile="base")
    assert dcmsign.accepts(ours)
    assert dcmsign.accepts(sign(image(), key, cert, profile="base", tags=["SOPInstanceUID", "PixelData"]))


UNKNOWN = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.8.1")  # to DCMTK 3.6.7


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("pack", ["mixed", "transfer_syntaxes"])
def test_dcmtk_and_we_agree_on_real_files(pack, data_folder, dcmsign, key, cert):
    count = 0
    for path in sorted((data_folder / "dicom" / pack).glob("*.dcm")):
        dataset = dcmread(path, force=True)
        if getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", JPEG2000Lossless) in UNKNOWN:
            continue
        count += 1
        assert only(dcmsign.sign(path, "+m2")).state == "valid", path.name
        assert dcmsign.accepts(sign(dataset, key, cert, profile="base")), path.name
    assert count > 30
