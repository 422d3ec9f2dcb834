"""Foreign patch interpolation, and the squares that it shares with its Poisson variant."""

import numpy as np
import torch

from intact.forge.synthetic.interpolation import interpolate_patches
from intact.forge.synthetic.squares import random_square


def images(n=6, channels=1, size=40):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_the_square_is_mixed_with_the_image_before_and_labelled_with_its_share():
    x = images(channels=3)
    before = x.clone()
    made = interpolate_patches(x, np.random.default_rng(0))
    assert torch.equal(x, before)
    for i in range(len(x)):
        label = made.labels[i]
        factor = label.max().item()
        assert set(label.unique().tolist()) == {0.0, factor} and 0.05 <= factor <= 0.95
        rows, columns = label.nonzero().T
        box = (slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1))
        assert (label[box] > 0).all()
        mixed = (1 - factor) * x[i] + factor * x[i - 1]
        torch.testing.assert_close(made.images[i][:, *box], mixed[:, *box])
        outside = torch.ones_like(label, dtype=torch.bool)
        outside[box] = False
        assert torch.equal(made.images[i][:, outside], x[i][:, outside])
        assert (label[outside] == 0).all()


def test_what_both_images_share_carries_no_label():
    x = images(2)
    x[1, :, :, :20] = x[0, :, :, :20]
    x[1, :, :20, :20] += 5e-4  # too little to count
    made = interpolate_patches(x, np.random.default_rng(1), widths=(0.4, 0.41))
    assert (made.labels[:, :, :20] == 0).all() and (made.labels[:, :, 20:] > 0).any()


def test_places_widths_and_factors_are_uniform():
    rng = np.random.default_rng(0)
    squares = [random_square((200, 200), rng, (0.05, 0.2), 0.5) for _ in range(4000)]
    middles = np.array([[(s.start + s.stop) / 2 for s in (q.rows, q.columns)] for q in squares])
    halves = np.array([(q.rows.stop - q.rows.start) / 2 for q in squares])
    factors = np.array([q.factor for q in squares])
    assert all(q.rows.stop - q.rows.start == q.columns.stop - q.columns.start for q in squares)
    assert 50 <= middles.min() < 51 and 149 <= middles.max() < 150
    assert np.allclose(middles.mean(axis=0), 100, atol=2)
    assert abs(np.corrcoef(middles.T)[0, 1]) < 0.05
    assert (halves.min(), halves.max()) == (10, 39)  # the greatest is left out, as there
    assert 0.05 <= factors.min() < 0.06 and 0.94 < factors.max() <= 0.95
    assert abs(factors.mean() - 0.5) < 0.02 and abs(halves.mean() - 24.5) < 0.6


def test_squares_are_cut_at_the_border_or_the_rim():
    rng = np.random.default_rng(0)
    for rim in (0, 1):
        squares = [random_square((20, 30), rng, (0.2, 0.4), 1.0, rim) for _ in range(300)]
        assert min(q.rows.start for q in squares) == rim and max(q.rows.stop for q in squares) == 20 - rim
        assert min(q.columns.start for q in squares) == rim
        assert max(q.columns.stop for q in squares) == 30 - rim
