import math

import pytest
import torch
import torch.nn.functional as F

from intact.anomaly import p_vq
from intact.anomaly.p_vq import PVQ
from intact.errors import UsageError
from intact.filters import upsample
from intact.nets.convolutions import halving
from intact.nets.vector_quantiser import VectorQuantiser

SMALL = {"size": 32, "width": 16, "patch": 1, "dimensions": 8, "codes": 16}


def noise(n, seed=0):
    return torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def discs(n, seed):
    """Discs of many sizes and greys."""
    rng = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, 32)
    r = (axis[:, None] ** 2 + axis**2).sqrt()
    radius = 0.5 + 0.4 * torch.rand(n, 1, 1, generator=rng)
    return ((0.3 + 0.4 * torch.rand(n, 1, 1, generator=rng)) * torch.sigmoid(20 * (radius - r)))[:, None]


@pytest.fixture
def quantiser():
    torch.manual_seed(0)
    return VectorQuantiser(20, 6, top=0.3)


@pytest.fixture(scope="module")
def fitted():
    return PVQ(**SMALL, steps=2).fit(list(noise(8).split(4)))


def perplexity(chosen):
    """How many codes are in use, as if all were used alike."""
    shares = torch.bincount(chosen.flatten()) / chosen.numel()
    return float(torch.special.entr(shares).sum().exp())


def cosine(a, b):
    product = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return product / (math.dist(a, [0.0] * len(a)) * math.dist(b, [0.0] * len(b)))


@torch.no_grad()
def test_a_token_becomes_the_code_of_nearest_direction(quantiser):
    quantiser.eval()
    tokens = 3 * torch.randn(2, 4, 6)
    codes, chosen, distance, loss = quantiser(tokens)
    drawn = 0.0
    for i in range(2):
        for t in range(4):
            likeness = [cosine(tokens[i, t].tolist(), code.tolist()) for code in quantiser.book]
            best = max(range(20), key=likeness.__getitem__)
            assert int(chosen[i, t]) == best
            assert float(distance[i, t]) == pytest.approx(1 - likeness[best], abs=1e-5)
            code = quantiser.book[best] / quantiser.book[best].norm()
            torch.testing.assert_close(codes[i, t], code)
            drawn += sum(float(g) ** 2 for g in tokens[i, t] / tokens[i, t].norm() - code) / (2 * 4 * 6)
    assert float(loss) == pytest.approx((1 + 0.25) * drawn, rel=1e-4)


def test_the_gradient_of_a_code_goes_to_its_token_alone(quantiser):
    quantiser.eval()
    tokens = torch.randn(1, 3, 6, requires_grad=True)
    weights = torch.randn(1, 3, 6)
    found = quantiser(tokens)
    ours = torch.autograd.grad((found.codes * weights).sum(), [tokens, quantiser.book], allow_unused=True)
    theirs = torch.autograd.grad((F.normalize(tokens, dim=2) * weights).sum(), tokens)[0]
    torch.testing.assert_close(ours[0], theirs)
    assert ours[1] is None or not ours[1].any()


def test_codes_are_drawn_to_tokens_and_tokens_a_quarter_as_much_to_codes(quantiser):
    quantiser.eval()
    tokens = torch.randn(1, 3, 6, requires_grad=True)
    found = quantiser(tokens)
    ours = torch.autograd.grad(found.loss, [tokens, quantiser.book])
    z, book = F.normalize(tokens, dim=2), F.normalize(quantiser.book, dim=1)
    near = book[found.chosen]
    to_codes = torch.autograd.grad(0.25 * (z - near.detach()).square().mean(), tokens)[0]
    to_tokens = torch.autograd.grad((near - z.detach()).square().mean(), quantiser.book)[0]
    torch.testing.assert_close(ours[0], to_codes)
    torch.testing.assert_close(ours[1], to_tokens)


def test_half_of_the_codes_used_most_are_off_in_training_only(quantiser):
    most = [2, 3, 5, 7, 11, 13]  # 30 % of 20
    tokens = quantiser.book.detach()[most][None]
    seen = set()
    for _ in range(20):
        quantiser.usage.fill_(0.0)
        quantiser.usage[most] = 1.0
        quantiser.train()
        index = quantiser(tokens).chosen[0].tolist()
        off = [code for code, found in zip(most, index, strict=True) if found != code]
        assert len(off) == 3 and not set(off) & set(index)
        seen |= set(off)
        quantiser.eval()
        assert quantiser(tokens).chosen[0].tolist() == most
    assert seen == set(most)


def test_usage_is_a_slow_mean_of_shares(quantiser):
    before = quantiser.usage.clone()
    index = quantiser.train()(torch.randn(2, 5, 6)).chosen
    shares = torch.tensor([float((index == code).sum()) / 10 for code in range(20)])
    torch.testing.assert_close(quantiser.usage, 0.99 * before + 0.01 * shares)
    after = quantiser.usage.clone()
    quantiser.eval()(torch.randn(2, 5, 6))
    assert torch.equal(quantiser.usage, after)


def test_codes_start_at_different_tokens(quantiser):
    tokens = torch.randn(3, 10, 6)
    quantiser.start_from(tokens)
    directions = F.normalize(tokens.flatten(0, 1), dim=1)
    likeness = quantiser.book.detach() @ directions.T
    torch.testing.assert_close(likeness.amax(dim=1), torch.ones(20))
    assert len(set(likeness.argmax(dim=1).tolist())) == 20


def test_shapes_at_full_size():
    assert halving((1, 64, 128, 256))(torch.randn(1, 1, 256, 256)).shape == (1, 256, 32, 32)
    detector = PVQ(size=256, width=256, patch=4, dimensions=512, codes=512)
    detector._build(1)
    images = torch.rand(2, 1, 256, 256)
    rebuilt, found = detector._rebuild(images)
    assert rebuilt.shape == images.shape and found.codes.shape == (2, 64, 512)
    assert detector.encoder[2].in_channels == 4096


def test_a_patch_is_rebuilt_where_it_was(fitted):
    # Before convolutions mix neighbours, patch and position belong together on both sides.
    x = torch.arange(16.0).view(1, 1, 4, 4)
    cut = torch.nn.PixelUnshuffle(2)(x).flatten(2).transpose(1, 2)
    assert cut[0, 1].tolist() == [2, 3, 6, 7]
    assert torch.equal(torch.nn.PixelShuffle(2)(cut.transpose(1, 2).unflatten(2, (2, 2))), x)
    assert fitted._grid == (4, 4) and fitted._tokens(noise(2)).shape == (2, 16, 8)


@torch.no_grad()
def test_codes_start_at_tokens_that_are_normalised_over_the_batch(monkeypatch):
    monkeypatch.setattr(p_vq, "train", lambda net, loss, batches, **options: None)
    detector = PVQ(**SMALL).fit([noise(4)])
    tokens = detector._tokens(noise(4)).flatten(0, 1)
    torch.testing.assert_close(tokens.mean(dim=0), torch.zeros(8), rtol=0, atol=1e-5)
    assert tokens.std(dim=0).min() > 0.3 and tokens.std(dim=0).max() < 1.05
    likeness = detector.quantiser.book @ F.normalize(tokens, dim=1).T
    torch.testing.assert_close(likeness.amax(dim=1), torch.ones(16))


@torch.no_grad()
def test_the_loss_is_the_squared_error_and_the_quantisers(monkeypatch):
    asked = []
    monkeypatch.setattr(p_vq, "train", lambda net, loss, batches, **options: asked.append((net, loss)))
    detector = PVQ(**SMALL).fit([noise(4)])
    net, loss = asked[0]
    net.eval()
    images = noise(2, seed=5)
    rebuilt, found = detector._rebuild(images)
    squared = sum(float(e) ** 2 for e in (rebuilt - images).flatten()) / images.numel()
    assert loss(images).item() == pytest.approx(squared + float(found.loss), rel=1e-4)


@torch.no_grad()
def test_the_score_is_the_mean_of_residual_plus_distance(fitted):
    images = noise(8, seed=3)
    scores = fitted.score(images)
    rebuilt, found = fitted._rebuild(images)
    coarse = torch.empty(8, 4, 4)
    for i in range(8):
        for t in range(16):
            coarse[i, t // 4, t % 4] = found.distance[i, t]
    wanted = (images - rebuilt).abs()[:, 0] + upsample(coarse, (32, 32))
    torch.testing.assert_close(scores.pixel, wanted)
    torch.testing.assert_close(scores.image, wanted.mean(dim=(1, 2)))


def test_the_codebook_does_not_collapse_and_a_lesion_is_not_rebuilt():
    detector = PVQ(**SMALL | {"codes": 64, "dimensions": 16}, steps=150).fit(list(discs(16, 0).split(8)))
    images = discs(8, 1)
    with torch.no_grad():
        assert perplexity(detector._rebuild(images)[1].chosen) > 4
        images[:, :, 14:18, 14:18] = 1.0
        residual = (detector._rebuild(images)[0] - images).abs()[:, 0]
    assert (residual[:, 14:18, 14:18].mean(dim=(1, 2)) > 2 * residual.mean(dim=(1, 2))).all()


def test_fitting_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    PVQ(**SMALL, steps=1).fit([noise(4)])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_size_that_patches_do_not_tile_is_refused():
    with pytest.raises(UsageError, match="patches of 32"):
        PVQ(size=80, patch=4)
