from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly import token_groups
from intact.anomaly.dinomaly import Dinomaly, hard
from intact.anomaly.stable_adamw import StableAdamW
from intact.anomaly.token_groups import mined_cosine
from intact.errors import UsageError, WeightsError
from intact.filters import smooth_upsample
from intact.nets import frozen_tokens
from made_vit import NAME, tiny_vit

FIELDS = {"size": 56, "backbone": NAME, "blocks": (0, 1, 2, 3), "steps": 2}


@pytest.fixture(autouse=True, scope="module")
def _made_backbone():
    with tiny_vit():
        yield


def images(n=4, seed=0):
    return torch.rand(n, 1, 56, 56, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector(_made_backbone):
    return Dinomaly(**FIELDS, lr=0.02).fit([images()])


def built(**fields):
    made = Dinomaly(**FIELDS | fields)
    made._build(1)
    return made


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def test_the_papers_network_takes_eight_blocks_in_two_groups():
    with torch.device("meta"):
        made = Dinomaly(backbone="dinov2_vitb14_reg4", size=392)
        made._build(3)
    assert made.blocks == tuple(range(2, 10)) and made.groups == 2
    assert len(made.decoder.blocks) == 8 and made.decoder.bottleneck[0].p == 0.2
    assert sum(p.numel() for p in made.decoder.parameters()) == 61_425_408  # as the authors' modules
    assert len(made.encoder.net.blocks) == 10  # none after the last one collected


def test_groups_are_means_of_blocks_and_the_decoder_runs_backwards(monkeypatch):
    made = built()
    numbered = [torch.full((1, 1 + 2 + 16, 3), float(i)) for i in range(4)]
    monkeypatch.setattr(made, "_rebuild", lambda _: (numbered, [10 + n for n in numbered]))
    encoded, decoded = made._grouped(images())
    assert [e.unique().tolist() for e in encoded] == [[0.5], [2.5]]
    assert [d.unique().tolist() for d in decoded] == [[12.5], [10.5]]
    assert encoded[0].shape == (1, 3, 4, 4)


def test_class_token_and_registers_pass_the_decoder_but_are_not_compared():
    made = built()
    seen = []
    made.decoder.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    encoded, decoded = made._rebuild(images())
    assert seen[0].shape == (4, 1 + 2 + 16, 64) and decoded[0].shape == seen[0].shape
    torch.testing.assert_close(seen[0], sum(encoded) / 4)
    maps, _ = made._grouped(images())
    patch = (encoded[0][1, 3 + 4 * 2 + 3] + encoded[1][1, 3 + 4 * 2 + 3]) / 2
    torch.testing.assert_close(maps[0][1, :, 2, 3], patch)


def test_the_loss_is_the_mean_over_groups_of_flat_cosines(monkeypatch):
    losses = []
    monkeypatch.setattr(token_groups, "train", lambda net, loss, *_, **__: losses.append(loss(images())))
    made = Dinomaly(**FIELDS).fit([images()])
    made.decoder.eval()
    with torch.no_grad():
        encoded, decoded = made._grouped(images())
        slow = [
            sum(1 - cosine(e[i].flatten(), d[i].flatten()) for i in range(4)) / 4
            for e, d in zip(encoded, decoded, strict=True)
        ]
    assert losses[0].item() == pytest.approx(sum(slow) / 2, abs=0.01)  # dropout was at work there


def test_training_is_the_papers(monkeypatch):
    seen = {}
    monkeypatch.setattr(token_groups, "train", lambda net, loss, batches, **rest: seen.update(rest))
    made = Dinomaly(**FIELDS | {"steps": 5000}).fit([images()])
    (group,) = seen["optimiser"].param_groups
    assert isinstance(seen["optimiser"], StableAdamW)
    assert {id(p) for p in group["params"]} == {id(p) for p in made.decoder.parameters()}
    settings = (group["initial_lr"], group["betas"], group["eps"], group["weight_decay"])
    assert settings == (2e-3, (0.9, 0.999), 1e-10, 1e-4)
    assert (seen["steps"], seen["max_norm"]) == (5000, 0.1)
    (share,) = seen["schedule"].lr_lambdas
    assert (share(0), share(99), share(100), share(5000)) == pytest.approx((0.0, 1.0, 1.0, 0.1))


def test_the_share_of_easy_positions_rises_in_a_fifth_of_the_steps(monkeypatch):
    shares = []

    def train(net, loss, batches, *, steps, **_):
        for _ in range(steps):
            loss(images())

    monkeypatch.setattr("intact.anomaly.dinomaly.hard", lambda m, share: shares.append(share) or m)
    monkeypatch.setattr(token_groups, "train", train)
    Dinomaly(**FIELDS | {"steps": 20}).fit([images()])
    assert shares[::2] == pytest.approx([0.0, 0.225, 0.45, 0.675] + [0.9] * 16)


def test_easy_positions_keep_a_tenth_of_their_gradient():
    rng = torch.Generator().manual_seed(0)
    target = torch.randn(2, 3, 2, 5, generator=rng, requires_grad=True)
    rebuilt = torch.randn(2, 3, 2, 5, generator=rng, requires_grad=True)
    mined_cosine(target, rebuilt, lambda m: hard(m, 0.75)).backward()
    mined, rebuilt.grad = rebuilt.grad.clone(), None
    (1 - torch.cosine_similarity(target.detach().flatten(1), rebuilt.flatten(1), dim=1)).mean().backward()
    distance = [
        (1 - cosine(target[i, :, y, x], rebuilt[i, :, y, x]), i, y, x)
        for i in range(2)
        for y in range(2)
        for x in range(5)
    ]
    hardest = {at[1:] for at in sorted(distance)[-5:]}  # a quarter of 20
    for _, i, y, x in distance:
        share = 1.0 if (i, y, x) in hardest else 0.1
        torch.testing.assert_close(mined[i, :, y, x], share * rebuilt.grad[i, :, y, x])
    assert target.grad is None


def test_the_value_of_the_mined_loss_is_that_of_the_plain_one():
    a, b = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain = (1 - torch.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)).mean()
    assert torch.equal(mined_cosine(a, b, lambda m: hard(m, 0.9)), plain)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99])
def test_at_least_one_position_is_hard(share):
    weight = hard(torch.arange(10.0).view(1, 2, 5), share)
    count = max(1, int(10 * (1 - share)))
    assert weight.flatten().tolist() == pytest.approx([0.1] * (10 - count) + [1.0] * count)


def test_the_encoder_does_not_learn(detector):
    fresh = built().encoder
    fresh(images())
    for name, tensor in detector.encoder.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name])


def test_the_score_is_the_top_percent_of_the_mean_of_two_maps(detector):
    encoded, decoded = detector._grouped(images(8))
    total = torch.zeros(8, 4, 4)
    for e, d in zip(encoded, decoded, strict=True):
        for i in range(8):
            for y in range(4):
                for x in range(4):
                    total[i, y, x] += (1 - cosine(e[i, :, y, x], d[i, :, y, x])) / 2
    scores = detector.score(images(8))
    torch.testing.assert_close(scores.pixel, smooth_upsample(total, (56, 56), 0.75), rtol=1e-3, atol=1e-5)
    top = scores.pixel.flatten(1).sort(dim=1, descending=True).values[:, :31]  # of 3136
    torch.testing.assert_close(scores.image, top.mean(dim=1))


def test_dropout_does_not_score(detector):
    assert not detector.decoder.training
    assert torch.equal(detector.score(images()).image, detector.score(images()).image)


def test_learning_makes_normal_images_more_alike():
    batches = [images(8, seed=s) for s in range(2)]
    few, many = (Dinomaly(**FIELDS | {"steps": steps}, lr=5e-3).fit(batches) for steps in (1, 20))
    assert many.score(batches[0]).image.mean() < 0.8 * few.score(batches[0]).image.mean()


def test_bfloat16_gives_nearly_the_same_scores(detector):
    rough = Dinomaly(**FIELDS, precision="bfloat16")
    rough.load_state(detector.state())
    exact, found = detector.score(images()).image, rough.score(images()).image
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.0)


def test_a_saved_detector_needs_no_other_weights(detector, monkeypatch):
    def none(name):
        raise WeightsError(name)

    monkeypatch.setattr(frozen_tokens, "load_weights", none)
    again = Dinomaly(**FIELDS).load_state(detector.state())
    assert torch.equal(again.score(images()).image, detector.score(images()).image)
    with pytest.raises(WeightsError):
        Dinomaly(**FIELDS).fit([images()])


@pytest.mark.parametrize("fields", [{"size": 64}, {"groups": 3}, {"groups": 0}, {"pooling": "median"}])
def test_fields_that_cannot_work_are_refused(fields):
    with pytest.raises(UsageError):
        Dinomaly(**FIELDS | fields)


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(FloatingPointError):
        Dinomaly(**FIELDS, lr=math.inf).fit([images()])
