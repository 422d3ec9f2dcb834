from __future__ import annotations

import colorsys

import pytest
import torch

from intact.anomaly import views
from intact.filters import gaussian_blur


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, channels=3, size=24, seed=0):
    return torch.rand(n, channels, size, size, generator=rng(seed))


CHANGES = {
    "crop_by_area": lambda x, g: views.crop_by_area(x, g, (0.2, 1.0)),
    "crop_by_side": lambda x, g: views.crop_by_side(x, g, 0.5),
    "flip": views.flip,
    "quarter_turns": views.quarter_turns,
    "jitter": lambda x, g: views.jitter(x, g, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "discolour": lambda x, g: views.discolour(x, g, 0.5),
    "blur": lambda x, g: views.blur(x, g, 0.5),
    "cut_out": lambda x, g: views.cut_out(x, g, 0.3),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_views_keep_shape_and_range_and_follow_the_seed(change, channels):
    x = images(channels=channels)
    before = x.clone()
    made = CHANGES[change](x, rng(1))
    assert torch.equal(x, before)
    assert made.shape == x.shape and made.dtype == torch.float32
    assert made.min() >= 0 and made.max() <= 1
    assert torch.equal(made, CHANGES[change](x, rng(1)))
    if (change, channels) != ("discolour", 1):
        assert not torch.equal(made, CHANGES[change](x, rng(2)))


def slopes(crops):
    """By how much neighbouring rows and columns of enlarged ramps differ, in pixels of the image."""
    down = (crops[:, 0, 1:] - crops[:, 0, :-1]).mean(dim=(1, 2)) * 64
    right = (crops[:, 1, :, 1:] - crops[:, 1, :, :-1]).mean(dim=(1, 2)) * 64
    return down, right


@pytest.fixture
def ramps():
    """A channel that rises downwards, one that rises to the right: what is cropped tells its place."""
    rise = (torch.arange(64) + 0.5) / 64
    one = torch.stack([rise[:, None].expand(64, 64), rise.expand(64, 64), torch.zeros(64, 64)])
    return one.expand(400, -1, -1, -1)


def test_boxes_have_the_area_and_the_ratio_asked_for(ramps):
    down, right = slopes(views.crop_by_area(ramps, rng(), (0.3, 0.5)))
    area = down * right
    assert area.min() > 0.28 and area.max() < 0.52 and area.std() > 0.04
    assert (down / right).min() > 0.72 and (down / right).max() < 1.38


def test_square_crops_have_a_side_from_the_shortest_to_the_whole(ramps):
    down, right = slopes(views.crop_by_side(ramps, rng(), 0.5))
    torch.testing.assert_close(down, right, rtol=0.05, atol=0.02)
    assert 0.48 < down.min() < 0.55 and 0.95 < down.max() <= 1.0


def test_crops_lie_anywhere_within_the_image(ramps):
    crops = views.crop_by_side(ramps, rng(), 0.5)
    middle = crops[:, 0].mean(dim=(1, 2))
    assert middle.min() < 0.35 and middle.max() > 0.65
    full = views.crop_by_side(ramps[:4], rng(), 1.0)
    torch.testing.assert_close(full, ramps[:4], atol=1e-5, rtol=0)


def test_half_of_the_images_are_mirrored():
    x = images(200, 1, 4)
    made = views.flip(x, rng())
    mirrored = torch.tensor([torch.equal(m, i.flip(2)) for m, i in zip(made, x, strict=True)])
    kept = torch.tensor([torch.equal(m, i) for m, i in zip(made, x, strict=True)])
    assert (mirrored ^ kept).all() and 70 < mirrored.sum() < 130


def test_all_four_quarter_turns_occur():
    x = images(80, 1, 4)
    made = views.quarter_turns(x, rng())
    turns = [
        next(k for k in range(4) if torch.equal(m, i.rot90(k, (1, 2)))) for m, i in zip(made, x, strict=True)
    ]
    assert set(turns) == {0, 1, 2, 3}


def jittered(x, **strength):
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    return views.jitter(x, rng(), **none | strength)


def test_brightness_multiplies_each_image_by_its_own_factor():
    x = 0.5 * images()
    factors = (jittered(x, brightness=0.4) / x).mean(dim=(1, 2, 3))
    torch.testing.assert_close(jittered(x, brightness=0.4), factors.view(-1, 1, 1, 1) * x)
    assert factors.min() >= 0.6 and factors.max() <= 1.4 and factors.std() > 0.05


def test_contrast_keeps_the_mean_grey_and_saturation_every_grey():
    x = 0.3 + 0.4 * images()
    grey = views._luma(x)
    more = views._luma(jittered(x, contrast=0.4))
    torch.testing.assert_close(more.mean(dim=(1, 2, 3)), grey.mean(dim=(1, 2, 3)))
    assert not torch.allclose(more, grey, atol=1e-3)
    torch.testing.assert_close(views._luma(jittered(x, saturation=0.4)), grey)
    assert not torch.allclose(jittered(x, saturation=0.4), x, atol=1e-3)


def test_a_third_of_a_turn_of_the_hue_makes_red_green():
    red = torch.tensor([0.5, 0.2, 0.2]).view(1, 3, 1, 1)
    turned = views._turn_hue(red, torch.tensor([-2 * torch.pi / 3]))[0, :, 0, 0]
    hue, _, _ = colorsys.rgb_to_hsv(*turned.tolist())
    assert hue == pytest.approx(1 / 3, abs=0.06)  # the circle of YIQ is not quite that of HSV
    torch.testing.assert_close(views._luma(turned.view(1, 3, 1, 1)), views._luma(red))
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(views._turn_hue(grey, torch.tensor([1.0])), grey)


def test_grey_images_have_no_colour_to_change():
    x = images(channels=1)
    torch.testing.assert_close(jittered(x, saturation=0.4, hue=0.3), x)
    torch.testing.assert_close(views.discolour(x, rng(), 1.0), x)


def test_a_share_of_the_images_is_changed():
    x = images(300, 3, 8)
    for made in (
        views.jitter(x, rng(), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, share=0.3),
        views.discolour(x, rng(), 0.3),
        views.blur(x, rng(), 0.3),
    ):
        changed = (made != x).flatten(1).any(dim=1)
        assert 60 < changed.sum() < 120


def test_without_colour_all_channels_are_the_grey():
    made = views.discolour(images(), rng(), 1.0)
    torch.testing.assert_close(made, views._luma(images()).expand_as(made))


def test_the_blur_is_a_gaussian_of_each_images_own_width():
    x = images(4, 3)
    made = views.blur(x, rng(), 1.0, sigma=(1.5, 1.5))
    slow = gaussian_blur(x.flatten(0, 1), 1.5).view_as(x)
    torch.testing.assert_close(made, slow, atol=2e-4, rtol=0)
    widths = (views.blur(x[:1].expand(50, -1, -1, -1), rng(), 1.0)).flatten(1).std(dim=1)
    assert widths.std() > 0.01


def test_one_square_of_each_image_is_cut_out():
    x = images(200, 3, 32)
    made = views.cut_out(x, rng(), 0.25)
    gone = (made != x).any(dim=1)
    rows, columns = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    assert torch.equal(gone.sum(dim=(1, 2)), rows * columns)  # boxes
    assert rows.max() <= 8 and columns.max() <= 8 and rows.max() >= 7
    fill = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    where = gone[:, None].expand_as(x)
    torch.testing.assert_close(made[where], fill[where])
