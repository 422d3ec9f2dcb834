"""What SimpleNet and GLASS share: a discriminator of adapted patch features, position by position."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Detector, Images, check_halvings
from intact.filters import smooth_upsample
from intact.nets.features import FrozenFeatures
from intact.nets.patch_discriminator import adaptor, aggregated, patch_discriminator
from intact.precision import Precision, computing
from intact.scores import Scores


@dataclass(eq=False)
class AdaptedPatches(Detector):
    """A detector that rates the adapted features of each patch on its own.

    A method implements `_fit`, which trains `adaptor` and `discriminator`, and `_suspicion`.

    Args:
        dimensions: Length of a patch's vector. The papers' 1536 is three times the channels of
            Wide-ResNet-50-2's layer2, the default three times those of ResNet-18's.
        hidden: Width of the discriminator, two thirds of that, as in the papers.
        noise: Standard deviation of what is added to adapted features in training.
        sigma: Smoothing of the map, in pixels.
        batch: Images per training step.
    """

    size: int = 128  # side of the image in pixels, a multiple of 16
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer2", "layer3")
    dimensions: int = 384
    hidden: int = 256
    noise: float = 0.015
    sigma: float = 4.0
    batch: int = 8
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"

    def __post_init__(self) -> None:
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        self.eyes = FrozenFeatures(self.backbone, self.layers, self.precision)
        self.adaptor = adaptor(self.dimensions)
        self.discriminator = patch_discriminator(self.dimensions, self.hidden)

    @abstractmethod
    def _suspicion(self, rated: Tensor) -> Tensor:
        """What the discriminator says, so that larger is more suspicious."""

    def _score(self, images: Images) -> Scores:
        patches = self._patches(images)
        with computing(self.precision, images.device.type):
            rated = self.discriminator(self.adaptor(patches.flatten(0, 2)))
        found = self._suspicion(rated.float()).view(patches.shape[:3])
        pixel = smooth_upsample(found, (self.size, self.size), self.sigma)
        return Scores(image=found.amax(dim=(1, 2)), pixel=pixel)

    def _patches(self, images: Images) -> Float[Tensor, "n h w d"]:
        """The backbone's features, one vector per position of the finest map."""
        return aggregated([m.float() for m in self.eyes(images)], self.dimensions)
