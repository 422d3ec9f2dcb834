from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intact.nets.token_decoders import (
    ExtractionBlock,
    LinearAttention,
    LinearDecoder,
    PrototypeBlock,
    PrototypeDecoder,
)

WIDTH, HEADS = 8, 2


def tokens(n=2, count=5, seed=0):
    return torch.randn(n, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def made(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments).requires_grad_(False).eval()


def heads(x, part):
    """(count, width) -> one (count, width of a head) per head, of the `part`-th WIDTH channels."""
    return x[:, part * WIDTH : (part + 1) * WIDTH].split(WIDTH // HEADS, dim=1)


def test_linear_attention_is_a_mean_weighted_by_products_of_elu_plus_1():
    net = made(LinearAttention, WIDTH, HEADS)
    for x, ours in zip(tokens(), net(tokens()), strict=True):
        qkv = net.qkv(x)
        seen = []
        for q, k, v in zip(heads(qkv, 0), heads(qkv, 1), heads(qkv, 2), strict=True):
            rows = []
            for i in range(len(x)):
                weights = [
                    sum((F.elu(a) + 1) * (F.elu(b) + 1) for a, b in zip(q[i], k[j], strict=True))
                    for j in range(len(x))
                ]
                rows.append(sum(w * v[j] for j, w in enumerate(weights)) / sum(weights))
            seen.append(torch.stack(rows))
        torch.testing.assert_close(ours, net.proj(torch.cat(seen, dim=1)), rtol=1e-4, atol=1e-5)


def test_prototypes_are_queries_plus_what_they_see_in_the_tokens():
    net = made(ExtractionBlock, WIDTH, HEADS)
    queries = tokens(count=3, seed=1)
    for x, q0, ours in zip(tokens(), queries, net(queries, tokens()), strict=True):
        kv = net.key_value(net.norm1(x))
        seen = []
        for q, k, v in zip(heads(net.query(net.norm1(q0)), 0), heads(kv, 0), heads(kv, 1), strict=True):
            weights = torch.exp(q @ k.T / math.sqrt(WIDTH // HEADS))
            seen.append(weights @ v / weights.sum(dim=1, keepdim=True))
        wanted = q0 + net.proj(torch.cat(seen, dim=1))
        wanted = wanted + net.mlp(net.norm2(wanted))
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_tokens_become_sums_of_the_prototypes_they_are_like():
    net = made(PrototypeBlock, WIDTH, HEADS)
    net.scale[:] = torch.tensor([2.0, -3.0])[:, None, None]
    prototypes = tokens(count=3, seed=1)
    for x, p, ours in zip(tokens(), prototypes, net(tokens(), prototypes), strict=True):
        kv = net.key_value(net.norm1(p))
        seen = []
        for h, (q, k, v) in enumerate(
            zip(heads(net.query(net.norm1(x)), 0), heads(kv, 0), heads(kv, 1), strict=True)
        ):
            cosine = torch.stack([torch.cosine_similarity(q, one[None], dim=1) for one in k], dim=1)
            seen.append((cosine * (2.0, -3.0)[h]).clamp(min=0) @ v)
        wanted = net.proj(torch.cat(seen, dim=1))  # without x
        wanted = wanted + net.mlp(net.norm2(wanted))
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_without_prototypes_alike_nothing_of_a_token_is_left():
    net = made(PrototypeBlock, WIDTH, HEADS)
    net.scale.zero_()
    first, second = (net(tokens(seed=s), tokens(count=3, seed=9)) for s in (0, 1))
    assert torch.equal(first, second)


def test_the_linear_decoders_blocks_add_to_what_enters_them():
    net = made(LinearDecoder, WIDTH, HEADS, 2, 0.0)
    for block in net.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.fc2.weight)
    squeezed = net.bottleneck(tokens())
    assert all(torch.equal(found, squeezed) for found in net(tokens()))


def test_dropout_comes_before_in_and_after_the_bottleneck_alone():
    net = made(LinearDecoder, WIDTH, HEADS, 2, 0.25)
    seen = {}
    net.bottleneck[1].fc1.register_forward_pre_hook(lambda _, x: seen.update(before=x[0]))
    net.bottleneck[1].fc2.register_forward_pre_hook(lambda _, x: seen.update(inside=x[0]))
    net.train()
    seen["after"] = net.bottleneck(torch.ones(1, 4000, WIDTH))
    for x in seen.values():
        assert (x == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    for block in net.blocks:
        assert torch.equal(block(tokens()), block(tokens()))


@pytest.mark.parametrize("net", [LinearDecoder(64, 2, 2, 0.2), PrototypeDecoder(64, 2, 2, 6)])
def test_linear_layers_start_small_and_without_bias(net):
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    weights = torch.cat([m.weight.flatten() for m in layers])
    assert weights.abs().max() <= 0.03 and weights.std().item() == pytest.approx(0.00987, rel=0.02)
    assert all((m.bias == 0).all() for m in layers)
    assert {m.eps for m in net.modules() if isinstance(m, nn.LayerNorm)} == {1e-8}
