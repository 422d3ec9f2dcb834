"""The lungs of made radiographs, in either polarity, and of a made CT."""

from __future__ import annotations

import numpy as np
import pytest

from intact.data.phantom_thorax import thorax_ct
from intact.data.phantom_xray import chest_xray, lung_fields
from intact.image import Image
from intact.metrics.segmentation import dice
from intact.segment.lungs import lungs


def test_the_lungs_of_radiographs_nobody_taught():
    found = []
    for seed in range(9000, 9008):  # some are MONOCHROME1
        image, _ = chest_xray(seed, shape=(256, 256), lesion=bool(seed % 2))
        found.append(dice(lungs(image), lung_fields(seed, shape=(256, 256))))
    assert np.mean(found) > 0.93 and min(found) > 0.85


def test_the_polarity_does_not_matter():
    image, _ = chest_xray(9001, shape=(256, 256), lesion=False)
    other = Image(image.pixels.max() - image.pixels, photometric="MONOCHROME1")
    plain = Image(image.pixels)
    assert dice(lungs(plain), lungs(other)) > 0.99


def test_a_lung_field_lies_where_the_radiograph_is_dark():
    image, _ = chest_xray(9003, shape=(256, 256), lesion=False)
    mask, shown = lung_fields(9003, shape=(256, 256)), image.display()
    assert (
        0.1 < mask.mean() < 0.5 and shown[mask].mean() < shown[64:192, 64:192][~mask[64:192, 64:192]].mean()
    )


@pytest.mark.parametrize("shape", [(1, 160, 160), (4, 128, 128)])
def test_the_lungs_of_a_ct_are_the_air_inside_the_body(shape):
    image, lesion = thorax_ct(5, shape=shape, lesion=False)
    mask, values = lungs(image), image.physical()
    assert mask.shape == image.shape and 0.05 < mask.mean() < 0.5
    assert (values[mask] < -400).mean() > 0.9
    border = np.ones(image.shape, bool)
    border[..., 8:-8, 8:-8] = False
    assert not mask[border].any()
    assert not lesion.any()


def test_a_plane_without_air_has_no_lungs():
    image = Image(np.full((64, 64), 40, np.int16), modality="CT")
    assert not lungs(image).any()
