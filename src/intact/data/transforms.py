"""`Preparation`: from one plane of an image to the tensor a detector sees, and the way back.

What is done is plain data, stored with the model, so that screening repeats it exactly. Pixels
stay at full depth until they are float32: nothing is ever cut to 8 bits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from intact.data.cubes import Box, out_of_cube
from intact.errors import UsageError
from intact.filters import upsample
from intact.image import Image, Window, apply_window

# Lung, soft tissue and bone: (centre, width) in HU, the three channels of a prepared CT.
CT_WINDOWS = ((-600.0, 1500.0), (40.0, 400.0), (500.0, 1800.0))
CT_WIDE = ((-250.0, 1500.0),)  # air to spongy bone, where there is room for one window only
# ITU-R BT.601 luma.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
ENOUGH = 2**14  # pixels of a plane that tell its percentiles well


@dataclass(frozen=True)
class Placement:
    """Where a plane went: the source's (rows, columns), and its box in the prepared square."""

    source: tuple[int, int]
    top: int
    left: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Preparation:
    """How a plane becomes a float32 tensor in [0, 1].

    Args:
        size: Side of the square tensor in pixels. The plane keeps its physical proportions
            (pixel spacing counts); the rest is filled with 0.
        intensity: "windows" shows physical values (HU) through each window, one channel each;
            "percentile" stretches each image between two percentiles of its measured pixels
            (MR, whose units are arbitrary); "full" maps the storable range to [0, 1].
        windows: (centre, width) in physical units, for "windows".
        percentiles: Low and high, for "percentile".
        colour: Three channels from RGB; otherwise colour images are turned grey.
        region: Key in `intact.segment.REGIONS`: everything outside is filled with 0. Empty: all is
            looked at.
        neighbours: Planes on each side that a detector sees as further channels (2.5-D). They are told by
            index, however far apart they lie; at the ends of a volume the last one repeats.
        smooth_mm: Standard deviation of the 3-D Gaussian that smooths the score maps of a volume; 0: none.
        whole: A volume becomes one cube of `size` pixels a side instead of planes; it keeps its
            physical proportions.

    Raises:
        UsageError: There are neighbours beside colour or several windows, or neighbours or smoothing of
            whole volumes.
    """

    size: int
    intensity: Literal["windows", "percentile", "full"] = "percentile"
    windows: tuple[tuple[float, float], ...] = ()
    percentiles: tuple[float, float] = (0.5, 99.5)
    colour: bool = False
    region: str = ""
    neighbours: int = 0
    smooth_mm: float = 0.0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.neighbours and self._channels_of_a_plane > 1:
            raise UsageError(
                f"neighbouring planes become channels, but a plane has {self._channels_of_a_plane} already: "
                "give one window only, grey images, or no neighbours"
            )
        if self.whole and (self.neighbours or self.smooth_mm):
            raise UsageError("neighbours and smoothing are for planes, and this method sees whole volumes")

    @property
    def channels(self) -> int:
        """Channels of what a detector sees: those of a plane, for it and all its neighbours."""
        return self._channels_of_a_plane * (2 * self.neighbours + 1)

    @property
    def axes(self) -> int:
        """Of what a detector sees, beside its channels."""
        return 3 if self.whole else 2

    @property
    def _channels_of_a_plane(self) -> int:
        if self.intensity == "windows":
            return len(self.windows)
        return 3 if self.colour else 1

    def limits(self, image: Image) -> tuple[float, float]:
        """Physical values that become 0 and 1; of the whole image, so that planes compare.

        Only meaningful for "percentile" and "full".
        """
        if self.intensity == "full":
            return _storable_range(image)
        planes = [image.plane(i) for i in range(0, image.planes, max(1, image.planes // 16))]
        measured = _measured(planes, per_plane=ENOUGH)
        if measured.size:
            low, high = np.percentile(measured, self.percentiles)
            if high > low:
                return float(low), float(high)
        measured = _measured(planes)  # more than 99 % of the pixels are equal: look at every one
        return (float(measured.min()), float(measured.max())) if measured.size else (0.0, 1.0)

    def prepare(
        self, plane: Image, limits: tuple[float, float], inside: Bool[ndarray, "h w"] | None = None
    ) -> tuple[Float[Tensor, "c size size"], Placement]:
        """Turn a 2-D image into a tensor: all that the detector sees, but for the neighbours of the plane.

        Args:
            plane: A 2-D image.
            limits: From `limits` of the image it belongs to.
            inside: True in the region, where there is one.
        """
        placement = self.place(plane.shape, plane.spacing)
        x = self.resized(plane, limits, inside, (placement.rows, placement.columns))
        square = x.new_zeros(len(x), self.size, self.size)
        square[:, placement.top : placement.top + placement.rows,
               placement.left : placement.left + placement.columns] = x  # fmt: skip
        return square, placement

    def resized(
        self,
        plane: Image,
        limits: tuple[float, float],
        inside: Bool[ndarray, "h w"] | None,
        shape: tuple[int, int],
    ) -> Float[Tensor, "c h2 w2"]:
        """The intensities of a plane, as `prepare` shows them, with so many rows and columns."""
        values = self._intensities(plane, limits)
        values[..., plane.padding_mask()] = 0.0
        if inside is not None:
            values[..., ~inside] = 0.0
        x = torch.from_numpy(values)[None]
        return F.interpolate(x, size=shape, mode="bilinear", antialias=True, align_corners=False)[0]

    def restore(self, score_map: Float[Tensor, "*size"], at: Placement | Box) -> Float[Tensor, "*space"]:
        """Bring a score map back to the grid of the plane, or whole volume, that it was made from."""
        if isinstance(at, Box):
            return out_of_cube(score_map, at)
        inner = score_map[at.top : at.top + at.rows, at.left : at.left + at.columns]
        return upsample(inner[None], at.source)[0]

    def _intensities(self, plane: Image, limits: tuple[float, float]) -> NDArray[np.float32]:
        """(c, rows, columns) in [0, 1], bright where the body is dense."""
        if self.intensity == "windows":
            values = np.nan_to_num(_grey(plane))
            return np.stack([apply_window(values, Window(c, w)) for c, w in self.windows])
        low, high = limits
        if self.colour:
            rgb = plane.physical()
            values = np.moveaxis(rgb, -1, 0) if rgb.ndim == 3 else np.repeat(rgb[None], 3, axis=0)
        else:
            values = _grey(plane)[None]
        values = np.nan_to_num((values - np.float32(low)) / np.float32(max(high - low, 1e-12)))
        values = np.clip(values, 0.0, 1.0)
        return 1.0 - values if plane.photometric == "MONOCHROME1" else values

    def place(self, source: tuple[int, ...], spacing: tuple[float, ...] | None) -> Placement:
        """Where a plane of so many rows and columns goes."""
        tall, wide = spacing[-2:] if spacing else (1.0, 1.0)
        height, width = source[0] * tall, source[1] * wide
        scale = self.size / max(height, width)
        rows = max(1, min(self.size, round(height * scale)))
        columns = max(1, min(self.size, round(width * scale)))
        return Placement(
            (source[0], source[1]), (self.size - rows) // 2, (self.size - columns) // 2, rows, columns
        )


def choose_preparation(
    images: Sequence[Image],
    size: int,
    windows: Sequence[tuple[float, float]] = (),
    neighbours: int = 0,
) -> Preparation:
    """The preparation that suits most of these images.

    CT in HU gets windows (lung, soft tissue, bone unless told otherwise; with neighbours one wide
    one); everything else, whose values have no absolute meaning, is stretched between its percentiles.

    Raises:
        UsageError: There are neighbours beside colour or several windows.
    """
    if windows:
        chosen = tuple((float(c), float(w)) for c, w in windows)
        return Preparation(size, "windows", chosen, neighbours=neighbours)
    in_hu = _mostly(image.modality == "CT" and image.scale.unit in ("HU", "") for image in images)
    if in_hu:
        return Preparation(size, "windows", CT_WIDE if neighbours else CT_WINDOWS, neighbours=neighbours)
    colour = _mostly(map(is_colour, images))
    return Preparation(size, "full" if colour else "percentile", colour=colour, neighbours=neighbours)


def is_colour(image: Image) -> bool:
    """Whether a viewer shows the image in colour."""
    return image.colour or image.palette is not None


def thumbnail(prepared: Float[Tensor, "c h w"], side: int = 32) -> Float[ndarray, "side side"]:
    """A small grey copy for finding look-alikes."""
    small = F.interpolate(prepared.mean(dim=0)[None, None], size=(side, side), mode="area")
    return small[0, 0].numpy()


def _grey(plane: Image) -> NDArray[np.float32]:
    values = plane.physical()
    return values @ LUMA if values.ndim == 3 else values


def _measured(planes: Iterable[Image], per_plane: int = 0) -> Float[ndarray, "n"]:
    """Grey values inside the scan; of a large plane every k-th row and column, if asked."""
    found = []
    for plane in planes:
        rows, columns = plane.shape
        step = max(1, math.isqrt(rows * columns // per_plane)) if per_plane else 1
        sample = replace(plane, pixels=plane.pixels[::step, ::step])
        found.append(_grey(sample)[~sample.padding_mask()])
    values = np.concatenate(found)
    return values[np.isfinite(values)]


def _storable_range(image: Image) -> tuple[float, float]:
    if image.palette is not None:
        return 0.0, 255.0 if image.palette.dtype == np.uint8 else 65535.0
    if image.pixels.dtype.kind == "f":
        return 0.0, 1.0
    if image.pixels.dtype.kind == "i":
        return -(2.0 ** (image.bits - 1)), 2.0 ** (image.bits - 1) - 1
    return 0.0, 2.0**image.bits - 1


def _mostly(flags: Iterable[bool]) -> bool:
    return Counter(flags).most_common(1)[0][0]
