"""Twelve bits in, twelve bits out: the road an image travels never passes through 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import intact
from intact.data.transforms import Preparation
from intact.image import Image

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("name", ["ramp.dcm", "ramp.png", "ramp.tif", "ramp.nii.gz", "ramp.npy"])
def test_a_12_bit_ramp_survives_read_prepare_write(tmp_path, name):
    intact.write(Image(RAMP, modality="MR", bits=12), tmp_path / name)
    image = intact.read(tmp_path / name)
    preparation = Preparation(64, "percentile", percentiles=(0.0, 100.0))
    low, high = preparation.limits(image)
    prepared, placement = preparation.prepare(image, (low, high))
    assert len(torch.unique(prepared)) == 4096

    grid = preparation.restore(prepared[0], placement).numpy()
    back = np.rint(grid * (high - low) + low).astype(np.uint16)
    intact.write(Image(back, modality="MR", bits=12), tmp_path / f"back-{name}")
    np.testing.assert_array_equal(
        np.squeeze(intact.read(tmp_path / f"back-{name}").pixels), RAMP, strict=True
    )


def test_the_test_above_would_notice_8_bits():
    cut = (RAMP >> 4).astype(np.uint8)
    prepared, _ = Preparation(64, percentiles=(0, 100)).prepare(Image(cut), (0.0, 255.0))
    assert len(torch.unique(prepared)) == 256
