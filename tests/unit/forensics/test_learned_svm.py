"""The support vector machine: its statistics, and its answers from saved tensors."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from intact.forensics.learned.svm import SVM, adjacencies, machine_answers, statistics
from intact.image import Image


def test_saved_tensors_answer_as_the_machine_does():
    rng = np.random.default_rng(0)
    points, truth = rng.normal(0, 1, (120, 5)), rng.random(120) < 0.5
    machine = SVC(C=10.0, gamma=1 / 5).fit(points, truth)
    saved = (machine.support_vectors_, machine.dual_coef_[0], machine.intercept_)
    found = machine_answers(*(torch.from_numpy(each) for each in (points, *saved)))
    np.testing.assert_allclose(found.numpy(), machine.decision_function(points), atol=1e-9)


def test_adjacencies_are_counted_in_all_eight_directions():
    window = np.random.default_rng(1).integers(0, 5, (9, 9))
    found = adjacencies(torch.from_numpy(window)[None].float())[0].reshape(2, 7, 7).numpy()
    groups = [[(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (-1, -1), (1, -1), (-1, 1)]]
    for told, directions in zip(found, groups, strict=True):
        wanted = np.zeros((7, 7))
        for down, across in directions:
            counts = np.zeros((7, 7))
            for row in range(9):
                for column in range(9):
                    ends = (row + 2 * down, column + 2 * across)
                    if min(ends) >= 0 and max(ends) < 9:
                        a, b, c = (window[row + k * down, column + k * across] for k in range(3))
                        counts[np.clip(a - b, -3, 3) + 3, np.clip(b - c, -3, 3) + 3] += 1
            wanted += counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) / 4
        np.testing.assert_allclose(told, wanted, atol=1e-6)


def test_a_window_has_220_statistics_and_a_constant_one_too():
    windows = torch.randn(3, 36, 36, generator=torch.Generator().manual_seed(0)) * 3
    windows[2] = 7.0
    found = statistics(windows)
    assert found.shape == (3, 220) and found.isfinite().all()
    torch.testing.assert_close(found[:2], statistics(windows[:2]))
    torch.testing.assert_close(statistics(windows[:1].flip(2))[:, :98], found[:1, :98])


def test_forgeries_that_are_too_small_for_its_windows_are_refused():
    rng, mask = np.random.default_rng(0), np.zeros((64, 64), np.uint8)
    mask[30:33, 30:33] = 1
    lessons = [(Image(rng.integers(0, 999, (64, 64)).astype(np.uint16)), m) for m in (mask, 0 * mask)]
    with pytest.raises(ValueError, match="smaller windows"):
        SVM(windows=64).fit(lessons)
