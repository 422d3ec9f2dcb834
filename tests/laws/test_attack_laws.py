"""What every attack keeps: whole values, only where allowed, within the bound, and it works."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intact.errors import UsageError
from intact.protect.attack import METHODS, Bounded, Learned

SIDE, COUNT = 24, 6
# Enough for these small images; the defaults are for real ones.
FAST = {
    "fia": {"layer": "first"},
    "cw": {"steps": 40},
    "lbfgs": {"iterations": 15, "searches": 6},
    "zoo": {"steps": 30},
    "nes": {"steps": 12},
    "square": {"queries": 120},
    "hopskipjump": {"iterations": 6, "looks": 60},
    "uap": {"steps": 12},
    "atn": {"steps": 60, "rate": 5e-3},
    "advgan": {"steps": 20, "rate": 5e-3},
    "nroi_advgan": {"steps": 30, "rate": 5e-3},
}
WRONG = {"cw": {"steps": 0}, "lbfgs": {"searches": 0}, "zoo": {"values": 0}, "hopskipjump": {"looks": 0}}
every = pytest.mark.parametrize("name", METHODS)


class Toy(nn.Module):
    """Three classes of how bright the parts of an image are; the same each time, and easily fooled."""

    def __init__(self, channels=1):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Linear(channels * 36, 16, bias=False)
            self.last = nn.Linear(16, 3, bias=False)
        self.eval()

    def forward(self, x):
        parts = F.adaptive_avg_pool2d(x - 0.5, 6).flatten(1)
        return 10 * self.last(torch.tanh(5 * self.first(parts)))


def pictures():
    return np.random.default_rng(0).integers(20, 236, (COUNT, SIDE, SIDE)).astype(np.uint8)


@cache
def attack(name, **fields):
    """A method for small images; one that learns has learned from the pictures."""
    made = METHODS[name](**{**FAST.get(name, {}), **fields})
    if isinstance(made, Learned):
        shown = torch.from_numpy(pictures()[:, None] / np.float32(255))
        made.fit(Toy(), shown, torch.ones_like(shown))
    return made


@pytest.fixture(scope="module")
def images():
    return pictures()


@pytest.fixture(scope="module")
def classify():
    return Toy()


def said(classify, pixels, levels=255.0):
    """The classes that a stored image is taken for."""
    planes = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1)
    with torch.no_grad():
        return classify(torch.from_numpy(planes / np.float32(levels)).float()).argmax(1).numpy()


def sureness(classify, pixels, labels):
    """The probability of the true class, in colour."""
    with torch.no_grad():
        logits = classify(torch.from_numpy(np.moveaxis(pixels, -1, 1) / np.float32(255)).float())
    return logits.softmax(1)[range(len(labels)), labels].numpy()


@every
def test_saved_images_are_taken_for_another_class(name, classify, images):
    labels = said(classify, images)
    change = attack(name).perturb(classify, images, labels)
    assert change.dtype == np.int32 and change.shape == images.shape
    marked = images + change
    assert marked.min() >= 0 and marked.max() <= 255
    assert (said(classify, marked) != labels).mean() >= 0.5


@every
def test_nothing_changes_where_nothing_may(name, classify, images):
    allowed = np.zeros(images.shape, bool)
    allowed[:, 4:20, 2:15] = True
    change = attack(name).perturb(classify, images, said(classify, images), allowed=allowed)
    assert (change[~allowed] == 0).all() and change[allowed].any()


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if issubclass(kind, Bounded)])
@pytest.mark.parametrize("epsilon", [1, 4, 8])
def test_the_bound_is_kept_and_used(name, epsilon, classify, images):
    change = attack(name, epsilon=epsilon).perturb(classify, images, said(classify, images))
    largest = np.abs(change).max()
    assert 0 < largest <= epsilon if issubclass(METHODS[name], Learned) else largest == epsilon


@every
def test_an_image_alone_is_changed_as_in_a_batch(name, classify, images):
    labels = said(classify, images)
    together = attack(name).perturb(classify, images, labels)
    alone = np.concatenate(
        [attack(name).perturb(classify, images[i : i + 1], labels[i : i + 1]) for i in (0, 3)]
    )
    assert np.mean(together[[0, 3]] == alone) > 0.99  # sums may be rounded otherwise


@every
def test_once_more_is_the_same(name, classify, images):
    labels, before = said(classify, images), images.copy()
    attack.cache_clear()
    one = attack(name, seed=3).perturb(classify, images, labels)
    attack.cache_clear()
    other = attack(name, seed=3).perturb(classify, images, labels)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(images, before)


@every
def test_deep_images_change_in_their_own_steps(name, classify, images):
    deep = images.astype(np.int16) * 16 - 1000
    window = (-1000.0, 255.0 * 16 - 1000)
    labels = said(classify, deep + 1000, 255.0 * 16)
    change = attack(name).perturb(classify, deep, labels, window=window, storable=(-1024, 3071))
    marked = deep + change
    assert marked.min() >= -1024 and marked.max() <= 3071
    assert (said(classify, np.clip(marked + 1000, 0, None), 255.0 * 16) != labels).mean() >= 0.5
    if issubclass(METHODS[name], Bounded):
        assert 1 < np.abs(change).max() <= 8 * 16


@every
def test_what_the_window_does_not_show_stays(name, classify, images):
    change = attack(name).perturb(classify, images, said(classify, images), window=(60.0, 200.0))
    assert (change[(images < 60) | (images > 200)] == 0).all() and change.any()


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if not issubclass(kind, Learned)])
def test_colour(name):
    rng, classify = np.random.default_rng(1), Toy(3)
    pixels = rng.integers(20, 236, (3, SIDE, SIDE, 3)).astype(np.uint8)
    labels = said(classify, pixels)
    change = attack(name).perturb(classify, pixels, labels)
    assert change.shape == pixels.shape
    assert (sureness(classify, pixels + change, labels) < sureness(classify, pixels, labels)).all()


@every
def test_the_classifier_is_left_as_it_was(name, images):
    classify = Toy()
    before = [p.clone() for p in classify.parameters()]
    attack(name).perturb(classify, images[:2], said(classify, images[:2]))
    assert all(
        p.grad is None and torch.equal(p, b) for p, b in zip(classify.parameters(), before, strict=True)
    )


@every
def test_fields_are_checked(name):
    with pytest.raises(UsageError):
        METHODS[name](**WRONG.get(name, {"epsilon": 0}))


@pytest.mark.parametrize(
    ("wrong", "said_of_it"),
    [
        ({"pixels": np.zeros((2, 4, 4), np.float32)}, "float32"),
        ({"pixels": np.zeros((4, 4), np.uint8)}, "shape"),
        ({"labels": np.zeros(3, int)}, "labels"),
        ({"allowed": np.ones((2, 5, 4), bool)}, "masks"),
        ({"window": (5.0, 5.0)}, "window"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, said_of_it, classify):
    given = {"pixels": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(2, int)} | wrong
    with pytest.raises(UsageError, match=said_of_it):
        METHODS["fgsm"]().perturb(classify, **given)
