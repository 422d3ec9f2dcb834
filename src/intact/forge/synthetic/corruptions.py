"""Corruptions that a network can be taught to undo: noise in boxes, shuffled pixels, bent grey values.

The three tasks that the review names for SALAD (Zhao et al., IEEE TMI 2021). Sizes and numbers are those
of the code that made them known (MrGiovanni/ModelsGenesis, `pytorch/utils.py`): Zhou et al., "Models
Genesis", Medical Image Analysis 2021, https://arxiv.org/abs/2004.07882.

Differs from that code: pixels are shuffled once, within the tiles of a grid at a random place, instead
of in 10,000 windows one after the other; grey values are always bent upwards in order, never turned
round.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intact.forge.synthetic.made import Made

Image = Float[Tensor, "c h w"]

BOXES, AGAIN = 5, 0.95  # most boxes, and the probability of each further one
SHORTEST, LONGEST = 1 / 6, 1 / 3  # sides of a box, over the image's
TILE = 1 / 10  # longest side of a tile, over the image's
STOPS = 1000  # points at which a curve of grey values is sampled


def corrupt(images: Float[Tensor, "n c h w"], rng: np.random.Generator) -> Made:
    """Each image with one of the three corruptions; labels are by how much a pixel changed."""
    tasks = rng.integers(len(CORRUPTIONS), size=len(images))
    return _made(images, [CORRUPTIONS[t](image, rng) for t, image in zip(tasks, images, strict=True)])


def noise_boxes(image: Image, rng: np.random.Generator) -> Image:
    """One to five boxes of even noise: what was there must be painted in."""
    changed = image.clone()
    _, height, width = image.shape
    for number in range(BOXES):
        if number and rng.random() >= AGAIN:
            break
        rows, columns = _box(height, rng), _box(width, rng)
        noise = rng.random((image.shape[0], rows.stop - rows.start, columns.stop - columns.start))
        changed[:, rows, columns] = torch.from_numpy(noise).to(changed)
    return changed


def shuffle_pixels(image: Image, rng: np.random.Generator) -> Image:
    """Pixels in another order within small tiles, by which textures are lost and shapes are kept.

    Tiles lie side by side from a random corner on; what is left at the image's edges stays.
    """
    changed = image.clone()
    _, height, width = image.shape
    (top, rows, high), (left, columns, wide) = _tiles(height, rng), _tiles(width, rng)
    inside = changed[:, top : top + rows * high, left : left + columns * wide]
    tiles = (
        inside.reshape(-1, rows, high, columns, wide)
        .permute(0, 1, 3, 2, 4)
        .reshape(-1, rows * columns, high * wide)
    )
    order = torch.from_numpy(rng.random(tiles.shape[1:]).argsort(axis=1)).to(image.device)
    mixed = tiles.gather(2, order.expand_as(tiles)).reshape(-1, rows, columns, high, wide)
    inside.copy_(mixed.permute(0, 1, 3, 2, 4).reshape(inside.shape))
    return changed


def bend_intensity(image: Image, rng: np.random.Generator) -> Image:
    """Grey values through a rising curve from 0 to 1: a cubic Bézier with two random control points."""
    x, y = (np.array([0.0, *np.sort(rng.random(2)), 1.0]) for _ in range(2))
    t = np.linspace(0.0, 1.0, STOPS)[:, None]
    powers = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    bent = np.interp(image.cpu().numpy(), powers @ x, powers @ y)
    return torch.from_numpy(bent).to(image)


CORRUPTIONS: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    noise_boxes,
    shuffle_pixels,
    bend_intensity,
)


def _made(images: Float[Tensor, "n c h w"], changed: list[Image]) -> Made:
    made = torch.stack(changed)
    return Made(made, (made - images).abs().amax(dim=1))


def _box(length: int, rng: np.random.Generator) -> slice:
    """Where a box lies along a side of so many pixels."""
    side = int(rng.integers(max(1, int(SHORTEST * length)), int(LONGEST * length) + 1))
    first = int(rng.integers(length - side + 1))
    return slice(first, first + side)


def _tiles(length: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """The first pixel of the tiles along a side, how many there are, and how long one is."""
    side = int(rng.integers(1, max(2, int(TILE * length)) + 1))
    first = int(rng.integers(side))
    return first, (length - first) // side, side
