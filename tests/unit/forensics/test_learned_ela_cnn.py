"""Error levels for a network: those of a real file, on its own grid, in any units."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from intact.forensics.learned.base import prepared
from intact.forensics.learned.ela_cnn import ELACNN, error_level


def scene(seed=0, shape=(160, 168)):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    return np.clip(np.rint(128 + 30 * smooth / smooth.std() + 6 * rng.standard_normal(shape)), 0, 255)


def decoded(plane, quality):
    data = cv2.imencode(".jpg", plane.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32)


def spliced():
    plane = decoded(scene(), 75)
    plane[64:104, 72:112] = scene(1)[64:104, 72:112]
    return plane


def level(plane, quality=90):
    return error_level(prepared(plane, np.ones(plane.shape, bool)), quality)


def test_it_is_the_error_of_a_real_file():
    """But for how programs round cosines, and where black was: of blocks, not of pixels."""
    plane = spliced()
    again = np.abs(decoded(plane, 90) - plane)
    found = level(plane)
    blocks = [cv2.blur(each, (8, 8), anchor=(0, 0))[::8, ::8].ravel() for each in (found, again)]
    assert np.corrcoef(blocks)[0, 1] > 0.97
    assert found[72:96, 80:104].mean() > 1.5 * found[:, 130:].mean()
    assert found.min() >= 0 and found.max() == 1


def test_a_crop_is_compressed_on_its_own_grid():
    """Offsets of stored values may move means by less than one step."""
    whole, crop = level(spliced()), level(spliced()[3:, 5:])
    assert np.corrcoef(whole[19:-16, 21:-16].ravel(), crop[16:-16, 16:-16].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("fine", [False, True])
def test_units_do_not_matter(fine):
    plane = spliced() + (np.random.default_rng(0).normal(0, 1, (160, 168)) if fine else 0)
    np.testing.assert_allclose(level(plane), level(8 * plane + 512), atol=0.05 if fine else 0)


def test_layers_are_those_of_the_recipe():
    net = ELACNN(window=128)._network(3)
    # What Keras counts with two outputs instead of one, which has 257 less.
    assert sum(p.numel() for p in net.parameters()) == 29_520_034 - 257
