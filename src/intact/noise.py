"""Simplex noise: smooth random fields whose blobs have many sizes at once.

Perlin, "Improving noise", SIGGRAPH 2002, in the form of K. Spencer's OpenSimplex (2014, public
domain), which Wyatt et al., AnoDDPM, CVPR Workshops 2022, add to images in place of white noise:
a plane through three-dimensional noise, in octaves of halved wavelength.

Differs from AnoDDPM's code: the image's corner lies at a random place of the noise, in each octave
at another. Theirs lies at a point of the lattice, where all noise is 0, so that this corner always
got less noise than the rest. OpenSimplex leaves out lattice points that hardly count (below 1e-4).
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor

# What a lattice point's slope may be: nearly towards the middle of a cube's edge (OpenSimplex).
SLOPES = torch.tensor(
    [
        [sign * (11.0 if axis == steep else 4.0) for axis, sign in enumerate((x, y, z))]
        for z, y, x, steep in itertools.product((1, -1), (1, -1), (-1, 1), range(3))
    ]
)
PEAK = 103.0  # about what the sum reaches; dividing by it leaves values in [-1, 1] (OpenSimplex)
TABLE = 256  # the slopes repeat after so many lattice points
PERIOD = 6.0  # the lattice itself repeats after this length along each axis
# Lattice points that come within reach of a cell, counted from its corner.
NEIGHBOURS = torch.tensor(
    [at for at in itertools.product((-1, 0, 1, 2), repeat=3) if 0 <= sum(at) <= 3 and max(at) - min(at) <= 2]
)


def octave_noise(
    n: int,
    size: int,
    generator: torch.Generator,
    *,
    frequency: float = 64.0,
    octaves: int = 6,
    persistence: float = 0.8,
) -> Float[Tensor, "n h w"]:
    """`n` different square fields of zero mean; with these octaves their standard deviation is about 0.5.

    Args:
        n: How many.
        size: Side in pixels.
        generator: Decides all values.
        frequency: Wavelength of the coarsest octave in pixels (AnoDDPM's word for it).
        octaves: How many, each of half the wavelength of the one before.
        persistence: Amplitude of an octave over that of the one before.
    """
    tables = torch.stack([torch.randperm(TABLE, generator=generator) for _ in range(n)])
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    plane = torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3)
    total = torch.zeros(n, size * size)
    for octave in range(octaves):
        corner = PERIOD * torch.rand(3, generator=generator)
        total += persistence**octave * simplex(plane * 2**octave / frequency + corner, tables)
    return total.view(n, size, size)


def simplex(points: Float[Tensor, "p 3"], tables: Int[Tensor, "n 256"]) -> Float[Tensor, "n p"]:
    """OpenSimplex noise at these points, once for each table: values in about [-1, 1].

    Every lattice point has a slope, which its table chooses, and is the zero of a plane of this
    slope. The noise is the sum of the planes around, weighted by (2 - distance²)⁴.

    Args:
        points: In units of the wavelength.
        tables: Permutations of 0 to 255.
    """
    # The lattice is that of whole numbers, stretched to twice its length along the diagonal.
    cell = (points - points.sum(dim=1, keepdim=True) / 6.0).floor().long()
    lattice = cell[:, None] + NEIGHBOURS
    away = points[:, None] - (lattice + lattice.sum(dim=-1, keepdim=True).to(points) / 3.0)
    fade = (2.0 - away.square().sum(dim=-1)).clamp(min=0)
    point, neighbour = fade.nonzero(as_tuple=True)
    weights = fade[point, neighbour, None].pow(4) * away[point, neighbour] / PEAK
    found, which = _distinct(lattice[point, neighbour])
    slopes = SLOPES.to(points.dtype)[_hash(found, tables) % len(SLOPES)]
    # The noise is linear in the slopes, and the same matrix serves all tables.
    places = torch.stack([point[:, None].expand(-1, 3), 3 * which[:, None] + torch.arange(3)])
    shape = (len(points), 3 * len(found))
    matrix = torch.sparse_coo_tensor(places.flatten(1), weights.flatten(), shape, check_invariants=False)
    return torch.sparse.mm(matrix, slopes.flatten(1).T.contiguous()).T


def _distinct(lattice: Int[Tensor, "m 3"]) -> tuple[Int[Tensor, "l 3"], Int[Tensor, "m"]]:
    """The lattice points that occur, modulo the table's length, and which of them each one is."""
    i, j, k = (lattice % TABLE).unbind(dim=1)
    found, which = torch.unique((i * TABLE + j) * TABLE + k, return_inverse=True)
    return torch.stack([found // TABLE**2, found // TABLE % TABLE, found % TABLE], dim=1), which


def _hash(lattice: Int[Tensor, "l 3"], tables: Int[Tensor, "n 256"]) -> Int[Tensor, "n l"]:
    """A number below 256 for each lattice point and table."""
    number = torch.zeros(len(tables), len(lattice), dtype=torch.long)
    for axis in range(3):
        number = tables.gather(1, (number + lattice[:, axis]) % TABLE)
    return number
