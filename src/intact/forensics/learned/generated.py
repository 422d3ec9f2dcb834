"""`generated`: was a window drawn by a network? Three published traces, whose logits are added.

- Neighbouring pixels: Tan et al., "Rethinking the Up-Sampling Operations in CNN-based Generative Network for
  Generalizable Deepfake Detection" (NPR), CVPR 2024. Generators double the sides of their maps, so that
  pixels of a cell of 2 x 2 are related. Each pixel less the first of its cell goes through the first half
  of a ResNet-50: a convolution 3 x 3 with stride 2, a maximum, three and four bottlenecks, the mean.
- The spectrum: Durall et al., "Unmasking DeepFakes with simple Features", 2019, arXiv:1911.00686. Doubling
  leaves too much or too little at high frequencies: the logarithm of the power, averaged over directions,
  less that at one wave across. A linear layer (logistic regression) looks at it.
- Frozen features: Ojha, Li, Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative
  Models" (UnivFD), CVPR 2023. A linear layer on what a network sees that was never taught to tell.

Teach it with forgeries that generators drew, and with genuine images that passed through the same programs:
where only one of both was written, rounded or resampled by them, that is what it learns. In CT the
spectrum's end is the reconstruction kernel's, so teach one for each family of kernels.

Differs from the papers: the three were published as detectors of their own; here they are taught together,
by the cross-entropy of the sum of their logits, which one linear layer on all their features would give as
well. Windows of 64 x 64 instead of whole images; grey; a quarter of NPR's channels; a ResNet-18 of half
the width taught on ImageNet, up to its third stage, instead of CLIP's ViT-L/14, and its features brought to
like spread; the spectrum has 31 values without interpolation, and its first is subtracted from logarithms
where the paper divides; AdamW with 1e-3 instead of Adam with 2e-4 in steps; no pictures of ProGAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from intact.forensics.learned.window_network import WindowNetwork
from intact.nets.generated import GeneratedNet


@dataclass(eq=False)
class Generated(WindowNetwork):
    """How likely pixel relations, spectrum and frozen features of a window are those of a generator.

    Args:
        width: Channels of the network on pixel relations; 64 in the paper.
        backbone: That gives the frozen features.
    """

    stride: int = 32
    width: int = 16
    backbone: str = "narrow_resnet18"

    kind: ClassVar[str] = "generated"
    source: ClassVar[str] = "Tan et al., CVPR 2024; Durall et al., 2019; Ojha et al., CVPR 2023"

    def _network(self, channels: int) -> nn.Module:
        return GeneratedNet(channels, self.window, self.width, self.backbone)
