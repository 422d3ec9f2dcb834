from __future__ import annotations

import shutil
import sys

import pytest
import torch

from intact.anomaly.winclip import (
    ABNORMAL,
    NORMAL,
    WinCLIP,
    class_texts,
    drawn,
    harmonic_mean,
    over_patches,
    prompts,
    unlike,
)
from intact.errors import UsageError, WeightsError
from intact.filters import upsample
from intact.nets.clip import window_patches
from intact.nets.clip_files import embed_texts
from made_clip import NAME, tiny_clip

FIELDS = {"size": 32, "backbone": NAME, "what": "chest x-ray", "shots": 3}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    with tiny_clip(tmp_path_factory.mktemp("weights")) as made:
        yield made


@pytest.fixture(scope="module")
def detector(folder):
    return WinCLIP(**FIELDS).fit([images()])


@pytest.fixture(scope="module")
def zero_shot(folder):
    return WinCLIP(**FIELDS | {"shots": 0}).fit([images()])


def images(n=4, seed=0, size=32, channels=1):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def abnormal(vector, texts):
    """Softmax over the two similarities, at temperature 0.07."""
    normal, ill = (((vector @ text) / 0.07).exp() for text in texts)
    return ill / (normal + ill)


def slow_map(scores, width, side):
    """Patch by patch, the harmonic mean of the windows in which it is."""
    held = [set(each.tolist()) for each in window_patches(side, width)]
    found = []
    for patch in range(side**2):
        mine = [score for score, those in zip(scores, held, strict=True) if patch in those]
        found.append(len(mine) / sum(1 / score for score in mine))
    return torch.stack(found).view(side, side)


def test_prompts_are_all_states_in_all_templates():
    normal, ill = prompts(NORMAL, "chest x-ray"), prompts(ABNORMAL, "chest x-ray")
    assert len(set(normal)) == 7 * 22 and len(set(ill)) == 4 * 22
    assert {"a cropped photo of a chest x-ray.", "a photo of the large flawless chest x-ray."} <= set(normal)
    assert "a photo of a chest x-ray with flaw for anomaly detection." in ill
    assert "a jpeg corrupted photo of the damaged chest x-ray." in ill
    swapped = {text.replace(" of a ", " of the ", 1) for text in normal}
    assert all(text in normal for text in swapped) and len(swapped) == 7 * 11


def test_each_class_is_the_mean_of_its_prompts(folder):
    texts = class_texts("skull", folder)
    for found, states in zip(texts, (NORMAL, ABNORMAL), strict=True):
        mean = sum(embed_texts(prompts(states, "skull"), folder))
        torch.testing.assert_close(found, mean / mean.norm())
    assert not torch.equal(texts, class_texts("knee", folder))


def test_harmonic_means_by_hand():
    torch.testing.assert_close(
        harmonic_mean(torch.tensor([[1.0, 0.5], [0.25, 0.5]])), torch.tensor([0.4, 0.5])
    )
    # Windows of 2 x 2 on 3 x 3 patches: a corner is in one, an edge in two, the middle in all four.
    found = over_patches(torch.tensor([[0.2, 0.4, 0.8, 1.0]]), 3)[0]
    wanted = [[0.2, 4 / 15, 0.4], [0.32, 16 / 39, 4 / 7], [0.8, 8 / 9, 1.0]]
    torch.testing.assert_close(found, torch.tensor(wanted))
    for width in (1, 2, 3, 5):
        scores = torch.rand(2, (6 - width) ** 2, generator=torch.Generator().manual_seed(0)) + 0.01
        slow = torch.stack([slow_map(each, width, 5) for each in scores])
        torch.testing.assert_close(over_patches(scores, 5), slow)


def test_unlike_is_half_the_distance_to_the_nearest():
    rng = torch.Generator().manual_seed(0)
    found, known = (torch.nn.functional.normalize(torch.randn(n, 3, 8, generator=rng), dim=2) for n in (2, 4))
    wanted = [[min((1 - (v @ k).item()) / 2 for k in known.flatten(0, 1)) for v in each] for each in found]
    torch.testing.assert_close(unlike(found, known), torch.tensor(wanted))
    assert (unlike(known, known) < 2e-6).all() and (unlike(known, known) > 0).all()


def test_without_shots_the_class_token_gives_the_score_and_windows_the_map(zero_shot):
    asked = images(2, seed=5)
    seen = zero_shot.tower(asked, (2, 3))
    scores = zero_shot.score(asked)
    for n in range(2):
        whole = abnormal(seen.image[n], zero_shot.texts_)
        torch.testing.assert_close(scores.image[n], whole)
        maps = [
            slow_map([abnormal(v, zero_shot.texts_) for v in each[n]], width, 4)
            for each, width in zip(seen.windows, (2, 3), strict=True)
        ]
        wanted = 3 / (1 / whole + 1 / maps[0] + 1 / maps[1])
        torch.testing.assert_close(scores.pixel[n], upsample(wanted[None], (32, 32))[0])


def test_with_shots_both_halves_count_as_much(detector, zero_shot):
    asked = images(2, seed=5)
    seen, known = detector.tower(asked, (2, 3)), detector.tower(drawn([images()], 3, 0), (2, 3))
    plain, scores = zero_shot.score(asked), detector.score(asked)
    for n in range(2):
        maps = [unlike(seen.patches[n : n + 1], known.patches).view(4, 4)]
        for found, those, width in zip(seen.windows, known.windows, (2, 3), strict=True):
            maps.append(slow_map(unlike(found[n : n + 1], those)[0], width, 4))
        few = (maps[0] + maps[1] + maps[2]) / 3
        torch.testing.assert_close(scores.image[n], (plain.image[n] + few.max()) / 2)
        torch.testing.assert_close(scores.pixel[n], (plain.pixel[n] + upsample(few[None], (32, 32))[0]) / 2)


def test_zero_shot_ignores_the_normal_images(zero_shot):
    other = WinCLIP(**FIELDS | {"shots": 0}).fit([images(7, seed=9)])
    assert torch.equal(other.score(images(3, seed=2)).pixel, zero_shot.score(images(3, seed=2)).pixel)
    assert {k for k in zero_shot.state() if "." not in k} == {"channels_", "plan_", "texts_"}


def test_shots_remember_so_many_of_them(detector, zero_shot):
    few = 2 * detector.score(images()).image - zero_shot.score(images()).image
    assert int((few < 1e-5).sum()) == 3
    assert (2 * detector.score(images(seed=1)).image - zero_shot.score(images(seed=1)).image).min() > 1e-3
    assert detector.patches_.shape == (3, 16, 32) and detector.windows_.shape == (3, 9 + 4, 16)


def test_which_are_remembered_depends_on_the_seed_and_not_on_the_batches():
    parts = [images(4, seed=0), images(3, seed=1), images(5, seed=2)]
    assert torch.equal(drawn(parts, 5, 0), drawn([torch.cat(parts)], 5, 0))
    assert not torch.equal(drawn(parts, 5, 0), drawn(parts, 5, 1))
    assert torch.equal(drawn(parts, 50, 0), torch.cat(parts))
    many = WinCLIP(**FIELDS | {"shots": 10}).fit(parts)  # more than are seen at once
    whole = many.tower(drawn(parts, 10, 0), (2, 3))
    torch.testing.assert_close(many.patches_, whole.patches)


def test_what_is_shown_changes_the_score(zero_shot):
    other = WinCLIP(**FIELDS | {"shots": 0, "what": "brain mri"}).fit([images()])
    assert not torch.allclose(other.score(images()).image, zero_shot.score(images()).image, rtol=1e-3)


def test_other_windows_and_sides_and_three_channels():
    detector = WinCLIP(**FIELDS | {"size": 48, "windows": (1, 4, 6)}).fit([images(4, size=48, channels=3)])
    scores = detector.score(images(2, seed=3, size=48, channels=3))
    assert scores.pixel.shape == (2, 48, 48) and scores.pixel.isfinite().all()


def test_a_saved_detector_needs_neither_the_folder_nor_the_package(detector, tmp_path, monkeypatch):
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    loaded = WinCLIP(**FIELDS).load_state(detector.state())
    found, wanted = (each.score(images(3, seed=4)) for each in (loaded, detector))
    assert torch.equal(found.image, wanted.image) and torch.equal(found.pixel, wanted.pixel)


def test_fitting_without_weights_package_or_tokenizer_says_what_to_get(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(UsageError, match="pip install tokenizers"):
            WinCLIP(**FIELDS).fit([images()])
    copy = shutil.copytree(folder, tmp_path / NAME)
    (copy / "tokenizer.json").unlink()
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"have to hold tokenizer\.json"):
        WinCLIP(**FIELDS).fit([images()])
    monkeypatch.setenv("INTACT_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"clip-vit-base-patch16.*model\.safetensors"):
        WinCLIP(size=32).fit([images()])


@pytest.mark.parametrize("size", [0, 36])
def test_sides_that_patches_do_not_divide_are_refused(size):
    with pytest.raises(UsageError, match="multiple of 8"):
        WinCLIP(**FIELDS | {"size": size}).fit([images(size=size)])


@pytest.mark.parametrize("windows", [(), (0, 2), (2, 5)])
def test_windows_that_do_not_fit_are_refused(windows):
    with pytest.raises(UsageError, match="from 1 to 4"):
        WinCLIP(**FIELDS | {"windows": windows}).fit([images()])
