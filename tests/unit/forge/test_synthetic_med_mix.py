from __future__ import annotations

import numpy as np
import pytest
import torch

from intact.forge.synthetic import med_mix as module
from intact.forge.synthetic.med_mix import med_mix


def images(n=6, channels=1, size=48):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_change_where_labels_say_and_nowhere_else(channels):
    x = images(channels=channels)
    before = x.clone()
    made = med_mix(x, rng(), np.arange(6) % 4)
    assert torch.equal(x, before)
    assert made.images.dtype == made.labels.dtype == torch.float32
    assert made.images.min() >= 0 and made.images.max() <= 1
    assert set(made.labels.unique().tolist()) == {0.0, 1.0}
    changed = (made.images != x).any(dim=1)
    assert not changed[made.labels == 0].any()
    assert changed[made.labels == 1].float().mean() > 0.9


def test_no_patch_leaves_an_image_as_it_is():
    x = images()
    made = med_mix(x, rng(), np.array([0, 1, 0, 3, 0, 2]))
    for i in (0, 2, 4):
        assert torch.equal(made.images[i], x[i]) and not made.labels[i].any()
    assert made.labels[[1, 3, 5]].flatten(1).any(dim=1).all()


def test_as_many_patches_are_pasted_as_asked_for(monkeypatch):
    pasted = []
    deform = module._deform
    monkeypatch.setattr(
        module, "_deform", lambda patch, draws: pasted.append(deform(patch, draws)) or pasted[-1]
    )
    med_mix(images(4), rng(), np.array([0, 1, 2, 3]))
    assert len(pasted) == 6


def test_sizes_of_patches_are_within_bounds(monkeypatch):
    cuts, deformed = [], []
    cut, deform = module._cut, module._deform
    monkeypatch.setattr(module, "_cut", lambda *a: cuts.append(cut(*a)) or cuts[-1])
    monkeypatch.setattr(module, "_deform", lambda *a: deformed.append(deform(*a)) or deformed[-1])
    med_mix(images(40, size=100), rng(), np.full(40, 3))
    sides = np.array([c.shape[1:] for c in cuts])
    assert sides.min() >= 6 and sides.max() <= 25
    times = np.array([d.shape[1] / c.shape[1] for c, d in zip(cuts, deformed, strict=True)])
    assert times.min() < 0.75 and times.max() > 1.35
    assert times.min() > 0.6 and times.max() < 1.6


def test_patches_come_from_other_images(monkeypatch):
    donors = []
    cut = module._cut
    monkeypatch.setattr(module, "_cut", lambda image, draws: donors.append(image) or cut(image, draws))
    x = images(3)
    med_mix(x, rng(), np.array([0, 30, 0]))
    found = [next(i for i in range(3) if torch.equal(d, x[i])) for d in donors]
    assert set(found) == {0, 2}


def test_the_seed_decides():
    counts = np.full(6, 2)
    once = med_mix(images(), rng(1), counts).images
    assert torch.equal(once, med_mix(images(), rng(1), counts).images)
    assert not torch.equal(once, med_mix(images(), rng(2), counts).images)
