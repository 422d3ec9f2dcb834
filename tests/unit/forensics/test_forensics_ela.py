"""Error levels: what was compressed otherwise stands out, and texture does not by itself."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from intact.forensics.ela import ELA
from intact.image import Image


def textured(seed=0, shape=(192, 208), sigma=6.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    plane = 128 + 30 * smooth / smooth.std() + sigma * rng.standard_normal(shape)
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def jpeg(plane, quality):
    file = io.BytesIO()
    Picture.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.array(Picture.open(file))


def spliced(first, last, off=(0, 0)):
    host = jpeg(textured(0), first)
    host[64:128, 72:136] = textured(1)[50:114, 60:124]
    plane = jpeg(host, last) if last else host
    return Image(np.ascontiguousarray(plane[off[0] :, off[1] :]))


@pytest.mark.parametrize(("first", "last"), [(75, 0), (70, 95)])
def test_what_was_compressed_otherwise_stands_out(first, last):
    evidence = ELA().examine(spliced(first, last))
    assert evidence.score > 6 and evidence.p_value is None
    inside, outside = evidence.map[76:116, 84:124], evidence.map[:, 160:]
    assert inside.mean() > 0.5 and outside.mean() < 0.05
    assert "no proof" in evidence.explanation or "hint" in evidence.explanation


def test_a_crop_is_compressed_on_its_own_grid():
    whole, crop = ELA().examine(spliced(75, 0)), ELA().examine(spliced(75, 0, off=(3, 5)))
    assert crop.score == pytest.approx(whole.score, rel=0.1)
    np.testing.assert_allclose(crop.map[20:-20, 20:-20], whole.map[23:-20, 25:-20], atol=0.02)


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_genuine_images_score_lower(quality):
    plane = textured(2)
    stripes = plane.copy()
    stripes[:, :80] = np.clip(stripes[:, :80].astype(int) * 2 - 128, 0, 255)  # more contrast on one side
    for genuine in (plane, stripes, np.hstack([plane, plane[:, ::-1]])):
        assert ELA().examine(Image(jpeg(genuine, quality))).score < 6


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (textured(), "ever compressed"),
        (textured().astype(np.uint16), "16 bits"),
        (np.zeros((3, 3), np.uint8), "too small"),
        (np.full((64, 64), 9, np.uint8), "ever compressed"),
        (np.full((64, 64), np.nan, np.float32), "32 bits"),
    ],
)
def test_it_abstains_on_what_has_no_history(pixels, why):
    evidence = ELA().examine(Image(pixels))
    assert why in evidence.abstained and np.isnan(evidence.score) and evidence.map is None


def test_it_abstains_where_hardly_anything_has_texture():
    plane = np.full((192, 208), 100, np.uint8)
    plane[:56, :56] = textured()[:56, :56]
    assert "texture" in ELA().examine(Image(jpeg(plane, 85))).abstained
