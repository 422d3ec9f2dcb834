from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch

from intact.errors import UsageError, WeightsError
from intact.nets import frozen_tokens
from intact.nets.frozen_tokens import FrozenTokens
from intact.nets.vit import VITS, Plan, VisionTransformer, check_patches
from made_vit import NAME, PLAN, make_weights, tiny_vit, write_weights

BARE = Plan(width=64, depth=2, heads=2, registers=0, grid=5)


def images(n=2, channels=3, size=56, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


def network(plan, blocks):
    net = VisionTransformer(plan, blocks)
    weights = make_weights(plan)
    net.load_state_dict({k: weights[k] for k in net.state_dict()})
    return net.eval().requires_grad_(False)


@pytest.fixture
def folder():
    with tiny_vit() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dinov2_vits14", 22_056_576),
        ("dinov2_vitb14", 86_580_480),
        ("dinov2_vitl14", 304_368_640),
        ("dinov2_vits14_reg4", 22_058_112),
        ("dinov2_vitb14_reg4", 86_583_552),
        ("dinov2_vitl14_reg4", 304_372_736),
    ],
)
def test_the_networks_are_as_large_as_the_official_ones(name, parameters):
    with torch.device("meta"):
        assert count(VisionTransformer(VITS[name])) == parameters


@pytest.mark.parametrize(("name", "width"), [("dinov2_vits14", 384), ("dinov2_vitb14_reg4", 768)])
def test_every_tensor_of_the_official_checkpoint_has_its_name_and_shape(name, width):
    official = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if name.endswith("reg4"):
        official["register_tokens"] = (1, 4, width)
    shapes = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for i in range(12):
        for layer, (outputs, inputs) in shapes.items():
            official[f"blocks.{i}.{layer}.weight"] = (outputs * width, inputs * width)
            official[f"blocks.{i}.{layer}.bias"] = (outputs * width,)
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            official[f"blocks.{i}.{part}"] = (width,)
    with torch.device("meta"):
        net = VisionTransformer(VITS[name])
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == official


def layer_norm(x, weights, name):
    centred = x - x.mean(dim=-1, keepdim=True)
    return (
        centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"]
        + (weights[f"{name}.bias"])
    )


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def slow_blocks(x, w, plan):
    """One token after another, one head after another; x is (tokens, width)."""
    found, part = [], plan.width // plan.heads
    for i in range(plan.depth):
        at = f"blocks.{i}"
        qkv = linear(layer_norm(x, w, f"{at}.norm1"), w, f"{at}.attn.qkv")
        seen = torch.zeros_like(x)
        for head in range(plan.heads):
            q, k, v = (
                qkv[:, j * plan.width + head * part : j * plan.width + (head + 1) * part] for j in range(3)
            )
            for t in range(len(x)):
                weight = torch.exp((k * q[t]).sum(dim=1) / math.sqrt(part))
                seen[t, head * part : (head + 1) * part] = (weight / weight.sum()) @ v
        x = x + w[f"{at}.ls1.gamma"] * linear(seen, w, f"{at}.attn.proj")
        inner = linear(layer_norm(x, w, f"{at}.norm2"), w, f"{at}.mlp.fc1")
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = x + w[f"{at}.ls2.gamma"] * linear(inner, w, f"{at}.mlp.fc2")
        found.append(x)
    return found


@pytest.mark.parametrize("plan", [PLAN, BARE])
def test_the_blocks_give_what_a_slow_computation_gives(plan):
    net = network(plan, tuple(range(plan.depth)))
    entering = net.embed(images())
    fast = net(images())
    for i in range(2):
        for ours, slow in zip(fast, slow_blocks(entering[i], make_weights(plan), plan), strict=True):
            torch.testing.assert_close(ours[i], slow, rtol=1e-4, atol=1e-4)


def test_registers_come_between_the_class_token_and_the_patches_without_a_position():
    weights = make_weights()
    net = network(PLAN, (0,))
    tokens = net.embed(images(size=70))  # 5 x 5: the grid that the positions were learned for
    assert tokens.shape == (2, 1 + 2 + 25, 64)
    assert torch.equal(tokens[1, 0], weights["cls_token"][0, 0] + weights["pos_embed"][0, 0])
    assert torch.equal(tokens[1, 1:3], weights["register_tokens"][0])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    patch = (images(size=70)[1, :, 14:28, 42:56] - mean[:, None, None]) / std[:, None, None]
    kernel = weights["patch_embed.proj.weight"]
    wanted = (kernel * patch).sum(dim=(1, 2, 3)) + weights["patch_embed.proj.bias"]
    at = 1 * 5 + 3
    torch.testing.assert_close(tokens[1, 3 + at], wanted + weights["pos_embed"][0, 1 + at])


def cubic(x, a):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resizing(before, after, factor, a, antialias):
    """Bicubic resizing along one axis as a matrix; where a pixel lies follows from `factor`."""
    matrix = torch.zeros(after, before, dtype=torch.float64)
    wide = max(1.0, 1 / factor) if antialias else 1.0
    for i in range(after):
        at = (i + 0.5) / factor - 0.5
        for j in range(math.floor(at - 2 * wide), math.ceil(at + 2 * wide) + 1):
            if antialias and not 0 <= j < before:
                continue  # what lies outside counts for nothing; else the border goes on
            matrix[i, min(max(j, 0), before - 1)] += cubic((j - at) / wide, a)
        matrix[i] /= matrix[i].sum()
    return matrix


@pytest.mark.parametrize(("rows", "columns"), [(4, 7), (3, 3), (10, 6)])
@pytest.mark.parametrize("plan", [PLAN, BARE])
def test_positions_are_resized_as_dinov2_does(plan, rows, columns):
    net = network(plan, (0,))
    grid = net.pos_embed[0, 1:].double().view(5, 5, 64)
    if plan.registers:  # its hub: interpolate_antialias=True, interpolate_offset=0.0
        down, along = (resizing(5, side, side / 5, -0.5, True) for side in (rows, columns))
    else:  # False and 0.1
        down, along = (resizing(5, side, (side + 0.1) / 5, -0.75, False) for side in (rows, columns))
    wanted = torch.einsum("yr,xc,rcw->yxw", down, along, grid).flatten(0, 1).float()
    found = net.positions(rows, columns)[0]
    torch.testing.assert_close(found[1:], wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[0], net.pos_embed[0, 0])


def test_grey_images_feed_all_channels():
    net = network(PLAN, (1, 3))
    grey = images(channels=1)
    for ours, wanted in zip(net(grey), net(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_blocks_after_the_last_one_asked_for_are_not_built():
    assert len(VisionTransformer(PLAN, (0, 2)).blocks) == 3
    assert len(VisionTransformer(PLAN).blocks) == 4


def test_weights_are_found_by_name_and_loaded(folder):
    eyes = FrozenTokens(NAME, (1, -1), "float32")
    found = eyes(images())
    for ours, wanted in zip(found, network(PLAN, (1, 3))(images()), strict=True):
        assert torch.equal(ours, wanted)
    normed = layer_norm(found[1], make_weights(), "norm")
    torch.testing.assert_close(eyes(images(), normed=True)[1], normed, rtol=1e-4, atol=1e-4)
    assert not any(p.requires_grad for p in eyes.parameters())


def test_tokens_come_in_the_precision_asked_for(folder):
    exact = FrozenTokens(NAME, (3,), "float32")(images())[0]
    (rough,) = FrozenTokens(NAME, (3,), "bfloat16")(images())
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough.float() - exact).norm() / exact.norm() < 0.05


def test_a_network_brings_its_weights_along(folder, monkeypatch):
    eyes, other = (FrozenTokens(NAME, (3,), "float32") for _ in range(2))
    wanted = eyes(images())[0]
    other.load_state_dict(eyes.state_dict())
    monkeypatch.setattr(frozen_tokens, "load_weights", lambda name: pytest.fail("asked for weights"))
    assert torch.equal(other(images())[0], wanted)


def test_weights_under_timms_names_give_the_same_tokens(folder):
    wanted = FrozenTokens(NAME, (3,), "float32")(images())[0]
    weights = make_weights()
    del weights["mask_token"]
    weights["reg_token"] = weights.pop("register_tokens")
    weights["cls_token"] = weights["cls_token"] + weights["pos_embed"][:, :1]
    weights["pos_embed"] = weights["pos_embed"][:, 1:].contiguous()
    safetensors.torch.save_file(weights, folder / f"{NAME}.safetensors")
    torch.testing.assert_close(FrozenTokens(NAME, (3,), "float32")(images())[0], wanted)


def test_weights_that_are_nowhere_name_the_three_ways(monkeypatch, tmp_path):
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ways = r"dinov2_vits14\.safetensors \(DINOv2's.*INTACT_WEIGHTS.*huggingface_hub.*--method patchcore"
    with pytest.raises(WeightsError, match=ways):
        FrozenTokens("dinov2_vits14", (0,), "float32")(images())


def test_a_network_with_registers_is_not_taken_for_one_without(monkeypatch, tmp_path):
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(VITS, "dinov2_vits14", BARE)
    write_weights(tmp_path, "dinov2_vits14_reg4")
    with pytest.raises(WeightsError, match="no weights"):
        FrozenTokens("dinov2_vits14", (0,), "float32")(images())
    write_weights(tmp_path, "dinov2_vits14", BARE)
    FrozenTokens("dinov2_vits14", (0,), "float32")(images())


@pytest.mark.parametrize("change", ["missing", "more", "shape", "other"])
def test_weights_of_another_network_are_refused(folder, change):
    weights = make_weights()
    if change == "missing":  # of a block that is not built
        del weights["blocks.3.ls2.gamma"]
    elif change == "more":
        weights["blocks.4.ls2.gamma"] = torch.ones(64)
    elif change == "shape":
        weights["norm.bias"] = torch.zeros(65)
    else:
        weights = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    safetensors.torch.save_file(weights, folder / f"{NAME}.safetensors")
    with pytest.raises(WeightsError, match="another network"):
        FrozenTokens(NAME, (0,), "float32")(images())


@pytest.mark.parametrize("blocks", [(), (4,), (-5,), (1, 1), (3, -1)])
def test_blocks_that_are_not_there_are_refused(folder, blocks):
    with pytest.raises(UsageError, match="blocks"):
        FrozenTokens(NAME, blocks, "float32")


def test_a_backbone_that_is_no_transformer_is_refused():
    with pytest.raises(UsageError, match="dinov2_vits14"):
        FrozenTokens("narrow_resnet18", (0,), "float32")


@pytest.mark.parametrize("size", [0, -14, 100])
def test_sides_that_patches_do_not_divide_are_refused(size):
    with pytest.raises(UsageError, match="14"):
        check_patches(size)
