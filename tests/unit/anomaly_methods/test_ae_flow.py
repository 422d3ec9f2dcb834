import math

import pytest
import torch

from intact.anomaly import ae_flow
from intact.anomaly.ae_flow import AEFlow, Rest, among
from intact.errors import TooFewNormalsError
from intact.filters import upsample
from intact.losses import ssim_map
from intact.nets.convolutions import doubling
from intact.nets.flow import Flow, two_convolutions

SMALL = {"size": 32, "backbone": "narrow_resnet18", "couplings": 2}


def noise(n, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fitted():
    return AEFlow(**SMALL, steps=2).fit(list(noise(16).split(8)))


@pytest.fixture
def untrained(monkeypatch):
    """A detector whose training was recorded instead of done, and the record."""
    record = {}

    def remember(net, loss, batches, **options):
        net.eval()
        record.update(options, net=net, loss=loss, batches=batches)

    monkeypatch.setattr(ae_flow, "train", remember)
    return AEFlow(**SMALL).fit(list(noise(16).split(8))), record


def test_the_flow_is_that_of_the_reproduction():
    # 1024 x 16 x 16 features, 8 steps: 3 x 3 from half to half, 1 x 1 from half to all.
    flow = Flow(1024, [two_convolutions(3, 1)] * 8)
    step = (9 * 512 * 512 + 512) + (512 * 1024 + 1024) + 2 * 1024
    assert sum(p.numel() for p in flow.parameters()) == 8 * step


def test_the_decoder_doubles_four_times():
    decoder = doubling((64, 32, 16, 8, 3))
    assert decoder(torch.randn(2, 64, 4, 3)).shape == (2, 3, 64, 48)
    transposed = 4 * (64 * 32 + 32 * 16 + 16 * 8 + 8 * 3) + 32 + 16 + 8 + 3
    plain = 9 * (32 * 32 + 16 * 16 + 8 * 8) + 32 + 16 + 8
    assert sum(p.numel() for p in decoder.parameters()) == transposed + plain


def test_shapes_are_those_of_layer3(fitted):
    z, log_det, rebuilt = fitted._look(noise(3))
    assert z.shape == (3, 128, 2, 2) and log_det.shape == (3,) and rebuilt.shape == (3, 1, 32, 32)


@torch.no_grad()
def test_the_loss_is_bits_per_dimension_and_the_squared_error(untrained):
    detector, record = untrained
    images = noise(2, seed=7)
    z, log_det, rebuilt = detector._look(images)
    gaussian = torch.distributions.Normal(0.0, 1.0)
    bits = 0.0
    for i in range(2):
        log_p = sum(float(gaussian.log_prob(v)) for v in z[i].flatten()) + float(log_det[i])
        bits -= log_p / (128 * 2 * 2 * math.log(2)) / 2
    squared = sum(float(e) ** 2 for e in (rebuilt - images).flatten()) / images.numel()
    assert record["loss"](images).item() == pytest.approx(0.5 * bits + 0.5 * squared, rel=1e-4)


def test_only_flow_and_decoder_learn(untrained):
    detector, record = untrained
    learned = {id(p) for group in record["optimiser"].param_groups for p in group["params"]}
    assert learned == {id(p) for net in (detector.flow, detector.decoder) for p in net.parameters()}


@torch.no_grad()
def test_terms_are_standardised_on_normals_that_are_not_trained_on(untrained):
    detector, record = untrained
    images = noise(16)
    held = torch.cat([images[0:8:4], images[8:16:4]])
    shown = torch.cat(list(record["batches"]))
    assert len(shown) == 12 and not among(shown, held).any()
    for term, mean, spread in zip(detector._terms(held), detector.mean_, detector.spread_, strict=True):
        values = [float(v) for v in term.flatten()]
        middle = sum(values) / len(values)
        deviation = math.sqrt(sum((v - middle) ** 2 for v in values) / (len(values) - 1))
        assert float(mean) == pytest.approx(middle, rel=1e-4)
        assert float(spread) == pytest.approx(deviation, rel=1e-3)


@torch.no_grad()
def test_the_score_mixes_the_standardised_terms(fitted):
    images = noise(8, seed=3)
    scores = fitted.score(images)
    z, _, rebuilt = fitted._look(images)
    (m, s) = fitted.mean_.tolist(), fitted.spread_.tolist()
    alike = ssim_map(images, rebuilt)
    coarse = torch.empty(8, 2, 2)
    for i in range(8):
        log_density = sum(-0.5 * float(v) ** 2 - 0.5 * math.log(2 * math.pi) for v in z[i].flatten())
        unlikely = -math.exp(log_density / z[i].numel())
        wanted = 0.9 * (unlikely - m[0]) / s[0] + 0.1 * (-float(alike[i].mean()) - m[1]) / s[1]
        assert float(scores.image[i]) == pytest.approx(wanted, rel=1e-3, abs=1e-3)
        for row in range(2):
            for column in range(2):
                coarse[i, row, column] = -math.exp(-0.5 * float((z[i, :, row, column] ** 2).mean()))
    pixel = 0.9 * (upsample(coarse, (32, 32)) - m[2]) / s[2]
    pixel = pixel + 0.1 * ((images - rebuilt).abs()[:, 0] - m[3]) / s[3]
    torch.testing.assert_close(scores.pixel, pixel, rtol=1e-3, atol=1e-3)


def test_held_back_images_are_known_again_in_any_order():
    images, held = noise(6), noise(6)[[4, 1]]
    assert among(images, held).tolist() == [False, True, False, False, True, False]
    rest = Rest([images[[4, 0]], images[[1, 4]], images[[5, 1, 2]]], held)
    for _ in range(2):
        kept = list(rest)
        assert [len(batch) for batch in kept] == [1, 2]
        assert torch.equal(kept[0][0], images[0]) and torch.equal(kept[1], images[[5, 2]])


def test_at_most_64_are_held_back(untrained):
    detector, record = untrained
    detector.fit([noise(300)])
    assert sum(len(batch) for batch in record["batches"]) == 300 - 64


def test_too_few_normals_to_hold_some_back_are_refused():
    with pytest.raises(TooFewNormalsError, match="held back"):
        AEFlow(**SMALL).fit([noise(4)])
