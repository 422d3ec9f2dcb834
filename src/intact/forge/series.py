"""Forged series and headers: slices dropped, doubled and exchanged, elements edited.

These work on DICOM data sets, not on pixels: each slice keeps its file, and what is changed is what a
forger would change by hand. Which rule of `intact.forensics` each edit breaks stands beside it.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final, get_args

import numpy as np
from pydicom import Dataset

from intact._version import __version__
from intact.errors import UsageError
from intact.forge.base import kind_of
from intact.io.dicom_new import mark_made
from intact.io.elements import numbers

FEWEST = 4  # slices, so that some are left as they were


@dataclass(frozen=True, eq=False)
class SeriesForgery:
    """Forged files and the truth about them.

    Args:
        slices: What a forger would pass on, each marked as made.
        record: How it was made, as plain values; `touched` counts the changed slices from 0, in the
            order of `slices`.
    """

    slices: list[Dataset]
    record: dict[str, Any]


@dataclass(eq=False)
class SeriesForger(ABC):
    """Makes one kind of forgery of a series, and knows exactly what it changed."""

    family: ClassVar[str] = "series"
    source: ClassVar[str] = "common practice"

    @final
    def forge(self, slices: Sequence[Dataset], *, seed: int = 0) -> SeriesForgery:
        """Forge copies of the files of a series; the files themselves are left as they are.

        Args:
            slices: With pixel data, in the order of their places.
            seed: Decides what the fields leave open.

        Raises:
            UsageError: Fewer than four slices, or nothing in them that could be changed.
        """
        kind = kind_of(self)
        if len(slices) < FEWEST:
            raise UsageError(f"{kind} takes series of {FEWEST} slices or more, this one has {len(slices)}")
        forged, touched, drawn = self._forge(
            [copy.deepcopy(one) for one in slices], np.random.default_rng(seed)
        )
        for one in forged:
            mark_made(one, f"forged by intact {__version__}: {kind}")
        fields = dataclasses.asdict(self)
        record = {"intact": __version__, "kind": kind, "fields": fields, "seed": seed}
        return SeriesForgery(forged, record | {"touched": touched, "drawn": drawn})

    @abstractmethod
    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]: ...


@dataclass(eq=False)
class DropSlice(SeriesForger):
    """Takes slices out of the middle.

    Args:
        count: How many, one after the other.
        renumber: Count the others anew, so that no instance number is missing.
        close: Move the others together, so that no place is missing either.
    """

    count: int = 1
    renumber: bool = False
    close: bool = False

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        if self.count > len(slices) - 2:
            raise UsageError(f"drop_slice cannot take {self.count} slices out of {len(slices)}")
        first = int(rng.integers(1, len(slices) - self.count))
        after = slices[first + self.count :]
        places = [copy.deepcopy(one.get("ImagePositionPatient")) for one in slices[first:]]
        counts = [one.get("InstanceNumber") for one in slices[first:]]
        for one, place, number in zip(after, places, counts, strict=False):
            if self.close and place is not None:
                one.ImagePositionPatient = place
            if self.renumber and number is not None:
                one.InstanceNumber = number
        return slices[:first] + after, [first - 1, first], {"dropped": [first, first + self.count - 1]}


@dataclass(eq=False)
class DoubleSlice(SeriesForger):
    """Puts the pixels of one slice into the next, which keeps its header."""

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        at = int(rng.integers(0, len(slices) - 1))
        _exchange(slices[at + 1], copy.deepcopy(slices[at]))
        return slices, [at + 1], {"from": at, "to": at + 1}


@dataclass(eq=False)
class Reorder(SeriesForger):
    """Exchanges the pixels of two slices, which keep their headers; or turns the whole series around.

    Args:
        how: "swap" or "reverse".
    """

    how: Literal["swap", "reverse"] = "swap"

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        if self.how not in ("swap", "reverse"):
            raise UsageError(f"how={self.how!r} is not one of swap, reverse")
        before = copy.deepcopy(slices)
        order = list(range(len(slices)))
        if self.how == "reverse":
            order.reverse()
        else:
            one = int(rng.integers(0, len(slices) - 2))
            other = int(rng.integers(one + 2, len(slices)))
            order[one], order[other] = other, one
        touched = [place for place, source in enumerate(order) if place != source]
        for place in touched:
            _exchange(slices[place], before[order[place]])
        return slices, touched, {"order": order}


Edit = Literal[
    "patient", "age", "study_time", "device", "exposure", "place", "number", "instance_uid", "meta_uid",
    "frame_of_reference", "modality", "derivation", "extremes", "writer", "private_creator", "preamble",
]  # fmt: skip
# The rule that each edit breaks.
BROKEN: dict[str, str] = {
    "patient": "R3", "age": "R5", "study_time": "R5", "device": "R14", "exposure": "R14", "place": "R10",
    "number": "R11", "instance_uid": "R1", "meta_uid": "R2", "frame_of_reference": "R3", "modality": "R4",
    "derivation": "R6", "extremes": "R8", "writer": "B2", "private_creator": "B9", "preamble": "B2",
}  # fmt: skip


@dataclass(eq=False)
class Header(SeriesForger):
    """Edits one element of one slice, as whoever exchanges or relabels it does.

    Args:
        edit: What is edited.
    """

    family = "header"

    edit: Edit = "patient"

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        if self.edit not in get_args(Edit):
            raise UsageError(f"edit={self.edit!r} is not one of {', '.join(get_args(Edit))}")
        at = int(rng.integers(1, len(slices) - 1))
        _EDITS[self.edit](slices[at], slices[at - 1])
        return slices, [at], {}


def _exchange(slice_: Dataset, other: Dataset) -> None:
    """Give a slice the pixels of another, encoded as they are."""
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in other:
            slice_[keyword] = other[keyword]
    slice_.file_meta.TransferSyntaxUID = other.file_meta.TransferSyntaxUID


def _patient(one: Dataset, before: Dataset) -> None:
    one.PatientID = f"{one.get('PatientID', '')}X"


def _age(one: Dataset, before: Dataset) -> None:
    one.PatientBirthDate, one.StudyDate, one.PatientAge = "19500101", "20200101", "030Y"


def _study_time(one: Dataset, before: Dataset) -> None:
    one.StudyDate, one.StudyTime = "20200102", "120000"
    one.ContentDate, one.ContentTime = "20200101", "120000"


def _device(one: Dataset, before: Dataset) -> None:
    one.DeviceSerialNumber = "0"


def _exposure(one: Dataset, before: Dataset) -> None:
    one.KVP = str(float(one.get("KVP") or 100) + 20)


def _place(one: Dataset, before: Dataset) -> None:
    if "ImagePositionPatient" not in one:
        raise UsageError("header: these slices have no position that could be edited")
    mine, last = (numbers(of, "ImagePositionPatient") for of in (one, before))
    one.ImagePositionPatient = [a + 0.4 * (b - a) for a, b in zip(mine, last, strict=True)]


def _number(one: Dataset, before: Dataset) -> None:
    one.InstanceNumber = int(one.get("InstanceNumber") or 0) + 1000


def _instance_uid(one: Dataset, before: Dataset) -> None:
    one.SOPInstanceUID = before.SOPInstanceUID
    one.file_meta.MediaStorageSOPInstanceUID = before.SOPInstanceUID


def _meta_uid(one: Dataset, before: Dataset) -> None:
    one.file_meta.MediaStorageSOPInstanceUID = before.file_meta.MediaStorageSOPInstanceUID


def _frame_of_reference(one: Dataset, before: Dataset) -> None:
    one.add_new("FrameOfReferenceUID", "UI", "1.2.3.4")


def _modality(one: Dataset, before: Dataset) -> None:
    one.Modality = "CT" if one.get("Modality") != "CT" else "MR"


def _derivation(one: Dataset, before: Dataset) -> None:
    one.ImageType = ["ORIGINAL", "PRIMARY"]
    one.DerivationDescription = "edited"


def _extremes(one: Dataset, before: Dataset) -> None:
    signed = one.get("PixelRepresentation") == 1
    one.add_new("LargestImagePixelValue", "SS" if signed else "US", 1)


def _writer(one: Dataset, before: Dataset) -> None:
    one.file_meta.add_new("ImplementationClassUID", "UI", "1.2.3.4")
    one.file_meta.ImplementationVersionName = "EDITOR"


def _private_creator(one: Dataset, before: Dataset) -> None:
    one.add_new(0x000B1101, "LO", "edited")


def _preamble(one: Dataset, before: Dataset) -> None:
    one.preamble = b"MZ" + 126 * b"\0"


_EDITS: dict[str, Callable[[Dataset, Dataset], None]] = {
    "patient": _patient, "age": _age, "study_time": _study_time, "device": _device, "exposure": _exposure,
    "place": _place, "number": _number, "instance_uid": _instance_uid, "meta_uid": _meta_uid,
    "frame_of_reference": _frame_of_reference, "modality": _modality, "derivation": _derivation,
    "extremes": _extremes, "writer": _writer, "private_creator": _private_creator, "preamble": _preamble,
}  # fmt: skip
