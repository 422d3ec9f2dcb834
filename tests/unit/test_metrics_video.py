"""The temporal consistency error is what it is by definition, and where the film breaks it says so."""

import numpy as np
import pytest
from scipy import ndimage

from intact.metrics.video import (
    backward_flow,
    local_consistency,
    locally_normalised,
    normalised,
    robust_z,
    temporal_consistency,
    warped,
)

STEP = 0.7  # pixels per frame


def moving(frames=20, noise=0.05, seed=0, side=96):
    """Texture of deviation 1 that moves to the left, with its flow to the frame before."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(side, side + 40)), 3)
    texture /= texture.std()
    rows, columns = np.indices((side, side), float)
    film = [ndimage.map_coordinates(texture, [rows, columns + 10 + STEP * t], order=3) for t in range(frames)]
    film = (np.stack(film) + noise * rng.normal(size=(frames, side, side))).astype(np.float32)
    flow = np.zeros((frames - 1, side, side, 2), np.float32)
    flow[..., 0] = STEP
    return film, flow, np.ones(flow.shape[:3], bool)


def test_the_error_of_a_moving_texture_is_that_of_its_noise():
    assert temporal_consistency(*moving()).mean() == pytest.approx(0.055, rel=0.1)


def test_the_error_is_its_definition_pixel_by_pixel():
    film, flow, trusted = moving(3)
    trusted[:, :, :20] = False
    flow[...] = (1, 2)  # a whole number of pixels
    for p in (1.0, 2.0):
        slow = [
            np.mean(
                [
                    abs(film[t + 1][r, c] - film[t][r + 2, c + 1]) ** p
                    for r in range(90)
                    for c in range(20, 90)
                ]
            )
            ** (1 / p)
            for t in range(2)
        ]
        inner = trusted.copy()
        inner[:, 90:] = inner[:, :, 90:] = False
        np.testing.assert_allclose(temporal_consistency(film, flow, inner, p), slow, rtol=1e-4)


def test_frames_left_out_and_doubled_stand_out():
    film, flow, trusted = moving()
    left_out = np.delete(film, [9, 10, 11], axis=0)
    n = len(left_out) - 1
    z = robust_z(temporal_consistency(left_out, flow[:n], trusted[:n]))
    assert z.argmax() == 8 and z[8] > 50 and np.delete(z, 8).max() < 5
    doubled = np.insert(film, 10, film[9], axis=0)
    more = np.concatenate([flow, flow[:1]]), np.concatenate([trusted, trusted[:1]])
    z = robust_z(temporal_consistency(doubled, *more))
    assert z.argmax() == 9 and z[9] > 20


def test_estimated_flow_is_the_motion():
    film, flow, _ = moving(6)
    found, trusted = backward_flow(film)
    assert np.abs(found - flow)[trusted].mean() < 0.1 and trusted.mean() > 0.95
    assert temporal_consistency(film, found, trusted).mean() < 0.06


def test_a_part_that_jumps_is_told_by_its_cell():
    film, flow, trusted = moving(6)
    film[3:, 32:64, 64:96] = film[3:, 40:72, 10:42]
    local = local_consistency(film, flow, trusted)
    assert local.shape == (5, 3, 3)
    assert np.unravel_index(local.argmax(), local.shape) == (2, 1, 2)


def test_warping_reads_where_the_flow_leads():
    frame = np.arange(48, dtype=np.float32).reshape(6, 8)
    flow = np.zeros((6, 8, 2), np.float32)
    flow[..., 0] = 0.5
    np.testing.assert_allclose(warped(frame, flow)[:, :-1], frame[:, :-1] + 0.5)


def test_deviations_have_a_floor():
    curve = np.array([1.0, 1.0, 1.0, 1.0, 1.5])
    np.testing.assert_allclose(robust_z(curve), [0, 0, 0, 0, 10])
    assert (robust_z(np.zeros(5)) == 0).all()


def test_local_normalisation_is_blind_to_contrast():
    film, *_ = moving(2)
    shown = normalised(film)
    np.testing.assert_allclose(locally_normalised(2 * shown), locally_normalised(shown), atol=1e-3)
    assert np.isfinite(locally_normalised(np.zeros((2, 40, 40), np.float32))).all()
