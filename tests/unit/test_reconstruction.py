"""Every residual and pooling, on a detector that rebuilds by a known formula."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from intact.anomaly.ae import AE
from intact.anomaly.pooling import POOLINGS, top_mean
from intact.anomaly.reconstruction import RESIDUALS, Reconstruction
from intact.errors import UsageError
from intact.losses import ssim_map


@dataclass(eq=False)
class Mirror(Reconstruction):
    """Rebuilds an image as a blend of itself and the square of its mirror image."""

    size: int = 16
    seed: int = 0
    source: ClassVar[str] = "a test"

    def _fit(self, batches):
        pass

    def _rebuild(self, images):
        return 0.3 * images + 0.5 * images.flip(-1).square()


def images(n=8, channels=2, size=16, dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    return torch.rand(n, channels, size, size, generator=rng, dtype=dtype)


def scored(x, **fields):
    detector = Mirror(size=x.shape[-1], **fields)
    return detector.fit([x]).score(x)


def rebuilt(x):
    return 0.3 * x + 0.5 * x.flip(-1) ** 2


def test_l1_and_l2_are_means_over_channels():
    x = images()
    l1, l2 = scored(x, residual="l1").pixel, scored(x, residual="l2").pixel
    for n, i, j in [(0, 0, 0), (3, 7, 2), (7, 15, 15)]:
        misfits = [float(x[n, c, i, j] - rebuilt(x)[n, c, i, j]) for c in range(2)]
        assert l1[n, i, j].item() == pytest.approx(sum(abs(m) for m in misfits) / 2, rel=1e-5)
        assert l2[n, i, j].item() == pytest.approx(sum(m**2 for m in misfits) / 2, rel=1e-5)


def test_ssim_is_one_minus_likeness():
    x = images()
    wanted = 1 - ssim_map(x, rebuilt(x)).mean(dim=1)
    torch.testing.assert_close(scored(x, residual="ssim").pixel, wanted)


def test_the_gradient_is_that_of_finite_differences():
    """Also through the rebuilt image: a pixel acts on the misfit of its mirror image too."""
    x = images(n=2, size=4, dtype=torch.float64)
    found = RESIDUALS["gradient"](Mirror(size=4), x)

    def total(x):
        return (x - rebuilt(x)).square().sum()

    step = 1e-6
    wanted = torch.zeros(2, 4, 4, dtype=torch.float64)
    for n, c, i, j in np.ndindex(2, 2, 4, 4):
        bump = torch.zeros_like(x)
        bump[n, c, i, j] = step
        wanted[n, i, j] += ((total(x + bump) - total(x - bump)) / (2 * step)).abs() / 2
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_the_gradient_does_not_depend_on_the_size():
    """The same neighbourhood gets the same map whether or not there is more image around it."""
    small = images(n=1, size=16)
    large = torch.cat([small, small], dim=-2).repeat(1, 1, 1, 2)
    found = RESIDUALS["gradient"](Mirror(size=32), large)[:, :16, 16:]
    torch.testing.assert_close(found, RESIDUALS["gradient"](Mirror(size=16), small))


def test_the_perceptual_map_averages_to_the_relative_distance_of_features():
    x = images(n=8, channels=1, size=32)
    detector = Mirror(size=32, residual="perceptual").fit([x])
    wanted = torch.zeros(8)
    for n in range(8):
        for before, after in zip(detector.eyes(x), detector.eyes(rebuilt(x)), strict=True):
            wanted[n] += (before[n] - after[n]).abs().sum() / before[n].abs().sum()
    torch.testing.assert_close(detector.score(x).image, wanted, rtol=1e-4, atol=1e-5)


def test_an_image_that_is_rebuilt_exactly_has_no_misfit(monkeypatch):
    monkeypatch.setattr(Mirror, "_rebuild", lambda self, x: x)
    x = images(channels=1, size=32)
    for residual in RESIDUALS:
        torch.testing.assert_close(
            scored(x, residual=residual).pixel, torch.zeros(8, 32, 32), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_map_has_the_shape_of_the_image_and_leaves_no_graph(residual):
    pixel = scored(images(n=3, channels=1, size=32), residual=residual).pixel
    assert pixel.shape == (3, 32, 32)
    assert pixel.isfinite().all() and not pixel.requires_grad


def test_poolings_are_mean_maximum_and_mean_of_the_highest_hundredth():
    x = images(size=32)
    pixel = scored(x).pixel
    for n in range(8):
        values = sorted(pixel[n].flatten().tolist(), reverse=True)
        assert scored(x, pooling="mean").image[n].item() == pytest.approx(sum(values) / 1024, rel=1e-5)
        assert scored(x, pooling="max").image[n].item() == pytest.approx(values[0])
        assert scored(x, pooling="top").image[n].item() == pytest.approx(sum(values[:10]) / 10, rel=1e-5)


def test_the_top_is_at_least_one_pixel():
    pixel = torch.tensor([[[1.0, 5.0], [2.0, 3.0]]])
    assert top_mean(pixel).item() == 5.0
    assert top_mean(pixel, share=0.5).item() == 4.0


def test_only_the_perceptual_residual_needs_a_second_network():
    x = images(size=32)
    assert not Mirror(size=32).fit([x]).state().keys() - {"channels_"}
    assert any(name.startswith("eyes.") for name in Mirror(size=32, residual="perceptual").fit([x]).state())


@pytest.mark.parametrize(("field", "choices"), [("residual", RESIDUALS), ("pooling", POOLINGS)])
def test_an_unknown_choice_is_refused_and_the_known_ones_named(field, choices):
    with pytest.raises(UsageError, match=f"unknown {field} 'loudest'") as caught:
        Mirror(**{field: "loudest"})
    assert all(name in str(caught.value) for name in choices)


def test_a_method_may_add_residuals_without_giving_them_to_others():
    @dataclass(eq=False)
    class Doubled(Mirror):
        residuals: ClassVar = RESIDUALS | {"double_l1": lambda of, x: 2 * RESIDUALS["l1"](of, x)}

    x = images()
    detector = Doubled(size=16, residual="double_l1").fit([x])
    torch.testing.assert_close(detector.score(x).pixel, 2 * scored(x, residual="l1").pixel)
    with pytest.raises(UsageError, match="double_l1"):
        AE(residual="double_l1")
