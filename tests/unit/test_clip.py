from __future__ import annotations

import json
import sys

import pytest
import safetensors.torch
import torch

from intact.errors import UsageError, WeightsError
from intact.nets.clip import MEAN, STD, ImagePlan, ImageTower, TextPlan, window_patches
from intact.nets.clip_files import clip_folder, embed_texts, load_tower, read_plans, tokenise
from intact.nets.weights import find_weights
from made_clip import CONFIG, NAME, make_weights, numbers, shapes, tiny_clip, write_clip


def images(n=2, channels=3, size=32, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with tiny_clip(tmp_path_factory.mktemp("weights")) as made:
        yield made


@pytest.fixture(scope="module")
def tower(folder):
    made = ImageTower(read_plans(folder)[0])
    load_tower(made, folder)
    return made


# What follows says again, token by token and head by head, what the towers do.


def norm(x, weights, name):
    centred = x - x.mean()
    unit = centred / (centred.square().mean() + 1e-5).sqrt()
    return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def attend(tokens, weights, name, heads, causal):
    query, key, value = (
        [linear(x, weights, f"{name}.{part}_proj").view(heads, -1) for x in tokens] for part in "qkv"
    )
    found = []
    for i in range(len(tokens)):
        seen = range(i + 1 if causal else len(tokens))
        parts = []
        for h in range(heads):
            logits = torch.stack([query[i][h] @ key[j][h] for j in seen]) / len(query[i][h]) ** 0.5
            share = logits.exp() / logits.exp().sum()
            parts.append(sum(share[j] * value[j][h] for j in seen))
        found.append(linear(torch.cat(parts), weights, f"{name}.out_proj"))
    return found


def slow_layers(tokens, weights, kind, causal=False):
    heads = CONFIG[f"{kind}_config"]["num_attention_heads"]
    for i in range(2):
        layer = f"{kind}_model.encoder.layers.{i}"
        seen = attend(
            [norm(x, weights, f"{layer}.layer_norm1") for x in tokens],
            weights,
            f"{layer}.self_attn",
            heads,
            causal,
        )
        tokens = [x + y for x, y in zip(tokens, seen, strict=True)]
        for j, x in enumerate(tokens):
            hidden = linear(norm(x, weights, f"{layer}.layer_norm2"), weights, f"{layer}.mlp.fc1")
            tokens[j] = x + linear(hidden / (1 + (-1.702 * hidden).exp()), weights, f"{layer}.mlp.fc2")
    return tokens


def slow_embedding(image, weights):
    """Of one image of 32 x 32: the class token, then 16 patches, before the first layer."""
    norms = (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    kernel = weights["vision_model.embeddings.patch_embedding.weight"]
    patches = [
        (kernel * norms[:, r : r + 8, c : c + 8]).sum(dim=(1, 2, 3))
        for r in range(0, 32, 8)
        for c in range(0, 32, 8)
    ]
    tokens = [weights["vision_model.embeddings.class_embedding"], *patches]
    places = weights["vision_model.embeddings.position_embedding.weight"]
    return [norm(x + p, weights, "vision_model.pre_layrnorm") for x, p in zip(tokens, places, strict=True)]


def slow_image(tokens, weights):
    """What a tower says about some tokens, and the tokens of its last layer."""
    last = [
        norm(x, weights, "vision_model.post_layernorm") for x in slow_layers(list(tokens), weights, "vision")
    ]
    return unit(weights["visual_projection.weight"] @ last[0]), [unit(x) for x in last]


def unit(x):
    return x / x.square().sum().sqrt()


def test_an_image_is_what_its_class_token_says_after_the_last_layer(tower):
    weights = make_weights()
    seen = tower(images())
    for n, image in enumerate(images()):
        whole, tokens = slow_image(slow_embedding(image, weights), weights)
        torch.testing.assert_close(seen.image[n], whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.patches[n], torch.stack(tokens[1:]), rtol=1e-4, atol=1e-5)
    assert seen.windows == []


def test_a_window_is_what_the_tower_says_without_the_other_patches(tower):
    weights = make_weights()
    tokens = slow_embedding(images()[1], weights)
    two, three = tower(images(), (2, 3)).windows
    assert two.shape == (2, 9, 16) and three.shape == (2, 4, 16)
    for found, number, held in (
        (two, 0, (0, 1, 4, 5)),
        (two, 5, (6, 7, 10, 11)),
        (three, 2, (4, 5, 6, 8, 9, 10, 12, 13, 14)),
    ):
        wanted, _ = slow_image([tokens[0], *(tokens[1 + i] for i in held)], weights)
        torch.testing.assert_close(found[1, number], wanted, rtol=1e-4, atol=1e-5)


def test_the_largest_window_is_the_whole_image(tower):
    seen = tower(images(), (4,))
    torch.testing.assert_close(seen.windows[0][:, 0], seen.image)


def test_windows_lie_row_by_row():
    assert window_patches(3, 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    assert window_patches(2, 1).tolist() == [[0], [1], [2], [3]]


def test_grey_images_feed_all_three_channels(tower):
    grey = images(channels=1)
    assert torch.equal(tower(grey).image, tower(grey.expand(-1, 3, -1, -1)).image)


def test_positions_are_resized_to_other_sides(tower):
    assert torch.equal(tower._positions(4), tower.position_embedding.weight)
    larger = tower._positions(8)
    assert larger.shape == (65, 32) and torch.equal(larger[0], tower.position_embedding.weight[0])
    ramp = ImageTower(read_plans_of_one_channel())
    rows = torch.arange(4.0).repeat_interleave(4)
    ramp.position_embedding.weight.copy_(torch.cat([torch.zeros(1), rows])[:, None])
    grid = ramp._positions(8)[1:].view(8, 8)
    torch.testing.assert_close(grid, grid[:, :1].expand(-1, 8))  # rows stay rows
    assert (grid[:, 0].diff() > 0).all()


def read_plans_of_one_channel():
    return ImagePlan(1, 1, 1, 1, 1, image_size=32, patch_size=8)


def test_a_text_is_what_its_last_token_says(folder):
    weights = make_weights()
    texts = ["a photo of a chest", "damaged", "a photo of the chest with flaw"]
    found = embed_texts(texts, folder)
    for text, vector in zip(texts, found, strict=True):
        tokens = [
            weights["text_model.embeddings.token_embedding.weight"][number]
            + weights["text_model.embeddings.position_embedding.weight"][i]
            for i, number in enumerate(numbers(text))
        ]
        last = slow_layers(tokens, weights, "text", causal=True)[-1]
        wanted = unit(weights["text_projection.weight"] @ norm(last, weights, "text_model.final_layer_norm"))
        torch.testing.assert_close(vector, wanted, rtol=1e-4, atol=1e-5)


def test_the_exact_activation_is_another(folder, tower):
    exact = ImageTower(read_plans(folder)[0]._replace(quick_gelu=0))
    load_tower(exact, folder)
    x = torch.linspace(-3, 3, 32).view(1, 1, 32)
    mlp = exact.layers[0].mlp
    hidden = mlp.fc1(x)
    torch.testing.assert_close(mlp(x), mlp.fc2(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2))
    assert not torch.allclose(exact(images()).image, tower(images()).image, atol=1e-4)


def test_plans_are_read_and_what_is_left_out_is_the_default(folder, tmp_path):
    image, text = read_plans(folder)
    assert image == ImagePlan(32, 64, 2, 2, 16, 1, 32, 8)
    assert text == TextPlan(24, 48, 2, 3, 16, 1, 99, 20)
    (tmp_path / "config.json").write_text(
        json.dumps({"vision_config": {"patch_size": 16, "hidden_act": "gelu"}, "text_config": {}})
    )
    assert read_plans(tmp_path) == (ImagePlan(patch_size=16, quick_gelu=0), TextPlan())


@pytest.mark.parametrize(
    "config",
    [
        "no json",
        "[]",
        '{"vision_config": {}}',
        '{"vision_config": {"hidden_act": "tanh"}, "text_config": {}}',
        '{"vision_config": {"hidden_size": null}, "text_config": {}}',
    ],
)
def test_other_plans_are_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_plans(tmp_path)


def test_the_network_has_the_official_number_of_weights():
    with torch.device("meta"):
        tower = ImageTower(ImagePlan(patch_size=16))
    # CLIP ViT-B/16: its 86,192,640 weights of the image tower, the projection among them.
    assert sum(p.numel() for p in tower.parameters()) == 86_192_640


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_weights_of_another_network_are_refused(tmp_path, change):
    weights = make_weights()
    name = "vision_model.encoder.layers.1.mlp.fc1.weight"
    if change == "missing":
        del weights[name]
    elif change == "more":
        weights["vision_model.encoder.layers.2.mlp.fc1.weight"] = weights[name].clone()
    else:
        weights[name] = weights[name].T.contiguous()
    folder = write_clip(tmp_path, weights)
    with pytest.raises(WeightsError, match="another network"):
        load_tower(ImageTower(read_plans(folder)[0]), folder)


def test_half_precision_and_numbers_of_positions_are_read(tmp_path):
    weights = {k: v.half() for k, v in make_weights().items()}
    weights["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    folder = write_clip(tmp_path, weights)
    tower = ImageTower(read_plans(folder)[0])
    load_tower(tower, folder)
    assert tower.class_embedding.dtype == torch.float32
    assert torch.equal(tower.class_embedding, weights["vision_model.embeddings.class_embedding"].float())


def test_every_made_tensor_is_used_once(folder):
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    assert {k: tuple(v.shape) for k, v in stored.items()} == shapes()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path, monkeypatch, name):
    (write_clip(tmp_path) / name).unlink()
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=f"would have to hold {name}\\. Take"):
        clip_folder(NAME)


def test_without_weights_the_error_says_what_to_bring_and_where_to(monkeypatch):
    monkeypatch.delenv("INTACT_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=r"not set.*openai/clip-vit-base-patch16.*INTACT_WEIGHTS"):
        clip_folder("clip-vit-base-patch16")


def test_weights_are_found_before_images_are_read(folder, monkeypatch, tmp_path):
    assert find_weights(NAME) == folder / "model.safetensors"
    folder.with_name("other").mkdir()
    with pytest.raises(WeightsError, match="no CLIP 'other'"):
        find_weights("other")
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="no CLIP 'clip-vit-base-patch16'"):
        find_weights("clip-vit-base-patch16")


def test_without_the_package_the_error_names_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match="pip install tokenizers"):
        tokenise(["a photo"], folder)


def test_a_text_longer_than_the_tower_reads_is_refused(folder):
    embed_texts(["word " * 18], folder)
    with pytest.raises(UsageError, match="21 tokens, more than the 20"):
        embed_texts(["short", "word " * 19], folder)


def test_the_real_package_reads_a_tokenizer(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tokenizers", raising=False)
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"a": 0, "photo": 1, "<end>": 3, "<begin>": 2, "?": 4}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.RobertaProcessing(("<end>", 3), ("<begin>", 2))
    made.enable_padding(pad_id=3, pad_token="<end>")
    made.enable_truncation(3)
    made.save(str(tmp_path / "tokenizer.json"))
    assert tokenise(["a photo", "photo"], tmp_path) == [[2, 0, 1, 3], [2, 1, 3]]  # neither filled nor cut
