import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intact.data import splits
from intact.data.splits import hold_out, look_alikes, take_turns


def strangers(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 32, 32)).astype(np.float32)


def alike(base, correlation, seed):
    """A thumbnail that correlates with `base` as asked."""
    noise = np.random.default_rng(seed).normal(size=base.shape)
    base, noise = base - base.mean(), noise - noise.mean()
    noise -= base * (noise * base).sum() / (base**2).sum()
    noise *= np.linalg.norm(base) / np.linalg.norm(noise)
    return (correlation * base + np.sqrt(1 - correlation**2) * noise).astype(np.float32)


@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_whole_groups_come_as_near_to_the_fraction_as_they_can(sizes, fraction, seed):
    groups = [f"p{index}" for index, size in enumerate(sizes) for _ in range(size)]
    held = hold_out(groups, fraction, seed)
    for name in set(groups):
        assert len({bool(h) for h, group in zip(held, groups, strict=True) if group == name}) == 1
    totals = {
        sum(chosen) for count in range(1, len(sizes)) for chosen in itertools.combinations(sizes, count)
    }
    wanted = fraction * len(groups)
    assert abs(held.sum() - wanted) == pytest.approx(min(abs(t - wanted) for t in totals))


def test_the_same_seed_holds_out_the_same_images_and_another_seed_others():
    groups = [str(i // 3) for i in range(300)]
    np.testing.assert_array_equal(hold_out(groups, 0.2, 1), hold_out(groups, 0.2, 1))
    assert (hold_out(groups, 0.2, 1) != hold_out(groups, 0.2, 2)).any()


def test_every_patient_is_held_out_for_some_seed():
    groups = [str(i) for i in range(20)]
    often = np.sum([hold_out(groups, 0.25, seed) for seed in range(200)], axis=0)
    assert often.min() > 25
    assert often.max() < 80


def test_the_order_of_the_images_does_not_change_who_is_held_out():
    groups = np.array([str(i // 4) for i in range(80)])
    order = np.random.default_rng(0).permutation(80)
    held = hold_out(groups.tolist(), 0.3, 5)
    np.testing.assert_array_equal(hold_out(groups[order].tolist(), 0.3, 5), held[order])


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a", "a"]])
def test_fewer_than_two_groups_are_refused(groups):
    with pytest.raises(ValueError, match="at least two groups"):
        hold_out(groups, 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 20])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        hold_out(["a", "b"], fraction, 0)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=20), st.floats(0.05, 0.9), st.integers(0, 3))
def test_in_turns_every_image_is_held_out_once_with_its_whole_group(sizes, fraction, seed):
    groups = [f"p{index}" for index, size in enumerate(sizes) for _ in range(size)]
    parts = take_turns(groups, fraction, seed)
    assert (np.sum(parts, axis=0) == 1).all()
    assert len(parts) == min(max(2, round(1 / fraction)), len(sizes))
    for part in parts:
        inside = {g for g, held in zip(groups, part, strict=True) if held}
        assert part.sum() == sum(groups.count(g) for g in inside)
    counts = [int(part.sum()) for part in parts]
    assert max(counts) - min(counts) <= max(sizes)


def test_turns_of_a_single_group_are_refused():
    with pytest.raises(ValueError, match="1 group"):
        take_turns(["a", "a"], 0.5, 0)


def test_a_chain_of_look_alikes_is_one_group_whatever_the_brightness():
    images = strangers(12)
    images[5] = alike(images[2], 0.95, seed=1)
    images[9] = 40 + 7 * alike(images[5], 0.95, seed=2)
    assert np.corrcoef(images[2].ravel(), images[9].ravel())[0, 1] < 0.93
    groups = look_alikes(images)
    assert groups[2] == groups[5] == groups[9] == "look-alike-2"
    assert len(set(groups)) == 10


def test_the_threshold_decides_while_the_groups_are_small():
    images = strangers(12)
    images[5] = alike(images[2], 0.95, seed=1)
    assert look_alikes(images, 0.94)[5] == "look-alike-2"
    assert look_alikes(images, 0.96)[5] == "look-alike-5"


def registered_patients(patients, slices, between, within):
    """Patients that all resemble one atlas; slices of a patient resemble each other more."""
    atlas = strangers(1)[0]
    bases = [alike(atlas, between, seed=10 + patient) for patient in range(patients)]
    return np.stack([alike(base, within, 100 + i) for i in range(slices) for base in bases])


def test_where_everything_looks_alike_the_threshold_rises_until_patients_part():
    images = registered_patients(patients=10, slices=6, between=0.98, within=0.999)
    groups = look_alikes(images)
    assert sorted(Counter(groups).values()) == 10 * [6]
    assert all(groups[i] == groups[i % 10] for i in range(60))


@pytest.mark.parametrize("pairs", [1, 150, 10**9])
def test_the_blocks_do_not_change_the_groups(pairs, monkeypatch):
    images = registered_patients(patients=10, slices=6, between=0.98, within=0.9985)
    images[7:20] = strangers(13, seed=9)
    whole = look_alikes(images)
    monkeypatch.setattr(splits, "BLOCK_PAIRS", pairs)
    assert look_alikes(images) == whole


def test_the_order_of_the_images_does_not_change_who_is_together():
    images = registered_patients(patients=10, slices=6, between=0.98, within=0.9985)
    order = np.random.default_rng(0).permutation(60)
    groups, shuffled = np.array(look_alikes(images)), np.array(look_alikes(images[order]))
    together = groups[order][:, None] == groups[order]
    np.testing.assert_array_equal(shuffled[:, None] == shuffled, together)


def test_copies_stay_together_however_many_there_are():
    images = strangers(12)
    images[1:10] = images[0] * np.arange(1, 10)[:, None, None] + 5
    groups = look_alikes(images)
    assert groups == 10 * ["look-alike-0"] + ["look-alike-10", "look-alike-11"]


def test_a_pair_among_few_images_stays_a_pair():
    images = strangers(3)
    images[2] = alike(images[0], 0.99, seed=1)
    assert look_alikes(images) == ["look-alike-0", "look-alike-1", "look-alike-0"]


def test_an_image_without_contrast_resembles_none():
    images = strangers(10)
    images[3:5] = 7.0
    assert len(set(look_alikes(images))) == 10


def test_no_images_form_no_groups():
    assert look_alikes(np.zeros((0, 32, 32), np.float32)) == []


def test_values_that_correlate_with_nothing_are_refused():
    images = strangers(3)
    images[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="fill the padding"):
        look_alikes(images)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        look_alikes(strangers(3), threshold)


@pytest.mark.real
@pytest.mark.parametrize("pack", ["brain_mri", "lung_ct", "chest_xray"])
def test_real_normals_form_many_groups_and_none_dominates(data_folder, pack):
    files = sorted((data_folder / pack / "train" / "good").iterdir())
    thumbnails = [
        np.asarray(Image.open(file).convert("L").resize((32, 32), Image.Resampling.BOX), np.float32)
        for file in files
    ]
    groups = look_alikes(np.stack(thumbnails))
    sizes = Counter(groups)
    assert len(sizes) >= 20
    assert max(sizes.values()) <= len(files) // 4
    assert abs(hold_out(groups, 0.25, 0).sum() - len(files) / 4) <= 1
