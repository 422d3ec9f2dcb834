"""`Image`: the stored pixels of one image or volume, and what they mean.

Nothing is lost on the way in: pixels stay the integers or floats that the file stores, and
everything needed to interpret them (rescale, windows, palette, padding, geometry) stands beside
them as plain data. `physical` and `display` apply that meaning; neither changes the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Photometric = Literal["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "PALETTE COLOR"]
MADE = "made by a program, "  # how a comment in a file begins that holds an image's `made`


@dataclass(frozen=True)
class Identity:
    """Where an image came from. UIDs are DICOM's; empty where the format has none."""

    path: str = ""
    study: str = ""
    series: str = ""
    instance: str = ""
    patient: str = ""  # never printed or written unless the user asks to identify patients


@dataclass(frozen=True)
class Scale:
    """How stored values become physical ones: a line, or a table (DICOM Modality LUT).

    Args:
        slope: Multiplier; one number, or one per plane for multi-frame files, shape [planes].
        intercept: Offset in physical units; same shape as `slope`.
        table: Physical value of each stored value from `first` on, or None for a line.
        first: Stored value that maps to `table[0]`; values outside map to the table's ends.
        unit: "HU", "Gy", "a.u.", ... ; empty when unknown.
    """

    slope: float | NDArray[np.float64] = 1.0
    intercept: float | NDArray[np.float64] = 0.0
    table: NDArray[np.float32] | None = None
    first: int = 0
    unit: str = ""


@dataclass(frozen=True)
class Window:
    """A VOI window in physical units (DICOM PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"


@dataclass(frozen=True)
class VoiTable:
    """A VOI look-up table (0028,3010): output of each physical value from `first` on."""

    first: int
    values: NDArray[np.uint16]
    bits: int  # of an output value: 8 to 16


@dataclass(frozen=True, eq=False)
class Image:
    """One image: a plane [H,W], a volume or multi-frame file [D,H,W], each with [...,3] in colour.

    Args:
        pixels: Stored values, exactly as the file holds them: any integer or float dtype. Palette
            images hold indices. Two leading axes [T,D,H,W] for a time series of volumes.
        photometric: What a sample means; "MONOCHROME1" shows small values bright.
        spacing: Distance between sample centres in mm along the spatial axes of `pixels`
            ((rows, columns) or (planes, rows, columns)), or None when unknown.
        affine: 4 x 4, maps (column, row, plane) indices to patient coordinates in mm, in
            DICOM's LPS orientation; None when unknown.
        modality: DICOM modality ("CT", "MR", "DX", ...) or empty.
        bits: Bits that a stored value can use (12 for 12-bit CT in 16-bit words).
        scale: Stored to physical values.
        windows: Windows the file recommends, best first.
        voi: VOI table the file recommends, used when there is no window.
        padding: (low, high) range of stored values that fill the space outside the scan, or None.
        palette: RGB of each index from `palette_first` on, uint8 or uint16 [n,3].
        palette_first: Stored value that maps to `palette[0]`.
        identity: Where the image came from.
        header: What it was read from, kept for writing it back (pydicom Dataset of the first
            file, nibabel image header, or None).
        made: What made it, where it is no record of a patient ("forged by intact 0.1.0: ..."). Files
            carry it, so that what was made can never be taken for what was measured.
        notes: What reading had to assume, in words for the user.
    """

    pixels: NDArray[Any]
    photometric: Photometric = "MONOCHROME2"
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    modality: str = ""
    bits: int = 0
    scale: Scale = Scale()
    windows: tuple[Window, ...] = ()
    voi: VoiTable | None = None
    padding: tuple[float, float] | None = None
    palette: NDArray[Any] | None = None
    palette_first: int = 0
    identity: Identity = Identity()
    header: Any = field(default=None, repr=False)
    made: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim < (3 if self.colour else 2):
            raise ValueError(
                f"pixels have shape {self.pixels.shape}; a {self.photometric} image "
                f"needs at least {'[H,W,3]' if self.colour else '[H,W]'}"
            )
        if self.colour and self.pixels.shape[-1] != 3:
            raise ValueError(f"{self.photometric} pixels have {self.pixels.shape[-1]} samples, not 3")
        if not self.bits:
            object.__setattr__(self, "bits", 8 * self.pixels.dtype.itemsize)

    @property
    def colour(self) -> bool:
        """Whether a pixel has three stored samples (palette images have one: the index)."""
        return self.photometric in ("RGB", "YBR_FULL")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the colour axis: (H, W), (D, H, W) or (T, D, H, W)."""
        return self.pixels.shape[:-1] if self.colour else self.pixels.shape

    @property
    def planes(self) -> int:
        """How many 2-D planes the image holds."""
        return int(np.prod(self.shape[:-2]))

    def plane(self, index: int) -> Image:
        """The 2-D image at `index`, counting frames in stored order; a view, not a copy."""
        if len(self.shape) == 2:
            return self
        tail = self.pixels.shape[len(self.shape) - 2 :]
        pixels = self.pixels.reshape(-1, *tail)[index]
        scale = self.scale
        if isinstance(scale.slope, np.ndarray) or isinstance(scale.intercept, np.ndarray):
            slope = np.broadcast_to(scale.slope, self.planes)[index]
            intercept = np.broadcast_to(scale.intercept, self.planes)[index]
            scale = replace(scale, slope=float(slope), intercept=float(intercept))
        return replace(
            self,
            pixels=pixels,
            scale=scale,
            spacing=self.spacing[-2:] if self.spacing else None,
            affine=None,
            header=None,
        )

    def physical(self) -> NDArray[np.float32]:
        """Physical values: HU for CT, scaled units elsewhere; colour becomes RGB.

        Returns:
            float32, the shape of `pixels` ([...,3] added for palette images). Colour keeps its
            stored range (0 to 2**bits - 1); padding keeps whatever value it maps to.
        """
        if self.palette is not None:
            return _look_up(self.pixels, self.palette, self.palette_first).astype(np.float32)
        if self.photometric == "YBR_FULL":
            return _ybr_to_rgb(self.pixels, self.bits)
        if self.scale.table is not None:
            return _look_up(self.pixels, self.scale.table, self.scale.first)
        return self._linear()

    def padding_mask(self) -> NDArray[np.bool_]:
        """True where the scanner stored no measurement: the padding range, NaN and infinity."""
        grey = self.pixels[..., 0] if self.colour else self.pixels
        mask = ~np.isfinite(grey) if grey.dtype.kind == "f" else np.zeros(grey.shape, bool)
        if self.padding is not None:
            low, high = self.padding
            mask |= (grey >= low) & (grey <= high)
        return mask

    def display(self, window: Window | None = None) -> NDArray[np.uint8]:
        """What a viewer shows: uint8, bright where the file says bright, [...,3] for colour.

        Args:
            window: In physical units; by default the file's own first window or VOI table, else
                the 0.5 to 99.5 percentile of the measured pixels.
        """
        values = self.physical()
        if self.colour or self.palette is not None:
            top = float(2**self.bits - 1) if self.palette is None else _palette_top(self.palette)
            return _to_uint8(values / max(top, 1.0))
        if window is None and self.windows:
            window = self.windows[0]
        if window is not None:
            shown = apply_window(values, window)
        elif self.voi is not None:
            shown = _look_up(np.rint(values), self.voi.values, self.voi.first).astype(np.float32) / float(
                2**self.voi.bits - 1
            )
        else:
            shown = _stretch(values, measured=~self.padding_mask())
        return _to_uint8(1.0 - shown if self.photometric == "MONOCHROME1" else shown)

    def _linear(self) -> NDArray[np.float32]:
        slope, intercept = self.scale.slope, self.scale.intercept
        if isinstance(slope, np.ndarray) or isinstance(intercept, np.ndarray):
            planes = (*self.shape[:-2], 1, 1)
            slope = np.broadcast_to(slope, self.planes).reshape(planes)
            intercept = np.broadcast_to(intercept, self.planes).reshape(planes)
        elif slope == 1.0 and intercept == 0.0:
            return self.pixels.astype(np.float32)
        # float64 in between: 32-bit stored values have no exact float32.
        return (self.pixels * np.float64(slope) + np.float64(intercept)).astype(np.float32)


def apply_window(values: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Map physical values to 0..1 through a window.

    Source: DICOM PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).
    """
    center, width = np.float32(window.center), np.float32(window.width)
    if window.function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if window.function == "LINEAR" and width > 1.0:
        return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return np.clip((values - center) / max(width, np.float32(1e-12)) + 0.5, 0.0, 1.0)


def _look_up(values: NDArray[Any], table: NDArray[Any], first: int) -> NDArray[Any]:
    """Entries of a DICOM table whose first entry belongs to `first`; its ends hold beyond them."""
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]


def _stretch(values: NDArray[np.float32], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    inside = values[measured]
    if not inside.size:
        return np.zeros_like(values)
    low, high = np.percentile(inside, (0.5, 99.5))
    if high <= low:
        low, high = inside.min(), max(inside.max(), inside.min() + 1e-6)
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)


def _to_uint8(shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255.0 * np.nan_to_num(np.clip(shown, 0.0, 1.0))).astype(np.uint8)


def _palette_top(palette: NDArray[Any]) -> float:
    return 255.0 if palette.dtype == np.uint8 else 65535.0


def _ybr_to_rgb(pixels: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """ITU-R BT.601 full range, as DICOM PS3.3 C.7.6.3.1.2 defines YBR_FULL."""
    luma, blue, red = np.moveaxis(pixels.astype(np.float32), -1, 0)
    blue, red = blue - 2.0 ** (bits - 1), red - 2.0 ** (bits - 1)
    rgb = np.stack(
        [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1
    )
    return np.clip(rgb, 0.0, 2.0**bits - 1.0).astype(np.float32)


def made_of(comment: str) -> str:
    """What an image's `made` was when it was written, told by the comment in its file."""
    return comment.partition(MADE)[2].strip()
