"""DICOM digital signatures: who signed which elements of an object, and whether they still are the same.

A signature is an RSA signature (PKCS #1 v1.5) of a hash of the elements that are listed beside it. What
is not listed can be changed unnoticed, so each verdict says what that is. Whether a certificate belongs
to who it names is not checked: compare its fingerprint with the one that the signer gives.

Sources: PS3.3 C.12.1.1.3, PS3.15 Annex C (Base RSA and Creator RSA profiles). Files were signed and
verified both ways with DCMTK's `dcmsign`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import iter_unpack
from typing import Literal, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import Encoding
from pydicom import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DT

from intact.errors import InputError, UsageError
from intact.forensics import mac
from intact.forensics.mac import PARAMETERS, SIGNATURES, Level, guessed, signable
from intact.io.dicom import quiet

State = Literal["valid", "broken", "unreadable"]
Profile = Literal["base", "creator"]
Algorithm = Literal["SHA256", "SHA384", "SHA512"]  # of new signatures; older ones are verified only

_MAC_ID, _SYNTAX, _ALGORITHM, _SIGNED = (Tag(0x0400, n) for n in (0x0005, 0x0010, 0x0015, 0x0020))
_MOMENT, _TYPE, _CERTIFICATE, _SIGNATURE = (Tag(0x0400, n) for n in (0x0105, 0x0110, 0x0115, 0x0120))
_ORIGINAL = Tag(0x0400, 0x0561)  # attributes from before a change; signatures in there no longer hold
_PIXELS = (Tag("PixelData"), Tag("FloatPixelData"), Tag("DoubleFloatPixelData"))
_INSTANCE = Tag("SOPInstanceUID")
_CREATOR = (Tag("SOPClassUID"), _INSTANCE, Tag("StudyInstanceUID"), Tag("SeriesInstanceUID"))

# What stands before the hash in a signature, DER: RFC 8017 section 9.2; RIPEMD-160 is 1.3.36.3.2.1.
_DIGEST_INFO = {
    "RIPEMD160": bytes.fromhex("3021300906052b2403020105000414"),
    "MD5": bytes.fromhex("3020300c06082a864886f70d020505000410"),
    "SHA1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "SHA256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "SHA384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "SHA512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_WEAK = ("MD5", "SHA1")  # collisions were made: RFC 6151, https://shattered.io


@dataclass(frozen=True)
class Verified:
    """What one signature shows."""

    state: State
    place: str  # the item that it is in and speaks of, "(0040,A730)[1]"; "" is the data set itself
    signed_at: datetime | None  # by the signer's own clock; without a zone where none is stated
    signer: str  # subject of the certificate, RFC 4514
    fingerprint: str  # SHA-256 of the certificate, hexadecimal
    certificate_expired: bool  # today, or it was not valid at the time of signing
    algorithm: str
    covered: tuple[BaseTag, ...]  # as the signature lists them
    uncovered: tuple[BaseTag, ...]  # elements beside it that it says nothing about
    pixels_covered: bool
    explanation: str


def sign(
    dataset: Dataset,
    private_key: RSAPrivateKey,
    certificate: x509.Certificate,
    *,
    profile: Profile = "creator",
    algorithm: Algorithm = "SHA256",
    tags: Iterable[int | str | tuple[int, int]] | None = None,
) -> Dataset:
    """Add a signature to a data set, or to an item of a sequence.

    It covers every element that a signature may cover, but for private ones where the transfer
    syntax does not store their VR: others could not verify those. It fits what `pydicom.dcmwrite`
    writes with the transfer syntax in `file_meta`.

    Args:
        dataset: The data set; it is left as it is.
        private_key: The signer's.
        certificate: The one that belongs to it.
        profile: "creator" covers all that PS3.15 C.2 names, or refuses; "base" covers what it can.
        algorithm: The hash.
        tags: With "base" only: the elements to cover, by tag or keyword, in place of all.

    Returns:
        A copy with the signature, beside those that it had.

    Raises:
        UsageError: Key and certificate do not belong together, or an option cannot be met.
        InputError: The data set cannot be encoded, or not be signed with this profile.
    """
    _check(private_key, certificate, profile, algorithm, narrowed=tags is not None)
    level, syntax = mac.stored(dataset)
    chosen = _everything(level, profile) if tags is None else _listed(level, tags)
    pixels = level.get(_PIXELS[0])
    if not pixels or pixels.parts is None:
        syntax = ExplicitVRLittleEndian
    elif syntax is None:
        raise InputError(
            "the data set",
            "its Pixel Data is compressed in a way that it does not name, and a signature has to name it; "
            "set file_meta.TransferSyntaxUID",
        )
    signed = copy.deepcopy(dataset)
    signatures, parameters = (list(signed[t].value) if t in signed else [] for t in (SIGNATURES, PARAMETERS))
    taken = {item.get("MACIDNumber") for item in (*signatures, *parameters)}
    item, how = Dataset(), Dataset()
    item.MACIDNumber = how.MACIDNumber = next(n for n in range(len(taken) + 1) if n not in taken)
    item.DigitalSignatureUID = generate_uid()
    item.DigitalSignatureDateTime = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
    item.CertificateType = "X509_1993_SIG"
    hashed = Prehashed(getattr(hashes, algorithm)())
    item.Signature = private_key.sign(
        mac.digest(algorithm, level, chosen, mac.stored(item)[0]), PKCS1v15(), hashed
    )
    item.CertificateOfSigner = certificate.public_bytes(Encoding.DER)
    how.MACCalculationTransferSyntaxUID = syntax
    how.MACAlgorithm = algorithm
    how.DataElementsSigned = [tag for tag in level if tag in chosen]
    signed.MACParametersSequence = [*parameters, how]
    signed.DigitalSignaturesSequence = [*signatures, item]
    return signed


def verify(dataset: Dataset) -> tuple[Verified, ...]:
    """Check every signature in a data set and in the items of its sequences.

    Give the data set as `pydicom.dcmread` returns it. A value that was looked at or set is encoded
    anew, and may then differ in more than its padding from the bytes that were signed.

    Returns:
        One verdict for each signature, those of the data set itself first; none if it has none.

    Raises:
        InputError: The data set cannot be encoded.
    """
    level, syntax = mac.stored(dataset)
    with quiet():
        return tuple(_verdicts(level, syntax, ""))


def _check(
    private_key: RSAPrivateKey, certificate: x509.Certificate, profile: str, algorithm: str, *, narrowed: bool
) -> None:
    """Refuse arguments that contradict each other."""
    if not isinstance(private_key, RSAPrivateKey):
        raise UsageError(
            f"the key is {type(private_key).__name__}, and the DICOM profiles sign with RSA alone: "
            "give an RSA private key"
        )
    if private_key.public_key() != certificate.public_key():
        raise UsageError(
            f"the certificate of {certificate.subject.rfc4514_string()} is for another key, so that nobody "
            "could verify the signature: give the certificate of this key"
        )
    if profile not in get_args(Profile) or algorithm not in get_args(Algorithm):
        raise UsageError(
            f"profile={profile!r} with algorithm={algorithm!r} is not a signature that is made here: choose "
            f"from {', '.join(get_args(Profile))} and {', '.join(get_args(Algorithm))}"
        )
    if narrowed and profile == "creator":
        raise UsageError(
            "a list of elements was given, but a creator's signature covers them all: leave the list out, "
            "or give profile='base'"
        )


def _everything(level: Level, profile: Profile) -> set[BaseTag]:
    """All elements that a signature may cover."""
    allowed = {element.tag for element in level.values() if signable(element) and not guessed(element)}
    if profile == "creator":
        if missing := [tag for tag in _CREATOR if tag not in allowed]:
            raise InputError(
                "the data set",
                f"it has no {_named(missing)}, which a creator's signature has to cover; add it, or sign "
                "with profile='base'",
            )
        if left := [t for t in level if t not in allowed and mac.admitted(t) and not t.is_private]:
            raise InputError(
                "the data set",
                f"{_named(left)} is or holds an element of unknown VR, which no signature may cover, and a "
                "creator's has to cover all of the image; state that VR, or sign with profile='base'",
            )
    return allowed


def _listed(level: Level, tags: Iterable[int | str | tuple[int, int]]) -> set[BaseTag]:
    """The elements of a list."""
    chosen = {Tag(tag) for tag in tags}
    if barred := chosen - _everything(level, "base"):
        raise UsageError(
            f"{_named(barred)} is not in the data set, or of unknown VR, or no content, and cannot be "
            "signed: leave it out of the list"
        )
    if not chosen:
        raise UsageError(
            "the list of elements is empty, and a signature of nothing proves nothing: name some"
        )
    return chosen


def _verdicts(level: Level, syntax: UID | None, place: str) -> Iterator[Verified]:
    """Of a data set or item, then of the items in it."""
    if SIGNATURES in level:
        parts = level[SIGNATURES].parts
        for item in ({},) if parts is None else parts:
            yield _verdict(item if isinstance(item, dict) else {}, level, syntax, place)
    for element in level.values():
        for index, part in enumerate(element.parts or ()):
            if isinstance(part, dict) and element.tag != _ORIGINAL:
                yield from _verdicts(part, None, f"{place}{element.tag}[{index}]")


def _verdict(item: Level, level: Level, syntax: UID | None, place: str) -> Verified:
    """What the signature in `item` shows about the `level` that it is in."""
    sets = (level[PARAMETERS].parts if PARAMETERS in level else None) or ()
    how = next((p for p in sets if isinstance(p, dict) and _bytes(p, _MAC_ID) == _bytes(item, _MAC_ID)), {})
    listed = _bytes(how, _SIGNED)
    covered = tuple(Tag(*pair) for pair in iter_unpack("<HH", listed[: len(listed) // 4 * 4]))
    certificate, signed_at = _certificate(item), _moment(item)
    state, finding = _judged(item, level, how, covered, certificate, syntax)
    counted = [tag for tag in level if mac.content(tag)]
    uncovered = tuple(tag for tag in counted if tag not in covered)
    pixels = [tag for tag in _PIXELS if tag in level]
    pixels_covered = bool(pixels) and not set(pixels) & set(uncovered)
    signer = certificate.subject.rfc4514_string() if certificate else ""
    expired, validity = _validity(certificate, signed_at)
    said = f"The signature made by {signer or 'an unknown signer'} on "
    said += f"{signed_at:%Y-%m-%d %H:%M:%S %Z}".strip() if signed_at else "an unknown date"
    said += f", in item {place}," if place else ""
    count = f"{len(counted) - len(uncovered)} of {len(counted)} elements"
    if state == "unreadable":
        said += f" cannot be checked: {finding}. It proves nothing."
    elif state == "broken":
        said += f" is broken: {finding}."
    elif pixels_covered:
        said += f" covers {count}, Pixel Data among them; none of them was changed since."
    else:
        said += f" covers {count}, and none of them was changed since. "
        said += "It does not cover Pixel Data" if pixels else "There is no Pixel Data beside it"
        said += f": it proves nothing about {'the' if pixels else 'an'} image."
    if state == "valid":
        if not place and _INSTANCE not in covered:
            said += " It does not cover the SOP Instance UID: it may have been made for another object."
        if _text(how, _ALGORITHM) in _WEAK:
            said += f" Its hash, {_text(how, _ALGORITHM)}, is weak: two objects can be made that it fits."
        said += f" {validity} That the certificate is the signer's was not checked."
    return Verified(
        state=state,
        place=place,
        signed_at=signed_at,
        signer=signer,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex() if certificate else "",
        certificate_expired=expired,
        algorithm=_text(how, _ALGORITHM),
        covered=covered,
        uncovered=uncovered,
        pixels_covered=pixels_covered,
        explanation=said,
    )


def _judged(
    item: Level,
    level: Level,
    how: Level,
    covered: tuple[BaseTag, ...],
    certificate: x509.Certificate | None,
    syntax: UID | None,
) -> tuple[State, str]:
    """The state, and what was found unless it is valid."""
    signed_in, algorithm = UID(_text(how, _SYNTAX)), _text(how, _ALGORITHM)
    known = signed_in.is_transfer_syntax and not signed_in.is_private
    if not covered:
        return "unreadable", "the list of the elements that it covers is missing or empty"
    if certificate is None:
        return "unreadable", "its certificate is missing or damaged"
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        return "unreadable", "its certificate is not for an RSA key, and the profiles know no other"
    if algorithm not in _DIGEST_INFO:
        return "unreadable", f"its hash, {algorithm!r}, is none that DICOM names"
    explicit = known and not signed_in.is_implicit_VR and signed_in.is_little_endian
    if not explicit and (known or signed_in != syntax):
        return "unreadable", f"it was made in {signed_in.name!r}, not in explicit VR little endian"
    if barred := [
        tag for tag in covered if not (signable(level[tag]) if tag in level else mac.admitted(tag))
    ]:
        return "unreadable", f"it lists {_named(barred)}, of unknown VR or nothing that can be signed"
    pixels = level.get(_PIXELS[0])
    if syntax is not None and pixels and pixels.tag in covered:
        native = pixels.parts is None
        if (known and signed_in.is_encapsulated) if native else signed_in != syntax:
            return "unreadable", f"Pixel Data was signed as {signed_in.name}, but is now {syntax.name}"
    try:
        signature = _bytes(item, _SIGNATURE)[: (key.key_size + 7) // 8]
        recovered = key.recover_data_from_signature(signature, PKCS1v15(), NoDigestInfo())
    except InvalidSignature:
        return "broken", "it was not made with the key of its certificate"
    try:
        for padded in (False, True):
            if recovered == _DIGEST_INFO[algorithm] + mac.digest(
                algorithm, level, covered, item, padded=padded
            ):
                return "valid", ""
    except ValueError:
        return "unreadable", f"the OpenSSL of this machine does not have {algorithm}"
    if missing := [tag for tag in covered if tag not in level]:
        return "broken", f"{_named(missing)}, which it covers, was removed"
    found = f"of the {len(covered)} elements that it covers at least one was changed since, or it was made "
    found += "for another object"
    if any(guessed(level[tag]) for tag in covered):
        return "unreadable", f"{found}, or a VR is wrong: those of private elements are hashed but not stored"
    if not all(level[tag].stated for tag in covered):
        found += "; VRs, which are hashed as well, are not stored: a copy in explicit VR would tell more"
    return "broken", found


def _certificate(item: Level) -> x509.Certificate | None:
    data = _bytes(item, _CERTIFICATE)
    if _text(item, _TYPE) != "X509_1993_SIG":
        return None
    if data[:2] == b"\x30\x82":  # DER with two bytes of length, as every certificate has
        data = data[: 4 + int.from_bytes(data[2:4])]  # without the padding to an even length
    try:
        certificate = x509.load_der_x509_certificate(data)
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return certificate


def _moment(item: Level) -> datetime | None:
    try:
        stated = DT(_text(item, _MOMENT))
    except ValueError:
        return None
    return datetime.combine(stated.date(), stated.timetz()) if stated else None


def _validity(certificate: x509.Certificate | None, signed_at: datetime | None) -> tuple[bool, str]:
    """Whether the certificate is or was out of date, and a sentence about it."""
    if certificate is None:
        return False, ""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    made = signed_at if signed_at is None or signed_at.tzinfo else signed_at.replace(tzinfo=UTC)
    if made and not begin <= made <= end:
        return True, f"Its certificate was not valid then, but from {begin:%Y-%m-%d} to {end:%Y-%m-%d}."
    if end < datetime.now(UTC):
        return True, f"Its certificate has expired since, on {end:%Y-%m-%d}."
    return False, f"Its certificate is valid until {end:%Y-%m-%d}."


def _bytes(level: Level, tag: BaseTag) -> bytes:
    return level[tag].value if tag in level else b""


def _text(level: Level, tag: BaseTag) -> str:
    return _bytes(level, tag).decode("ascii", "replace").strip(" \0")


def _named(tags: Iterable[BaseTag]) -> str:
    return ", ".join(str(tag) for tag in sorted(tags))
