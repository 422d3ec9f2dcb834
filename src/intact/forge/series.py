"""Forged series and headers: slices dropped, doubled and exchanged, series recycled, elements edited.

These work on DICOM data sets: each slice keeps its file, and what is changed is what a forger would
change by hand. Which rule of `intact.forensics` each edit breaks stands beside it.
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
from pydicom.uid import ExplicitVRBigEndian, generate_uid

from intact._version import __version__
from intact.errors import UsageError
from intact.forge.base import kind_of
from intact.io.codecs import decode
from intact.io.dicom_new import mark_made
from intact.io.elements import numbers
from intact.residual import noise_sigma

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
    """Puts the pixels of one slice, or a mixture of its neighbours', into a slice that keeps its header.

    Args:
        how: "copy" of the slice before; that with some "noise"; the "mean" of the slices before and
            after; or the "cubic" interpolation of two before and two after.
        strength: Of the noise, in standard deviations of the slice's own.
    """

    how: Literal["copy", "noise", "mean", "cubic"] = "copy"
    strength: float = 0.2

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        if self.how not in _MIXTURES:
            raise UsageError(f"how={self.how!r} is not one of {', '.join(_MIXTURES)}")
        weights = _MIXTURES[self.how]
        if len(slices) <= max(weights) - min(weights):
            raise UsageError(f"double_slice: how={self.how!r} takes more than {len(slices)} slices")
        at = int(rng.integers(-min(weights), len(slices) - max(0, *weights)))
        drawn = {"from": [at + step for step in weights], "to": at}
        if self.how == "copy":
            _exchange(slices[at], copy.deepcopy(slices[at - 1]))
            return slices, [at], drawn
        # All slices, as one program leaves them.
        values = [_decoded(one) for one in slices]
        mixed = sum(weight * values[at + step].astype(np.float64) for step, weight in weights.items())
        if self.how == "noise":
            mixed = mixed + rng.normal(0, self.strength * noise_sigma(values[at - 1]), values[at].shape)
        _store(slices[at], np.asarray(mixed), values[at].dtype)
        return slices, [at], drawn


@dataclass(eq=False)
class Recycle(SeriesForger):
    """Passes a whole series off as another patient's: new names and UIDs in every file.

    Args:
        mirror: Exchange left and right in the pixels, which also makes another side of the body.
    """

    mirror: bool = False

    def _forge(
        self, slices: list[Dataset], rng: np.random.Generator
    ) -> tuple[list[Dataset], list[int], dict[str, Any]]:
        source = str(rng.integers(2**63))
        for number, one in enumerate(slices):
            one.PatientID = one.PatientName = f"RECYCLED-{source[:6]}"
            one.SOPInstanceUID = generate_uid(entropy_srcs=[source, str(number)])
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
                if keyword in one:
                    one[keyword].value = generate_uid(entropy_srcs=[source, keyword])
            if self.mirror:
                values = _decoded(one)
                axis = values.ndim - (2 if one.SamplesPerPixel == 3 else 1)
                _store(one, np.flip(values, axis), values.dtype)
        return slices, list(range(len(slices))), {}


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


# The share of each slice, by its distance, in one that is computed.
_MIXTURES: dict[str, dict[int, float]] = {
    "copy": {-1: 1.0},
    "noise": {-1: 1.0},
    "mean": {-1: 1 / 2, 1: 1 / 2},
    "cubic": {-2: -1 / 6, -1: 4 / 6, 1: 4 / 6, 2: -1 / 6},
}


def _decoded(slice_: Dataset) -> np.ndarray:
    """The stored values of a slice, which is left uncompressed."""
    if "PixelData" not in slice_:
        raise UsageError("series of floating point values cannot be changed by value")
    if slice_.file_meta.TransferSyntaxUID.is_compressed:
        slice_.decompress(generate_instance_uid=False)
    return decode(slice_, "the slice", [])[0]


def _store(slice_: Dataset, values: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Give a slice other values: rounded, and within its bits."""
    bits, signed = int(slice_.BitsStored), dtype.kind == "i"
    top = 2 ** (bits - signed) - 1
    stored = np.rint(values).clip(-top - 1 if signed else 0, top)
    big = slice_.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    data = stored.astype(dtype.newbyteorder(">" if big else "<")).tobytes()
    slice_.PixelData = data + b"\0" * (len(data) % 2)


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
