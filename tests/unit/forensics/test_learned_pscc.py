"""PSCC-Net has the layers of its paper, and its masks go from coarse to fine."""

import numpy as np
import pytest
import torch

from intact.forensics.learned.pscc import answers_loss, balanced
from intact.nets.pscc import PSCC, SCCM, Answers


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_it_has_as_many_parameters_as_the_authors_published():
    """Of correlations with masks, and of the head; the authors' head has a second output."""
    net = PSCC(3, width=18, stem=64)
    assert parameters(net.correlations) + parameters(net.masks) == 719_824
    assert parameters(net.head) == 919_546 - 17


def test_masks_have_four_resolutions_and_the_finest_that_of_the_image():
    net = PSCC(1, width=4, stem=4).eval()
    answers = net.judge(torch.randn(2, 1, 64, 48))
    assert [tuple(mask.shape) for mask in answers.masks] == [(2, 1, 64 // k, 48 // k) for k in (1, 2, 4, 8)]
    assert answers.image.shape == (2, 1)


def test_a_correlation_compares_blocks_and_channels():
    """The formula of the paper, in numpy, for one image and blocks of 2 x 2 pixels."""
    torch.manual_seed(0)
    module = SCCM(3, 2).double()
    module.gamma_place.data.fill_(0.7)
    x = 0.3 * torch.randn(1, 3, 4, 6, dtype=torch.float64)

    def matrix(conv, columns):
        return conv.weight.detach().numpy()[:, :, 0, 0] @ columns + conv.bias.detach().numpy()[:, None]

    def softmax(values):
        values = np.exp(values - values.max(axis=-1, keepdims=True))
        return values / values.sum(axis=-1, keepdims=True)

    # Channel 4c + 2i + j of a place is pixel (i, j) of its block in channel c.
    blocks = x[0].numpy().reshape(3, 2, 2, 3, 2).transpose(0, 2, 4, 1, 3).reshape(12, 6)
    theta, phi, g = (matrix(conv, blocks) for conv in (module.theta, module.phi, module.g))
    told = [
        mixed.reshape(3, 2, 2, 2, 3).transpose(0, 3, 1, 4, 2).reshape(3, 24)
        for mixed in (g @ softmax(theta.T @ phi).T, softmax(theta @ phi.T).T @ g)
    ]
    place, channel = matrix(module.by_place, told[0]), matrix(module.by_channel, told[1])
    expected = x[0].numpy().reshape(3, 24) + 0.7 * place + channel
    assert module(x)[0].detach().numpy().reshape(3, 24) == pytest.approx(expected)


def test_a_coarse_mask_that_sees_nothing_blinds_the_next():
    """Where the coarsest mask is 0 everywhere, the next is told from a map of zeros."""
    net = PSCC(1, width=4, stem=4).eval()
    net.masks[3][2].weight.data.zero_()
    net.masks[3][2].bias.data.fill_(-200.0)
    one, other = (net.judge(torch.randn(1, 1, 32, 32)).masks[2] for _ in range(2))
    assert torch.equal(one, other)


def test_forged_and_genuine_pixels_weigh_half_each_and_unknown_ones_nothing():
    logits, target = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    target[..., 0, 0], target[..., 1, :] = 1.0, -1.0
    logits[..., 0, 0], logits[..., 1, :] = -3.0, 50.0
    expected = (np.log1p(np.exp(3.0)) + np.log(2.0)) / 2
    assert float(balanced(logits, target)) == pytest.approx(expected)
    masks = [logits, *(torch.zeros(1, 1, n, n) for n in (4, 2, 1))]
    loss = answers_loss(Answers(masks, torch.zeros(1, 1), []), target)
    assert float(loss) == pytest.approx(expected + 4 * np.log(2.0))
