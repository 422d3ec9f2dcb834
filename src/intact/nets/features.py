"""`FrozenFeatures`: maps of a fixed backbone, by name; the eyes of every feature method."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError, WeightsError
from intact.nets.resnet import BasicBlock, Bottleneck, ResNet
from intact.nets.scattering import Scattering
from intact.nets.weights import load_weights

BACKBONES = ("resnet18", "resnet50", "wide_resnet50_2", "scattering")
Precision = Literal["float32", "bfloat16"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenFeatures(nn.Module):
    """Feature maps of images in [0, 1], one per layer asked for, never trained.

    Pretrained weights are fetched at the first forward pass, unless `load_state_dict` brought
    them first: a saved detector carries its backbone and needs no other file.

    Args:
        backbone: One of `BACKBONES`.
        layers: Stage names, "layer1" (1/4 of the input's side) to "layer4" (1/32).
        precision: Number format of the convolutions. bfloat16 is faster where the CPU has it
            and moves scores by about 1 %: fit and score with the same one.

    Raises:
        UsageError: An unknown backbone or layer.
        WeightsError: At the first forward pass, when no weights can be found.
    """

    loaded: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, layers: tuple[str, ...], precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.backbone, self.layers, self.precision = backbone, layers, precision
        self.net = _build(backbone, layers)
        self.channels = [self.net.channels[name] for name in layers]
        needs_weights = any(True for _ in self.net.parameters())
        self.register_buffer("loaded", torch.tensor(not needs_weights))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """One float32 map per layer, shallowest first; grey images feed all three channels."""
        if not self.loaded:
            self._load_pretrained()
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            maps = self.net(x)
        return [m.float() for m in maps]

    def _load_pretrained(self) -> None:
        missing, _ = self.net.load_state_dict(load_weights(self.backbone), strict=False)
        lost = [key for key in missing if not key.endswith("num_batches_tracked")]
        if lost:
            raise WeightsError(
                f"the weights found for {self.backbone!r} lack {len(lost)} tensors, first "
                f"{lost[0]!r}: the file stops before {self.layers[-1]!r}; choose shallower layers "
                "or give complete weights"
            )
        nn.utils.convert_conv2d_weight_memory_format(self.net, torch.channels_last)
        self.loaded.fill_(True)


def _build(backbone: str, layers: tuple[str, ...]) -> ResNet | Scattering:
    try:
        match backbone:
            case "resnet18":
                return ResNet(BasicBlock, (2, 2, 2, 2), layers)
            case "resnet50":
                return ResNet(Bottleneck, (3, 4, 6, 3), layers)
            case "wide_resnet50_2":
                return ResNet(Bottleneck, (3, 4, 6, 3), layers, base_width=128)
            case "scattering":
                return Scattering(layers)
    except ValueError as error:
        raise UsageError(
            f"layers {layers} of {backbone!r}: {error}; stages are layer1 to layer4"
        ) from error
    raise UsageError(f"unknown backbone {backbone!r}; choose one of {', '.join(BACKBONES)}")
