"""Windows over an image: where their answers lie, and that no place is left out."""

import numpy as np
import pytest
import torch

from intact.forensics.learned.window_network import filled_up, window_map


@pytest.mark.parametrize("shape", [(96, 130), (58, 72)])
def test_answers_lie_at_the_middle_of_their_windows(shape):
    """The mean of a window of a ramp is the ramp at its middle."""
    ramp = np.add.outer(np.arange(shape[0]), 3 * np.arange(shape[1])).astype(np.float32)
    found = window_map(torch.from_numpy(ramp), 32, 8, lambda windows: windows.mean((1, 2))).numpy()
    assert found.shape == shape
    np.testing.assert_allclose(found[16:-16, 16:-16], ramp[16:-16, 16:-16], rtol=1e-5)


def test_the_last_window_reaches_the_far_end():
    """One bright pixel in the corner is in the last window, however the stride falls."""
    plane = torch.zeros(45, 51)
    plane[-1, -1] = 1.0
    found = window_map(plane, 32, 8, lambda windows: windows.amax((1, 2)))
    assert found[-1, -1] == 1.0 and found[0, 0] == 0.0


def test_small_images_are_filled_up_alike_on_both_ends():
    plane = torch.arange(12.0).view(3, 4)
    filled = filled_up(plane, 8)
    assert filled.shape == (8, 8) and torch.equal(filled[2:5, 2:6], plane)
    assert window_map(plane, 8, 4, lambda windows: windows.mean((1, 2))).shape == (3, 4)
