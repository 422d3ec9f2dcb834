from __future__ import annotations

import math

import pytest
import torch

from intact.anomaly.anomaly_dino import AnomalyDINO, foreground, rotated
from intact.errors import UsageError
from intact.filters import smooth_upsample
from made_vit import NAME, tiny_vit

FIELDS = {"size": 56, "backbone": NAME, "shots": 6}


@pytest.fixture(autouse=True, scope="module")
def _made_backbone():
    with tiny_vit():
        yield


def images(n=4, seed=0, size=56):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def detector(_made_backbone):
    return AnomalyDINO(**FIELDS).fit([images()])


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def test_tokens_are_the_patches_of_the_last_block_after_the_norm(detector):
    net = detector.encoder.net
    with torch.no_grad():
        wanted = net.norm(net(images())[-1])[:, 1 + 2 :]
    assert detector.encoder.net.outputs == (3,)
    assert torch.equal(detector._tokens(images()), wanted)


def test_the_map_is_one_minus_the_cosine_to_the_nearest_reference(detector):
    references = detector._tokens(images()).flatten(0, 1)
    asked = images(2, seed=5)
    slow = torch.tensor(
        [[min(1 - cosine(token, r) for r in references) for token in one] for one in detector._tokens(asked)]
    )
    scores = detector.score(asked)
    torch.testing.assert_close(
        scores.pixel, smooth_upsample(slow.view(2, 4, 4), (56, 56), 4.0), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(scores.image, slow.amax(dim=1), rtol=1e-3, atol=1e-5)  # 1 % of 16 is one


def test_the_score_is_the_mean_of_the_top_percent_of_the_patches():
    detector = AnomalyDINO(**FIELDS | {"size": 14 * 16}).fit([images(2, size=224)])
    asked = images(1, seed=3, size=224)
    tokens = detector._tokens(asked)[0]
    tokens = tokens / tokens.norm(dim=1, keepdim=True)
    distance = (1 - (tokens @ detector.bank_.T).amax(dim=1)).sort(descending=True).values
    assert detector.score(asked).image.item() == pytest.approx(distance[:3].mean().item(), abs=1e-6)


def test_what_was_seen_scores_nought_and_what_was_not_more(detector):
    assert detector.score(images()).image.abs().max() < 1e-5
    assert detector.score(images(seed=1)).image.min() > 1e-3


def test_so_many_images_are_remembered_whatever_the_batches():
    parts = [images(4, seed=0), images(3, seed=1), images(5, seed=2)]
    some = AnomalyDINO(**FIELDS).fit(parts)
    whole = AnomalyDINO(**FIELDS).fit([torch.cat(parts)])
    assert len(some.bank_) == 6 * 16
    torch.testing.assert_close(some.bank_, whole.bank_)
    scores = some.score(torch.cat(parts)).image
    assert int((scores.abs() < 1e-5).sum()) == 6
    other = AnomalyDINO(**FIELDS, seed=1).fit(parts).score(torch.cat(parts)).image
    assert not torch.equal(scores.abs() < 1e-5, other.abs() < 1e-5)


def test_all_are_remembered_where_there_are_fewer():
    assert len(AnomalyDINO(**FIELDS).fit([images(3)]).bank_) == 3 * 16


def test_rotated_references_are_remembered_too():
    made = AnomalyDINO(**FIELDS, rotations=4).fit([images()])
    assert len(made.bank_) == 4 * 4 * 16
    for turns in range(4):
        assert made.score(images().rot90(turns, dims=(2, 3))).image.abs().max() < 1e-4


@pytest.mark.parametrize("turns", range(4))
def test_quarters_turn_counter_clockwise(turns):
    torch.testing.assert_close(
        rotated(images(), 90.0 * turns), images().rot90(turns, dims=(2, 3)), rtol=0.0, atol=1e-4
    )


def test_an_eighth_turns_about_the_middle_and_reflects_at_the_border():
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    turned = rotated(image, 45.0)

    def at(value):  # reflected about the centre of the outermost pixel
        value = abs(value)
        return 16 - value if value > 8 else value

    for row, column in ((4, 4), (2, 5), (0, 0), (0, 4)):
        right, up = column - 4, 4 - row
        c = s = math.sqrt(0.5)
        x, y = at(4 + c * right + s * up), at(4 - (c * up - s * right))
        i, j = min(int(y), 7), min(int(x), 7)
        a, b = y - i, x - j
        wanted = (1 - a) * ((1 - b) * image[0, 0, i, j] + b * image[0, 0, i, j + 1]) + a * (
            (1 - b) * image[0, 0, i + 1, j] + b * image[0, 0, i + 1, j + 1]
        )
        assert turned[0, 0, row, column].item() == pytest.approx(wanted.item(), abs=1e-4)


def tokens_of(mask, strength, seed=0):
    """Noise, and along one direction as much more as `strength` where `mask` is true."""
    rng = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(24, generator=rng), dim=0)
    return 0.5 * torch.randn(mask.numel(), 24, generator=rng) + strength * mask.flatten()[:, None] * axis


@pytest.mark.parametrize("strength", [30.0, -30.0])
def test_the_foreground_is_what_covers_the_middle_grown_by_one_token(strength):
    mask = torch.zeros(12, 12)
    mask[3:9, 3:9] = 1
    mask[5, 6] = 0  # a hole
    wanted = torch.zeros(12, 12, dtype=torch.bool)
    wanted[2:10, 2:10] = True
    assert torch.equal(foreground(tokens_of(mask, strength), 12), wanted)


def test_patches_outside_the_foreground_count_as_normal(monkeypatch):
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[1:3, 1:3] = True
    plain = AnomalyDINO(**FIELDS | {"sigma": 0.0}).fit([images()])
    masked = AnomalyDINO(**FIELDS | {"sigma": 0.0}, masked=True).load_state(plain.state())
    monkeypatch.setattr("intact.anomaly.anomaly_dino.foreground", lambda tokens, side: inside)
    asked = images(3, seed=7)
    found, all_of_it = (d.score(asked).pixel for d in (masked, plain))
    assert (found[:, 0] == 0).all() and (found[:, -1] == 0).all()
    inner = (slice(None), slice(27, 29), slice(27, 29))
    torch.testing.assert_close(found[inner], all_of_it[inner])
    assert (found[inner] > 0).all()


@pytest.mark.parametrize("size", [0, 100])
def test_sides_that_patches_do_not_divide_are_refused(size):
    with pytest.raises(UsageError, match="14"):
        AnomalyDINO(size=size)
