"""What of an image is the body."""

import numpy as np
import pytest

from intact.forge.synthetic.foreground import foreground, majority, scaled

NOISE = np.random.default_rng(0).normal(0.0, 0.01, (64, 64))


def disc(radius=20):
    y, x = np.indices((64, 64)) - 32
    return y**2 + x**2 <= radius**2


def picture(inside, outside, channels=1):
    plane = np.where(disc(), inside, outside) + NOISE
    return np.repeat(plane.clip(0, 1)[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("inside", "outside"), [(0.6, 0.0), (0.3, 1.0), (0.2, 0.5)])
def test_a_background_may_be_dark_bright_or_between(inside, outside, channels):
    (mask,) = foreground(picture(inside, outside, channels)[None])
    assert (mask == disc()).mean() > 0.97
    assert mask[disc(17)].all() and not mask[~disc(23)].any()


def test_what_differs_by_no_more_than_20_of_255_is_background():
    levels = np.array([19.0, 21.0]) / 255
    masks = foreground(np.stack([np.where(disc(), v, 0.0)[None] for v in levels]).astype(np.float32))
    assert not masks[0].any() and masks[1][disc(15)].all()


def test_without_a_common_brightness_at_the_rim_all_is_body():
    ramp = np.broadcast_to(np.linspace(0, 1, 64), (1, 64, 64)).astype(np.float32)
    assert foreground(ramp[None]).all()


def test_grains_are_removed():
    image = np.zeros((1, 1, 64, 64), np.float32)
    image[0, 0, 20, 20] = 1.0
    assert not foreground(image).any()
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    cleaned = majority(mask, 3)
    assert cleaned[4, 4] and not cleaned[2, 2] and cleaned[2, 4]


def test_lengths_shrink_with_the_image():
    assert [scaled(5, side) for side in (224, 128, 64, 16)] == [5, 3, 1, 1]
