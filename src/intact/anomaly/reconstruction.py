"""What methods that rebuild the image share: how the misfit becomes a map, and the map a score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Detector, Images, check_choice
from intact.anomaly.pooling import POOLINGS
from intact.filters import upsample
from intact.losses import ssim_map
from intact.nets.features import FrozenFeatures
from intact.scores import Scores

Map = Float[Tensor, "n h w"]
Residual = Callable[[Any, Images], Map]  # its first argument is the detector


def _l1(of: Reconstruction, images: Images) -> Map:
    """|x - x'|, mean over channels."""
    return (images - of._rebuild(images)).abs().mean(dim=1)


def _l2(of: Reconstruction, images: Images) -> Map:
    """(x - x')², mean over channels: stresses bright residuals."""
    return (images - of._rebuild(images)).square().mean(dim=1)


def _ssim(of: Reconstruction, images: Images) -> Map:
    """1 - SSIM(x, x') around each pixel, mean over channels."""
    return 1.0 - ssim_map(images, of._rebuild(images)).mean(dim=1)


def _perceptual(of: Reconstruction, images: Images) -> Map:
    """|f(x) - f(x')| over |f(x)|, both summed over channels, the latter averaged over the image too.

    f are the maps of two stages of a fixed network; theirs are added. The mean of the map is the
    relative perceptual loss of Shvetsova et al., "Anomaly Detection in Medical Imaging with Deep
    Perceptual Autoencoders", IEEE Access 2021.
    """
    total = torch.zeros(())
    for before, after in zip(of.eyes(images), of.eyes(of._rebuild(images)), strict=True):
        usual = before.abs().sum(dim=1).mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        relative = (before - after).abs().sum(dim=1) / usual
        total = total + upsample(relative, (images.shape[-2], images.shape[-1]))
    return total


def _gradient(of: Reconstruction, images: Images) -> Map:
    """|∂ mean (x - x')² / ∂x| times the number of values, so that it does not depend on the size.

    Where a small change of the pixel would change the misfit most (MedIAnomaly's AE-grad).
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        total = (x - of._rebuild(x)).square().sum()
        (gradient,) = torch.autograd.grad(total, x)
    return gradient.abs().mean(dim=1)


RESIDUALS: dict[str, Residual] = {
    "l1": _l1,
    "l2": _l2,
    "ssim": _ssim,
    "perceptual": _perceptual,
    "gradient": _gradient,
}


@dataclass(eq=False)
class Reconstruction(Detector):
    """A detector whose map is the misfit between an image and what it was rebuilt as.

    A method implements `_rebuild`; its `residual` and `pooling` default to its paper's choice and
    may be exchanged. A subclass with networks of its own calls `super()._build(channels)`.

    Args:
        residual: Key in `residuals`.
        pooling: Key in `POOLINGS`.
    """

    residual: str = "l2"  # l1, l2, ssim, perceptual or gradient
    pooling: str = "mean"  # mean, max or top

    family: ClassVar[str] = "reconstruction"
    residuals: ClassVar[dict[str, Residual]] = RESIDUALS  # a method may know more

    def __post_init__(self) -> None:
        check_choice("residual", self.residual, self.residuals)
        check_choice("pooling", self.pooling, POOLINGS)

    def _build(self, channels: int) -> None:
        if self.residual == "perceptual":
            self.eyes = FrozenFeatures("narrow_resnet18", ("layer1", "layer2"), "float32")

    @abstractmethod
    def _rebuild(self, images: Images) -> Images:
        """The image as the method would have it, in [0, 1] as far as it succeeds."""

    @torch.no_grad()
    def twin(self, images: Images) -> Images:
        """What the images were rebuilt as, in [0, 1]: their normal twins."""
        return self._rebuild(images).clamp(0, 1)

    def _score(self, images: Images) -> Scores:
        pixel = self.residuals[self.residual](self, images)
        return Scores(image=POOLINGS[self.pooling](pixel), pixel=pixel)
