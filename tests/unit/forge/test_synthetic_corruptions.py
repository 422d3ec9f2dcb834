from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import comb

from intact.forge.synthetic import corruptions
from intact.forge.synthetic.corruptions import bend_intensity, corrupt, noise_boxes, shuffle_pixels

SIZE = 60


def image(channels=1, seed=0):
    return torch.rand(channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("task", corruptions.CORRUPTIONS)
def test_a_corruption_makes_a_copy_and_follows_the_seed(task, channels):
    before = image(channels)
    kept = before.clone()
    changed = task(before, rng(1))
    assert torch.equal(before, kept)
    assert changed.shape == kept.shape and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(changed, task(before, rng(1)))
    assert not torch.equal(changed, kept)


def test_boxes_are_filled_with_even_noise_and_the_rest_stays():
    grey = torch.full((1, SIZE, SIZE), 2.0)  # noise cannot reach it
    for seed in range(20):
        gone = noise_boxes(grey, rng(seed))[0] != 2.0
        rows, columns = gone.any(dim=1).sum(), gone.any(dim=0).sum()
        assert rows >= SIZE // 6 and columns >= SIZE // 6
        assert gone.sum() <= 5 * (SIZE // 3) ** 2
    noise = torch.cat([noise_boxes(grey, rng(s))[grey != noise_boxes(grey, rng(s))] for s in range(5)])
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02)
    assert noise.std().item() == pytest.approx(12**-0.5, abs=0.02)


def test_there_are_one_to_five_boxes(monkeypatch):
    counts = []
    box = corruptions._box

    def counted(length, draws):
        counts[-1] += 0.5  # rows, then columns
        return box(length, draws)

    monkeypatch.setattr(corruptions, "_box", counted)
    for seed in range(200):
        counts.append(0)
        noise_boxes(image(), rng(seed))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert counts.count(5) == pytest.approx(200 * 0.95**4, abs=20)


@pytest.mark.parametrize("seed", range(8))
def test_pixels_only_move_within_tiles_of_a_tenth_of_the_side(seed):
    numbered = torch.arange(SIZE * SIZE, dtype=torch.float32).view(1, SIZE, SIZE)
    mixed = shuffle_pixels(numbered, rng(seed))
    assert torch.equal(mixed.flatten().sort().values, numbered.flatten())
    at = mixed[0].long()
    rows, columns = torch.arange(SIZE)[:, None], torch.arange(SIZE)
    assert (at // SIZE - rows).abs().max() < SIZE // 10
    assert (at % SIZE - columns).abs().max() < SIZE // 10


def test_tiles_cover_all_but_the_edges():
    flat = torch.arange(SIZE * SIZE, dtype=torch.float32).view(1, SIZE, SIZE)
    draws = rng(3)
    (top, rows, high), (left, columns, wide) = (corruptions._tiles(SIZE, draws) for _ in range(2))
    moved = shuffle_pixels(flat, rng(3))[0] != flat[0]
    assert 0 <= top < high and SIZE - top - rows * high < high
    assert not moved[:top].any() and not moved[top + rows * high :].any()
    assert not moved[:, :left].any() and not moved[:, left + columns * wide :].any()
    assert moved[top : top + rows * high, left : left + columns * wide].float().mean() > 0.8


def test_channels_are_shuffled_alike():
    one = image()
    both = shuffle_pixels(torch.cat([one, 1 - one]), rng(2))
    torch.testing.assert_close(both[0], 1 - both[1])


def test_grey_values_follow_a_rising_curve_from_nought_to_one():
    ramp = torch.linspace(0, 1, SIZE * SIZE).view(1, SIZE, SIZE)
    for seed in range(20):
        bent = bend_intensity(ramp, rng(seed)).flatten()
        assert bent[0] == 0 and bent[-1] == 1
        assert (bent.diff() >= -1e-6).all()


def test_the_curve_is_a_cubic_bezier():
    draws = rng(5)
    x = np.array([0, *np.sort(draws.random(2)), 1])
    y = np.array([0, *np.sort(draws.random(2)), 1])
    for t in (0.2, 0.5, 0.9):
        weights = [comb(3, k) * t**k * (1 - t) ** (3 - k) for k in range(4)]
        grey = torch.full((1, 2, 2), float(weights @ x))
        assert bend_intensity(grey, rng(5))[0, 0, 0].item() == pytest.approx(float(weights @ y), abs=1e-4)


def test_each_image_gets_one_task_and_labels_say_by_how_much_it_changed():
    images = torch.stack([image(3, s) for s in range(60)])
    before = images.clone()
    made = corrupt(images, rng())
    assert torch.equal(images, before)
    torch.testing.assert_close(made.labels, (made.images - images).abs().amax(dim=1))
    assert made.labels.dtype == torch.float32 and made.labels.max() <= 1
    tasks = rng().integers(3, size=60)
    assert set(tasks) == {0, 1, 2}
    bent = made.labels.flatten(1).gt(0).float().mean(dim=1)
    assert bent[tasks == 2].min() > 0.9  # every grey value but the ends
    assert bent[tasks == 0].max() < 0.7  # boxes leave most of the image


def test_very_small_images_can_be_corrupted():
    made = corrupt(torch.rand(30, 1, 4, 4), rng())
    assert made.images.shape == (30, 1, 4, 4)
