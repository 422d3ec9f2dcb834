"""`TrainableFeatures`: maps of a pretrained backbone that goes on learning."""

from __future__ import annotations

from typing import Self

from jaxtyping import Float
from torch import Tensor, nn

from intact.errors import WeightsError
from intact.nets.features import build_backbone
from intact.nets.resnet import kaiming
from intact.nets.weights import load_weights


class TrainableFeatures(nn.Module):
    """Feature maps of images in [0, 1], one per layer asked for, from weights that may be trained.

    `load_pretrained` gives it what is known; a saved detector, or a start of its training, brings
    everything itself. Stages that
    the weights found do not hold (layer4 of those that end at layer3) start at random, drawn after
    He et al., "Delving Deep into Rectifiers", ICCV 2015, from the global generator.

    In training the batch norms of pretrained stages keep their statistics while their weights
    learn; those of the other stages have none yet and go by the batch. Weights may come with the
    batch norm merged into the convolutions: then what was mean and variance is lost, and batches
    would change what the network computes.

    Args:
        backbone: One of `intact.nets.features.BACKBONES`.
        layers: Stage names, "layer1" (1/4 of the input's side) to "layer4" (1/32).

    Raises:
        UsageError: An unknown backbone or layer.
    """

    def __init__(self, backbone: str, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.net = build_backbone(backbone, layers)
        self.channels = [self.net.channels[name] for name in layers]
        self.fresh: tuple[str, ...] = ()  # stages that started at random
        self._brought = False
        # PyTorch gives this method no types.
        self.register_load_state_dict_post_hook(_remember)  # type: ignore[no-untyped-call]
        kaiming(self)

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """One map per layer, shallowest first."""
        return self.net(images)

    def load_pretrained(self) -> None:
        """Take over the pretrained weights of all stages that they hold, unless others were brought.

        Raises:
            WeightsError: None can be found, or a stage is incomplete.
        """
        weights = load_weights(self.backbone)
        held = {key.split(".")[0] for key in weights}
        self.fresh = tuple(stage for stage in self.net.channels if stage not in held)
        if self._brought:
            return
        missing, _ = self.net.load_state_dict(weights, strict=False)
        known = [key for key in missing if key.split(".")[0] not in self.fresh]
        lost = [key for key in known if not key.endswith("num_batches_tracked")]
        if lost:
            raise WeightsError(
                f"the weights found for {self.backbone!r} lack {len(lost)} tensors of stages that they "
                f"hold, first {lost[0]!r}: the file is damaged or of another network; give complete weights"
            )

    def train(self, mode: bool = True) -> Self:
        """As in every module, but pretrained batch norms stay in evaluation mode."""
        super().train(mode)
        for name, child in self.net.named_children():
            if name not in self.fresh:
                child.eval()  # in a ResNet only batch norms behave differently in training
        return self

    def split(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters that were pretrained, and those that started at random."""
        known: list[nn.Parameter] = []
        fresh: list[nn.Parameter] = []
        for name, child in self.net.named_children():
            (fresh if name in self.fresh else known).extend(child.parameters())
        return known, fresh


def _remember(features: TrainableFeatures, _: object) -> None:
    features._brought = True


def set_momentum(net: nn.Module, momentum: float) -> None:
    """Let a batch move the batch norms' running statistics by the share `momentum`; PyTorch's is 0.1."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
