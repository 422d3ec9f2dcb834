"""Poisson image interpolation."""

import numpy as np
import pytest
import torch

from intact.forge.synthetic.poisson_patch import poisson_patches, weighted


def images(n=4, channels=1, size=24):
    generator = torch.Generator().manual_seed(0)
    return 0.4 + 0.2 * torch.rand(n, channels, size, size, generator=generator)


def test_the_gradients_are_the_stronger_of_the_weighted_ones():
    """Against one equation per pixel, solved directly."""
    x = images(channels=3)
    before = x.clone()
    made = poisson_patches(x, np.random.default_rng(0))
    assert torch.equal(x, before)
    for i in range(len(x)):
        label = made.labels[i].numpy()
        factor = label.max()
        rows, columns = np.nonzero(label)
        inside = [
            (y, z) for y in range(rows.min(), rows.max() + 1) for z in range(columns.min(), columns.max() + 1)
        ]
        number = {p: k for k, p in enumerate(inside)}
        for host, guest, found in zip(x[i].numpy(), x[i - 1].numpy(), made.images[i].numpy(), strict=True):
            matrix, right = np.zeros((len(inside), len(inside))), np.zeros(len(inside))
            for (y, z), k in number.items():
                for q in ((y - 1, z), (y + 1, z), (y, z - 1), (y, z + 1)):
                    own = (1 - factor) * (host[y, z] - host[q])
                    other = factor * (guest[y, z] - guest[q])
                    right[k] += own if abs(own) > abs(other) else other
                    matrix[k, k] += 1
                    if q in number:
                        matrix[k, number[q]] -= 1
                    else:
                        right[k] += host[q]
            expected = host.copy()
            expected[tuple(zip(*inside, strict=True))] = np.linalg.solve(matrix, right)
            np.testing.assert_allclose(found, expected.clip(0, 1), atol=1e-5)


def test_the_label_is_the_foreign_share_where_something_changed():
    x = images(40)
    made = poisson_patches(x, np.random.default_rng(0))
    change = (made.images - x).abs().amax(dim=1)
    torch.testing.assert_close(made.labels > 0, change > 1e-3)
    factors = torch.tensor([lab.max() for lab in made.labels])
    assert factors.min() >= 0.05 and factors.max() <= 0.95 and factors.unique().numel() == 40
    for lab in made.labels:
        assert lab.unique().numel() <= 2
    assert (made.labels[:, [0, -1]] == 0).all() and (made.labels[:, :, [0, -1]] == 0).all()


def test_a_constant_image_loses_nothing_and_gains_weighted_gradients():
    guide = weighted(0.25)
    np.testing.assert_allclose(guide(np.zeros(3), np.array([1.0, -2.0, 0.0])), [0.25, -0.5, 0.0])
    np.testing.assert_allclose(guide(np.array([1.0, -1.0]), np.array([1.0, 4.0])), [0.75, 1.0])
    flat = torch.full((2, 1, 24, 24), 0.5)
    assert torch.equal(poisson_patches(flat, np.random.default_rng(0)).images, flat)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_range(channels):
    x = (images(16, channels, 32) > 0.5).float()
    made = poisson_patches(x, np.random.default_rng(0))
    assert made.images.min() >= 0 and made.images.max() <= 1 and made.images.dtype == torch.float32
    again = poisson_patches(x, np.random.default_rng(0))
    assert torch.equal(made.images, again.images) and torch.equal(made.labels, again.labels)
