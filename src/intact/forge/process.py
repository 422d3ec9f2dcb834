"""Processing, of a region or of the whole image: what hides a forgery, or is one.

Applied to a region, each of these breaks what the rest of the image has in common: its noise, its
compression history, its histogram. Applied to a whole image, each is what happens to files anyway,
and what examiners have to tell from tampering.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jpeg_ls
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from openjpeg.utils import decode as decode_jpeg_2000
from openjpeg.utils import encode_array as encode_jpeg_2000
from PIL import Image as Picture
from scipy import ndimage

from intact.errors import UsageError
from intact.forge.base import FORGED, Change, Forger
from intact.forge.place import Form, Mask, draw_site
from intact.forge.sampling import sample
from intact.image import Image, Window, apply_window
from intact.residual import noise_sigma

Where = Literal["region", "image"]
Codec = Literal["jpeg", "jpeg-2000", "jpeg-ls"]
Law = Literal["gaussian", "poisson", "rician", "speckle"]
Planes = Float[ndarray, "..."]  # [d, h, w], [..., 3] in colour
Drawn = dict[str, Any]


@dataclass(eq=False)
class Process(Forger):
    """One kind of processing.

    Args:
        where: "region" or "image".
        diameter: Of the region, in mm; pixels where their size is not known. 0 draws it.
        form: Of the region, "blob" or "rectangle".
    """

    family = "processing"
    source = "common practice"

    where: Where = "region"
    diameter: float = 0.0
    form: Form = "blob"

    @property
    def everywhere(self) -> bool:
        """Whether the whole image is processed."""
        return self.where == "image"

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        if self.where not in get_args(Where):
            raise UsageError(f"where={self.where!r} is not one of {', '.join(get_args(Where))}")
        mask = np.ones(image.shape, bool)
        drawn: Drawn = {}
        centre = tuple((n - 1) / 2 for n in image.shape)
        if self.where == "region":
            site = draw_site(image, within, rng, diameter=self.diameter, form=self.form)
            box = site.box(image.shape)
            mask[:] = False
            mask[box] = site.mask(box)
            centre = tuple(float(at) for at in site.centre)
            drawn = {"target": list(site.centre), "diameter": site.diameter}
        # Planes are processed whole: grids and splines do not begin at a region's edge.
        planes = np.flatnonzero(mask.reshape(image.planes, -1).any(axis=1))
        first, last = int(planes[0]), int(planes[-1]) + 1
        part = slice(first, last) if len(image.shape) == 3 else slice(0, image.shape[0])
        box = (part, *(slice(0, n) for n in image.shape[1:]))
        stored = image.pixels[box]
        stack = stored if len(image.shape) == 3 else stored[None]
        processed = self._process(stack.astype(np.float64), image, centre, rng, drawn)
        processed = processed.reshape(stored.shape)
        inside = mask[box][..., None] if image.colour else mask[box]
        values = np.where(inside, processed, stored.astype(np.float64))
        return Change(box, values, np.where(mask, np.uint8(FORGED), np.uint8(0)), drawn)

    @abstractmethod
    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes: ...


@dataclass(eq=False)
class Recompress(Process):
    """Stored with loss and taken out again.

    Args:
        codec: "jpeg" has 8 bits, so deeper images go through 256 levels of their own range;
            "jpeg-2000" and "jpeg-ls" keep the depth.
        quality: Of JPEG, 1 to 100.
        ratio: Of JPEG 2000, how many times smaller.
        near: Of JPEG-LS, by how much a value may be wrong.
    """

    codec: Codec = "jpeg"
    quality: int = 75
    ratio: float = 10.0
    near: int = 3

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        if self.codec not in get_args(Codec):
            raise UsageError(f"codec={self.codec!r} is not one of {', '.join(get_args(Codec))}")
        if self.codec == "jpeg":
            low, high = (0.0, 255.0) if image.pixels.dtype == np.uint8 else (stack.min(), stack.max())
            step = (high - low) / 255.0 or 1.0
            shown = np.rint((stack - low) / step).clip(0, 255).astype(np.uint8)
            return np.stack([_jpeg(plane, self.quality) for plane in shown]) * step + low
        if image.pixels.dtype.kind == "f" or image.pixels.itemsize > 2:
            raise UsageError(f"{self.codec} holds integers of at most 16 bits, not {image.pixels.dtype}")
        low = min(stack.min(), 0.0)  # both codecs are asked for unsigned values alone
        shifted = np.rint(stack - low).astype(np.uint8 if image.pixels.itemsize == 1 else np.uint16)
        code = self._jpeg_2000 if self.codec == "jpeg-2000" else self._jpeg_ls
        return np.stack([code(plane) for plane in shifted]).astype(np.float64) + low

    def _jpeg_2000(self, plane: ndarray) -> ndarray:
        kind = 1 if plane.ndim == 3 else 2
        data = encode_jpeg_2000(plane, photometric_interpretation=kind, compression_ratios=[self.ratio])
        return np.asarray(decode_jpeg_2000(bytes(data)))

    def _jpeg_ls(self, plane: ndarray) -> ndarray:
        mode = 2 if plane.ndim == 3 else None
        data = jpeg_ls.encode_array(np.ascontiguousarray(plane), self.near, mode)
        return np.asarray(jpeg_ls.decode(np.frombuffer(bytes(data), np.uint8)))


@dataclass(eq=False)
class Resample(Process):
    """Enlarged, or made smaller, around the middle of the region or image, on the same grid.

    Args:
        factor: Above 1 enlarges.
        order: Of the spline: 1 is linear, 3 cubic.
    """

    factor: float = 1.2
    order: int = 3

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        rows, columns = (
            (np.arange(n) - middle) / self.factor + middle
            for n, middle in zip(image.shape[-2:], centre[-2:], strict=True)
        )
        points = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        # A plane of the stack as an image, for the values between its pixels.
        planes = [Image(plane, photometric=image.photometric) for plane in stack]
        return np.stack([sample(plane, points, self.order) for plane in planes])


@dataclass(eq=False)
class Blur(Process):
    """Smoothed by a Gaussian.

    Args:
        sigma: In pixels.
    """

    sigma: float = 1.0

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        sigmas = (0.0, self.sigma, self.sigma, 0.0)[: stack.ndim]
        return np.asarray(ndimage.gaussian_filter(stack, sigmas))


@dataclass(eq=False)
class Noise(Process):
    """Noise is added.

    Args:
        strength: Standard deviation, over that of the noise which is there; of speckle, over the
            value, in tenths.
        law: "gaussian"; "poisson", which grows with the root of the value; "rician", the magnitude of
            complex noise, as in MR; "speckle", which multiplies, as in ultrasound.
    """

    strength: float = 1.0
    law: Law = "gaussian"

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        if self.law not in get_args(Law):
            raise UsageError(f"law={self.law!r} is not one of {', '.join(get_args(Law))}")
        sigma = self.strength * max(noise_sigma(stack[..., 1] if image.colour else stack), 0.5)
        drawn["sigma"] = sigma
        normal = rng.standard_normal(stack.shape)
        low = stack.min()
        if self.law == "poisson":
            height = np.sqrt(np.clip((stack - low) / max(float(np.mean(stack - low)), 1e-9), 0.0, None))
            return stack + sigma * height * normal
        if self.law == "rician":
            other = sigma * rng.standard_normal(stack.shape)
            return np.hypot(stack - low + sigma * normal, other) + low
        if self.law == "speckle":
            return low + (stack - low) * (1.0 + 0.1 * self.strength * normal)
        return stack + sigma * normal


@dataclass(eq=False)
class Contrast(Process):
    """A curve over the values of the region or image.

    Args:
        gain: Around the mean.
        gamma: Exponent, over the range of values.
    """

    gain: float = 1.2
    gamma: float = 1.0

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        low, high = float(stack.min()), float(stack.max())
        share = (stack - low) / ((high - low) or 1.0)
        curved = low + (high - low) * share**self.gamma
        return curved.mean() + self.gain * (curved - curved.mean())


@dataclass(eq=False)
class Rewindow(Process):
    """Through an 8-bit export: a window, 256 grey levels, and back to stored values.

    Args:
        center: Of the window in physical units; with `width` 0 the file's own first window, or what
            holds 99 % of the values.
        width: Of the window.
    """

    where: Where = "image"
    center: float = 0.0
    width: float = 0.0

    def _process(
        self, stack: Planes, image: Image, centre: tuple[float, ...], rng: np.random.Generator, drawn: Drawn
    ) -> Planes:
        if np.ndim(image.scale.slope) or image.scale.table is not None or image.colour:
            raise UsageError("rewindow takes grey images whose scale is one line")
        slope, intercept = float(image.scale.slope), float(np.mean(image.scale.intercept))
        physical = stack * slope + intercept
        window = self._window(image, physical)
        drawn |= {"center": window.center, "width": window.width}
        shown = np.rint(255.0 * apply_window(physical.astype(np.float32), window))
        back = window.center + (shown.astype(np.float64) / 255.0 - 0.5) * window.width
        return (back - intercept) / slope

    def _window(self, image: Image, physical: Planes) -> Window:
        if self.width:
            return Window(self.center, self.width, "LINEAR_EXACT")
        if image.windows:
            return Window(image.windows[0].center, image.windows[0].width, "LINEAR_EXACT")
        low, high = np.percentile(physical, (0.5, 99.5))
        return Window(float(low + high) / 2, float(high - low) or 1.0, "LINEAR_EXACT")


def _jpeg(plane: ndarray, quality: int) -> Planes:
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.asarray(Picture.open(file)).astype(np.float64)
