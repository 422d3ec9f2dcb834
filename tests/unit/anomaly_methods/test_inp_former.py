from __future__ import annotations

import pytest
import torch

from intact.anomaly import token_groups
from intact.anomaly.inp_former import INPFormer, incoherence
from intact.anomaly.stable_adamw import StableAdamW
from intact.anomaly.token_groups import mined_cosine
from intact.filters import smooth_upsample
from made_vit import NAME, tiny_vit

FIELDS = {"size": 56, "backbone": NAME, "blocks": (0, 1, 2, 3), "steps": 2, "prototypes": 3}


@pytest.fixture(autouse=True, scope="module")
def _made_backbone():
    with tiny_vit():
        yield


def images(n=4, seed=0):
    return torch.rand(n, 1, 56, 56, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector(_made_backbone):
    return INPFormer(**FIELDS, lr=0.02).fit([images()])


def built():
    made = INPFormer(**FIELDS)
    made._build(1)
    return made


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def test_the_papers_network_has_six_prototypes_and_eight_blocks():
    with torch.device("meta"):
        made = INPFormer(backbone="dinov2_vitb14_reg4", size=392)
        made._build(3)
    assert made.decoder.queries.shape == (6, 768) and len(made.decoder.blocks) == 8
    assert sum(p.numel() for p in made.decoder.parameters()) == 68_517_984  # as the authors' modules
    assert made.blocks == tuple(range(2, 10)) and made.groups == 2


def test_only_patches_reach_prototypes_and_decoder():
    made = built()
    seen = []
    made.decoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    encoded, decoded, _ = made._decode(images())
    (whole,) = {e.shape for e in encoded}
    assert whole == (4, 16, 64) == seen[0].shape == decoded[0].shape
    raw = made.encoder(images())
    torch.testing.assert_close(seen[0], sum(r[:, 3:] for r in raw) / 4)


def test_the_loss_adds_the_distance_to_the_nearest_prototype():
    made = built()
    with torch.no_grad():
        encoded, decoded, _ = made._decode(images())
        mean = sum(encoded) / 4
        prototypes = made.decoder.extract(made.decoder.queries.expand(4, -1, -1), mean)
        apart = sum(
            min(1 - cosine(token, prototype) for prototype in prototypes[i]) / 64
            for i in range(4)
            for token in mean[i]
        )
        flat = 0.0
        for e, d in ((encoded[:2], decoded[2:]), (encoded[2:], decoded[:2])):
            e, d = sum(e).flatten(1), sum(d).flatten(1)
            flat += sum(1 - cosine(e[i], d[i]) for i in range(4)) / 8
    assert made._loss(images()).item() == pytest.approx(flat + 0.2 * apart, abs=1e-4)


def test_incoherence_is_nought_where_every_token_is_a_prototype():
    tokens = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    assert incoherence(tokens, 3 * tokens.flip(1)).item() == pytest.approx(0.0, abs=1e-6)
    assert incoherence(tokens, -tokens[:, :1]).item() > 0.5


def test_gradients_are_weighted_by_the_third_power_of_the_relative_distance():
    made = INPFormer(**FIELDS)
    rng = torch.Generator().manual_seed(0)
    target, rebuilt = (torch.randn(2, 3, 2, 4, generator=rng, requires_grad=True) for _ in range(2))
    mined_cosine(target, rebuilt, made._weigh).backward()
    mined, rebuilt.grad = rebuilt.grad.clone(), None
    (1 - torch.cosine_similarity(target.detach().flatten(1), rebuilt.flatten(1), dim=1)).mean().backward()
    places = [(i, y, x) for i in range(2) for y in range(2) for x in range(4)]
    distance = {
        at: 1 - cosine(target[at[0], :, at[1], at[2]], rebuilt[at[0], :, at[1], at[2]]) for at in places
    }
    mean = sum(distance.values()) / len(places)
    for i, y, x in places:
        weight = (distance[i, y, x] / mean) ** 3
        torch.testing.assert_close(mined[i, :, y, x], weight * rebuilt.grad[i, :, y, x], rtol=1e-3, atol=1e-6)
    assert target.grad is None


def test_queries_prototypes_and_decoder_learn_and_the_encoder_does_not():
    made = built()
    made._loss(images()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.decoder.parameters())
    assert all(p.grad is None for p in made.encoder.parameters())


def test_training_is_the_papers(monkeypatch):
    seen = {}
    monkeypatch.setattr(token_groups, "train", lambda net, loss, batches, **rest: seen.update(rest))
    made = INPFormer(**FIELDS | {"steps": 5000}).fit([images()])
    (group,) = seen["optimiser"].param_groups
    assert isinstance(seen["optimiser"], StableAdamW)
    assert {id(p) for p in group["params"]} == {id(p) for p in made.decoder.parameters()}
    settings = (group["initial_lr"], group["betas"], group["eps"], group["weight_decay"])
    assert settings == (1e-3, (0.9, 0.999), 1e-10, 1e-4)
    assert seen["max_norm"] == 0.1
    (share,) = seen["schedule"].lr_lambdas
    assert (share(0), share(99), share(5000)) == pytest.approx((0.0, 1.0, 0.1))


def test_the_score_is_the_top_percent_of_the_mean_of_two_maps(detector):
    encoded, decoded, _ = detector._decode(images(8))
    total = torch.zeros(8, 16)
    for e, d in ((encoded[:2], decoded[2:]), (encoded[2:], decoded[:2])):
        total += torch.tensor(
            [
                [(1 - cosine(a, b)) / 2 for a, b in zip(*pair, strict=True)]
                for pair in zip(sum(e), sum(d), strict=True)
            ]
        )
    scores = detector.score(images(8))
    wanted = smooth_upsample(total.view(8, 4, 4), (56, 56), 0.75)
    torch.testing.assert_close(scores.pixel, wanted, rtol=1e-3, atol=1e-5)
    top = scores.pixel.flatten(1).sort(dim=1, descending=True).values[:, :31]  # of 3136
    torch.testing.assert_close(scores.image, top.mean(dim=1))


def test_prototypes_are_those_of_the_image_itself(detector):
    """The same image with other neighbours in the batch; and other images have other prototypes."""
    mean = sum(detector._decode(images())[0]) / 4
    _, prototypes = detector.decoder(mean)
    _, alone = detector.decoder(mean[2:3])
    torch.testing.assert_close(prototypes[2:3], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(prototypes[0], prototypes[1])
