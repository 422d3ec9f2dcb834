import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import uniad
from intact.anomaly.uniad import UniAD, jittered
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.token_transformer import DecoderLayer, TokenTransformer, neighbour_mask

SMALL = {
    "size": 64,
    "backbone": "narrow_resnet18",
    "width": 16,
    "heads": 2,
    "hidden": 16,
    "depth": 2,
    "neighbours": 3,
}


@pytest.fixture(scope="module")
def fitted():
    images = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return UniAD(**SMALL, steps=2).fit([images[:4], images[4:]])


def test_the_full_network_has_as_many_parameters_as_the_authors():
    # Counted from the authors' configuration: 272 channels of EfficientNet-B4, 14 x 14 tokens.
    attention = 4 * (256 * 256 + 256)
    linears = 256 * 1024 + 1024 + 1024 * 256 + 256
    encoder = attention + linears + 2 * 2 * 256
    decoder = 14 * 14 * 256 + 2 * attention + linears + 3 * 2 * 256
    ends = 272 * 256 + 256 + 256 * 272 + 272 + 2 * 256 + 2 * 14 * 128
    net = TokenTransformer(272, 14)
    assert sum(p.numel() for p in net.parameters()) == 4 * encoder + 4 * decoder + ends == 7_717_392


def test_the_mask_hides_a_square_around_each_token():
    hidden = neighbour_mask(6, 5)
    for a in range(36):
        for b in range(36):
            near = abs(a // 6 - b // 6) <= 2 and abs(a % 6 - b % 6) <= 2
            assert bool(hidden[a, b]) == near


def test_attention_sees_all_but_the_neighbours():
    torch.manual_seed(0)
    net = TokenTransformer(4, 8, width=16, heads=2, hidden=16, depth=1, neighbours=5).eval()
    layers = [net.encoder[0].look, net.decoder[0].recall, net.decoder[0].look]
    given = []

    def remember(module, args, keywords, out):
        given.append(keywords["attn_mask"])

    for look in layers:
        look.register_forward_hook(remember, with_kwargs=True)
    net(torch.randn(1, 64, 4))
    middle, near = 3 * 8 + 3, neighbour_mask(8, 5)
    for look, mask in zip(layers, list(given), strict=True):
        query, key = torch.randn(1, 64, 16), torch.randn(1, 64, 16, requires_grad=True)
        seen = look(query, key, key, attn_mask=mask, need_weights=False)[0]
        (gradient,) = torch.autograd.grad(seen[0, middle].square().sum(), key)
        assert torch.equal(gradient[0].abs().sum(dim=1) > 0, ~near[middle])


def test_the_decoder_asks_with_its_own_queries():
    torch.manual_seed(0)
    layer = DecoderLayer(9, 8, 2, 8, 0.0).eval()
    place, hide = torch.randn(9, 8), neighbour_mask(3, 1)
    x, memory = torch.randn(1, 9, 8), torch.randn(1, 9, 8)

    def norm(y, i):
        return F.layer_norm(y, (8,), layer.norms[i].weight, layer.norms[i].bias)

    y = layer.query[None]
    y = norm(y + layer.recall(y + place, memory + place, memory, attn_mask=hide)[0], 0)
    y = norm(y + layer.look(y + place, x + place, x, attn_mask=hide)[0], 1)
    y = norm(y + layer.think(y), 2)
    torch.testing.assert_close(layer(x, memory, place, hide), y)


def test_a_token_knows_its_row_and_column():
    net = TokenTransformer(2, 4, width=8, heads=1, hidden=8, depth=1, neighbours=1)
    places = []
    net.encoder[0].register_forward_hook(lambda module, given, out: places.append(given[1]))
    net(torch.randn(1, 16, 2))
    for t in range(16):
        wanted = torch.cat([net.columns[0, t % 4], net.rows[t // 4, 0]])
        assert torch.equal(places[0][t], wanted)


def test_jitter_is_as_strong_as_the_token_is_long():
    torch.manual_seed(0)
    tokens = torch.ones(1, 2, 20_000) * torch.tensor([1.0, 3.0])[None, :, None]
    noise = jittered(tokens, 20.0) - tokens
    for t, value in enumerate((1.0, 3.0)):
        length = math.sqrt(sum([value**2] * 20_000))
        assert float(noise[0, t].std()) == pytest.approx(20.0 * length / 20_000, rel=0.03)


def test_the_loss_is_the_squared_distance_to_the_clean_tokens(monkeypatch):
    asked = []
    monkeypatch.setattr(
        uniad, "train", lambda net, loss, batches, **options: asked.append((net, loss, options))
    )
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    detector = UniAD(**SMALL).fit([images])
    net, loss, options = asked[0]
    net.eval()  # no dropout, so that the loss can be computed again
    with torch.no_grad(), torch.random.fork_rng():
        clean = detector._tokens(images)
        torch.manual_seed(5)
        found = loss(images).item()
        torch.manual_seed(5)
        rebuilt = net(jittered(clean, detector.jitter))
    total = sum(float(e) ** 2 for e in (rebuilt - clean).flatten())
    assert found == pytest.approx(total / clean.numel(), rel=1e-4)
    assert options["max_norm"] == 0.1


def test_tokens_are_all_stages_at_one_side(fitted):
    images = torch.rand(2, 1, 64, 64)
    tokens = fitted._tokens(images)
    assert tokens.shape == (2, 16, 32 + 64 + 128)
    layer3 = fitted.eyes(images)[2]
    torch.testing.assert_close(tokens[:, 6, 96:], layer3[:, :, 1, 2])


@torch.no_grad()
def test_the_score_is_the_highest_mean_of_a_window(fitted):
    images = torch.rand(8, 1, 64, 64)
    scores = fitted.score(images)
    tokens = fitted._tokens(images)
    gap = fitted.net(tokens) - tokens
    coarse = torch.empty(8, 4, 4)
    for i in range(8):
        for t in range(16):
            coarse[i, t // 4, t % 4] = math.sqrt(sum(float(g) ** 2 for g in gap[i, t]))
    pixel = upsample(coarse, (64, 64))
    torch.testing.assert_close(scores.pixel, pixel, rtol=1e-4, atol=1e-4)
    for i in range(8):
        windows = pixel[i].unfold(0, 16, 1).unfold(1, 16, 1).mean(dim=(2, 3))
        assert float(scores.image[i]) == pytest.approx(float(windows.max()), rel=1e-4)


def test_nothing_is_dropped_or_jittered_at_scoring(fitted):
    images = torch.rand(8, 1, 64, 64)
    assert not fitted.net.training
    assert torch.equal(fitted.score(images).pixel, fitted.score(images).pixel)


def test_fitting_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    UniAD(**SMALL, steps=1).fit([torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_grid_whose_middle_sees_nothing_is_refused():
    with pytest.raises(UsageError, match="see nothing"):
        UniAD(size=80, neighbours=5)
    UniAD(size=96, neighbours=5)
