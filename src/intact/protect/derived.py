"""The header of a sealed DICOM image: that of the original, marked as derived.

Source: DICOM PS3.3 C.7.6.1.1.2 (Image Type), C.7.6.1.1.3 (derived images need a new SOP Instance
UID and name their source), C.12.1.1.9 (Original Attributes Sequence), PS3.15 C.3 (signatures of
pixels that have changed no longer hold; the original ones return with the original file).
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime

from pydicom import Dataset, Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from intact._version import __version__
from intact.io.elements import text

CREATOR = "INTACT SEAL"
FIRST_BEHIND = 0x7FE1  # the first private group behind the pixel data
DESCRIPTION = (
    f"Sealed by Intact {__version__}: pixel values differ slightly from those of the source image, which "
    "a key holder can restore exactly"
)
RESTORED = "pixel values were restored to those of the source image"
# Digital signatures, the parameters of their MACs, and padding, which would come behind the envelope.
_DROPPED = (0xFFFAFFFA, 0x4FFE0001, 0xFFFCFFFC)
_REPLACED = ("ImageType", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription")


def derived_header(header: Dataset, series_secret: str, envelope: bytes) -> Dataset:
    """A copy of a header, marked as derived and with the envelope as its last element.

    Args:
        header: Of the original, without its pixel data.
        series_secret: Makes one new series UID of each old one, the same for all its images.
        envelope: What stands in the private element.
    """
    derived: Dataset = copy.deepcopy(header)
    for tag in _DROPPED:
        if tag in derived:
            del derived[tag]
    original = _original_attributes(derived)
    _mark(derived)
    _renew_uids(derived, series_secret)
    derived.OriginalAttributesSequence = [*(derived.get("OriginalAttributesSequence") or []), original]
    if derived.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian  # the MAC must be the last bytes
    last = max((element.tag.group for element in derived), default=0)
    group = max(FIRST_BEHIND, last + 1 | 1)
    derived.private_block(group, CREATOR, create=True).add_new(0x01, "OB", envelope)
    return derived


def unsealed_header(header: Dataset) -> Dataset:
    """The header of a sealed image whose pixels, and nothing else, are those of the original again."""
    restored: Dataset = copy.deepcopy(header)
    for element in list(restored):
        named = element.tag.is_private_creator and element.value == CREATOR
        if named or element.private_creator == CREATOR:
            del restored[element.tag]  # what is left of the envelope
    restored.DerivationDescription = f"{text(header, 'DerivationDescription')}; {RESTORED}"[-1024:]
    if text(restored, "SOPInstanceUID"):
        restored.SOPInstanceUID = generate_uid()
        restored.file_meta.MediaStorageSOPInstanceUID = restored.SOPInstanceUID
    return restored


def _original_attributes(dataset: Dataset) -> Dataset:
    """What is about to be replaced."""
    replaced = Dataset()
    for keyword in _REPLACED:
        if keyword in dataset:
            replaced[keyword] = copy.deepcopy(dataset[keyword])
    item = Dataset()
    item.ModifiedAttributesSequence = Sequence([replaced])
    item.AttributeModificationDateTime = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ModifyingSystem = "Intact"
    item.SourceOfPreviousValues = ""
    item.ReasonForTheAttributeModification = "COERCE"
    return item


def _mark(dataset: Dataset) -> None:
    """Say that the image is derived, how, and from which."""
    kind = dataset.get("ImageType") or ["ORIGINAL", "PRIMARY"]
    values = [kind] if isinstance(kind, str) else list(kind)
    dataset.ImageType = ["DERIVED", *(values[1:] or ["PRIMARY"])]
    before = text(dataset, "DerivationDescription")
    dataset.DerivationDescription = f"{before}; {DESCRIPTION}"[-1024:] if before else DESCRIPTION
    if "SeriesDescription" in dataset:
        dataset.SeriesDescription = f"{text(dataset, 'SeriesDescription')[:55]} (sealed)"
    if text(dataset, "SOPClassUID") and text(dataset, "SOPInstanceUID"):
        source = Dataset()
        source.ReferencedSOPClassUID = dataset.SOPClassUID
        source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SourceImageSequence = [*(dataset.get("SourceImageSequence") or []), source]


def _renew_uids(dataset: Dataset, series_secret: str) -> None:
    if text(dataset, "SOPInstanceUID"):
        dataset.SOPInstanceUID = generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if series := text(dataset, "SeriesInstanceUID"):
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[series_secret, series])
