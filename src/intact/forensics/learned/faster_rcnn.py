"""`faster_rcnn`: boxes that may be forged are proposed, looked into and judged, on the picture alone.

Ren, He, Girshick, Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
NeurIPS 2015, taught to find what was tampered with; in Zhou et al., CVPR 2018, it is what their two-stream
network is measured against. A ResNet, a region proposal network, regions of 7 x 7 from its map, a last
residual block, and from the mean of that a class and a box.

Differs from the paper: all that `rgb_n` has changed, with which it shares everything but the noise stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intact.forensics.learned.region_network import RegionExaminer


@dataclass(eq=False)
class FasterRCNN(RegionExaminer):
    """How likely Faster R-CNN finds the surest of its boxes forged."""

    source: ClassVar[str] = "Ren et al., NeurIPS 2015; Zhou et al., CVPR 2018"

    def _with_noise(self) -> bool:
        return False
