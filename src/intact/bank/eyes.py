"""PatchCore in two halves: what it sees of an image (`Eyes`), and what it makes of that later (`Replay`).

Between the two lie the maps of a frozen backbone, rounded to float16 and laid end to end. They depend on one
image alone. Whatever PatchCore learns from all images comes after them, and so can be learned anew
whenever an image comes or goes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import SCORE_BATCH, Batches, Images
from intact.anomaly.patchcore import PatchCore
from intact.nets.features import FrozenFeatures
from intact.precision import Precision

Shapes = tuple[tuple[int, int, int], ...]  # (channels, rows, columns) of each map
Maps = Float[Tensor, "n total 1 1"]  # all maps of a plane, end to end


class Eyes(PatchCore):
    """PatchCore's backbone."""

    def _fit(self, batches: Batches) -> None:
        self.net(next(iter(batches)))  # fetches the weights, and learns nothing

    def shapes(self) -> Shapes:
        """Of the maps of one plane."""
        maps = self.net(torch.zeros(1, int(self.channels_), self.size, self.size))
        return tuple((m.shape[1], m.shape[2], m.shape[3]) for m in maps)

    @torch.no_grad()
    def look(self, images: Images) -> Maps:
        """The maps of up to `SCORE_BATCH` planes; neighbours in the batch change nothing, bit for bit."""
        n = len(images)
        filled = torch.cat([images, images[-1:].expand(SCORE_BATCH - n, -1, -1, -1)])
        flat = torch.cat([m.flatten(1) for m in self.net(filled)], dim=1)
        return flat[:n, :, None, None].half()


class Replay(PatchCore):
    """PatchCore whose images are maps that were kept."""

    shapes: Shapes

    @classmethod
    def of(cls, fields: dict[str, Any], shapes: Shapes, learned: dict[str, Tensor]) -> Replay:
        """PatchCore with these fields, as far as it has learned something."""
        replay = cls(**fields)
        replay.shapes = shapes
        total = sum(map(math.prod, shapes))
        return replay.load_state({"channels_": torch.tensor(total), **learned})

    def features(self, maps: Maps) -> Float[Tensor, "n p c"]:
        """The patches of each plane, before anything learned is applied to them."""
        return self._features(maps)

    def _build(self, channels: int) -> None:
        self.net = _Kept(self.shapes, self.precision)


def axes_of(features: Float[Tensor, "n c"], fields: dict[str, Any]) -> dict[str, Tensor]:
    """What PatchCore learns of the axes from patches."""
    mean, basis = _Axes(**fields).principal_axes(features)
    return {"mean_": mean, "basis_": basis}


class _Axes(PatchCore):
    """PatchCore whose images are patches."""

    def principal_axes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self._principal_axes([features[None]])

    def _features(self, images: Tensor) -> Tensor:
        return images


class _Kept(FrozenFeatures):
    """Gives maps that a backbone made earlier."""

    def __init__(self, shapes: Shapes, precision: Precision) -> None:
        nn.Module.__init__(self)
        self.shapes, self.kind = shapes, getattr(torch, precision)

    def forward(self, images: Maps) -> list[Tensor]:
        parts = images.flatten(1).to(self.kind).split([math.prod(shape) for shape in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]
