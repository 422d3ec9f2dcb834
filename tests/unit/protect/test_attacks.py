"""Each attack does what its paper says, on classifiers whose answers are known in closed form."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left

import numpy as np
import pytest
import torch
from torch import nn

from intact.errors import UsageError
from intact.nets.perturber import Discriminator, Perturber
from intact.protect.attack import METHODS, Together
from intact.protect.attack.atn import reranked
from intact.protect.attack.base import Problem
from intact.protect.attack.learned import likeliest_wrong
from intact.protect.attack.nroi_advgan import _judging
from intact.protect.attack.square import HALVED
from intact.protect.attack.uap import _least_change

SIDE = 12


class Plane(nn.Module):
    """Two classes parted by a plane: logits +- (w x + b) / 2, so that every answer can be computed."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(SIDE * SIDE, generator=rng))
        self.bias = nn.Parameter(-(self.weight * 0.5).sum() + 0.6)
        self.eval()

    def forward(self, x):
        side = x.flatten(1) @ self.weight + self.bias
        return torch.stack([side / 2, -side / 2], dim=1)


@pytest.fixture
def classify():
    return Plane()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(100, 156, (4, SIDE, SIDE)).astype(np.uint8)


def shown(pixels):
    return torch.from_numpy(pixels[:, None].astype(np.float32) / 255)


def labels_of(classify, pixels):
    with torch.no_grad():
        return classify(shown(pixels)).argmax(1).numpy()


def distances(classify, pixels):
    """Of each image from the plane, in grey levels."""
    with torch.no_grad():
        side = shown(pixels).flatten(1) @ classify.weight + classify.bias
        return 255 * (side.abs() / classify.weight.norm()).numpy()


def test_one_step_goes_all_the_way_against_the_true_class(classify, images):
    labels = labels_of(classify, images)
    change = METHODS["fgsm"](epsilon=5).perturb(classify, images, labels)
    against = np.sign(classify.weight.detach().numpy()).reshape(SIDE, SIDE)
    for own, label in zip(change, labels, strict=True):
        np.testing.assert_array_equal(own, -5 * against if label == 0 else 5 * against)


def test_a_full_change_has_the_known_signal_to_noise_ratio(classify, images):
    for epsilon, known in ((1, 48.13), (2, 42.11), (4, 36.09), (8, 30.07)):
        change = METHODS["fgsm"](epsilon=epsilon).perturb(classify, images, labels_of(classify, images))
        assert abs(20 * np.log10(255 / np.sqrt((change**2.0).mean())) - known) < 0.01


def test_many_steps_of_one_gradient_are_one_step(classify, images):
    labels = labels_of(classify, images)
    once = METHODS["fgsm"]().perturb(classify, images, labels)
    for name in ("bim", "mifgsm"):
        np.testing.assert_array_equal(METHODS[name]().perturb(classify, images, labels), once)


def test_a_random_start_is_within_the_bound_and_then_forgotten(classify, images):
    labels = labels_of(classify, images)
    one, other = (
        METHODS["pgd"](steps=1, step=0.5, seed=seed).perturb(classify, images, labels) for seed in (0, 1)
    )
    assert (one != other).mean() > 0.5 and np.abs(one).max() <= 8
    far = METHODS["pgd"](steps=20).perturb(classify, images, labels)
    np.testing.assert_array_equal(far, METHODS["fgsm"]().perturb(classify, images, labels))


def test_variants_without_their_variation_are_what_they_vary(classify, images):
    labels = labels_of(classify, images)
    plain = METHODS["mifgsm"]().perturb(classify, images, labels)
    np.testing.assert_array_equal(METHODS["di"](chance=0.0).perturb(classify, images, labels), plain)
    np.testing.assert_array_equal(METHODS["ti"](kernel=1).perturb(classify, images, labels), plain)


def test_a_smoothed_gradient_gives_a_smoother_change(classify, images):
    labels = labels_of(classify, images)
    rough, smooth = (METHODS[name]().perturb(classify, images, labels) for name in ("mifgsm", "ti"))
    turns = [np.mean(np.diff(np.sign(change), axis=-1) != 0) for change in (rough, smooth)]
    assert turns[1] < 0.7 * turns[0]


@pytest.mark.parametrize("name", ["cw", "lbfgs"])
def test_the_smallest_change_is_nearly_as_small_as_can_be(name, classify, images):
    labels = labels_of(classify, images)
    change = METHODS[name]().perturb(classify, images, labels)
    assert (labels_of(classify, images + change) != labels).all()
    size, least = np.sqrt((change**2.0).sum(axis=(1, 2))), distances(classify, images)
    assert (size >= least).all()
    # Whole levels cost about a third of a level in each pixel.
    assert (size < 1.15 * np.sqrt(least**2 + SIDE**2 / 12)).all()


def test_confidence_goes_beyond_the_plane(classify, images):
    labels = labels_of(classify, images)
    change = METHODS["cw"](confidence=1.0).perturb(classify, images, labels)
    with torch.no_grad():
        logits = classify(shown((images + change).astype(np.uint8)))
    won = logits[range(4), 1 - labels] - logits[range(4), labels]
    assert (won >= 1.0).all()


def test_queries_tell_the_gradient(classify, images):
    """With many directions the estimate points where the gradient does."""
    labels = labels_of(classify, images)
    pixels = shown(images)
    asked = problem(classify, pixels, torch.from_numpy(labels))
    guess = METHODS["nes"](pairs=2000)._direction(asked, pixels, torch.zeros_like(pixels))
    true = asked.gradient(pixels)
    assert (torch.cosine_similarity(guess.flatten(1), true.flatten(1)) > 0.95).all()


@pytest.mark.parametrize(
    ("query", "smaller"),
    [(5, 1), (10, 1), (11, 2), (50, 2), (51, 4), (201, 8), (501, 16), (1001, 32), (2001, 64), (8001, 512)],
)
def test_squares_shrink_as_in_the_paper(query, smaller):
    """Of 10,000 queries those after which the share halves."""
    assert 2 ** bisect_left(HALVED, query) == smaller


def test_random_squares_fool_what_one_step_fools(classify, images):
    labels = labels_of(classify, images)
    change = METHODS["square"](queries=2000).perturb(classify, images, labels)
    assert (labels_of(classify, images + change) != labels).all()
    assert set(np.unique(np.abs(change))) <= {0, 8}


def test_the_border_is_followed_to_nearly_the_nearest_point(classify, images):
    labels = labels_of(classify, images)
    change = METHODS["hopskipjump"](iterations=25).perturb(classify, images, labels)
    assert (labels_of(classify, images + change) != labels).all()
    size, least = np.sqrt((change**2.0).sum(axis=(1, 2))), distances(classify, images)
    assert (size < 1.5 * np.sqrt(least**2 + SIDE**2 / 12)).all()


def test_slopes_of_single_values_are_those_of_the_classifier(classify, images):
    """On a plane differences are exact: the cost falls as the weights say."""
    labels = labels_of(classify, images)
    change = METHODS["zoo"](steps=60, values=SIDE * SIDE).perturb(classify, images, labels)
    assert (labels_of(classify, images + change) != labels).all()
    weights = np.sign(classify.weight.detach().numpy()).reshape(SIDE, SIDE)
    against = np.where(labels == 0, -1, 1)[:, None, None] * weights
    moved = change != 0
    assert (np.sign(change)[moved] == np.broadcast_to(against, change.shape)[moved]).mean() > 0.95


def test_a_layer_that_is_not_there_is_told(classify, images):
    with pytest.raises(UsageError, match="no layer 'layer2'"):
        METHODS["fia"]().perturb(classify, images, labels_of(classify, images))


def test_features_of_the_true_class_are_suppressed(images):
    torch.manual_seed(0)
    classify = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)
    )
    classify.eval().requires_grad_(False)
    labels = labels_of(classify, images)
    change = METHODS["fia"](layer="1").perturb(classify, images, labels)
    with torch.no_grad():
        before, after = (classify(shown(pixels)) for pixels in (images, (images + change).astype(np.uint8)))
    rows = range(len(labels))
    assert (after[rows, labels] < before[rows, labels]).all()


def test_squares_have_one_of_three_levels_each(classify, images):
    change = METHODS["tiles"](tile=3, epsilon=6).perturb(classify, images, labels_of(classify, images))
    assert set(np.unique(change)) <= {-6, 0, 6}
    squares = change.reshape(4, SIDE // 3, 3, SIDE // 3, 3)
    assert (squares == squares[:, :, :1, :, :1]).all()


def test_no_more_squares_are_used_than_are_needed(classify, images):
    labels = labels_of(classify, images)
    change = METHODS["tiles"](confidence=0.0).perturb(classify, images, labels)
    full = METHODS["fgsm"]().perturb(classify, images, labels)
    assert (labels_of(classify, images + change) != labels).all()
    assert (change != 0).mean() < 0.5 * (full != 0).mean()
    # The nearer to the border, the fewer.
    used = (change != 0).sum(axis=(1, 2))
    assert (np.argsort(used) == np.argsort(distances(classify, images))).all()
    surer = METHODS["tiles"](confidence=2.0).perturb(classify, images, labels)
    assert ((surer != 0).sum(axis=(1, 2)) > used).all()


def test_finer_squares_are_tried_where_coarse_ones_mislead_nobody(classify):
    rows, columns = np.indices((SIDE, SIDE))
    classify.weight.data = torch.from_numpy((-1.0) ** (rows + columns)).float().flatten()  # 0 in any 2 x 2
    classify.bias.data = torch.tensor(0.6)
    pixels = np.full((2, SIDE, SIDE), 128, np.uint8)
    pixels[1, ::2, ::2] = 120  # of the other class, and misled by squares of 2 x 2 no more than the first
    labels = labels_of(classify, pixels)
    change = METHODS["tiles"](tile=2, confidence=0.0).perturb(classify, pixels, labels)
    assert (labels_of(classify, pixels + change) != labels).all()
    assert (change != 0).mean() < 0.9  # no more of them than are needed


def test_squares_that_would_be_cut_off_are_not_used(classify):
    pixels = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    change = METHODS["tiles"](tile=2).perturb(classify, pixels, labels_of(classify, pixels))
    assert set(np.unique(change)) <= {-8, 0, 8} and (change != 0).any()
    assert (change[(pixels < 8) | (pixels > 247)] == 0).all()


def test_what_cannot_be_misled_is_changed_as_much_as_is_allowed(classify):
    pixels = np.full((1, SIDE, SIDE), 128, np.uint8)
    pixels[0][(classify.weight.detach().numpy() > 0).reshape(SIDE, SIDE)] = 220
    change = METHODS["tiles"](epsilon=1, tile=1, diversity=0.0).perturb(
        classify, pixels, labels_of(classify, pixels)
    )
    assert (change != 0).all()


def test_squares_are_as_large_as_the_classifier_sees_them(classify, images):
    labels = labels_of(classify, images)
    classify.step = 2.4
    change = METHODS["tiles"](tile=2).perturb(classify, images, labels)  # of 2 * 2.4, in whole pixels
    levels = change[:, ::5, ::5].repeat(5, axis=1).repeat(5, axis=2)[:, :SIDE, :SIDE]
    np.testing.assert_array_equal(change, levels)
    assert change.any()


def test_squares_are_used_whole_or_not_at_all(classify, images):
    allowed = np.ones(images.shape, bool)
    allowed[:, 5, 5] = False
    attack = METHODS["tiles"](tile=4, epsilon=30, confidence=1e9)  # asks for all that is allowed
    change = attack.perturb(classify, images, labels_of(classify, images), allowed=allowed)
    assert not change[:, 4:8, 4:8].any() and change.astype(bool).mean() > 0.8


def test_several_classifiers_are_fooled_as_the_least_fooled_is(classify, images):
    other = Plane()
    other.bias.data += 0.3
    together = Together([classify, other])
    x = shown(images)
    torch.testing.assert_close(together(x), (classify(x) + other(x)) / 2)
    labels = torch.from_numpy(labels_of(classify, images))
    margins = [problem(one, x, labels).margin(x) for one in (classify, other, together)]
    torch.testing.assert_close(margins[2], torch.minimum(margins[0], margins[1]))


def test_the_soft_margin_leans_to_the_classifier_fooled_least(classify, images):
    x, labels = shown(images), torch.from_numpy(labels_of(classify, images))
    alone = problem(classify, x, labels)
    torch.testing.assert_close(alone.soft_margin(x), alone.margin(x))
    other = Plane()
    other.weight.data = other.weight.flip(0) * 2
    both = problem(Together([classify, other]), x, labels)
    margins = both.margins(x)
    weights = torch.softmax(-margins, dim=0)
    slope = dataclasses.replace(both, objective=both.soft_margin).gradient(x)
    signs = torch.where(labels == 0, -1.0, 1.0)[:, None]  # a margin of two classes falls or rises with w x
    wanted = signs * (weights[0, :, None] * classify.weight + weights[1, :, None] * other.weight)
    torch.testing.assert_close(slope.flatten(1), wanted, rtol=1e-4, atol=1e-4)
    assert (both.soft_margin(x) <= both.margin(x)).all()


def problem(classify, x, labels):
    return Problem(
        shown=x,
        labels=labels,
        allowed=torch.ones_like(x),
        budget=8 / 255,
        levels=255.0,
        classify=classify,
        rng=torch.Generator(),
    )


def test_deepfool_finds_the_plane_and_learning_adds_it_up(classify, images):
    x, allowed = shown(images), torch.ones(len(images), 1, SIDE, SIDE)
    own = torch.from_numpy(labels_of(classify, images))
    for number in range(len(images)):
        least = _least_change(classify, x[[number]], own[[number]], allowed[[number]])
        with torch.no_grad():
            side = x[number].flatten() @ classify.weight + classify.bias
            nearest = side.abs() / classify.weight.norm()
        assert float(least.norm()) == pytest.approx(1.02 * float(nearest), rel=0.01)
        assert classify(x[[number]] + least).argmax() != own[number]
    beyond = 1 - own
    assert _least_change(classify, x[:1], beyond[:1], allowed[:1]) is None


def test_reranked_answers_put_the_target_in_front():
    answers = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    wanted = reranked(answers, torch.tensor([1, 0]), alpha=1.5)
    torch.testing.assert_close(
        wanted, torch.tensor([[0.6, 0.9, 0.1], [0.9, 0.2, 0.6]]) / torch.tensor([[1.6], [1.7]])
    )


def test_what_advgan_and_nroi_advgan_lose():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 2])
    assert likeliest_wrong(logits, labels).tolist() == [1, 1]
    attack = METHODS["advgan"](epsilon=8)
    assert float(attack._misled(logits, labels)) == pytest.approx(10 * (1.0 + 0.0) / 2)
    change = torch.full((1, 1, 4, 4), 8 / 255)
    assert float(attack._hinge(change)) == pytest.approx(0.5, rel=1e-4)
    assert float(attack._hinge(change / 2)) == pytest.approx(0.0, abs=1e-4)
    x = torch.rand(2, 1, 32, 32)
    loss = METHODS["nroi_advgan"]()._loss(logits, labels, x, x)
    wrong = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 1]))
    assert float(loss) == pytest.approx(10 * float(wrong), rel=1e-4)
    judge = Discriminator()
    assert judge(x).shape == (2,)
    judged = _judging(
        lambda images: images.flatten(1).mean(1) * 200 - 100, torch.zeros_like(x), torch.ones_like(x)
    )
    assert float(judged) == pytest.approx(0.0, abs=1e-6)  # sure that the second ones were changed, and right


@pytest.mark.parametrize(("bias", "takes_part"), [(1e4, False), (0.0, True)])
def test_the_discriminator_takes_part_once_most_images_mislead(bias, takes_part, monkeypatch):
    """A bias that nothing can overcome keeps it out."""
    monkeypatch.setattr("intact.protect.attack.nroi_advgan.EVERY", 50)
    classify, images = Plane(), torch.rand(10, 1, SIDE, SIDE)
    classify.weight.data *= 10
    classify.bias.data += bias
    made = [
        METHODS["nroi_advgan"](epsilon=120, steps=60, rate=3e-3, discriminator=wanted).fit(
            classify, images, torch.ones_like(images)
        )
        for wanted in (True, False)
    ]
    one, other = (attack.state()["head.weight"] for attack in made)
    assert torch.equal(one, other) != takes_part


@pytest.mark.parametrize("skips", [False, True])
def test_a_perturber_draws_for_any_size(skips):
    net = Perturber((8, 16, 32, 64), skips=skips).eval()
    with torch.no_grad():
        one, both = net(torch.rand(1, 1, 37, 50)), net(torch.rand(2, 1, 64, 64))
    assert one.shape == (1, 1, 37, 50) and both.shape == (2, 1, 64, 64) and one.abs().max() <= 1
    if skips:
        assert 0.37e6 < sum(p.numel() for p in net.parameters()) < 0.38e6


def test_squares_are_not_spent_on_a_classifier_that_none_of_them_fool(classify, images):
    firm = Plane()
    firm.bias.data += torch.where(torch.tensor(labels_of(classify, images)[0]) == 0, 6.0, -6.0)
    labels = labels_of(classify, images[:1])
    attack = METHODS["tiles"](confidence=0.0)
    alone = attack.perturb(classify, images[:1], labels)
    both = attack.perturb(Together([classify, firm]), images[:1], labels)
    in_vain = attack.perturb(firm, images[:1], labels)
    assert (alone != 0).sum() == (both != 0).sum() < (in_vain != 0).sum()
