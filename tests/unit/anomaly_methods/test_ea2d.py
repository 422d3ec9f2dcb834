from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly.ea2d import EA2D, AttentiveDecoder, half_turn, view_map
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.attention import PositionAttention

FIELDS = {"size": 32, "backbone": "narrow_resnet18", "steps": 1}


def images(n=4, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def maps(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(2, 32, 8, 8), (2, 64, 4, 4), (2, 128, 2, 2), (2, 256, 1, 1)]
    return [torch.rand(shape, generator=rng) for shape in shapes]


def count(net):
    return sum(p.numel() for p in net.parameters())


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.fixture(scope="module")
def detector():
    return EA2D(**FIELDS).fit([images()])


@pytest.fixture
def in_training():
    """As it is while it learns."""
    made = EA2D(**FIELDS)
    made._build(1)
    made.encoder.load_pretrained()
    made.encoder.train()
    made.decoders.train()
    return made


@pytest.fixture(scope="module")
def full():
    """The paper's network: shapes without numbers."""
    with torch.device("meta"):
        made = EA2D(size=256, backbone="resnet50")
        made._build(1)
    return made


def test_the_papers_network_has_its_size(full):
    head = 2_049_000  # of the encoder, which the paper counts and nobody uses
    assert count(full.encoder) + count(full.decoders) + head == 51_107_116
    assert sum(count(decoder.skips) for decoder in full.decoders) == 3_280_644


def test_the_papers_maps_have_their_shapes(full):
    shapes = [(2, 256, 64, 64), (2, 512, 32, 32), (2, 1024, 16, 16)]
    *encoded, code = full.encoder(torch.empty(2, 3, 256, 256, device="meta"))
    assert tuple(code.shape) == (2, 2048, 8, 8)
    assert [tuple(m.shape) for m in encoded] == shapes
    assert [tuple(m.shape) for m in full.decoders[0]([*encoded, code])] == shapes


def test_attention_starts_as_an_identity():
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(PositionAttention(16)(x), x)


def test_attention_weighs_all_positions_values():
    net = PositionAttention(16)
    torch.nn.init.constant_(net.gamma, 0.7)
    x = torch.randn(2, 16, 3, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, query, key, value = net(x), net.query(x), net.key(x), net.value(x)
    assert query.shape[1] == key.shape[1] == 2
    places = [(a, b) for a in range(3) for b in range(2)]
    for i in range(2):
        for a, b in places:
            fit = [math.exp((query[i, :, a, b] * key[i, :, c, d]).sum()) for c, d in places]
            seen = sum(w / sum(fit) * value[i, :, c, d] for w, (c, d) in zip(fit, places, strict=True))
            torch.testing.assert_close(found[i, :, a, b], x[i, :, a, b] + 0.7 * seen, rtol=1e-4, atol=1e-5)


def test_skips_are_added_on_the_way_to_the_next_stage():
    net = AttentiveDecoder("narrow_resnet18", [32, 64, 128, 256]).eval()
    one, two, three, code = maps()
    with torch.no_grad():
        found = net([one, two, three, code])
        third = net.decoder.stages[0](code)
        second = net.decoder.stages[1](third + three)
        first = net.decoder.stages[2](second + two)
    assert all(torch.equal(f, e) for f, e in zip(found, (first, second, third), strict=True))


def test_the_loss_weighs_two_views_and_their_consistency(in_training):
    with torch.no_grad():
        views = in_training._views(images())
    slow = 0.0
    for encoded, rebuilt, _ in views:
        for e, d in zip(encoded, rebuilt, strict=True):
            slow += sum(1 - cosine(e[i].flatten().tolist(), d[i].flatten().tolist()) for i in range(4)) / 8
    one, other = (code.mean(dim=(2, 3)).tolist() for _, _, code in views)
    slow += sum(1 - cosine(a, b) for a, b in zip(one, other, strict=True)) / 8
    assert in_training._loss(images()).item() == pytest.approx(slow, abs=1e-4)


def test_the_second_view_is_the_half_turn(in_training):
    in_training.encoder.eval()
    with torch.no_grad():
        (ours, _, _), (turned, _, _) = in_training._views(images())
        expected = in_training.encoder(half_turn(images()))
    assert all(torch.equal(t, e) for t, e in zip(turned, expected[:3], strict=True))
    assert not torch.equal(ours[0], turned[0])
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert torch.equal(half_turn(x), torch.rot90(x, 2, (2, 3)))


def test_targets_give_no_gradient_but_skips_and_code_do(in_training):
    in_training._loss(images()).backward()
    found = [p.grad.clone() for p in in_training.encoder.parameters()]
    in_training.encoder.zero_grad()
    # The same with targets that were computed before.
    codes, losses = [], []
    for x, decoder in zip((images(), half_turn(images())), in_training.decoders, strict=True):
        encoded = in_training.encoder(x)
        rebuilt = decoder(encoded)
        for e, d in zip([m.detach().clone() for m in encoded[:3]], rebuilt, strict=True):
            losses.append((1 - torch.cosine_similarity(e.flatten(1), d.flatten(1))).mean() / 2)
        codes.append(encoded[3].mean(dim=(2, 3)))
    losses.append((1 - torch.cosine_similarity(*codes)).mean() / 2)
    sum(losses).backward()
    for gradient, parameter in zip(found, in_training.encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_encoder_learns_through_skips_and_code(in_training, k):
    given = [m.requires_grad_() for m in maps()]
    first, _, _ = in_training.decoders[0](given)
    (gradient,) = torch.autograd.grad(first[:, :, 0, 0].sum(), given[k])
    assert gradient.abs().max() > 0


def test_attention_learns_from_the_start(in_training):
    in_training._loss(images()).backward()
    gates = [skip.gamma for decoder in in_training.decoders for skip in decoder.skips]
    assert len(gates) == 4 and all(gate.grad.abs() > 0 for gate in gates)


def test_coarse_maps_are_repeated_and_averaged():
    encoded, rebuilt = maps(1)[:3], maps(2)[:3]
    found = view_map(encoded, rebuilt)
    for i, y, x in [(0, 0, 0), (1, 3, 6), (0, 7, 2), (1, 5, 5)]:
        places = [(y, x), (y // 2, x // 2), (y // 4, x // 4)]
        pairs = zip(encoded, rebuilt, places, strict=True)
        slow = [1 - cosine(e[i, :, a, b].tolist(), d[i, :, a, b].tolist()) for e, d, (a, b) in pairs]
        assert found[i, y, x].item() == pytest.approx(sum(slow) / 3, abs=1e-5)


def test_the_score_is_the_mean_of_both_views_maxima(detector):
    scores = detector.score(images(8))
    with torch.no_grad():
        one, other = (view_map(encoded, rebuilt) for encoded, rebuilt, _ in detector._views(images(8)))
    torch.testing.assert_close(scores.image, (one.amax(dim=(1, 2)) + other.amax(dim=(1, 2))) / 2)
    torch.testing.assert_close(scores.pixel, upsample((one + half_turn(other)) / 2, (32, 32)))


def test_with_equal_decoders_a_half_turn_turns_the_map():
    made = EA2D(**FIELDS).fit([images()])
    made.decoders[1].load_state_dict(made.decoders[0].state_dict())
    upright, turned = made.score(images()), made.score(half_turn(images()))
    torch.testing.assert_close(turned.image, upright.image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.pixel, half_turn(upright.pixel), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [{"size": 48}, {"pooling": "median"}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        EA2D(**fields)
