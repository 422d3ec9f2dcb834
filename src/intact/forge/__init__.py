"""Makers of forgeries: each knows exactly what it changed, and marks what it made."""

from intact.digest import pixel_digest
from intact.forge.base import BORDER, FORGED, GENUINE, SOURCE, Forger, Forgery
from intact.forge.copy_move import CopyMove
from intact.forge.launder import Launder
from intact.forge.lesion import Erase, Inject
from intact.forge.process import Blur, Contrast, Noise, Recompress, Resample, Rewindow
from intact.forge.remove import Remove
from intact.forge.series import (
    DoubleSlice,
    DropSlice,
    Header,
    Recycle,
    Reorder,
    SeriesForger,
    SeriesForgery,
)
from intact.forge.splice import Splice
from intact.forge.untouched import Untouched

KINDS: dict[str, type[Forger]] = {
    "untouched": Untouched,
    "copy_move": CopyMove,
    "splice": Splice,
    "remove": Remove,
    "inject": Inject,
    "erase": Erase,
    "recompress": Recompress,
    "resample": Resample,
    "blur": Blur,
    "noise": Noise,
    "contrast": Contrast,
    "rewindow": Rewindow,
    "launder": Launder,
}

# These edit the files of a DICOM series, not pixels.
SERIES_KINDS: dict[str, type[SeriesForger]] = {
    "drop_slice": DropSlice,
    "double_slice": DoubleSlice,
    "recycle": Recycle,
    "reorder": Reorder,
    "header": Header,
}

__all__ = [
    "BORDER",
    "FORGED",
    "GENUINE",
    "KINDS",
    "SERIES_KINDS",
    "SOURCE",
    "Forger",
    "Forgery",
    "SeriesForger",
    "SeriesForgery",
    "pixel_digest",
]
