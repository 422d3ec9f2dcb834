"""Perlin masks: islands of every shape and size, where gradient noise is high.

Perlin, "An image synthesizer", SIGGRAPH 1985; as masks of anomalies by Zavrtanik, Kristan, Skočaj,
"DRAEM", ICCV 2021, https://arxiv.org/abs/2108.07610. Lattice, fade, turn and threshold are those of the
authors' code, VitjanZ/DRAEM; several masks in one are from cqylunlun/GLASS.

Differs from their code: the finest lattice has cells of 8 pixels, as theirs of 32 cells has at 256
pixels, and fewer cells in smaller images; noise is computed at the turned places themselves and goes on
past the corners, where theirs is resampled and 0.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FINEST = 8  # pixels in a cell of the finest lattice, at least
THRESHOLD = 0.5  # noise reaches from about -1 to 1
TURN = math.pi / 2  # the lattice is turned by up to this, either way
TRIES = 10  # of finding a mask that is not empty


def perlin_noise(n: int, size: int, generator: torch.Generator) -> Float[Tensor, "n h w"]:
    """`n` square fields of gradient noise, each of its own coarseness and direction.

    Along each axis a lattice has 1, 2, 4, ... cells; the noise is 0 at its points.
    """
    octaves = max(1, int(math.log2(size / FINEST)) + 1)
    cells = 2 ** torch.randint(octaves, (n, 2, 1, 1), generator=generator)
    turn = TURN * (2 * torch.rand(n, 1, 1, generator=generator) - 1)
    most = 2 ** (octaves - 1)
    margin = most // 4 + 2  # the turned image reaches (sqrt(2) - 1) / 2 of its side past the lattice
    side = most + 2 * margin
    angle = 2 * math.pi * torch.rand(n, side * side, generator=generator)
    at = (torch.arange(size) + 0.5) / size - 0.5
    y, x = at[:, None], at[None, :]
    # Places in units of cells, counted from the lattice's first point.
    y, x = (
        (part + 0.5) * cells[:, i] + margin
        for i, part in enumerate((y * turn.cos() + x * turn.sin(), x * turn.cos() - y * turn.sin()))
    )
    row, column = y.floor(), x.floor()
    y, x = y - row, x - column
    corner = (row * side + column).long().flatten(1)
    down, right = angle.sin(), angle.cos()

    def slope(rows: int, columns: int) -> Tensor:
        """The plane through 0 at one corner of each place's cell."""
        ahead = rows * side + columns
        part_y = down[:, ahead:].gather(1, corner).view_as(y) * (y - rows)
        return torch.addcmul(part_y, right[:, ahead:].gather(1, corner).view_as(x), x - columns)

    fade_y, fade_x = fade(y), fade(x)
    above = torch.lerp(slope(0, 0), slope(0, 1), fade_x)
    below = torch.lerp(slope(1, 0), slope(1, 1), fade_x)
    return math.sqrt(2) * torch.lerp(above, below, fade_y)


def fade(t: Tensor) -> Tensor:
    """From 0 to 1, level at both ends: 6 t⁵ - 15 t⁴ + 10 t³."""
    return t * t * t * (t * (6 * t - 15) + 10)


def perlin_masks(
    inside: Bool[Tensor, "n h w"], generator: torch.Generator, *, several: bool = False
) -> Bool[Tensor, "n h w"]:
    """Masks within `inside`, drawn again while they are empty, as often as `TRIES`.

    Args:
        inside: Where the mask may be, on the CPU.
        generator: Decides all masks.
        several: Join two masks in a third of the cases and intersect two in another, as GLASS does.
    """
    masks = torch.zeros_like(inside)
    left = torch.arange(len(inside))
    for _ in range(TRIES):
        masks[left] = _drawn(len(left), inside.shape[-1], generator, several) & inside[left]
        left = left[~masks[left].flatten(1).any(dim=1)]
        if not len(left):
            break
    return masks


def _drawn(n: int, size: int, generator: torch.Generator, several: bool) -> Bool[Tensor, "n h w"]:
    one = perlin_noise(n, size, generator) > THRESHOLD
    if not several:
        return one
    other = perlin_noise(n, size, generator) > THRESHOLD
    kind = torch.randint(3, (n, 1, 1), generator=generator)
    return torch.where(kind == 0, one, torch.where(kind == 1, one | other, one & other))
