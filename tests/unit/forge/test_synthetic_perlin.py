"""Perlin noise and the masks made of it."""

from __future__ import annotations

import math

import pytest
import torch

from intact.forge.synthetic import perlin
from intact.forge.synthetic.perlin import fade, perlin_masks, perlin_noise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive(y, x, slopes):
    """The noise at one place of a lattice, in cells, from the slopes at its points."""
    row, column = math.floor(y), math.floor(x)
    y, x = y - row, x - column

    def corner(i, j):
        down, right = slopes[row + i][column + j]
        return down * (y - i) + right * (x - j)

    def between(a, b, t):
        return a + (b - a) * (6 * t**5 - 15 * t**4 + 10 * t**3)

    return math.sqrt(2) * between(
        between(corner(0, 0), corner(0, 1), x), between(corner(1, 0), corner(1, 1), x), y
    )


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_that_of_a_turned_lattice(seed):
    """Computed again point by point, from the same draws."""
    size, n = 32, 2
    noise = perlin_noise(n, size, generator(seed))
    rng = generator(seed)
    octaves = 3  # cells of 32, 16 and 8 pixels
    cells = 2 ** torch.randint(octaves, (n, 2, 1, 1), generator=rng).flatten(1)
    turn = math.pi / 2 * (2 * torch.rand(n, 1, 1, generator=rng).flatten() - 1)
    margin, side = 3, 4 + 2 * 3
    angle = 2 * math.pi * torch.rand(n, side * side, generator=rng).view(n, side, side)
    for k in range(n):
        slopes = [[(math.sin(a), math.cos(a)) for a in row] for row in angle[k].tolist()]
        cos, sin = math.cos(turn[k]), math.sin(turn[k])
        for row, column in ((0, 0), (0, 31), (31, 0), (16, 5), (11, 23)):
            y, x = (row + 0.5) / size - 0.5, (column + 0.5) / size - 0.5
            y, x = y * cos + x * sin, x * cos - y * sin
            place = ((y + 0.5) * cells[k, 0].item() + margin, (x + 0.5) * cells[k, 1].item() + margin)
            assert noise[k, row, column].item() == pytest.approx(naive(*place, slopes), abs=1e-5)


def test_the_fade_is_level_at_both_ends():
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    value = fade(t)
    value.sum().backward()
    torch.testing.assert_close(value.detach(), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert t.grad[[0, 2]].abs().max() == 0 and t.grad[1] > 1


def test_noise_is_even_around_zero_and_reaches_about_one():
    noise = perlin_noise(300, 64, generator())
    assert noise.mean().abs() < 0.02 and noise.abs().max() <= 1.0 and noise.abs().max() > 0.85


@pytest.mark.parametrize("size", [8, 16, 100, 256, 288])
def test_no_place_lies_outside_the_lattice(size):
    assert perlin_noise(40, size, generator(1)).isfinite().all()


def test_the_finest_lattice_of_a_large_image_has_cells_of_eight_pixels():
    """A cell of 8 pixels can rise by some 0.3 from one pixel to the next; one of 4 by twice that."""
    noise = perlin_noise(60, 256, generator())
    steepest = (noise[:, :, 1:] - noise[:, :, :-1]).abs().max()
    assert 0.2 < steepest < 0.45


def test_masks_keep_inside_and_are_not_empty():
    inside = torch.zeros(60, 64, 64, dtype=torch.bool)
    inside[:, 20:30, 30:44] = True
    masks = perlin_masks(inside, generator())
    assert not (masks & ~inside).any()
    assert masks.flatten(1).any(dim=1).float().mean() > 0.95  # a few may fail ten times
    assert not masks.flatten(1).all(dim=1).any()


def test_nothing_is_masked_where_nothing_may_be():
    assert not perlin_masks(torch.zeros(3, 32, 32, dtype=torch.bool), generator()).any()


def test_several_masks_are_joined_crossed_or_left_alone(monkeypatch):
    """One is the left half, the other the upper half."""
    halves = torch.zeros(2, 1, 8, 8)
    halves[0, :, :, :4] = 1.0
    halves[1, :, :4, :] = 1.0
    drawn = []

    def noise(n, size, generator):
        drawn.append(n)
        return halves[(len(drawn) - 1) % 2].expand(n, -1, -1)

    monkeypatch.setattr(perlin, "perlin_noise", noise)
    masks = perlin_masks(torch.ones(90, 8, 8, dtype=torch.bool), generator(), several=True)
    shares = masks.flatten(1).float().mean(dim=1)
    assert drawn == [90, 90]
    assert {round(s, 2) for s in shares.tolist()} == {0.25, 0.5, 0.75}
    assert min((shares == s).sum() for s in (0.25, 0.5, 0.75)) > 15


def test_the_same_generator_gives_the_same_masks():
    inside = torch.ones(4, 32, 32, dtype=torch.bool)
    assert torch.equal(perlin_masks(inside, generator(3)), perlin_masks(inside, generator(3)))
    assert not torch.equal(perlin_masks(inside, generator(3)), perlin_masks(inside, generator(4)))
