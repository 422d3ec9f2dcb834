"""A region network: boxes are proposed, looked into, judged and drawn anew; with or without a noise stream.

Ren, He, Girshick, Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
NeurIPS 2015; the two-stream form: Zhou, Han, Morariu, Davis, "Learning Rich Features for Image Manipulation
Detection", CVPR 2018; maps at a quarter of the resolution: Lin et al., "Feature Pyramid Networks for Object
Detection", CVPR 2017.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.boxes import Boxes, aligned, anchors, clipped, decode, suppressed
from intact.nets.noise_filters import SRMFilters
from intact.nets.resnet import BasicBlock, ResNet, kaiming

STRIDE = 4  # pixels for each place of a map
RATIOS = (0.5, 1.0, 2.0)  # heights of anchors over widths
SIDE = 7  # of what is seen of a region
ALIKE = 0.7  # proposals that overlap more are one
UNITS = (10.0, 10.0, 5.0, 5.0)  # codes of the final boxes are so much larger than those of proposals
SMALLEST = 2.0  # pixels of a proposal's side


class Proposals(NamedTuple):
    """What the proposing part says of one image.

    Args:
        logits: That an anchor holds something.
        codes: Of the box, as the anchor sees it.
        boxes: The best, decoded and thinned out, without gradient.
    """

    logits: Float[Tensor, "a"]
    codes: Float[Tensor, "a 4"]
    boxes: Boxes


class Pyramid(nn.Module):
    """A ResNet of basic blocks whose deeper maps are added to the finest one, at a quarter of the sides.

    Args:
        width: Channels of its first stage.
        outputs: Of the map.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.trunk = ResNet(BasicBlock, (2, 2, 2, 2), ("layer1", "layer2", "layer3"), width=width)
        self.lateral = nn.ModuleList(nn.Conv2d(n, outputs, 1) for n in self.trunk.channels.values())
        self.smooth = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h/4 w/4"]:
        """The sides must be divisible by 16."""
        finer, *deeper = (
            layer(features) for layer, features in zip(self.lateral, self.trunk(x), strict=True)
        )
        for coarse in deeper:
            finer = finer + F.interpolate(coarse, size=finer.shape[-2:], mode="nearest")
        return self.smooth(finer)


class RegionNetwork(nn.Module):
    """Boxes that may be forged, and how likely each is.

    Args:
        width: Channels of the first stage of each stream, 8 at least.
        sizes: Of the anchors, in pixels.
        noise: Whether there is a second stream, which sees three residuals in place of the picture.
        deep: Channels of the map that regions are taken from.
    """

    def __init__(self, width: int, sizes: tuple[int, ...], noise: bool, deep: int = 32) -> None:
        super().__init__()
        self.sizes = sizes
        kinds = len(sizes) * len(RATIOS)
        self.picture = Pyramid(width, deep)
        self.propose = nn.Sequential(nn.Conv2d(deep, deep, 3, padding=1), nn.ReLU(inplace=True))
        self.holds = nn.Conv2d(deep, kinds, 1)
        self.moves = nn.Conv2d(deep, 4 * kinds, 1)
        self.look = BasicBlock(deep, deep, 1, 64)
        self.noise: nn.Module | None = None
        if noise:
            self.noise = nn.Sequential(SRMFilters(), Pyramid(width, deep))
            self.look_at_noise = BasicBlock(deep, deep, 1, 64)
        self.judge = nn.Linear(deep * deep if noise else deep, 1)
        self.draw = nn.Linear(deep, 4)
        kaiming(self)
        for layer in (self.holds, self.moves, self.draw):
            nn.init.normal_(layer.weight, 0.0, 0.01)

    def forward(self, x: Float[Tensor, "n 1 h w"]) -> list[tuple[Boxes, Float[Tensor, "k"]]]:
        """Of each image the boxes and their logits, as they come; the sides must be divisible by 16."""
        maps = self.maps(x)
        shape = (x.shape[-2], x.shape[-1])
        found = []
        for at in range(len(x)):
            boxes = self.proposals(maps[0][at], shape, before=600, after=100).boxes
            logits, codes = self.judged(self.regions(maps, at, boxes))
            found.append((clipped(decode(codes / codes.new_tensor(UNITS), boxes), shape), logits))
        return found

    def maps(self, x: Float[Tensor, "n 1 h w"]) -> list[Float[Tensor, "n d h/4 w/4"]]:
        """Of the picture, and of the noise where there is such a stream."""
        return [self.picture(x)] + ([] if self.noise is None else [self.noise(x)])

    def proposals(
        self, features: Float[Tensor, "d h w"], shape: tuple[int, int], before: int, after: int
    ) -> Proposals:
        """What a picture's map proposes.

        Args:
            features: Of the picture stream.
            shape: Of the image.
            before: How many boxes are decoded,
            after: and how many are kept at most when those that are alike are one.
        """
        x = self.propose(features[None])
        logits = self.holds(x)[0].permute(1, 2, 0).flatten()
        codes = self.moves(x)[0].permute(1, 2, 0).reshape(-1, 4)
        with torch.no_grad():
            scores, best = logits.topk(min(before, len(logits)))
            boxes = clipped(decode(codes[best], self.anchors(features)[best]), shape)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(dim=1)
            boxes, scores = boxes[large], scores[large]
            boxes = boxes[suppressed(boxes, scores, ALIKE)[:after]]
        return Proposals(logits, codes, boxes)

    def anchors(self, features: Float[Tensor, "d h w"]) -> Boxes:
        """Those of a map, in the order of `Proposals.logits`."""
        height, width = features.shape[1:]
        return anchors((height, width), STRIDE, self.sizes, RATIOS).to(features)

    def regions(self, maps: list[Tensor], at: int, boxes: Boxes) -> list[Float[Tensor, "k d 7 7"]]:
        """What each stream shows of the boxes of one image."""
        return [aligned(each[at], boxes, STRIDE, SIDE) for each in maps]

    def judged(
        self, regions: list[Float[Tensor, "k d 7 7"]]
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 4"]]:
        """Of each region: that it was forged, from all streams; codes of its box, from the picture."""
        picture = self.look(regions[0])
        mean = picture.mean(dim=(2, 3))
        told = mean if self.noise is None else bilinear(picture, self.look_at_noise(regions[1]))
        return self.judge(told)[:, 0], self.draw(mean)


def bilinear(one: Float[Tensor, "k c h w"], other: Float[Tensor, "k d h w"]) -> Float[Tensor, "k c*d"]:
    """Products of all pairs of channels, summed over places; signed roots, brought to length 1.

    Lin, RoyChowdhury, Maji, "Bilinear CNN Models for Fine-Grained Visual Recognition", ICCV 2015.
    """
    products = torch.einsum("kchw,kdhw->kcd", one, other).flatten(1)
    return F.normalize(products.sign() * (products.abs() + 1e-12).sqrt(), dim=1)
