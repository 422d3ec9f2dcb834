from __future__ import annotations

import itertools

import pytest
import torch

from intact.noise import SLOPES, octave_noise, simplex


def table(seed):
    return torch.randperm(256, generator=torch.Generator().manual_seed(seed))


def slow_simplex(point, chosen):
    """The sum over all lattice points of a wide cube, one at a time."""
    total = 0.0
    middle = [round(p - sum(point) / 6) for p in point]
    for offset in itertools.product(range(-4, 5), repeat=3):
        i, j, k = (m + o for m, o in zip(middle, offset, strict=True))
        away = [p - (a + (i + j + k) / 3) for p, a in zip(point, (i, j, k), strict=True)]
        fade = 2 - sum(a * a for a in away)
        if fade > 0:
            slope = SLOPES[chosen[(chosen[(chosen[i % 256] + j) % 256] + k) % 256] % 24].tolist()
            total += fade**4 * sum(s * a for s, a in zip(slope, away, strict=True)) / 103
    return total


def test_it_is_the_sum_over_lattice_points():
    points = torch.rand(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 40 - 20
    tables = torch.stack([table(1), table(2)])
    slow = [[slow_simplex(p, t) for p in points.tolist()] for t in tables.tolist()]
    torch.testing.assert_close(simplex(points, tables), torch.tensor(slow, dtype=torch.float64))


def test_the_slopes_are_those_of_opensimplex():
    assert SLOPES[:6].tolist() == [[-11, 4, 4], [-4, 11, 4], [-4, 4, 11], [11, 4, 4], [4, 11, 4], [4, 4, 11]]
    assert len({tuple(s) for s in SLOPES.tolist()}) == 24
    assert all(sorted(map(abs, s)) == [4, 4, 11] for s in SLOPES.tolist())


def test_it_is_zero_on_the_lattice_and_continuous():
    lattice = torch.tensor([[0.0, 0, 0], [4 / 3, 1 / 3, 1 / 3], [1, -1, 0], [2, 2, 2]], dtype=torch.float64)
    assert simplex(lattice, table(3)[None]).abs().max() < 1e-12
    line = torch.linspace(0, 30, 30001, dtype=torch.float64)[:, None] * torch.tensor([[0.5, 0.7, 0.3]])
    values = simplex(line.double(), table(3)[None])[0]
    assert values.std() > 0.2
    assert values.diff().abs().max() < 0.005


def test_octaves_add_up():
    """One octave after the other, from the same generator."""
    noise = octave_noise(2, 16, torch.Generator().manual_seed(5), frequency=8.0, octaves=3, persistence=0.5)
    rng = torch.Generator().manual_seed(5)
    tables = torch.stack([torch.randperm(256, generator=rng) for _ in range(2)])
    for octave, wavelength in enumerate((8.0, 4.0, 2.0)):
        corner = 6 * torch.rand(3, generator=rng)
        for row, column in ((0, 0), (3, 15), (11, 7)):
            point = [column / wavelength + corner[0], row / wavelength + corner[1], corner[2]]
            for field, chosen in zip(noise, tables.tolist(), strict=True):
                field[row, column] -= 0.5**octave * slow_simplex([float(p) for p in point], chosen)
    assert noise[:, [0, 3, 11], [0, 15, 7]].abs().max() < 1e-5
    assert noise[:, 5, 5].abs().min() > 1e-3


def test_fields_differ_but_follow_the_seed():
    first = octave_noise(3, 24, torch.Generator().manual_seed(1))
    assert torch.equal(first, octave_noise(3, 24, torch.Generator().manual_seed(1)))
    assert not torch.allclose(first, octave_noise(3, 24, torch.Generator().manual_seed(2)), atol=0.1)
    assert (first[0] - first[1]).abs().max() > 0.1
    assert first.dtype == torch.float32 and first.shape == (3, 24, 24)


def test_its_mean_and_strength():
    """AnoDDPM's own noise has a standard deviation of about 0.48, not 1."""
    rng = torch.Generator().manual_seed(0)
    many = torch.cat([octave_noise(20, 16, rng) for _ in range(30)])
    assert many.mean().abs() < 0.03
    assert many.std().item() == pytest.approx(0.49, abs=0.04)


def test_the_coarsest_octave_has_the_asked_wavelength():
    rng = torch.Generator().manual_seed(0)
    smooth, rough = (octave_noise(20, 64, rng, frequency=f, octaves=1) for f in (64.0, 8.0))

    def steepness(noise):
        return noise.diff(dim=2).square().mean().sqrt() / noise.std()

    assert (steepness(rough) / steepness(smooth)).item() == pytest.approx(8, rel=0.3)
