import math

import pytest
import torch
from torch import nn

from intact.anomaly.fastflow import FastFlow
from intact.filters import upsample
from intact.nets.flow import AffineCoupling, Flow, negative_log_likelihood, two_convolutions

LAYERS = ("layer1", "layer2", "layer3")


def busy(flow):
    """A flow whose parameters all matter, in float64."""
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.5)
    return flow.double()


class Fixed(nn.Module):
    """In place of a network: answers every pixel with a fixed vector."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer.view(1, -1, 1, 1).expand(len(x), -1, *x.shape[2:])


@pytest.fixture
def flow():
    torch.manual_seed(0)
    return busy(Flow(5, [two_convolutions(3, 3), two_convolutions(1, 1), two_convolutions(3, 1)]))


@pytest.fixture(scope="module")
def fitted():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 32, 32, generator=rng)
    detector = FastFlow(size=32, backbone="narrow_resnet18", couplings=2, steps=2)
    return detector.fit([images[:4], images[4:]])


def test_the_inverse_undoes_the_flow(flow):
    x = torch.randn(3, 5, 6, 4, dtype=torch.float64)
    z, _ = flow(x)
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(flow.inverse(z), x)


def test_the_log_determinant_is_that_of_the_jacobian(flow):
    x = torch.randn(1, 5, 2, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v.view(x.shape))[0].flatten(), x.flatten())
    torch.testing.assert_close(flow(x)[1][0], torch.linalg.slogdet(jacobian)[1])


def test_a_coupling_computes_what_real_nvp_says():
    torch.manual_seed(0)
    answer = torch.tensor([3.0, -200.0, 5.0, 7.0])  # two log scales, two shifts, before the shrinking
    coupling = AffineCoupling(5, lambda inputs, outputs: Fixed(answer), clamp=2.0)
    x = torch.randn(1, 5, 1, 1)
    y, log_det = coupling(x)
    v = x.flatten().tolist()
    log_scales = [2.0 * math.tanh(0.3), 2.0 * math.tanh(-20.0)]
    plain = [*v[:3], v[3] * math.exp(log_scales[0]) + 0.5, v[4] * math.exp(log_scales[1]) + 0.7]
    wanted = torch.tensor([plain[i] for i in coupling.order])
    torch.testing.assert_close(y.flatten(), wanted)
    torch.testing.assert_close(log_det, torch.tensor([sum(log_scales)]), rtol=1e-5, atol=1e-5)
    assert sorted(coupling.order.tolist()) == list(range(5))


def test_likelihoods_are_those_of_the_gaussian():
    z, log_det = torch.randn(2, 3, 4, 4), torch.tensor([1.5, -2.0])
    each = negative_log_likelihood(z, log_det)
    gaussian = torch.distributions.Normal(0.0, 1.0)
    for i in range(2):
        total = sum(float(gaussian.log_prob(value)) for value in z[i].flatten())
        assert float(each[i]) == pytest.approx(-(total + float(log_det[i])), rel=1e-5)


@pytest.mark.parametrize(("kernels", "millions"), [((3, 1), 2.6), ((3,), 4.7)])
def test_parameters_of_the_flows_are_as_many_as_reproductions_count(kernels, millions):
    # https://github.com/gathierry/FastFlow/issues/2; the paper's table says 2.7 M and 4.9 M.
    detector = FastFlow(couplings=8, kernels=kernels)
    detector._build(1)
    assert round(sum(p.numel() for p in detector.flows.parameters()) / 1e6, 1) == millions


def test_maps_have_the_strides_of_the_stages(fitted):
    shapes = [tuple(z.shape) for z, _ in fitted._flow(torch.rand(2, 1, 32, 32))]
    assert shapes == [(2, 32, 8, 8), (2, 64, 4, 4), (2, 128, 2, 2)]


@torch.no_grad()
def test_the_flow_reads_normalised_maps(fitted):
    images = torch.rand(2, 1, 32, 32)
    for (z, _), flow, m in zip(fitted._flow(images), fitted.flows, fitted.eyes(images), strict=True):
        x = flow.inverse(z)
        for i in range(2):
            one = m[i]
            wanted = (one - one.mean()) / (one.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(x[i], wanted, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_score_is_one_minus_the_mean_density(fitted):
    images = torch.rand(8, 1, 32, 32)
    scores = fitted.score(images)
    maps = []
    for z, _ in fitted._flow(images):
        n, _, h, w = z.shape
        one = torch.empty(n, h, w)
        for i in range(n):
            for row in range(h):
                for column in range(w):
                    one[i, row, column] = 1 - math.exp(-0.5 * float((z[i, :, row, column] ** 2).mean()))
        maps.append(upsample(one, (32, 32)))
    wanted = torch.stack(maps).mean(dim=0)
    torch.testing.assert_close(scores.pixel, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.image, wanted.amax(dim=(1, 2)), rtol=1e-4, atol=1e-5)


def test_training_makes_the_normals_likelier_and_leaves_the_backbone_alone():
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(8, 1, 32, 32, generator=rng)

    def surprise(steps):
        detector = FastFlow(size=32, backbone="narrow_resnet18", couplings=2, steps=steps)
        detector.fit([images])
        with torch.no_grad():
            each = [negative_log_likelihood(z, log_det) for z, log_det in detector._flow(images)]
        return float(torch.stack(each).mean()), detector

    (before, short), (after, long) = surprise(1), surprise(12)
    assert after < before - 100
    assert not any(p.requires_grad for p in long.eyes.parameters())
    for ours, theirs in zip(short.eyes.parameters(), long.eyes.parameters(), strict=True):
        assert torch.equal(ours, theirs)
