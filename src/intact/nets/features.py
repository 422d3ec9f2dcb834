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


class FrozenFeatures(nn.Module):
    """Feature maps of images in [0, 1], one per layer asked for, never trained.

    Pretrained weights are fetched at the first forward pass, unless `load_state_dict` brought
    them first: a saved detector carries its backbone and needs no other file.

    Args:
        backbone: One of `BACKBONES`.
        layers: Stage names, "layer1" (1/4 of the input's side) to "layer4" (1/32).
        channels: Channels of the images; the pretrained backbones take 1 or 3.
        precision: Number format of the convolutions. bfloat16 is faster where the CPU has it
            and moves scores by about 1 %: fit and score with the same one.

    Raises:
        UsageError: An unknown backbone or layer.
        WeightsError: At the first forward pass, when no weights can be found.
    """

    loaded: Tensor

    def __init__(self, backbone: str, layers: tuple[str, ...], channels: int, precision: Precision) -> None:
        super().__init__()
        self.backbone, self.layers, self.precision = backbone, layers, precision
        self.net = _build(backbone, layers, channels)
        nn.utils.convert_conv2d_weight_memory_format(self.net, torch.channels_last)
        self.channels = [self.net.channels[name] for name in layers]
        needs_weights = any(True for _ in self.net.parameters())
        self.register_buffer("loaded", torch.tensor(not needs_weights))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """One float32 map per layer, shallowest first."""
        if not self.loaded:
            self._load_pretrained()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            maps = self.net(images)
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
        self.loaded.fill_(True)


def best_precision() -> Precision:
    """bfloat16 where this CPU computes in it, else float32."""
    return "bfloat16" if torch.cpu.get_capabilities().get("avx512_bf16") else "float32"


def _build(backbone: str, layers: tuple[str, ...], channels: int) -> ResNet | Scattering:
    try:
        match backbone:
            case "resnet18":
                return ResNet(BasicBlock, (2, 2, 2, 2), layers)
            case "resnet50":
                return ResNet(Bottleneck, (3, 4, 6, 3), layers)
            case "wide_resnet50_2":
                return ResNet(Bottleneck, (3, 4, 6, 3), layers, base_width=128)
            case "scattering":
                return Scattering(layers, channels)
    except ValueError as error:
        raise UsageError(f"layers {layers} of {backbone!r}: {error}; stages are layer1 to layer4") from error
    raise UsageError(f"unknown backbone {backbone!r}; choose one of {', '.join(BACKBONES)}")
