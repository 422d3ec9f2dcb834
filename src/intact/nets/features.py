"""`FrozenFeatures`: maps of a fixed backbone, by name; the eyes of every feature method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import UsageError, WeightsError
from intact.nets.resnet import BasicBlock, Bottleneck, IntegerReLU, ResNet, fold_batch_norm
from intact.nets.weights import load_weights
from intact.nets.winograd import WinogradResNet
from intact.precision import Precision

BACKBONES: dict[str, Callable[..., ResNet]] = {
    "narrow_resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2), width=32),
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3)),
    "wide_resnet50_2": partial(ResNet, Bottleneck, (3, 4, 6, 3), base_width=128),
}


class FrozenFeatures(nn.Module):
    """Feature maps of images in [0, 1], one per layer asked for, never trained.

    Pretrained weights are fetched at the first forward pass, unless `load_state_dict` brought
    them first: a saved detector carries its backbone and needs no other file. On a CPU in float32,
    ResNets of basic blocks run as `WinogradResNet`.

    Args:
        backbone: One of `BACKBONES`.
        layers: Stage names, "layer1" (1/4 of the input's side) to "layer4" (1/32).
        precision: Number format of weights and maps. bfloat16 is faster where the CPU has it
            and moves scores by about 1 %: fit and score with the same one.

    Raises:
        UsageError: An unknown backbone or layer.
        WeightsError: At the first forward pass, when no weights can be found.
    """

    loaded: Tensor

    def __init__(self, backbone: str, layers: tuple[str, ...], precision: Precision) -> None:
        super().__init__()
        self.backbone, self.layers, self.precision = backbone, layers, precision
        self.net = _ready(build_backbone(backbone, layers), precision)
        self.channels = [self.net.channels[name] for name in layers]
        self.register_buffer("loaded", torch.tensor(False))
        self.requires_grad_(False).eval()
        self._winograd: WinogradResNet | None = None
        # PyTorch gives this method no types.
        self.register_load_state_dict_post_hook(_forget_winograd)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """One map per layer, shallowest first, in `precision`."""
        if not self.loaded:
            self._load_pretrained()
        if not self._gains_by_winograd(images):
            return self.net(images)
        if self._winograd is None or self._winograd.channels != images.shape[1]:
            self._winograd = WinogradResNet(self.net, images.shape[1])
        return self._winograd(images)

    def _gains_by_winograd(self, images: Tensor) -> bool:
        return images.is_cpu and self.precision == "float32" and self.net.block is BasicBlock

    def _load_pretrained(self) -> None:
        with torch.random.fork_rng(devices=[]):  # its random start is overwritten
            plain = build_backbone(self.backbone, self.layers)
        missing, _ = plain.load_state_dict(load_weights(self.backbone), strict=False)
        lost = [key for key in missing if not key.endswith("num_batches_tracked")]
        if lost:
            raise WeightsError(
                f"the weights found for {self.backbone!r} lack {len(lost)} tensors, first "
                f"{lost[0]!r}: the file stops before {self.layers[-1]!r}; choose shallower layers "
                "or give complete weights"
            )
        self.net.load_state_dict(_ready(plain, self.precision).state_dict())
        self.loaded.fill_(True)


def _forget_winograd(features: FrozenFeatures, _: object) -> None:
    features._winograd = None  # it was made of other weights


def _ready(net: ResNet, precision: Precision) -> ResNet:
    """The same network, as fast as it can be when nothing in it changes any more."""
    fold_batch_norm(net.eval())
    nn.utils.convert_conv2d_weight_memory_format(net, torch.channels_last)
    if precision == "bfloat16":
        for module in net.modules():
            if hasattr(module, "relu"):
                module.relu = IntegerReLU()
    return net.to(getattr(torch, precision))


def build_backbone(backbone: str, layers: tuple[str, ...]) -> ResNet:
    """A backbone as published, without weights, up to the deepest of `layers`.

    Raises:
        UsageError: An unknown backbone or layer.
    """
    if backbone not in BACKBONES:
        raise UsageError(f"unknown backbone {backbone!r}; choose one of {', '.join(BACKBONES)}")
    try:
        return BACKBONES[backbone](outputs=layers)
    except ValueError as error:
        raise UsageError(f"layers {layers} of {backbone!r}: {error}; stages are layer1 to layer4") from error
