"""What the stored values of a DICOM image mean: rescale, windows, look-up tables, padding, palette.

Source: DICOM PS3.3 C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding), C.7.6.3.1.5
(palette descriptors), C.7.6.16.2.9 and .10 (the same for each frame of an enhanced image).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from intact.image import Scale, VoiTable, Window
from intact.io.elements import group, item, numbers, tag, text

_Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
MADE_GROUP, MADE_CREATOR, MADE_ELEMENT = 0x0011, "INTACT MADE", 0x01  # by what an image was made
_UNITS = {"GY": "Gy", "RELATIVE": "relative", "US": ""}  # "US" means unspecified here


@dataclass(frozen=True)
class Table:
    """A DICOM look-up table: output of each input from `first` on."""

    first: int
    values: NDArray[np.uint16]
    bits: int


def read_scale(dataset: Dataset, frames: int, notes: list[str]) -> Scale:
    """Stored to physical values: a line, a line per frame, or the Modality LUT."""
    lut = item(dataset, "ModalityLUTSequence")
    if lut is not None:
        table = read_table(dataset, lut)
        if table is not None:
            unit = _unit(text(lut, "ModalityLUTType"))
            return Scale(table=table.values.astype(np.float32), first=table.first, unit=unit)
        notes.append(f"{tag('ModalityLUTSequence')} is damaged and was ignored")
    if "DoseGridScaling" in dataset:
        slope = numbers(dataset, "DoseGridScaling") or [1.0]
        return Scale(slope=slope[0], unit=_unit(text(dataset, "DoseUnits")))
    holders = [_rescale(dataset, frame) for frame in range(frames)]
    slopes = np.array([(numbers(h, "RescaleSlope") or [1.0])[0] for h in holders])
    intercepts = np.array([(numbers(h, "RescaleIntercept") or [0.0])[0] for h in holders])
    if (slopes == 0).any():
        notes.append(f"{tag('RescaleSlope')} is 0, which would flatten the image; 1 was assumed")
        slopes[slopes == 0] = 1.0
    return Scale(slope=_shared(slopes), intercept=_shared(intercepts), unit=_rescale_unit(dataset))


def read_windows(dataset: Dataset, frames: int, notes: list[str]) -> tuple[Window, ...]:
    """The recommended windows, best first; those of other frames follow."""
    windows: dict[Window, None] = {}  # an ordered set
    for frame in range(frames):
        holder = group(dataset, frame, "FrameVOILUTSequence") or dataset
        centers, widths = numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth")
        name = text(holder, "VOILUTFunction")
        function: _Function = name if name in get_args(_Function) else "LINEAR"  # type: ignore[assignment]
        for center, width in zip(centers, widths, strict=False):
            if width > 0:
                windows[Window(center, width, function)] = None
            else:
                notes.append(f"a window of width {width:g} in {tag('WindowWidth')} was ignored")
        if holder is dataset:
            break
    return tuple(windows)


def read_voi(dataset: Dataset, notes: list[str]) -> VoiTable | None:
    """The first VOI look-up table."""
    lut = item(dataset, "VOILUTSequence")
    if lut is None:
        return None
    table = read_table(dataset, lut)
    if table is None or not 8 <= table.bits <= 16:
        notes.append(f"{tag('VOILUTSequence')} is damaged and was ignored")
        return None
    return VoiTable(table.first, table.values, table.bits)


def read_table(dataset: Dataset, lut: Dataset) -> Table | None:
    """Descriptor and data of one look-up table, or None when they contradict each other."""
    descriptor = [int(v) for v in numbers(lut, "LUTDescriptor")]
    data: Any = lut.get("LUTData")
    if len(descriptor) != 3 or data is None:
        return None
    count = descriptor[0] or 65536  # 16 bits cannot say 65536
    first = _signed(descriptor[1], dataset)
    if isinstance(data, bytes):
        width = 1 if len(data) in (count, count + count % 2) else 2
        order = "<" if dataset.original_encoding[1] is not False else ">"
        values = np.frombuffer(data, np.dtype(f"{order}u{width}"))
    else:
        values = np.atleast_1d(np.array(data, dtype=np.int64))
    if len(values) < count:
        return None
    return Table(first, values[:count].astype(np.uint16), descriptor[2])


def read_padding(dataset: Dataset) -> tuple[float, float] | None:
    """Range of stored values that mark space outside the scan."""
    for keyword in ("FloatPixelPadding", "DoubleFloatPixelPadding"):
        ends = numbers(dataset, f"{keyword}Value") + numbers(dataset, f"{keyword}RangeLimit")
        if ends:
            return min(ends), max(ends)
    values = numbers(dataset, "PixelPaddingValue")[:1]
    if not values:
        return None
    values += numbers(dataset, "PixelPaddingRangeLimit")[:1]
    ends = [float(_signed(int(v), dataset)) for v in values]
    return min(ends), max(ends)


def read_palette(dataset: Dataset, notes: list[str]) -> tuple[NDArray[Any] | None, int]:
    """RGB of each index, [n,3] uint8 or uint16, and the index of its first row."""
    descriptor = [int(v) for v in numbers(dataset, "RedPaletteColorLookupTableDescriptor")]
    if len(descriptor) == 3:
        first, count = _signed(descriptor[1], dataset), descriptor[0] or 65536
        try:
            palette = apply_color_lut(np.arange(first, first + count), dataset)
            return palette[:, :3], first
        except Exception as error:  # damaged tables fail in many ways; the indices are still sound
            notes.append(f"the palette is damaged ({error})")
    notes.append(
        f"{tag('RedPaletteColorLookupTableDescriptor')} and its like give no palette; "
        "the indices were taken for grey values"
    )
    return None, 0


def read_made(dataset: Dataset) -> str:
    """What made an image that says it is none of a patient: Synthetic Data (0008,001C)."""
    if text(dataset, "SyntheticData") != "YES":
        return ""
    try:
        value = dataset.private_block(MADE_GROUP, MADE_CREATOR)[MADE_ELEMENT].value
        # Implicit transfer syntaxes do not say that it is text.
        return value.decode("utf-8", "replace").rstrip("\0 ") if isinstance(value, bytes) else str(value)
    except KeyError:
        return "by an unnamed program"


def _rescale(dataset: Dataset, frame: int) -> Dataset:
    return group(dataset, frame, "PixelValueTransformationSequence") or dataset


def _rescale_unit(dataset: Dataset) -> str:
    holder = _rescale(dataset, 0)
    unit = text(holder, "RescaleType") or text(dataset, "Units")
    if not unit and text(dataset, "Modality") == "CT" and "RescaleIntercept" in holder:
        return "HU"
    return _unit(unit)


def _unit(name: str) -> str:
    return _UNITS.get(name, name)


def _shared(values: NDArray[np.float64]) -> float | NDArray[np.float64]:
    return float(values[0]) if (values == values[0]).all() else values


def _signed(value: int, dataset: Dataset) -> int:
    """A value that some writers store as unsigned although the pixels are signed."""
    if dataset.get("PixelRepresentation") == 1 and value >= 2**15:
        return value - 2**16  # US and SS, so 16 bits whatever the pixels have
    return value
