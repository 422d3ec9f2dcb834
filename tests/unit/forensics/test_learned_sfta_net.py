"""SFTA-Net: triplets, kinds of processing, embeddings on a grid."""

import numpy as np
import pytest
import torch

from intact.forensics.learned.processed import KINDS, processed
from intact.forensics.learned.sfta_net import SFTANet, precision, semi_hard
from intact.nets.sfta import TraceEncoder


def test_the_nearest_of_the_farther_ones_is_the_negative():
    """Anchors at 0 and 1 on a line; strangers at 0.5 (too near for both), 1.2 and 3."""
    at = torch.tensor([[0.0], [1.0], [0.5], [1.2], [3.0]])
    history = torch.tensor([0, 0, 1, 2, 3])
    # From 0: positive 1 away, nearest farther stranger 1.2 -> 1 - 1.44 + 0.5. From 1: 2 away -> 1 - 4 + 0.5.
    wanted = (max(0.0, 1 - 1.44 + 0.5) + max(0.0, 1 - 4 + 0.5)) / 2
    assert float(semi_hard(at, history, 0.5)) == pytest.approx(wanted, abs=1e-5)


def test_where_no_stranger_is_farther_the_farthest_counts():
    at, history = torch.tensor([[0.0], [2.0], [1.0], [0.8]]), torch.tensor([0, 0, 1, 2])
    # From 0 and from 2 the positive is 4 away; of strangers the farthest has 1, and 1.44.
    assert float(semi_hard(at, history, 0.3)) == pytest.approx((4 - 1 + 0.3 + 4 - 1.44 + 0.3) / 2, abs=1e-5)


def test_embeddings_have_length_1_and_lie_eight_pixels_apart():
    net = TraceEncoder(1, (8, 8, 16, 16), 64, 12).eval()
    embeddings, told = net(torch.randn(2, 1, 40, 64))
    assert embeddings.shape == (2, 64, 5, 8) and told.shape == (2, 12, 5, 8)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2, 5, 8))
    moved = net(torch.randn(1, 1, 64, 64) + 5.0)[0]
    assert moved.isfinite().all()


def test_filters_see_no_brightness():
    net = TraceEncoder(1, (8, 8, 16, 16), 64, 12).eval()
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(net(x)[0], net(x + 3.0)[0], rtol=1e-3, atol=1e-4)


def test_each_kind_of_processing_changes_traces_and_keeps_the_picture():
    assert len(KINDS) == 12
    smooth = torch.linspace(-1, 1, 48)[:, None].expand(48, 48)
    rng = torch.Generator().manual_seed(0)
    patches = smooth + 0.05 * torch.randn(12, 48, 48, generator=rng)
    done = processed(patches, list(range(12)), rng)
    assert done.shape == patches.shape and done.isfinite().all()
    for before, after in zip(patches, done, strict=True):
        assert float((after - before).abs().mean()) > 0.002
        assert np.corrcoef(before.numpy().ravel(), after.numpy().ravel())[0, 1] > 0.95


def test_distances_are_told_where_the_odd_patch_lies():
    """With an encoder that is put in place, the peak of the map lies on the patch that differs."""
    examiner = SFTANet(widths=(8, 8, 8, 8))
    torch.manual_seed(0)
    examiner._build(1)
    examiner.net.eval()
    seen = 0.1 * torch.randn(96, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        examiner.precision_ = precision(examiner._embedded(seen)[None])
        seen[40:64, 56:80] *= 10.0
        found = examiner._measure(seen)
    assert found.shape == (96, 96)
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    assert 28 <= row < 76 and 44 <= column < 92  # as far as an embedding sees


def test_a_large_plane_is_embedded_in_windows_as_a_whole(monkeypatch):
    examiner = SFTANet(widths=(8, 8, 8, 8))
    torch.manual_seed(0)
    examiner._build(1)
    examiner.net.eval()
    seen = torch.randn(230, 300, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        whole = examiner._embedded(seen)
        monkeypatch.setattr("intact.forensics.learned.sfta_net.WINDOW", 192)
        parts = examiner._embedded(seen)
    assert parts.shape == whole.shape == (64, 29, 38)
    alike = (parts - whole).norm(dim=0) < 0.1
    assert alike.float().mean() > 0.6  # elsewhere windows end, and see no further
