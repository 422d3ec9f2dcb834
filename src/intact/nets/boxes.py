"""Boxes: laid out as anchors, compared, coded relative to each other, thinned out, and looked into.

A box is (top, left, bottom, right) in pixels, measured at edges: the whole of an image h x w is (0, 0, h, w).
Ren, He, Girshick, Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
NeurIPS 2015; He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, for the looking into.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

LARGEST = math.log(1000 / 16)  # that a side may grow by, as a logarithm, when a box is decoded

Boxes = Float[Tensor, "n 4"]


def anchors(
    shape: tuple[int, int], stride: int, sizes: tuple[int, ...], ratios: tuple[float, ...]
) -> Float[Tensor, "rows*columns*kinds 4"]:
    """Boxes of all sizes and ratios around the middle of each `stride` x `stride` square.

    Args:
        shape: Rows and columns of squares.
        stride: Side of a square.
        sizes: Roots of the areas.
        ratios: Heights over widths.
    """
    sides = torch.tensor([(s * math.sqrt(r), s / math.sqrt(r)) for s in sizes for r in ratios])
    middles = torch.cartesian_prod(*(stride * (torch.arange(n) + 0.5) for n in shape))[:, None]
    return torch.cat([middles - sides / 2, middles + sides / 2], dim=2).flatten(0, 1)


def overlap(ones: Boxes, others: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The share of what two boxes cover that both cover (intersection over union)."""
    sides = torch.minimum(ones[:, None, 2:], others[:, 2:]) - torch.maximum(ones[:, None, :2], others[:, :2])
    both = sides.clamp(min=0.0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (ones, others)]
    return both / (areas[0][:, None] + areas[1] - both).clamp(min=1e-9)


def encode(boxes: Boxes, seen_from: Boxes) -> Float[Tensor, "n 4"]:
    """Each box as another one sees it: how far its middle lies, in that one's sides, and the sides' ratio."""
    middle, sides = _middle_and_sides(boxes)
    origin, unit = _middle_and_sides(seen_from)
    return torch.cat([(middle - origin) / unit, (sides / unit).log()], dim=1)


def decode(codes: Float[Tensor, "n 4"], seen_from: Boxes) -> Boxes:
    """What `encode` has made codes of."""
    origin, unit = _middle_and_sides(seen_from)
    middle, half = origin + codes[:, :2] * unit, unit * codes[:, 2:].clamp(max=LARGEST).exp() / 2
    return torch.cat([middle - half, middle + half], dim=1)


def clipped(boxes: Boxes, shape: tuple[int, int]) -> Boxes:
    """The part of boxes that lies in an image."""
    return boxes.clamp(min=0.0).minimum(torch.tensor([*shape, *shape]).to(boxes))


def suppressed(boxes: Boxes, scores: Float[Tensor, "n"], most: float) -> Int[Tensor, "k"]:
    """Numbers of those boxes, best first, that overlap no better one by more than `most`."""
    order = scores.argsort(descending=True, stable=True)
    close = (overlap(boxes[order], boxes[order]) > most).cpu().numpy()
    alive = [True] * len(order)
    kept = []
    for at in range(len(order)):
        if alive[at]:
            kept.append(at)
            for other in close[at].nonzero()[0]:
                alive[other] = False
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def aligned(
    features: Float[Tensor, "c h w"], boxes: Boxes, stride: int, side: int
) -> Float[Tensor, "n c side side"]:
    """What a map shows in each box, as `side` x `side` means of four interpolated values each (RoIAlign)."""
    step = (torch.arange(2 * side, device=boxes.device) + 0.5) / (2 * side)
    height, width = features.shape[1:]
    rows, columns = (
        (boxes[:, at, None] + (boxes[:, at + 2] - boxes[:, at])[:, None] * step) / (stride * n) * 2 - 1
        for at, n in ((0, height), (1, width))
    )
    points = torch.stack(
        [columns[:, None].expand(-1, 2 * side, -1), rows[:, :, None].expand(-1, -1, 2 * side)], dim=3
    )
    values = F.grid_sample(
        features[None], points.flatten(0, 1)[None], padding_mode="border", align_corners=False
    )[0]
    return F.avg_pool2d(values.unflatten(1, (-1, 2 * side)).transpose(0, 1), 2)


def _middle_and_sides(boxes: Boxes) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
