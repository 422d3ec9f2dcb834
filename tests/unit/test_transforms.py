import numpy as np
import pytest
import torch

from intact.data.transforms import CT_WINDOWS, Preparation, choose_preparation
from intact.image import Image, Scale


def prepared(image, preparation):
    return preparation.prepare(image, preparation.limits(image))


def test_a_12_bit_ramp_keeps_all_4096_values():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for preparation in (
        Preparation(64, "full"),
        Preparation(64, "percentile", percentiles=(0, 100)),
    ):
        x, _ = prepared(Image(ramp, bits=12), preparation)
        assert len(torch.unique(x)) == 4096  # 8 bits would leave 256
        np.testing.assert_array_equal(np.rint(x[0].numpy() * 4095), ramp)


def test_ct_windows_become_channels_in_hu():
    stored = np.full((32, 32), 1024 - 600, np.int16)
    stored[16:] = 1024 + 40
    image = Image(stored, modality="CT", scale=Scale(1.0, -1024.0, unit="HU"), bits=12)
    preparation = choose_preparation([image], 32)
    assert preparation.windows == CT_WINDOWS
    x, _ = prepared(image, preparation)
    assert x.shape == (3, 32, 32)
    assert x[0, 4, 4] == pytest.approx(0.5, abs=1e-3)  # centre of the lung window
    assert x[1, 28, 28] == pytest.approx(0.5, abs=2e-3)  # centre of the soft tissue window
    assert x[1, 4, 4] == 0.0


def test_padding_and_nan_become_background():
    pixels = np.full((16, 16), 100.0, np.float32)
    pixels[:4] = np.nan
    pixels[8:, 8:] = 50.0
    x, _ = prepared(Image(pixels), Preparation(16, percentiles=(0, 100)))
    assert x.isfinite().all() and (x[0, :3] == 0).all()
    stored = np.full((16, 16), 1000, np.int16)
    stored[:, :4] = -2000
    stored[8:, 8:] = 500
    x, _ = prepared(Image(stored, padding=(-2000, -2000)), Preparation(16, percentiles=(0, 100)))
    assert (x[0, :, :3] == 0).all() and x[0, 2, 12] == 1.0 and x[0, 12, 12] == 0.0


def test_monochrome1_is_turned_so_that_dense_is_bright():
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:, :8] = 200
    bright, _ = prepared(Image(pixels), Preparation(16, "full"))
    dark, _ = prepared(Image(pixels, "MONOCHROME1"), Preparation(16, "full"))
    torch.testing.assert_close(dark, 1 - bright)


def test_the_physical_shape_is_kept():
    image = Image(np.ones((50, 100), np.uint8), spacing=(2.0, 0.5))  # 100 mm tall, 50 mm wide
    x, placement = prepared(image, Preparation(64, "full"))
    assert (placement.rows, placement.columns) == (64, 32)
    assert (x[0, :, :16] == 0).all() and (x[0, :, 48:] == 0).all() and (x[0, :, 16:48] > 0).all()


@pytest.mark.parametrize("shape", [(40, 40), (37, 90), (200, 31)])
def test_a_map_returns_to_where_the_pixel_was(shape):
    pixels = np.zeros(shape, np.float32)
    row, column = shape[0] // 3, 2 * shape[1] // 3
    pixels[row - 2 : row + 3, column - 2 : column + 3] = 1.0
    preparation = Preparation(64, "full")
    x, placement = prepared(Image(pixels), preparation)
    back = preparation.restore(x[0], placement).numpy()
    assert back.shape == shape
    found = np.unravel_index(back.argmax(), shape)
    scale = max(shape) / 64
    assert abs(found[0] - row) <= 2 + scale and abs(found[1] - column) <= 2 + scale


def test_colour_is_kept_when_the_normals_are_in_colour():
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0] = 255
    image = Image(rgb, "RGB")
    preparation = choose_preparation([image, image, Image(rgb[..., 0])], 16)
    assert preparation.colour
    x, _ = prepared(image, preparation)
    assert x[:, 8, 8].tolist() == [1.0, 0.0, 0.0]
    grey, _ = prepared(image, Preparation(16, "full"))
    assert grey[0, 8, 8] == pytest.approx(0.299)


def test_percentiles_are_of_the_whole_volume():
    volume = np.zeros((4, 16, 16), np.float32)
    volume[2] = np.linspace(0, 100, 256).reshape(16, 16)
    preparation = Preparation(16, percentiles=(0, 100))
    image = Image(volume)
    assert preparation.limits(image) == (0.0, 100.0)
    x, _ = preparation.prepare(image.plane(1), preparation.limits(image))
    assert (x == 0).all()
