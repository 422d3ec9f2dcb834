"""Changes travel in few bytes and come back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from intact.protect.change import pack_change, unpack_change


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 33, 47), (2, 1, 9)])
@pytest.mark.parametrize("tile", [1, 2, 3, 7, 16, 18])
def test_any_change_comes_back(shape, tile):
    change = made(shape, tile)
    np.testing.assert_array_equal(unpack_change(pack_change(change), shape), change, strict=True)


def test_nothing_takes_nothing():
    assert pack_change(np.zeros((1, 9, 9), np.int32)) == b""
    assert not unpack_change(b"", (1, 9, 9)).any()


def test_planes_changed_alike_everywhere_come_back():
    for shape in ((1, 40, 50), (3, 1, 1)):
        change = np.full(shape, -5, np.int32)
        np.testing.assert_array_equal(unpack_change(pack_change(change), shape), change)


def test_larger_squares_are_cheaper():
    sizes = [len(pack_change(made((1, 224, 224), tile))) for tile in (1, 2, 4, 8)]
    assert all(4 * fewer < 2 * more for more, fewer in pairwise(sizes))


def test_a_change_of_other_planes_is_refused():
    code = pack_change(made((1, 32, 32), 2))
    for shape in ((1, 32, 34), (2, 32, 32)):
        with pytest.raises(ValueError, match="other planes"):
            unpack_change(code, shape)
    with pytest.raises(ValueError, match="other planes"):
        unpack_change(b"\0\3" + code[2:], (1, 32, 32))
    with pytest.raises(ValueError, match="other planes"):
        unpack_change(b"\0\0" + code[2:], (1, 32, 32))


def made(shape, tile):
    rng = np.random.default_rng(tile)
    p, h, w = shape
    levels = rng.integers(-8, 9, (p, -(-h // tile), -(-w // tile)))
    return levels.repeat(tile, 1).repeat(tile, 2)[:, :h, :w].astype(np.int32)
