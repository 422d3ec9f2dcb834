"""What both region networks have in common: how they learn, and how boxes become a map."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from torch import Tensor, nn

from intact.forensics.learned.base import Lessons
from intact.forensics.learned.pixel_network import PixelNetwork
from intact.nets.boxes import Boxes, encode, overlap, suppressed
from intact.nets.region_network import UNITS, RegionNetwork

FEWEST = 9  # pixels that are connected; fewer make no box
HOLDS, EMPTY = 0.7, 0.3  # overlap with a forged box from which, and below which, an anchor is told so
ANCHORS, SHARE = 256, 0.5  # anchors of a crop in a step, and how many of them may hold something
FORGED_FROM = 0.5  # overlap from which a region counts as forged
REGIONS, FORGED_SHARE = 32, 0.25  # regions of a crop in a step, and how many of them may be forged
APART = 0.2  # overlap that two boxes that are told may have at most
KNEE = 1 / 9  # of the proposals' smooth absolute error
NOTHING = -20.0  # logit where there is no box


@dataclass(eq=False)
class RegionExaminer(PixelNetwork):
    """A network that finds boxes; each is painted with its logit, the surest on top.

    The score of an image is the logit of its surest box.

    Args:
        width: Channels of the first stage of each stream, 8 at least.
        sizes: Of the anchors, in pixels.
    """

    width: int = 16
    sizes: tuple[int, ...] = (4, 8, 16, 32)

    halvings: ClassVar[int] = 4

    def _network(self, channels: int) -> nn.Module:
        return Painter(RegionNetwork(self.width, tuple(self.sizes), self._with_noise()))

    @abstractmethod
    def _with_noise(self) -> bool:
        """Whether there is a noise stream."""

    def _fit(self, lessons: Lessons) -> None:
        with torch.random.fork_rng(devices=[]):  # which anchors and regions a step looks at is drawn
            torch.manual_seed(self.seed)
            super()._fit(lessons)

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        return region_loss(cast(Painter, self.net).regions, crops[:, :1], crops[:, 1])

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = self._logits(seen)
        return float(logits.max()), torch.sigmoid(logits).numpy().astype(np.float32)


class Painter(nn.Module):
    """A region network whose boxes are painted into a plane."""

    def __init__(self, regions: RegionNetwork) -> None:
        super().__init__()
        self.regions = regions

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """The logit of the surest box that each pixel lies in."""
        painted = torch.full_like(x, NOTHING)
        for plane, (boxes, logits) in zip(painted[:, 0], self.regions(x), strict=True):
            for at in suppressed(boxes, logits, APART).flip(0):
                top, left, bottom, right = boxes[at].round().int().tolist()
                plane[top:bottom, left:right] = logits[at].clamp(min=NOTHING)
        return painted


def region_loss(
    net: RegionNetwork, images: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """The four losses of Faster R-CNN: whether an anchor, and whether a region is forged, and where it is.

    Args:
        net: In training.
        images: Crops.
        target: 1 forged, 0 genuine, -1 not counted: what lies there is never told to be genuine.
    """
    maps = net.maps(images)
    shape = (images.shape[-2], images.shape[-1])
    proposing, regions, truths, codes = images.new_zeros(()), [], [], []
    for at, plane in enumerate(target):
        forged = forged_boxes(plane)
        proposals = net.proposals(maps[0][at], shape, before=200, after=64)
        inside = _inside(net.anchors(maps[0][at]), shape)
        proposing = proposing + _proposal_loss(
            proposals.logits[inside],
            proposals.codes[inside],
            net.anchors(maps[0][at])[inside],
            forged,
            plane,
        )
        boxes, truth, wanted = _chosen(torch.cat([proposals.boxes, forged]), forged, plane)
        regions.append(net.regions(maps, at, boxes))
        truths.append(truth)
        codes.append(wanted)
    logits, drawn = net.judged([torch.cat(streams) for streams in zip(*regions, strict=True)])
    truth, wanted = torch.cat(truths), torch.cat(codes)
    judging = F.binary_cross_entropy_with_logits(logits, truth)
    drawing = F.smooth_l1_loss(drawn[truth > 0], wanted[truth > 0], reduction="sum") / max(1, len(truth))
    return proposing / len(images) + judging + drawing


def forged_boxes(target: Float[Tensor, "h w"]) -> Boxes:
    """Around what is connected of the forged pixels, also across corners."""
    marked, count = ndimage.label(target.cpu().numpy() > 0, structure=np.ones((3, 3)))
    sizes = np.bincount(marked.ravel(), minlength=count + 1)[1:]
    found = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for (rows, columns), size in zip(ndimage.find_objects(marked), sizes, strict=True)
        if size >= FEWEST
    ]
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 4).to(target)


def _proposal_loss(
    logits: Float[Tensor, "a"],
    codes: Float[Tensor, "a 4"],
    anchors: Boxes,
    forged: Boxes,
    target: Float[Tensor, "h w"],
) -> Float[Tensor, ""]:
    share, which = _best(anchors, forged)
    holds = share >= HOLDS
    if len(forged) and len(anchors):
        nearest = overlap(anchors, forged)
        holds |= ((nearest == nearest.amax(0)) & (nearest > 0)).any(1)  # each box has an anchor at least
    empty = (share < EMPTY) & ~holds & _known(anchors, target)
    some = _drawn(holds, int(ANCHORS * SHARE))
    none = _drawn(empty, ANCHORS - len(some))
    count = max(1, len(some) + len(none))
    at = torch.cat([some, none])
    truth = (torch.arange(len(at), device=at.device) < len(some)).to(logits)
    entropy = F.binary_cross_entropy_with_logits(logits[at], truth, reduction="sum")
    wanted = encode(forged[which[some]], anchors[some]) if len(some) else codes[some]
    return (entropy + F.smooth_l1_loss(codes[some], wanted, beta=KNEE, reduction="sum")) / count


def _chosen(
    boxes: Boxes, forged: Boxes, target: Float[Tensor, "h w"]
) -> tuple[Boxes, Float[Tensor, "k"], Float[Tensor, "k 4"]]:
    """Regions to learn from, whether each is forged, and the codes of what it should be."""
    share, which = _best(boxes, forged)
    some = _drawn(share >= FORGED_FROM, int(REGIONS * FORGED_SHARE))
    none = _drawn((share < FORGED_FROM) & _known(boxes, target), REGIONS - len(some))
    at = torch.cat([some, none])
    truth = (torch.arange(len(at), device=at.device) < len(some)).to(boxes)
    codes = torch.zeros_like(boxes[at])
    if len(some):
        codes[: len(some)] = encode(forged[which[some]], boxes[some]) * codes.new_tensor(UNITS)
    return boxes[at], truth, codes


def _best(boxes: Boxes, forged: Boxes) -> tuple[Float[Tensor, "n"], Tensor]:
    """How much of a forged box each overlaps at most, and which."""
    if not len(forged):
        return boxes.new_zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
    best = overlap(boxes, forged).max(dim=1)
    return best.values, best.indices


def _known(boxes: Boxes, target: Float[Tensor, "h w"]) -> Bool[Tensor, "n"]:
    """Whether the middle of each lies where it is known what is genuine."""
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2).long()
    rows, columns = (middle[:, at].clamp(0, target.shape[at] - 1) for at in (0, 1))
    return target[rows, columns] >= 0


def _inside(boxes: Boxes, shape: tuple[int, int]) -> Bool[Tensor, "n"]:
    """Whether nothing of a box is cut off."""
    return (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= boxes.new_tensor(shape)).all(1)


def _drawn(where: Bool[Tensor, "n"], most: int) -> Tensor:
    """Numbers of some that are true."""
    at = where.nonzero()[:, 0]
    return at[torch.randperm(len(at))[:most].to(at.device)]
