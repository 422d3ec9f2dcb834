import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from intact.losses import cosine_map, flat_cosine, ssim_map


def pair(*shape):
    """Two images in [0, 1] that are alike but not equal."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=rng)
    return x, (x + 0.2 * torch.randn(shape, generator=rng)).clamp(0, 1)


def slow_ssim(x, y):
    """One pixel at a time, in double precision, on images whose border is mirrored without repeating it."""
    at = np.arange(11) - 5
    kernel = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    x, y = (np.pad(image.astype(np.float64), 5, mode="reflect") for image in (x, y))
    out = np.empty((x.shape[0] - 10, x.shape[1] - 10))
    for i, j in np.ndindex(out.shape):
        a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
        mean_a, mean_b = (kernel * a).sum(), (kernel * b).sum()
        var_a, var_b = (kernel * (a - mean_a) ** 2).sum(), (kernel * (b - mean_b) ** 2).sum()
        covariance = (kernel * (a - mean_a) * (b - mean_b)).sum()
        brightness = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        structure = (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2)
        out[i, j] = brightness * structure
    return out


def test_ssim_is_that_of_scikit_image_away_from_the_border():
    x, y = pair(2, 3, 24, 20)
    found = ssim_map(x, y)
    for i, c in np.ndindex(2, 3):
        _, wanted = structural_similarity(
            x[i, c].numpy(),
            y[i, c].numpy(),
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )
        np.testing.assert_allclose(found[i, c, 5:-5, 5:-5], wanted[5:-5, 5:-5], atol=1e-4)


def test_ssim_mirrors_the_border():
    x, y = pair(1, 1, 12, 14)
    np.testing.assert_allclose(ssim_map(x, y)[0, 0], slow_ssim(x[0, 0].numpy(), y[0, 0].numpy()), atol=1e-4)


def test_an_image_is_wholly_like_itself():
    x, _ = pair(2, 1, 16, 16)
    torch.testing.assert_close(ssim_map(x, x), torch.ones_like(x))


def test_ssim_has_a_gradient_even_where_both_images_are_flat():
    x = torch.zeros(1, 1, 16, 16, requires_grad=True)
    ssim_map(x, torch.full_like(x, 0.5)).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_the_cosine_map_compares_the_channels_of_one_position():
    a, b = pair(2, 5, 4, 3)
    found = cosine_map(a, b)
    for n, i, j in np.ndindex(2, 4, 3):
        u, v = a[n, :, i, j].double(), b[n, :, i, j].double()
        assert found[n, i, j].item() == pytest.approx(1 - float(u @ v / (u.norm() * v.norm())), abs=1e-6)


def test_the_flat_cosine_compares_whole_maps():
    a, b = pair(2, 5, 4, 3)
    for n in range(2):
        u, v = a[n].flatten().double(), b[n].flatten().double()
        wanted = 1 - float(u @ v / (u.norm() * v.norm()))
        assert flat_cosine(a, b)[n].item() == pytest.approx(wanted, abs=1e-6)


def test_the_two_cosines_differ_where_one_position_is_louder():
    """A loud position that agrees hides a quiet one that does not, in the flat cosine only."""
    a = torch.tensor([[100.0, 1.0], [0.0, 0.0]])[None, :, None]  # two channels, two positions
    b = torch.tensor([[100.0, 0.0], [0.0, 1.0]])[None, :, None]
    torch.testing.assert_close(cosine_map(a, b), torch.tensor([[[0.0, 1.0]]]))
    assert flat_cosine(a, b).item() == pytest.approx(1e-4, rel=1e-2)


def test_opposite_vectors_are_two_apart():
    a, _ = pair(1, 4, 2, 2)
    torch.testing.assert_close(cosine_map(a, -a), torch.full((1, 2, 2), 2.0))
    torch.testing.assert_close(flat_cosine(a, -3 * a), torch.tensor([2.0]))
