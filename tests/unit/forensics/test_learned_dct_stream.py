"""The DCT stream: what it reads is what a JPEG file would hold, wherever the grid lies and in any units."""

import cv2
import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from intact.forensics.jpeg.blocks import standard_table
from intact.forensics.learned.base import prepared
from intact.forensics.learned.dct_stream import DCTStreamExaminer, _Coded
from intact.forensics.learned.grey_levels import grey_levels, grid_origin, in_units
from intact.nets.dct_stream import DCTStream, planes_of
from intact.residual import noise_sigma

QUALITY = 75


def scene(seed=0, side=136):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), 5)
    return np.clip(np.rint(128 + 30 * smooth / smooth.std() + rng.normal(0, 5, smooth.shape)), 0, 255)


def decoded(plane, quality=QUALITY):
    data = cv2.imencode(".jpg", plane.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32)


def seen(plane):
    return prepared(plane, np.ones(plane.shape, bool))


def of_file(plane, quality=QUALITY):
    """Sizes of the coefficients that the file holds, where pixels lay; from the pixels before compression."""
    side = len(plane)
    blocks = (plane - 128).reshape(side // 8, 8, side // 8, 8).swapaxes(1, 2)
    multiples = np.rint(np.abs(fft.dctn(blocks, axes=(2, 3), norm="ortho")) / standard_table(quality))
    return np.minimum(multiples, 20).swapaxes(1, 2).reshape(side, side)


@pytest.mark.parametrize("turned", [False, True])
def test_coefficients_and_steps_of_the_file_are_found_again_in_a_crop(turned):
    crop = decoded(scene())[3:, 5:]
    levels = in_units(seen(np.ascontiguousarray(crop.T) if turned else crop))
    coded = _Coded.of(levels)
    multiples, steps = (coded.multiples.T, coded.steps.T) if turned else (coded.multiples, coded.steps)
    assert coded.corner == ((5, 3) if turned else (3, 5))
    assert np.array_equal(steps.ravel()[1:], standard_table(QUALITY).ravel()[1:])
    told, truth = (
        each.reshape(17, 8, 17, 8)[1:, :, 1:] for each in (multiples[:136, :136], of_file(scene()))
    )
    told, truth = (each.swapaxes(1, 2).reshape(-1, 64)[:, 1:] for each in (told, truth))  # not the means
    assert (told == truth).mean() > 0.99


def test_units_of_stored_values_do_not_matter():
    plane = scene(1)
    assert np.array_equal(grey_levels(seen(plane)), plane - plane.min())
    assert np.array_equal(in_units(seen(plane)), in_units(seen((8 * plane + 512).astype(np.float32))))
    fine = plane + np.random.default_rng(0).normal(0, 1, plane.shape)
    assert grey_levels(seen(fine)) is None and grid_origin(in_units(seen(fine))) is None
    assert noise_sigma(in_units(seen(fine))) == pytest.approx(2.0, rel=1e-3)


def test_layers_are_those_of_the_paper():
    planes = planes_of(torch.tensor([[[0, 1], [20, 99]]]))
    assert planes.shape == (1, 21, 2, 2) and planes.argmax(1).tolist() == [[[0, 1], [20, 20]]]
    assert planes.sum() == 4
    net = DCTStream()
    assert net.around[0].weight.shape == (64, 21, 3, 3) and net.around[0].dilation == (8, 8)
    assert net.each[0].weight.shape == (4, 64, 1, 1) and len(net.blocks) == 4
    assert net.blocks[0].conv1.weight.shape == (96, 512, 3, 3)


def test_pixels_keep_their_place_on_any_grid():
    """A crop that begins elsewhere in a block has the same logits where both see enough."""
    examiner = DCTStreamExaminer(width=4)
    examiner.channels_ = torch.tensor(1)
    examiner._build_networks()
    examiner.net.eval()
    levels = torch.from_numpy(decoded(scene(2, 240)) - 60)[None, None]
    with torch.no_grad():
        whole, crop = examiner._filled(levels), examiner._filled(levels[..., 3:, 5:])
    assert whole.shape == levels.shape and crop.shape == (1, 1, 237, 235)
    inner = slice(100, 130)
    torch.testing.assert_close(whole[..., 3:, 5:][..., inner, inner], crop[..., inner, inner])
