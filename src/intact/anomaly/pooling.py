"""From a map to a number: how high a heat map is, as the score of its image."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Map = Float[Tensor, "n *d h w"]
TOP = 0.01  # share of the pixels that "top" averages


def top_mean(pixel: Map, share: float = TOP) -> Float[Tensor, "n"]:
    """Mean of the highest `share` of the pixels, at least one: a maximum that one pixel cannot move."""
    count = max(1, round(share * pixel[0].numel()))
    return pixel.flatten(1).topk(count, dim=1).values.mean(dim=1)


POOLINGS: dict[str, Callable[[Map], Float[Tensor, "n"]]] = {
    "mean": lambda pixel: pixel.mean(dim=tuple(range(1, pixel.ndim))),
    "max": lambda pixel: pixel.flatten(1).amax(dim=1),
    "top": top_mean,
}
