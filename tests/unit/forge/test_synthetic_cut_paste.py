"""CutPaste and its scars."""

import numpy as np
import pytest
import torch

from intact.forge.synthetic.cut_paste import cut_paste, cut_paste_scar, patch_sides

MAKERS = [cut_paste, cut_paste_scar]


def images(n=8, channels=1, size=64):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def drawing(seed=0):
    return np.random.default_rng(seed)


def box(label):
    rows, columns = label.any(dim=1).nonzero()[:, 0], label.any(dim=0).nonzero()[:, 0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def test_a_rectangle_of_the_same_image_is_pasted_unchanged_but_for_the_jitter():
    x = images(6, channels=3, size=32)
    made = cut_paste(x, drawing(), jitter=0.0)
    for image, new, label in zip(x, made.images, made.labels, strict=True):
        at = box(label)
        assert (label[at] == 1).all() and label.sum() == label[at].numel()  # a rectangle
        assert torch.equal(new[:, label == 0], image[:, label == 0])
        patch = new[:, *at]
        windows = image.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
        gap = (windows - patch[:, None, None]).abs().amax(dim=(0, 3, 4))
        assert gap.min() < 1e-5  # here it was cut out


def test_area_and_shape_are_the_papers():
    rng = drawing()
    sides = np.array([patch_sides((256, 256), rng, (0.02, 0.15), 0.3) for _ in range(4000)])
    area, aspect = sides.prod(axis=1) / 256**2, sides[:, 1] / sides[:, 0]
    assert 0.019 < area.min() < 0.022 and 0.147 < area.max() < 0.153
    assert area.mean() == pytest.approx(0.085, abs=0.003)
    assert 0.28 < aspect.min() < 0.32 and 3.1 < aspect.max() < 3.5
    assert np.mean(aspect > 1) == pytest.approx(0.5, abs=0.03)
    assert patch_sides((8, 8), rng, (1.0, 1.0), 0.3) <= (8, 8)  # never larger than the image


def test_scars_are_thin_and_turned():
    x = images(300, size=128)
    made = cut_paste_scar(x, drawing(), jitter=0.0)
    pixels = made.labels.sum(dim=(1, 2))
    assert pixels.min() >= 1 and pixels.max() <= (25 / 2) * (16 / 2) * 1.4  # sizes at half of 256
    small = cut_paste_scar(images(300, size=16), drawing())
    assert small.labels.sum(dim=(1, 2)).min() >= 1  # however small the image
    filled = torch.tensor([lab[box(lab)].mean() for lab in made.labels])
    assert (filled < 0.7).float().mean() > 0.3  # a turned rectangle leaves corners of its box free
    for image, new, label in zip(x[:20], made.images, made.labels, strict=False):
        assert torch.equal(new[:, label == 0], image[:, label == 0])
        gaps = torch.cdist(new[:, label > 0].T, image.flatten()[:, None]).amin(dim=1)
        assert gaps.max() < 1e-6  # nearest neighbours: values of the image


def test_scars_lie_upright_within_45_degrees():
    lengths, widths = (100.0, 100.0), (6.0, 6.0)
    made = cut_paste_scar(images(100, size=256), drawing(), lengths=lengths, widths=widths)
    heights = torch.tensor([box(lab)[0].stop - box(lab)[0].start for lab in made.labels])
    breadths = torch.tensor([box(lab)[1].stop - box(lab)[1].start for lab in made.labels])
    assert (heights >= breadths - 1).all() and breadths.max() > 60 and breadths.min() < 15


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_as_they_were_and_the_generator_decides(maker, channels):
    x = images(channels=channels)
    before = x.clone()
    made = maker(x, drawing(3))
    assert torch.equal(x, before)
    assert made.images.dtype == made.labels.dtype == torch.float32
    assert made.images.shape == x.shape and made.labels.shape == (8, 64, 64)
    assert made.images.min() >= 0 and made.images.max() <= 1
    again = maker(x, drawing(3))
    assert torch.equal(made.images, again.images) and torch.equal(made.labels, again.labels)
    assert not torch.equal(made.images, maker(x, drawing(4)).images)


@pytest.mark.parametrize("maker", MAKERS)
def test_the_jitter_changes_the_brightness_of_the_patch(maker):
    x = torch.full((50, 1, 64, 64), 0.5)
    made = maker(x, drawing())
    inside = made.images[:, 0][made.labels > 0]
    assert 0.44 < inside.min() < 0.48 and 0.52 < inside.max() < 0.56
    assert (made.images[:, 0][made.labels == 0] == 0.5).all()
