"""Whether a series says consistently what it is, of whom and from when: rules R1 to R6, R16, B12.

DICOM PS3.3 C.7 (modules) and PS3.10 7.1 (file meta information). Values of the patient module are
compared, never told.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, datetime
from itertools import pairwise

from pydicom.uid import UID

from intact.forensics.base import Severity
from intact.forensics.header.rules import Found, Rule, at, graded, those
from intact.forensics.instance import Instance, Series, odd_ones
from intact.io.elements import tag, text

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_LONGEST = 64  # characters of a UID
_CLASS_OF = {  # a word of the SOP class's name, by modality
    "CT": "CT", "MR": "MR", "US": "Ultrasound", "NM": "Nuclear", "PT": "Positron",
    "CR": "Computed Radiography", "DX": "Digital X-Ray", "MG": "Mammography", "XA": "X-Ray Angiographic",
    "RF": "X-Ray Radiofluoroscopic",
}  # fmt: skip
_OF_ANY_MODALITY = (
    "Secondary Capture", "Raw Data", "Spectroscopy", "Presentation State", "Parametric Map", "Segmentation",
)  # fmt: skip
_RECORDED = {  # by devices, one of which at least every image of theirs has
    "CT": ("KVP", "ConvolutionKernel", "XRayTubeCurrent", "Exposure"),
    "MR": ("RepetitionTime", "EchoTime", "MagneticFieldStrength", "ScanningSequence"),
}
_ONE_PER_SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "Modality")
_IN_ORDER = ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
_YEARS = 1.0  # by which an age may disagree with the dates


def _instance_uids(series: Series) -> Found:
    """R1: every file has a name of its own."""
    uids = Counter(series.column("SOPInstanceUID"))
    missing = those(series, lambda one: not one.text("SOPInstanceUID"))
    if missing:
        yield graded(series, missing, "R1", Severity.UNUSUAL, "SOPInstanceUID", "is missing")
    wrong = those(series, lambda one: _is_no_uid(one.text("SOPInstanceUID")))
    if wrong:
        yield at(series, wrong, "R1", Severity.IMPOSSIBLE, "SOPInstanceUID", "is no valid UID")
    twice = those(
        series, lambda one: uids[one.text("SOPInstanceUID")] > 1 and bool(one.text("SOPInstanceUID"))
    )
    if twice:
        said = "is that of another file of the series"
        yield at(series, twice, "R1", Severity.IMPOSSIBLE, "SOPInstanceUID", said)


def _meta(series: Series) -> Found:
    """R2: the file meta information names the data set that follows it."""
    for keyword in ("SOPInstanceUID", "SOPClassUID"):
        meta = f"MediaStorage{keyword}"
        wrong = those(series, lambda one, meta=meta, keyword=keyword: text(one.meta, meta)  # type: ignore[misc]
                      not in ("", one.text(keyword)))  # fmt: skip
        if wrong:
            yield graded(series, wrong, "R2", Severity.IMPOSSIBLE, keyword, f"is not that of {tag(meta)}")


def _one_series(series: Series) -> Found:
    """R3: what makes files one series."""
    for keyword in _ONE_PER_SERIES:
        values = series.column(keyword)
        if len(set(values)) > 1:
            where = odd_ones(values) or range(len(series))
            yield at(series, where, "R3", Severity.IMPOSSIBLE, keyword, "differs within one series")


def _modality(series: Series) -> Found:
    """R4: modality, SOP class and what the device recorded belong together."""
    wrong = those(series, _is_of_another_class)
    if wrong:
        yield graded(series, wrong, "R4", Severity.UNUSUAL, "Modality", "does not fit the SOP class")
    lacking = those(series, _lacks_its_device)
    if lacking:
        said = "comes without anything that such a device records"
        yield graded(series, lacking, "R4", Severity.UNUSUAL, "Modality", said)


def _times(series: Series) -> Found:
    """R5: a study begins before its series, a series before its images; ages fit dates."""
    wrong = those(series, _is_out_of_order)
    if wrong:
        said = "or another time comes before what has to precede it"
        yield graded(series, wrong, "R5", Severity.UNUSUAL, "ContentTime", said)
    ages = those(series, _has_another_age)
    if ages:
        said = "disagrees with the dates of birth and study"
        yield graded(series, ages, "R5", Severity.UNUSUAL, "PatientAge", said)


def _derivation(series: Series) -> Found:
    """R6: an original is derived from nothing."""
    wrong = those(series, _is_a_derived_original)
    if wrong:
        said = "says ORIGINAL, and the file tells how it was derived"
        yield graded(series, wrong, "R6", Severity.UNUSUAL, "ImageType", said)


def _anonymised(series: Series) -> Found:
    """R16: who removed an identity says how."""
    wrong = those(series, lambda one: one.text("PatientIdentityRemoved") == "YES"
                  and not one.text("DeidentificationMethod")
                  and "DeidentificationMethodCodeSequence" not in one.header)  # fmt: skip
    if wrong:
        said = "does not say by which method"
        yield at(series, wrong, "R16", Severity.BENIGN, "PatientIdentityRemoved", said)


def _attack_writer(series: Series) -> Found:
    """B12: the public CT-GAN code, fed with MHD files, counts its slices in place of UIDs."""
    counted = those(series, lambda one: one.text("SOPInstanceUID").isdigit())
    if len(series) > 1 and len(counted) == len(series):
        said = "is a plain count, as the writer of the public CT-GAN attack leaves it"
        yield at(series, counted, "B12", Severity.IMPOSSIBLE, "SOPInstanceUID", said)


def _is_no_uid(uid: str) -> bool:
    return bool(uid) and (not _UID.fullmatch(uid) or len(uid) > _LONGEST)


def _is_of_another_class(one: Instance) -> bool:
    modality, kind = one.text("Modality"), UID(one.text("SOPClassUID")).name
    if modality not in _CLASS_OF or "Storage" not in kind or any(word in kind for word in _OF_ANY_MODALITY):
        return False
    return _CLASS_OF[modality] not in kind


def _lacks_its_device(one: Instance) -> bool:
    kind = UID(one.text("SOPClassUID")).name
    if "Enhanced" in kind or any(word in kind for word in _OF_ANY_MODALITY):
        return False
    recorded = _RECORDED.get(one.text("Modality"), ())
    return bool(recorded) and not any(keyword in one.header for keyword in recorded)


def _is_out_of_order(one: Instance) -> bool:
    moments = [moment for step in _IN_ORDER if (moment := _moment(one, step)) is not None]
    return any(later < earlier for earlier, later in pairwise(moments))


def _has_another_age(one: Instance) -> bool:
    age = re.fullmatch(r"(\d{3})Y", one.text("PatientAge"))
    born, then = (_day(one.text(keyword)) for keyword in ("PatientBirthDate", "StudyDate"))
    if not age or born is None or then is None:
        return False
    years = (then - born).days / 365.25
    return not int(age[1]) - _YEARS <= years < int(age[1]) + 1 + _YEARS


def _is_a_derived_original(one: Instance) -> bool:
    derived = one.text("DerivationDescription") or "SourceImageSequence" in one.header
    return one.text("ImageType").startswith("ORIGINAL") and bool(derived)


def _moment(one: Instance, step: str) -> datetime | None:
    """Date and time of a step, if both are known."""
    clock = one.text(f"{step}Time").partition(".")[0]
    try:
        return datetime.strptime(one.text(f"{step}Date") + clock, "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _day(value: str) -> date | None:
    try:
        return datetime.strptime(value, "%Y%m%d").date()
    except ValueError:
        return None


RULES: tuple[Rule, ...] = (
    _instance_uids,
    _meta,
    _one_series,
    _modality,
    _times,
    _derivation,
    _anonymised,
    _attack_writer,
)
