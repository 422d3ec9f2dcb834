"""ManTra-Net's two parts: features that tell kinds of processing, and how far each pixel's are from others.

Wu, AbdAlmageed, Natarajan, "ManTra-Net: Manipulation Tracing Network for Detection and Localization of
Image Forgeries with Anomalous Features", CVPR 2019; layers as in the authors' code, ISICV/ManTraNet.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.noise_filters import ConstrainedConv, SRMFilters

PLAIN, CONSTRAINED = 4, 3  # filters of the first layer, beside three of SRM for each channel
WIDTHS = (32, 64, 64, 128, 128, 128, 256, 256, 256, 256, 256, 256)
AROUND = (7, 15, 31)  # pixels, the sides of the windows that a pixel is compared with
SIDE = 7  # of the last filters
SMALLEST = 1e-6  # standard deviation


class Traces(nn.Module):
    """A vector of length 1 for each pixel, from twelve convolutions without any pooling.

    Args:
        channels: Of the image.
        widest: Layers of the paper that have more channels are cut to so many; 256 cuts none.
    """

    def __init__(self, channels: int, widest: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(channels, PLAIN, 5, padding=2, padding_mode="reflect", bias=False)
        self.srm = SRMFilters()
        self.constrained = ConstrainedConv(channels, CONSTRAINED)
        widths = [PLAIN + 3 * channels + CONSTRAINED, *(min(width, widest) for width in WIDTHS)]
        # Repeating one pixel outwards is the symmetric filling of the paper for filters of 3 x 3.
        layers = [nn.Conv2d(i, o, 3, padding=1, padding_mode="replicate") for i, o in pairwise(widths)]
        for layer in layers:  # twelve layers without normalisation would lose the image in their biases
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.layers = nn.Sequential(*(part for layer in layers for part in (nn.ReLU(), layer)))
        self.width = widths[-1]

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """Each pixel's trace of how it was processed."""
        first = torch.cat([self.plain(x), self.srm(x), self.constrained(x)], dim=1)
        return F.normalize(self.layers(first), dim=1)


class ManTraNet(nn.Module):
    """`Traces`, how far each is from the mean around it, and a recurrent network that looks at that.

    Args:
        channels: Of the image.
        widest: Of `Traces`.
        measured: Numbers of a trace whose distance is measured, 64 in the paper.
        remembered: Channels of the recurrent network, 8 in the paper.
    """

    def __init__(self, channels: int, widest: int, measured: int, remembered: int) -> None:
        super().__init__()
        self.traces = Traces(channels, widest)
        self.project = nn.Sequential(
            nn.Conv2d(self.traces.width, measured, 1, bias=False), nn.BatchNorm2d(measured, affine=False)
        )
        self.smallest = nn.Parameter(torch.full((measured, 1, 1), 1e-5))
        self.memory = ConvLSTM(measured, remembered)
        self.head = nn.Conv2d(remembered, 1, SIDE, padding=SIDE // 2)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """A logit for each pixel."""
        return self.head(self.memory(deviations(self.project(self.traces(x)), self.smallest)))


def deviations(
    x: Float[Tensor, "n d h w"], smallest: Float[Tensor, "d 1 1"]
) -> list[Float[Tensor, "n d h w"]]:
    """Z-scores: how far each pixel is from the mean of larger and larger windows, and of all pixels.

    All are measured in the standard deviation of the whole map.

    Args:
        x: A map.
        smallest: What the standard deviation counts at least, for each channel.
    """
    # By hand, as the derivative of a root has no value where a channel is the same everywhere.
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    floor = smallest.clamp(min=0.0) + SMALLEST
    sigma = torch.maximum(variance, floor.square()).sqrt()
    means = [*(window_mean(x, side) for side in AROUND), mean]
    return [(around - x).abs() / sigma for around in means]


def window_mean(x: Float[Tensor, "n d h w"], side: int) -> Float[Tensor, "n d h w"]:
    """Mean of the window of odd side around each pixel, of what of it lies within the map."""
    rows = F.avg_pool2d(x, (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)


class ConvLSTM(nn.Module):
    """Looks at maps one after another and keeps what matters; its last answer counts.

    Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
    NeurIPS 2015, without looking at its memory in the gates, which are straight lines cut off at 0 and 1.

    Args:
        inputs: Channels of each map.
        remembered: Channels of the memory and the answer.
    """

    def __init__(self, inputs: int, remembered: int) -> None:
        super().__init__()
        self.see = nn.Conv2d(inputs, 4 * remembered, SIDE, padding=SIDE // 2)
        self.recall = nn.Conv2d(remembered, 4 * remembered, SIDE, padding=SIDE // 2, bias=False)
        with torch.no_grad():
            assert self.see.bias is not None
            self.see.bias.zero_()[remembered : 2 * remembered] = 1.0  # nothing is forgotten at first

    def forward(self, maps: list[Float[Tensor, "n i h w"]]) -> Float[Tensor, "n r h w"]:
        """From at least one map."""
        answer = memory = None
        for seen in maps:
            gates = self.see(seen)
            if answer is not None:
                gates = gates + self.recall(answer)
            take, keep, new, say = gates.chunk(4, dim=1)
            taken = _gate(take) * torch.tanh(new)
            memory = taken if memory is None else _gate(keep) * memory + taken
            answer = _gate(say) * torch.tanh(memory)
        assert answer is not None
        return answer


def _gate(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0.0, 1.0)
