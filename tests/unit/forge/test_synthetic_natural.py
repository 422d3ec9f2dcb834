"""Natural synthetic anomalies: where patches lie, what they are, and their labels."""

import numpy as np
import pytest
import torch
from skimage.filters import median
from skimage.morphology import disk

from intact.forge.synthetic import natural
from intact.forge.synthetic.natural import (
    Patches,
    _find_destination,
    _find_source,
    _resized,
    binary,
    continuous,
    logistic,
    natural_anomalies,
)

ONE = Patches(most=1)


def heads(n=8, size=64, channels=1, seed=0):
    """Discs with texture on black."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size)) - size / 2
    body = y**2 + x**2 <= (0.4 * size) ** 2
    values = 0.3 + 0.5 * rng.random((n, channels, size, size))
    return torch.from_numpy((values * body).astype(np.float32)), torch.from_numpy(body)


def drawing(seed=0):
    return np.random.default_rng(seed)


def test_patches_of_the_image_before_are_blended_without_a_seam(monkeypatch):
    seen = []

    def seamless(host, guest, mask, guide):
        assert mask.all() and guide is natural.GUIDES["mixed"]
        seen.append((host.copy(), guest))
        return host + 2.0  # to be cut to 1

    monkeypatch.setattr(natural, "seamless", seamless)
    x, _ = heads(6, channels=3)
    made = natural_anomalies(x, drawing(), patches=Patches(most=1, resize=(1.0, 1.0)))
    assert len(seen) == 6
    for i, (host, guest) in enumerate(seen):
        changed = (made.images[i] != x[i]).any(dim=0)
        rows, columns = (changed.any(dim=1 - d).nonzero()[:, 0] for d in (0, 1))
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        np.testing.assert_array_equal(host, x[i][:, *box].numpy())
        assert (made.images[i][:, *box] == 1.0).all()
        windows = x[i - 1].numpy()
        windows = np.lib.stride_tricks.sliding_window_view(windows, guest.shape[1:], axis=(1, 2))
        assert np.abs(windows - guest[:, None, None]).max(axis=(0, 3, 4)).min() < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_as_they_were_and_the_generator_decides(channels):
    x, _ = heads(channels=channels)
    before = x.clone()
    made = natural_anomalies(x, drawing())
    assert torch.equal(x, before)
    assert made.images.dtype == made.labels.dtype == torch.float32
    assert made.images.shape == x.shape and made.labels.shape == (8, 64, 64)
    assert made.images.min() >= 0 and made.images.max() <= 1
    assert made.labels.min() >= 0 and made.labels.max() <= 1
    again = natural_anomalies(x, drawing())
    assert torch.equal(made.images, again.images) and torch.equal(made.labels, again.labels)
    assert (made.labels.amax(dim=(1, 2)) > 0.5).all()
    assert not torch.equal(made.images, natural_anomalies(x, drawing(), gradients="normal").images)


def test_there_is_one_patch_and_each_other_with_probability_one_half(monkeypatch):
    counts = []
    monkeypatch.setattr(
        natural, "_add_patch", lambda of, rng, how, gradients: (counts.append(1), of.host_body)[1]
    )
    x, _ = heads(2000, size=16)
    natural_anomalies(x, drawing())
    assert len(counts) / 2000 == pytest.approx(2.0, abs=0.06)
    counts.clear()
    natural_anomalies(x[:50], drawing(), patches=ONE)
    assert len(counts) == 50


def test_a_patch_shows_the_body_and_lands_on_it():
    _, body = heads(1)
    body = body.numpy()
    rng = drawing()
    for _ in range(200):
        rows, columns = _find_source(body, np.array([6, 9]), np.array([2, 2]), rng, 0.7)
        assert body[rows, columns].mean() > 0.7
        assert rows.stop - rows.start <= 12 and columns.stop - columns.start <= 18
        patch = np.ones((14, 10), bool)
        patch[:3] = False
        box = _find_destination(body, patch, rng, Patches())
        assert (body[box] & patch).sum() > 0.7 * patch.sum()
        assert body[box].shape == patch.shape
    assert _find_source(np.zeros((64, 64), bool), np.array([6, 9]), np.array([2, 2]), rng, 0.7) is None
    assert _find_destination(body, np.zeros((14, 10), bool), rng, Patches()) is None
    assert _find_destination(np.zeros((64, 64), bool), np.ones((14, 10), bool), rng, Patches()) is None


def test_boxes_at_the_border_are_cut():
    boxes = [
        _find_source(np.ones((30, 40), bool), np.array([8, 8]), np.array([1, 1]), drawing(k), 0.7)
        for k in range(200)
    ]
    assert min(b[0].start for b in boxes) == 0 and max(b[0].stop for b in boxes) == 30
    assert min(b[1].start for b in boxes) == 0 and max(b[1].stop for b in boxes) == 40
    assert all(b[0].stop - b[0].start >= 8 for b in boxes)


def test_without_a_body_nothing_changes():
    x = torch.zeros(3, 1, 64, 64)
    made = natural_anomalies(x, drawing())
    assert torch.equal(made.images, x) and (made.labels == 0).all()


def test_resizing_keeps_the_proportion_within_the_bounds():
    rng, least, most = drawing(), np.array([4, 4]), np.array([51, 51])
    found = np.array([_resized([20, 40], rng, (0.7, 1.3), least, most) for _ in range(500)])
    assert found[:, 0].min() == 14 and 25 <= found[:, 0].max() <= 26
    assert found[:, 1].max() <= 51 and (np.abs(found[:, 1] - 2 * found[:, 0]) <= 3).all()
    assert _resized([20, 40], rng, (3.0, 3.0), least, most) == (25, 51)  # the width decides
    assert _resized([1, 1], rng, (1.0, 1.0), least, most) == (4, 4)


def test_half_sides_follow_the_gamma_distribution(monkeypatch):
    seen = []
    monkeypatch.setattr(natural, "_find_source", lambda body, halves, *_: seen.append(halves))
    x, _ = heads(1000, size=100)
    natural_anomalies(x, drawing(), patches=ONE)
    shares = np.array(seen) / 100
    assert shares.min() >= 0.05 - 0.01 and shares.max() <= 0.4
    assert shares.mean() == pytest.approx(0.05 + 2 * 0.03 - 0.005, abs=0.003)  # sides are cut to whole pixels
    assert shares.std() == pytest.approx(np.sqrt(2) * 0.03, abs=0.004)


def test_labels_are_those_of_the_change_in_grey_levels():
    """Against scikit-image's median and the formulas, pixel by pixel."""
    x, _ = heads(3, size=224)
    for seed in range(3):
        how = {"rng": drawing(seed), "patches": Patches()}
        images, labels = natural_anomalies(x, **how)
        for image, new, label in zip(x[:, 0].numpy(), images[:, 0].numpy(), labels.numpy(), strict=True):
            change = 255 * np.abs(new - image)
            changed = median(change > 1, np.ones((5, 5)), mode="mirror")
            smooth = median(change * changed, disk(5))
            expected = np.where(changed, 1 / (1 + np.exp(-0.5 * (smooth - 4.0))), 0.0)
            assert (np.abs(label - expected) > 1e-4).mean() < 1e-3  # at the corners of patches


def test_the_three_kinds_of_label():
    rng = drawing()
    changed = rng.random((40, 40)) < 0.5
    change = (20 * rng.random((40, 40)) * changed).astype(np.float32)
    smooth = median(change, disk(1)) * changed  # a radius of 5 at 224 pixels is 1 here
    np.testing.assert_array_equal(binary(change, changed), changed)
    np.testing.assert_allclose(continuous(change, changed), smooth / 255, atol=1e-7)
    expected = changed / (1 + np.exp(-(smooth - 7) / 3))
    np.testing.assert_allclose(logistic(1 / 3, 7.0)(change, changed), expected, rtol=1e-5)
    nothing = np.zeros((40, 40), bool)
    assert not logistic(1 / 3, 7.0)(change, nothing).any() and not continuous(change, nothing).any()
