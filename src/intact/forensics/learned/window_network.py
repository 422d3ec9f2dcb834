"""What all networks have in common that say of a window whether anything in it was forged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intact.forensics.learned.base import top_mean
from intact.forensics.learned.crop_network import CropNetwork

FORGED_FROM = 0.05  # share of a window's pixels from which on it counts as forged; less teaches nothing
AT_ONCE = 64  # windows


@dataclass(eq=False)
class WindowNetwork(CropNetwork):
    """A network that sees a window of a plane and gives one logit.

    Windows lie every `stride` pixels; between their centres the logits are interpolated, and beyond the
    outermost the nearest counts. The score of an image is the mean of the highest thousandth of that map.

    Args:
        window: Side of a window, in pixels. An image that is smaller is mirrored at its border.
        stride: From one window to the next.
    """

    window: int = 64
    stride: int = 16
    batch: int = 32

    @property
    def _side(self) -> int:
        return self.window

    @abstractmethod
    def _network(self, channels: int) -> nn.Module:
        """From (b, channels, window, window) to logits (b, 1)."""

    def _loss(self, windows: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        """Cross-entropy; windows with a few forged pixels, or hardly any that is known, count nothing."""
        values, target = windows[:, :1], windows[:, 1:]
        share, known = (target > 0).float().mean((1, 2, 3)), (target >= 0).float().mean((1, 2, 3))
        counts = ((share >= FORGED_FROM) | (share == 0)) & (known > 0.5)
        each = F.binary_cross_entropy_with_logits(
            self.net(values)[:, 0], (share > 0).float(), reduction="none"
        )
        return (each * counts).sum() / counts.sum().clamp(min=1)

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = self._map(seen)
        return top_mean(logits), torch.sigmoid(logits).numpy().astype(np.float32)

    def _map(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        return window_map(seen, self.window, self.stride, self._judged)

    def _judged(self, windows: Float[Tensor, "n h w"]) -> Float[Tensor, "n"]:
        parts = [self.net(part)[:, 0].float() for part in windows[:, None].split(AT_ONCE)]
        return torch.cat(parts)


def window_map(
    seen: Float[Tensor, "h w"],
    window: int,
    stride: int,
    judge: Callable[[Float[Tensor, "n s s"]], Float[Tensor, "n"]],
) -> Float[Tensor, "h w"]:
    """What is said of each window, between their centres interpolated, and beyond them the nearest."""
    height, width = seen.shape
    filled = filled_up(seen, window)
    rows, columns = (_starts(n, window, stride) for n in filled.shape)
    grid = torch.stack(
        [judge(torch.stack([filled[r : r + window, c : c + window] for c in columns])) for r in rows]
    )
    middles = [np.array(starts) + (window - 1) / 2 for starts in (rows, columns)]
    found = _between(grid.numpy(), middles, (filled.shape[0], filled.shape[1]))
    top, left = (filled.shape[0] - height) // 2, (filled.shape[1] - width) // 2
    return torch.from_numpy(found[top : top + height, left : left + width])


def filled_up(seen: Float[Tensor, "h w"], side: int) -> Float[Tensor, "h2 w2"]:
    """At least `side` x `side`: what is missing is repeated from the border, alike on both ends."""
    ends = [(max(0, side - n) // 2, -(-max(0, side - n) // 2)) for n in seen.shape]
    return F.pad(seen[None, None], (*ends[1], *ends[0]), mode="replicate")[0, 0]


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin: every `stride`, and one at the far end."""
    last = length - window
    return sorted({*range(0, last + 1, stride), last})


def _between(
    grid: Float[ndarray, "r c"], middles: list[Float[ndarray, "k"]], shape: tuple[int, int]
) -> Float[ndarray, "h w"]:
    """Values at these rows and columns, interpolated linearly in between and constant beyond."""
    along = np.stack([np.interp(np.arange(shape[1]), middles[1], row) for row in grid])
    down = np.stack([np.interp(np.arange(shape[0]), middles[0], column) for column in along.T], axis=1)
    return down.astype(np.float32)
