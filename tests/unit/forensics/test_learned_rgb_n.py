"""Region networks: boxes, regions, and what of a crop they learn from."""

import pytest
import torch

from intact.forensics.learned.faster_rcnn import FasterRCNN
from intact.forensics.learned.region_network import NOTHING, Painter, forged_boxes, region_loss
from intact.forensics.learned.rgb_n import RGBN
from intact.nets.boxes import aligned, anchors, decode, encode, overlap, suppressed
from intact.nets.region_network import RegionNetwork, bilinear


def test_anchors_have_the_areas_and_ratios_of_the_paper():
    found = anchors((2, 3), 4, (4, 32), (0.5, 1.0, 2.0)).view(2, 3, 6, 4)
    sides = found[..., 2:] - found[..., :2]
    torch.testing.assert_close(sides.prod(dim=3)[0, 0], torch.tensor([16.0] * 3 + [1024.0] * 3))
    torch.testing.assert_close((sides[..., 0] / sides[..., 1])[1, 2], torch.tensor([0.5, 1, 2] * 2))
    torch.testing.assert_close((found[..., :2] + found[..., 2:])[1, 2, 0] / 2, torch.tensor([6.0, 10.0]))


def test_boxes_are_compared_coded_and_thinned_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 5, 10, 15], [20, 20, 30, 40], [0, 1, 10, 11]])
    torch.testing.assert_close(overlap(boxes[:1], boxes)[0], torch.tensor([1.0, 50 / 150, 0.0, 90 / 110]))
    torch.testing.assert_close(decode(encode(boxes, boxes.flip(0)), boxes.flip(0)), boxes)
    # Ren et al., Eq. 2: the middle's way in sides of the anchor, the logarithm of the sides' ratio.
    coded = encode(torch.tensor([[0.0, 0, 20, 10]]), torch.tensor([[0.0, 0, 10, 10]]))
    torch.testing.assert_close(coded, torch.tensor([[0.5, 0.0, 0.6931472, 0.0]]))
    assert suppressed(boxes, torch.tensor([0.1, 0.5, 0.3, 0.9]), 0.7).tolist() == [3, 1, 2]


def test_regions_of_a_ramp_are_its_values_there():
    """A map whose place (i, j) covers pixels 4i to 4i + 4 and holds its middle's row."""
    rows = (4 * torch.arange(16.0) + 2)[:, None].expand(16, 16)
    seen = aligned(torch.stack([rows, rows.T]), torch.tensor([[8.0, 12.0, 36.0, 40.0]]), 4, 7)
    middles = 8 + 28 * (torch.arange(7) + 0.5) / 7
    torch.testing.assert_close(seen[0, 0], middles[:, None].expand(7, 7))
    torch.testing.assert_close(seen[0, 1], (middles + 4).expand(7, 7))


def test_bilinear_pooling_is_the_signed_root_of_summed_outer_products():
    one, other = torch.randn(2, 3, 7, 7), torch.randn(2, 5, 7, 7)
    wanted = sum(
        one[0, :, i, j, None] * other[0, None, :, i, j] for i in range(7) for j in range(7)
    ).flatten()  # fmt: skip
    wanted = wanted.sign() * wanted.abs().sqrt()
    torch.testing.assert_close(bilinear(one, other)[0], wanted / wanted.norm(), rtol=1e-3, atol=1e-4)


def test_only_the_noise_stream_sets_the_two_apart_and_proposals_never_see_it():
    torch.manual_seed(0)
    net = RegionNetwork(8, (8, 16), noise=True).eval()
    maps = net.maps(torch.randn(1, 1, 64, 64))
    assert len(maps) == 2 and maps[0].shape == maps[1].shape == (1, 32, 16, 16)
    maps[1] *= 0
    proposed = net.proposals(maps[0][0], (64, 64), 100, 20)
    assert proposed.logits.shape == (16 * 16 * 6,) and len(proposed.boxes) <= 20
    assert net.judge.in_features == 32 * 32
    assert RGBN()._network(1).regions.noise is not None
    assert FasterRCNN()._network(1).regions.noise is None


def test_boxes_are_those_of_connected_forged_pixels():
    target = torch.zeros(40, 40)
    target[3:9, 4:14], target[20:22, 20:22], target[30:40, 0:5] = 1.0, 1.0, 1.0
    target[9:12, 4:14] = -1.0
    assert forged_boxes(target).tolist() == [[3, 4, 9, 14], [30, 0, 40, 5]]
    assert forged_boxes(torch.zeros(40, 40)).shape == (0, 4)


@pytest.mark.parametrize("forged", [True, False])
def test_crops_with_and_without_a_forgery_are_learned_from(forged):
    torch.manual_seed(0)
    net, target = RegionNetwork(8, (16,), noise=True), torch.zeros(2, 64, 64)
    if forged:
        target[0, 20:36, 20:36] = 1.0
    loss = region_loss(net, torch.randn(2, 1, 64, 64), target)
    loss.backward()
    assert loss.isfinite() and net.judge.weight.grad.abs().sum() > 0
    assert (net.draw.weight.grad.abs().sum() > 0) == forged


def test_the_surest_box_is_painted_on_top():
    class Fixed:
        def __call__(self, x):
            boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 25, 25], [40, 40, 44, 50]])
            return [(boxes, torch.tensor([3.0, 1.0, -2.0]))]

    painter = Painter(RegionNetwork(8, (16,), noise=False))
    del painter.regions
    painter.regions = Fixed()
    painted = painter(torch.zeros(1, 1, 64, 64))[0, 0]
    assert painted[7, 7] == 3 and painted[15, 15] == 1 and painted[42, 45] == -2
    assert painted[60, 60] == NOTHING
