"""`Plan`: on which grid, in which patches and at which brightness a segmentation network sees images.

Plain data, stored with the network, so that segmenting repeats exactly what training did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intact.image import Image
from intact.segment.scene import bright

Prepared = Float[Tensor, "c ..."]


@dataclass(frozen=True)
class Plan:
    """How an image becomes what a network sees.

    Args:
        patch: Sides of what the network sees at once; two for planes, three for volumes.
        spacing: mm of the grid that images are resampled to, one per axis of `patch`. Empty: each
            plane is scaled so that its longer side, in mm, becomes the longest side of `patch`.
        colour: Three channels from RGB; otherwise one, and colour images are turned grey.
        clip: Physical values (HU) below and above are cut off; None leaves all.
        mean, std: Of the clipped values, subtracted and divided by; without `clip` each image's
            own are used, since the units of MR and radiographs are arbitrary.
    """

    patch: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    colour: bool = False
    clip: tuple[float, float] | None = None
    mean: float = 0.0
    std: float = 1.0

    @property
    def dimensions(self) -> int:
        """2 for planes, 3 for volumes."""
        return len(self.patch)

    @property
    def channels(self) -> int:
        """Channels of what the network sees."""
        return 3 if self.colour else 1

    def prepare(self, image: Image) -> Prepared:
        """A plane or a volume on the plan's grid: float32, about zero mean and unit variance."""
        values = torch.from_numpy(self._normalised(image))
        shape = self.grid(image)
        # Two voxels or more in one: average, or fine structures would be hit or missed by chance.
        while all(n >= 2 * new for n, new in zip(values.shape[1:], shape, strict=True)):
            values = (F.avg_pool2d if self.dimensions == 2 else F.avg_pool3d)(values[None], 2)[0]
        return resample(values, shape)

    def prepare_mask(self, mask: ndarray, image: Image) -> Float[Tensor, "1 ..."]:
        """The image's mask on the same grid: 0 or 1."""
        soft = resample(torch.from_numpy(mask.astype(np.float32))[None], self.grid(image))
        return (soft >= 0.5).float()

    def grid(self, image: Image) -> tuple[int, ...]:
        """Shape of the image on the plan's grid."""
        known = image.spacing is not None and len(image.spacing) == len(image.shape)
        steps = image.spacing if known and image.spacing else (1.0,) * len(image.shape)
        if self.spacing:
            wanted = self.spacing
        else:
            longest = max(n * step for n, step in zip(image.shape, steps, strict=True))
            wanted = (longest / max(self.patch),) * self.dimensions
        return tuple(
            max(1, round(n * step / to)) for n, step, to in zip(image.shape, steps, wanted, strict=True)
        )

    def _normalised(self, image: Image) -> Float[ndarray, "c ..."]:
        """Bright where the screen is bright; outside the scan the mean."""
        values = _coloured(image) if self.colour else bright(image, "bright")[None].copy()
        outside = image.padding_mask()
        values[:, outside] = np.nan
        if self.clip is not None:
            values = (np.clip(values, *self.clip) - self.mean) / self.std
        else:
            axes = tuple(range(1, values.ndim))
            measured = values if (~outside).any() else np.zeros_like(values)
            mean = np.nanmean(measured, axis=axes, keepdims=True)
            std = np.nanstd(measured, axis=axes, keepdims=True)
            values = (values - mean) / np.maximum(std, 1e-6)
        return np.nan_to_num(values).astype(np.float32)


def _coloured(image: Image) -> Float[ndarray, "3 ..."]:
    values = image.physical()
    if values.ndim == len(image.shape):
        values = np.repeat(bright(image, "bright")[..., None], 3, axis=-1)
    return np.moveaxis(values, -1, 0).copy()


def resample(values: Float[Tensor, "c ..."], shape: tuple[int, ...]) -> Float[Tensor, "c ..."]:
    """To another shape, linearly."""
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return F.interpolate(values[None], size=shape, mode=mode, align_corners=False)[0]
