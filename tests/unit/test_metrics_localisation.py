import itertools

import numpy as np
import pytest
import torch
from skimage.measure import label

from intact import metrics

POOLED = (metrics.pixel_auroc, metrics.pixel_average_precision, metrics.aupro, metrics.best_dice)


@pytest.fixture(params=range(6))
def sample(request):
    """Coarse maps (many ties) over a normal image and four with ragged lesions."""
    rng = np.random.default_rng(request.param)
    masks = rng.random((5, 9, 8)) < 0.2
    masks[0] = False
    maps = np.round(rng.normal(size=masks.shape) + masks, 1).astype(np.float32)
    return maps, masks


def naive_aupro(maps, masks, max_fpr):
    regions = []
    for image, mask in enumerate(masks):
        numbered = label(mask, connectivity=2)
        regions += [(image, numbered == number) for number in range(1, numbered.max() + 1)]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        called = maps >= threshold
        overlap = np.mean([called[image][region].mean() for image, region in regions])
        curve.append((called[~masks].mean(), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < max_fpr and x1 > x0:
            end = min(x1, max_fpr)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / max_fpr


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_aupro_agrees_with_one_loop_per_threshold_and_lesion(sample, max_fpr):
    assert metrics.aupro(*sample, max_fpr) == pytest.approx(naive_aupro(*sample, max_fpr))


def test_best_dice_agrees_with_trying_every_threshold(sample):
    maps, masks = sample
    tried = []
    for threshold in np.unique(maps):
        called = maps >= threshold
        tried.append(2 * (called & masks).sum() / (called.sum() + masks.sum()))
    assert metrics.best_dice(maps, masks) == pytest.approx(max(tried))


def test_dice_at_normal_fpr_agrees_with_searching_the_lowest_allowed_threshold(sample):
    maps, masks = sample
    for fpr in (0.0, 0.05, 0.2):
        allowed = [t for t in np.unique(maps[0]) if np.mean(maps[0] > t) <= fpr]
        called = maps > min(allowed)
        expected = 2 * (called & masks).sum() / (called.sum() + masks.sum())
        assert metrics.dice_at_normal_fpr(maps, masks, fpr) == pytest.approx(expected)
        assert expected <= metrics.best_dice(maps, masks)


def test_pixel_metrics_pool_the_pixels_of_all_images(sample):
    maps, masks = sample
    assert metrics.pixel_auroc(maps, masks) == metrics.auroc(maps.ravel(), masks.ravel())
    assert metrics.pixel_average_precision(maps, masks) == metrics.average_precision(
        maps.ravel(), masks.ravel()
    )


def test_a_false_alarm_on_a_normal_image_costs(sample):
    maps, masks = sample
    louder = maps.copy()
    louder[0] = maps.max() + 1
    for metric in (*POOLED, metrics.dice_at_normal_fpr):
        assert metric(louder, masks) < metric(maps, masks)


def test_a_perfect_map_scores_one(sample):
    _, masks = sample
    for metric in (*POOLED, metrics.dice_at_normal_fpr):
        assert metric(masks.astype(np.float32), masks) == pytest.approx(1.0)


@pytest.mark.parametrize("max_fpr", [0.1, 0.3, 1.0])
def test_a_constant_map_earns_what_guessing_earns(sample, max_fpr):
    _, masks = sample
    flat = np.full(masks.shape, 0.7, np.float32)
    assert metrics.aupro(flat, masks, max_fpr) == pytest.approx(max_fpr / 2)
    assert metrics.pixel_auroc(flat, masks) == 0.5
    share = masks.mean()
    assert metrics.pixel_average_precision(flat, masks) == pytest.approx(share)
    assert metrics.best_dice(flat, masks) == pytest.approx(2 * share / (1 + share))
    assert metrics.dice_at_normal_fpr(flat, masks) == 0.0


def test_aupro_weighs_lesions_not_pixels():
    masks = np.zeros((2, 10, 10), bool)
    masks[0, :5, :8] = True  # 40 pixels
    masks[1, 2, 2] = True  # one pixel
    maps = np.zeros(masks.shape, np.float32)
    maps[0][masks[0]] = 1.0
    missed_small = metrics.aupro(maps, masks)
    maps[:] = 0
    maps[1][masks[1]] = 1.0
    assert metrics.aupro(maps, masks) == pytest.approx(missed_small)


def test_lesions_that_touch_at_a_corner_are_one_and_never_span_images():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, 1] = 1.0
    masks = np.zeros(maps.shape, bool)
    masks[0, 1, 1] = masks[0, 2, 2] = True
    masks[1, 1, 1] = True
    # Two lesions, the first half found: a start at 1/4, then the line to (1, 1).
    at_limit = 0.25 + 0.75 * 0.3
    assert metrics.aupro(maps, masks, 0.3) == pytest.approx((0.25 + at_limit) / 2)


@pytest.mark.parametrize("metric", POOLED)
def test_masks_without_lesion_or_without_background_are_refused(metric):
    for masks in (np.zeros((2, 3, 3), bool), np.ones((2, 3, 3), bool)):
        with pytest.raises(ValueError, match="18 pixels are marked as lesion"):
            metric(np.zeros((2, 3, 3), np.float32), masks)


@pytest.mark.parametrize("metric", [*POOLED, metrics.dice_at_normal_fpr])
def test_maps_that_do_not_fit_or_cannot_be_ranked_are_refused(metric, sample):
    maps, masks = sample
    with pytest.raises(ValueError, match="bring both to one shape"):
        metric(maps[:, :-1], masks)
    with pytest.raises(ValueError, match="1 of 360 map values are NaN"):
        broken = maps.copy()
        broken[0, 0, 0] = np.nan
        metric(broken, masks)


def test_dice_at_normal_fpr_needs_a_normal_image_and_a_rate_below_one(sample):
    maps, masks = sample
    with pytest.raises(ValueError, match="add normal images"):
        metrics.dice_at_normal_fpr(maps[1:], masks[1:])
    with pytest.raises(ValueError, match="fpr is 1"):
        metrics.dice_at_normal_fpr(maps, masks, 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 3), (13, 17), (7, 16)])
def test_shrinking_agrees_with_adaptive_max_pooling(shape):
    mask = np.random.default_rng(0).random((3, 13, 17)) < 0.05
    pooled = torch.nn.functional.adaptive_max_pool2d(torch.tensor(mask).float(), shape)
    np.testing.assert_array_equal(metrics.shrink_mask(mask, shape), pooled.numpy() > 0)
    np.testing.assert_array_equal(metrics.shrink_mask(mask[0], shape), pooled[0].numpy() > 0)


def test_shrinking_keeps_a_lesion_of_one_pixel_wherever_it_is():
    for position in np.ndindex(13, 17):
        mask = np.zeros((13, 17), bool)
        mask[position] = True
        assert metrics.shrink_mask(mask, (3, 4)).any()


@pytest.mark.parametrize("shape", [(0, 4), (14, 4), (4, 18)])
def test_shrinking_never_enlarges(shape):
    with pytest.raises(ValueError, match="cannot shrink to"):
        metrics.shrink_mask(np.zeros((13, 17), bool), shape)
