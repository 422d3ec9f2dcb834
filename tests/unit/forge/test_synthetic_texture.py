"""Foreign texture in islands."""

from __future__ import annotations

import pytest
import torch

from intact.forge.synthetic import texture as module
from intact.forge.synthetic.texture import (
    ALTERATIONS,
    altered,
    blended,
    enclosed,
    equalised,
    gamma,
    inverted,
    others,
    posterised,
    solarised,
    stretched,
    texture,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, channels=1, size=64, seed=0):
    """Discs of random grain on black."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    disc = (y.square() + x.square() < 0.6).float()
    grain = 0.3 + 0.4 * torch.rand(n, channels, size, size, generator=generator(seed))
    return grain * disc


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_not_labelled_is_as_it_was(channels):
    x = images(channels=channels)
    before = x.clone()
    made = texture(x, generator(), opacity=torch.full((6,), 0.7))
    assert torch.equal(x, before)
    assert made.images.shape == x.shape and made.labels.shape == (6, 64, 64)
    assert made.images.dtype == made.labels.dtype == torch.float32
    assert made.images.min() >= 0 and made.images.max() <= 1
    untouched = (made.labels == 0)[:, None].expand_as(x)
    assert torch.equal(made.images[untouched], x[untouched])
    assert set(made.labels.unique().tolist()) == {0.0, 1.0}
    changed = (made.images != x).any(dim=1)
    assert changed[made.labels > 0].float().mean() > 0.9


def test_the_source_shines_through_by_its_opacity():
    x = images()
    sources = torch.rand(x.shape, generator=generator(5))
    opacity = torch.tensor([0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
    made = blended(x, sources, generator(), opacity=opacity)
    for i in range(6):
        inside = made.labels[i] == 1
        assert inside.any()
        wanted = (1 - opacity[i]) * x[i, 0][inside] + opacity[i] * sources[i, 0][inside]
        torch.testing.assert_close(made.images[i, 0][inside], wanted)


def test_opacity_zero_leaves_image_and_label_alone():
    x = images()
    made = texture(x, generator(), opacity=torch.tensor([0.0, 1.0] * 3))
    assert torch.equal(made.images[::2], x[::2]) and not made.labels[::2].any()
    assert made.labels[1::2].flatten(1).any(dim=1).all()


def test_masks_keep_to_the_body():
    x = images(size=96)
    made = texture(x, generator(), opacity=torch.ones(6), several=True)
    assert not (made.labels.bool() & ~enclosed(x)).any()


def test_the_body_holds_its_dark_organs_and_not_the_noise_around_it():
    x = torch.zeros(1, 1, 64, 64)
    x[0, 0, 10:50, 12:52] = 0.6
    x[0, 0, 20:40, 20:30] = 0.0  # a lung
    noise = 0.04 * torch.rand(x.shape, generator=generator())
    inside = enclosed(x + noise)[0]
    assert inside[10:50, 12:52].all()
    outside = torch.ones_like(inside)
    outside[8:52, 10:54] = False
    assert not inside[outside].any()


def test_a_black_image_has_no_body():
    assert not enclosed(torch.zeros(2, 1, 32, 32)).any()
    made = texture(torch.zeros(2, 1, 32, 32), generator(), opacity=torch.ones(2))
    assert not made.images.any() and not made.labels.any()


def test_every_texture_is_another_image_moved():
    x = images(n=4)
    moved = others(x, generator())
    for i in range(4):
        assert not torch.equal(moved[i], x[i])
        same = [
            j for j in range(4) if torch.equal(moved[i].flatten().sort().values, x[j].flatten().sort().values)
        ]
        assert len(same) == 1 and same[0] != i


def test_an_image_that_is_alone_is_its_own_texture():
    x = images(n=1)
    assert torch.equal(others(x, generator())[0].flatten().sort().values, x[0].flatten().sort().values)


def test_three_different_changes_are_made(monkeypatch):
    """Each stand-in marks the pixel of its own number."""

    def marking(number):
        def change(x, rng):
            x = x.clone()
            x[:, :, 0, number] += 1 / 4
            return x

        return change

    monkeypatch.setattr(module, "ALTERATIONS", tuple(marking(i) for i in range(10)))
    marks = altered(torch.zeros(200, 1, 16, 16), generator())[:, 0, 0, :10]
    assert (marks.sum(dim=1) == 3 / 4).all() and marks.max() == 1 / 4
    assert (marks > 0).float().mean(dim=0).min() > 0.15


@pytest.mark.parametrize("change", ALTERATIONS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_keeps_shape_and_input(change, channels):
    x = images(channels=channels)
    before = x.clone()
    result = change(x, generator())
    assert result.shape == x.shape and result.dtype == x.dtype and result.isfinite().all()
    assert torch.equal(x, before) and not torch.equal(result, x)


def test_single_changes():
    x = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(inverted(x, generator()), 1 - x)
    torch.testing.assert_close(stretched(0.2 + x / 2, generator()), x)
    torch.testing.assert_close(equalised(x, generator()).flatten(), torch.tensor([0.25, 0.5, 0.75, 1.0]))
    power = gamma(x, generator())[0, 0, 1, 0].log() / torch.tensor(0.5).log()
    assert 0.5 <= power <= 2.0
    bright = solarised(x, generator())
    assert bright[0, 0, 1, 1] == 0.0 and bright[0, 0, 0, 0] == 0.0
    ramp = torch.linspace(0, 1, 256).view(1, 1, 16, 16).repeat(8, 1, 1, 1)
    counts = [len(image.unique()) for image in posterised(ramp, generator())]
    assert all(count in (2, 4, 8, 16, 32, 64, 128) for count in counts) and len(set(counts)) > 1


def test_a_constant_image_survives_every_change():
    x = torch.full((20, 1, 16, 16), 0.4)
    result = altered(x, generator())
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1


def test_the_same_generator_makes_the_same():
    first, second = (texture(images(), generator(2), opacity=torch.full((6,), 0.5)) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
