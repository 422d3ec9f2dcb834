"""`rgb_n`: one stream proposes boxes from the picture, another looks at their noise, products of both judge.

Zhou, Han, Morariu, Davis, "Learning Rich Features for Image Manipulation Detection", CVPR 2018 (RGB-N). Two
ResNets: one sees the picture, one the three residuals of SRM filters. A region proposal network works on the
picture stream alone. Each region is taken from both streams (7 x 7), seen by a last residual block each, and
bilinear pooling of the two, with signed roots and length 1, tells its class; its box is drawn from the
picture stream alone. Losses: cross-entropy and smooth absolute error of proposals (256 anchors, overlap 0.7
and 0.3, at most half of them forged) and of regions (a quarter forged, overlap 0.5); proposals that overlap
by 0.7 are one, and of final boxes those that overlap by 0.2.

Differs from the paper: trained from nothing, with ResNet-18's first three stages at a quarter of the width in
place of ResNet-101; medical forgeries are small, so the deeper maps are added to the one at a quarter of the
resolution (a feature pyramid), and anchors have 4, 8, 16 and 32 pixels there instead of 8 to 64 times 16; 32
channels, so that all 1024 products can be taken where the paper has a compact estimate of 2048 x 2048; 32
regions for a crop instead of 128; RoIAlign instead of cropping; crops of genuine images are learned from,
too, against false boxes, and what is neither surely forged nor surely genuine is never told to be genuine;
AdamW. There is one kind of forgery, so a logit in place of a softmax. Proposals are ranked, not cut off, so
every image has a surest box, whose logit is its score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intact.forensics.learned.region_network import RegionExaminer


@dataclass(eq=False)
class RGBN(RegionExaminer):
    """How likely RGB-N finds the surest of its boxes forged."""

    source: ClassVar[str] = "Zhou et al., CVPR 2018"

    def _with_noise(self) -> bool:
        return True
