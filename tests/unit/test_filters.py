import numpy as np
import torch
from scipy import ndimage

from intact.filters import gaussian_blur, local_mean, median_blur, smooth_upsample, upsample


def maps():
    return torch.rand(2, 40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_gaussian_blur_is_scipys():
    x = maps()
    expected = ndimage.gaussian_filter(x.numpy(), (0, 2, 2), mode="mirror", truncate=4)
    np.testing.assert_allclose(gaussian_blur(x, 2.0), expected, atol=1e-12)


def test_median_blur_is_scipys():
    x = maps()
    expected = ndimage.median_filter(x.numpy(), (1, 5, 5), mode="mirror")
    np.testing.assert_array_equal(median_blur(x, 5), expected)


def test_upsample_keeps_a_constant_and_the_place():
    x = torch.zeros(1, 4, 4)
    x[0, 1, 2] = 1.0
    big = upsample(x, (32, 32))[0]
    row, column = divmod(int(big.argmax()), 32)
    assert 8 <= row < 16 and 16 <= column < 24
    assert torch.allclose(upsample(torch.full((1, 4, 4), 3.0), (9, 7)), torch.tensor(3.0))


def test_local_mean_of_the_middle_is_the_mean_of_nine():
    x = torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(local_mean(x)[0, :, 2, 2], x[0, :, 1:4, 1:4].mean(dim=(1, 2)))


def test_smooth_upsample_is_upsample_then_blur():
    x = torch.rand(3, 14, 20, generator=torch.Generator().manual_seed(2))
    expected = gaussian_blur(upsample(x, (112, 80)), 4.0)
    torch.testing.assert_close(smooth_upsample(x, (112, 80), 4.0), expected, atol=1e-5, rtol=1e-5)
