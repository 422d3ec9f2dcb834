from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from intact.anomaly.feature_maps import FeatureMaps
from intact.errors import UsageError
from intact.filters import gaussian_blur, upsample

SIDES = (8, 4, 2)


@dataclass(eq=False)
class Given(FeatureMaps):
    """Distances that are given."""

    size: int = 32
    seed: int = 0

    source: ClassVar[str] = "test"

    def _fit(self, batches):
        raise AssertionError("not fitted here")

    def _distances(self, images):
        rng = torch.Generator().manual_seed(0)
        return [torch.rand(len(images), s, s, generator=rng) for s in SIDES]


@dataclass(eq=False)
class AtFinest(Given):
    fused_at: ClassVar[str] = "finest"


IMAGES = torch.zeros(2, 1, 32, 32)
JOINED = {
    "sum": lambda a, b, c: a + b + c,
    "mean": lambda a, b, c: (a + b + c) / 3,
    "product": lambda a, b, c: a * b * c,
}


@pytest.mark.parametrize("fusion", JOINED)
def test_scales_are_enlarged_to_the_image_and_joined(fusion):
    detector = Given(fusion=fusion, sigma=2.0)
    enlarged = [upsample(d, (32, 32)) for d in detector._distances(IMAGES)]
    scores = detector._score(IMAGES)
    torch.testing.assert_close(scores.pixel, gaussian_blur(JOINED[fusion](*enlarged), 2.0))
    assert torch.equal(scores.image, scores.pixel.amax(dim=(1, 2)))


def test_scales_can_be_joined_at_the_finest_maps_size():
    detector = AtFinest(fusion="product", sigma=0.0)
    a, b, c = detector._distances(IMAGES)
    joined = a * upsample(b, (8, 8)) * upsample(c, (8, 8))
    torch.testing.assert_close(detector._score(IMAGES).pixel, upsample(joined, (32, 32)))


def test_the_score_is_the_pooled_map():
    scores = Given(pooling="mean")._score(IMAGES)
    assert torch.equal(scores.image, scores.pixel.mean(dim=(1, 2)))


@pytest.mark.parametrize("field", ["fusion", "pooling"])
def test_unknown_choices_are_refused(field):
    with pytest.raises(UsageError, match=f"unknown {field}"):
        Given(**{field: "median"})
