"""AnatPaste: where the organs are, and what is pasted into them."""

import numpy as np
import pytest
import torch
from skimage.exposure import equalize_adapthist
from skimage.filters import threshold_otsu
from skimage.measure import label as numbered
from skimage.morphology import dilation, opening
from skimage.segmentation import clear_border

from intact.forge.synthetic import anat_paste as module
from intact.forge.synthetic.anat_paste import _moved, _shape, anat_paste, dark_organs

SQUARE = np.ones((3, 3), bool)


def drawing(seed=0):
    return np.random.default_rng(seed)


def ellipse(size, centre, radii):
    y, x = np.indices((size, size)) / size
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def chests(n=8, size=128, channels=1):
    """Bright bodies with two dark lungs, between dark margins."""
    rng = drawing()
    lungs = ellipse(size, (0.5, 0.3), (0.28, 0.12)) | ellipse(size, (0.5, 0.7), (0.28, 0.12))
    x = np.indices((size, size))[1] / size
    plane = np.where(lungs, 0.25, 0.7) * ((x > 0.06) & (x < 0.94)) + 0.05
    noisy = plane + 0.03 * rng.standard_normal((n, channels, size, size))
    return torch.from_numpy(noisy.clip(0, 1).astype(np.float32)), lungs


def slow_organs(grey):
    """The steps of the authors' code, with scikit-image."""
    even = equalize_adapthist(grey, clip_limit=0.01)
    dark = (even <= threshold_otsu(even)) & (even > 0)
    grown = dilation(clear_border(opening(dark, SQUARE)), SQUARE)
    regions = numbered(grown)
    sizes = np.bincount(regions.ravel())
    keep = sizes >= 400 / 256**2 * grey.size
    keep[0] = False
    return keep[regions]


def test_the_organs_are_those_that_the_authors_steps_find():
    x, lungs = chests(4)
    for image in x[:, 0].numpy():
        found, expected = dark_organs(image), slow_organs(image)
        assert (found & expected).sum() / (found | expected).sum() > 0.9
        assert (found & lungs).sum() / (found | lungs).sum() > 0.85


def test_what_touches_the_border_or_is_small_is_no_organ():
    grey = np.full((128, 128), 0.8, np.float32)
    grey += 0.02 * np.random.default_rng(0).standard_normal(grey.shape).astype(np.float32)
    regions = {
        "inside": np.s_[40:70, 40:70],
        "border": np.s_[90:128, 20:50],
        "small": np.s_[10:16, 100:106],
    }
    for box in regions.values():
        grey[box] = 0.2
    found = dark_organs(grey)
    assert found[42:68, 42:68].mean() > 0.9
    for name in ("border", "small"):
        assert not found[regions[name]].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_outside_the_organs_changes(channels):
    x, _ = chests(channels=channels)
    before = x.clone()
    made = anat_paste(x, drawing())
    assert torch.equal(x, before)
    for image, new, label in zip(x, made.images, made.labels, strict=True):
        organs = torch.from_numpy(dark_organs(image.mean(dim=0).numpy()))
        assert (label[~organs] == 0).all() and 0 < label.max() <= 1
        assert torch.equal(new[:, label == 0], image[:, label == 0])
        assert not torch.equal(new, image)
    assert made.images.min() >= 0 and made.images.max() <= 1 and made.images.dtype == torch.float32
    again = anat_paste(x, drawing())
    assert torch.equal(made.images, again.images) and torch.equal(made.labels, again.labels)


def test_the_label_is_the_opacity_of_what_is_pasted(monkeypatch):
    """The patch is made of ones: then the result is 1 - (1 - image)(1 - opacity)."""
    monkeypatch.setattr(module, "cut", lambda picture, sides, rng: np.ones((1, 60, 60), np.float32))
    x, _ = chests()
    made = anat_paste(x, drawing(), jitter=0.0, blur=0.0, margin=4.0)
    opacity = made.labels
    torch.testing.assert_close(made.images[:, 0], 1 - (1 - x[:, 0]) * (1 - opacity))
    values = torch.stack([lab[lab > 0].mean() for lab in opacity])
    assert all(lab.unique().numel() == 2 for lab in opacity)
    assert values.min() >= 150 / 255 and values.max() <= 1 and values.unique().numel() == 8
    blurred = anat_paste(x, drawing(), jitter=0.0, blur=15.0, margin=0.0).labels
    assert all(lab.unique().numel() > 20 for lab in blurred)


def test_without_organs_it_may_lie_anywhere():
    x = torch.full((100, 1, 64, 64), 0.5)
    made = anat_paste(x, drawing(), blur=0.0)
    touched = (made.labels > 0).float()
    assert (touched.amax(dim=(1, 2)) == 1).all()
    where = touched.sum(dim=0)
    assert (where[:8, :8].max() > 0) and (where[-8:, -8:].max() > 0) and (where[28:36, 28:36].max() > 0)


def test_shapes_are_ellipses_and_rectangles_smaller_by_the_margin():
    found = {int(_shape((101, 101), np.array([50, 50]), (40, 60), 5.0, drawing(k)).sum()) for k in range(30)}
    small, large = sorted(found)
    assert large == 31 * 51
    assert small == pytest.approx(np.pi * 15 * 25, rel=0.03)
    one = _shape((11, 11), np.array([5, 5]), (4, 4), 10.0, drawing())
    assert one.sum() == 1 and one[5, 5] == 1  # never nothing


def test_a_patch_is_moved_around_its_centre_and_cut_at_the_border():
    patch = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    moved = _moved(patch, np.array([4, 5]), (9, 9))
    np.testing.assert_array_equal(moved[:, 3:6, 3:7], patch)
    assert (moved != 0).sum() == 12
    moved = _moved(patch, np.array([0, 8]), (9, 9))
    np.testing.assert_array_equal(moved[:, :2, 6:], patch[:, 1:, :3])
    assert (moved != 0).sum() == 6
