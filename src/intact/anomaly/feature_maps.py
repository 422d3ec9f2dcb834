"""What methods share that compare feature maps at several scales: how the distances become a map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Detector, Images, check_choice
from intact.anomaly.pooling import POOLINGS
from intact.filters import smooth_upsample, upsample
from intact.scores import Scores

Map = Float[Tensor, "n h w"]


@dataclass(eq=False)
class FeatureMaps(Detector):
    """A detector whose map joins the distances between two networks' maps at several scales.

    A method implements `_distances`; the fields default to its paper's choice and may be exchanged.

    Args:
        fusion: How the scales are joined; key in `FUSIONS`.
        sigma: Smoothing of the final map, in pixels.
        pooling: How the map becomes the image's score; key in `POOLINGS`.
    """

    fusion: str = "sum"  # sum, mean or product
    sigma: float = 4.0
    pooling: str = "max"  # mean, max or top

    family: ClassVar[str] = "reconstruction"
    fused_at: ClassVar[str] = "image"  # the side at which scales are joined: the image's, or "finest"

    def __post_init__(self) -> None:
        check_choice("fusion", self.fusion, FUSIONS)
        check_choice("pooling", self.pooling, POOLINGS)

    @abstractmethod
    def _distances(self, images: Images) -> list[Map]:
        """One map per scale, finest first, in float32: 0 where alike."""

    def _score(self, images: Images) -> Scores:
        distances = self._distances(images)
        image = (images.shape[-2], images.shape[-1])
        finest = (distances[0].shape[-2], distances[0].shape[-1])
        at = image if self.fused_at == "image" else finest
        fused = FUSIONS[self.fusion](torch.stack([upsample(d, at) for d in distances]))
        pixel = smooth_upsample(fused, image, self.sigma)
        return Scores(image=POOLINGS[self.pooling](pixel), pixel=pixel)


FUSIONS: dict[str, Callable[[Float[Tensor, "k n h w"]], Map]] = {
    "sum": lambda maps: maps.sum(dim=0),
    "mean": lambda maps: maps.mean(dim=0),
    "product": lambda maps: maps.prod(dim=0),
}
